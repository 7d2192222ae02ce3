//! Why a command ended early, as every command says it.
//!
//! In: problems of a configuration, or the error of some work. Out: the lines for standard error, and the exit code.
//! Law: 1 is a failure, 2 a configuration that is not sound.

use std::fmt;

use crate::config::file::Problem;

/// Why a command ended before its work was done. Its text is whole lines.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The configuration is not sound: each problem a line.
    Problems {
        /// The file they lie in, if there is one.
        file: Option<String>,
        /// What is wrong.
        list: Vec<Problem>,
    },
    /// The work failed.
    Failed(String),
}

impl Stop {
    /// The exit code that says so.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Problems { .. } => 2,
            Self::Failed(_) => 1,
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
                list.iter().try_for_each(|problem| writeln!(f, "{}", problem.show(Some(file))))
            }
            Self::Problems { file: None, list } => list.iter().try_for_each(|problem| writeln!(f, "segno: {problem}")),
            Self::Failed(what) => writeln!(f, "segno: {what}"),
        }
    }
}
