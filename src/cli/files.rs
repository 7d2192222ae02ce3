//! The system's limit on open files.
//!
//! In: the soft limit, which many systems set to 1,024 for the sake of old programs. Out: the hard one.
//! Law: a limit that cannot be raised changes nothing; the proxy then has fewer connections, and says so when it runs
//! out of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit on open files of this process: what it was, and what it is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OpenFiles {
    before: Option<u64>,
    now: Option<u64>,
}

impl OpenFiles {
    /// Raises the soft limit to the hard one.
    pub(super) fn raise() -> Self {
        let Rlimit { current: before, maximum } = getrlimit(Resource::Nofile);
        // Some systems refuse to have none at all; then the old one stays.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        Self { before, now: getrlimit(Resource::Nofile).current }
    }
}

impl std::fmt::Display for OpenFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.now {
            Some(now) => write!(f, "open files: {now}")?,
            None => f.write_str("open files: no limit")?,
        }
        match self.before {
            Some(before) if self.now != self.before => write!(f, " (raised from {before})"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_with_what_it_was_before() {
        let shown = |before, now| OpenFiles { before, now }.to_string();
        assert_eq!(shown(Some(1_024), Some(1_024)), "open files: 1024");
        assert_eq!(shown(Some(1_024), Some(4_096)), "open files: 4096 (raised from 1024)");
        assert_eq!(shown(Some(1_024), None), "open files: no limit (raised from 1024)");
    }
}
