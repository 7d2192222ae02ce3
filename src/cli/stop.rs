//! Why a command stopped early: one type for all commands.
//!
//! In: problems of a configuration, bad arguments, or the error of a failed step. Out: the lines for standard error, and the exit
//! code.
//! Law: exit code 1 is a failure, 2 bad arguments or a configuration with problems.

use std::fmt;

use crate::config::file::Problem;

/// Why a command stopped before its work was done. The text is whole lines.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The configuration has problems. Each takes one line.
    Problems {
        /// The file that has the problems. `None` if the flags have them.
        file: Option<String>,
        /// The problems.
        list: Vec<Problem>,
    },
    /// The arguments cannot be used. Shows what was given, and says how to write it.
    Usage(String),
    /// The reason was told already. The exit code is left.
    Said(u8),
    /// The work failed. Says at what and why.
    Failed(String),
}

impl Stop {
    /// The exit code of the program.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Problems { .. } | Self::Usage(_) => 2,
            Self::Failed(_) => 1,
            Self::Said(code) => *code,
        }
    }

    /// A failure while doing `what`.
    pub(crate) fn failed(what: &str, error: impl fmt::Display) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problems { file: Some(file), list } => {
                let beside = |problem: &Problem| if problem.is_beside { "segno: " } else { "" };
                list.iter().try_for_each(|problem| writeln!(f, "{}{}", beside(problem), problem.show(Some(file))))
            }
            Self::Problems { file: None, list } => list.iter().try_for_each(|problem| writeln!(f, "segno: {problem}")),
            Self::Said(_) => Ok(()),
            Self::Usage(what) | Self::Failed(what) => writeln!(f, "segno: {what}"),
        }
    }
}
