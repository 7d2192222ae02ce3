//! What can go wrong in a store, in words that tell a person what to do.
//!
//! In: what the system or the store reports. Out: an error with a message.
//!
//! Law: an error names what was being done, to what, and what helps; and it tells whether trying again may help.

use std::fmt;
use std::path::PathBuf;

/// Why a store could not do something.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// All epochs have been handed out.
    OutOfEpochs,
    /// The store holds as many records as it may.
    Full {
        /// The bound.
        limit: usize,
    },
    /// The system refused: a full disk, a directory that is not there, a permission.
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system says.
        why: Box<str>,
    },
    /// Another process has the file open.
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer version.
    Newer {
        /// The file.
        path: PathBuf,
        /// The format it has.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The file is something else.
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// No store can be at this path: its directory is not there, it is one itself, or it may not be opened.
    Misplaced {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: Box<str>,
    },
    /// The file with the key beside the store is of no use.
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: Box<str>,
    },
    /// The file was deleted or replaced while it was open: drop both halves and open it again.
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged.
    Torn {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: Box<str>,
    },
    /// One record is damaged; others are not.
    Damaged {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The store was closed, or has failed for good: drop both halves and open it again.
    Closed,
    /// This build has no such store.
    NotBuilt {
        /// What was asked for.
        store: Box<str>,
    },
    /// Another reason of the store's own.
    Refused(Box<str>),
}

impl StoreError {
    /// Whether trying again may help, without anybody doing something about the cause.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Locked { .. } | Self::Closed | Self::Refused(_) | Self::Full { .. } => true,
            // A directory may be mounted later.
            Self::Misplaced { .. } | Self::Gone { .. } => true,
            _ => false,
        }
    }

    /// Whether the store's name or path is wrong, so that a person must say what was meant: no store was ever there.
    pub fn is_misconfigured(&self) -> bool {
        let no_place = matches!(self, Self::Misplaced { .. } | Self::BadKey { .. });
        no_place || matches!(self, Self::Foreign { .. } | Self::Newer { .. } | Self::NotBuilt { .. })
    }

    /// Whether this opening of the store can do nothing more, while the next one may.
    pub fn ends_the_opening(&self) -> bool {
        matches!(self, Self::Closed | Self::Gone { .. })
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfEpochs => f.write_str("the store has no epoch left; start with an empty store"),
            Self::Full { limit } => write!(f, "the store is full with {limit} records; raise the bound or remove some"),
            Self::Io { doing, why } => write!(f, "the store failed while {doing}: {why}"),
            Self::Locked { path } => {
                write!(f, "{} is open in another process; end that process or use another file", path.display())
            }
            Self::Newer { path, found, known } => write!(
                f,
                "{} has format {found}, and this version knows {known}; use a newer segno or another file",
                path.display()
            ),
            Self::Foreign { path } => {
                write!(f, "{} is not a store of segno and is left as it is; use another file", path.display())
            }
            Self::Misplaced { path, why } => write!(f, "{} cannot be a store: {why}; correct the path", path.display()),
            Self::BadKey { path, why } => write!(
                f,
                "{} cannot be used as the store's key: {why}; restore a copy, or move it away to start with a new key, \
                 with which nothing is found that is stored now",
                path.display()
            ),
            Self::Gone { path } => write!(f, "{} was deleted or replaced while it was open", path.display()),
            Self::Torn { path, why } => write!(
                f,
                "{} is damaged ({why}) and is left as it is; restore a copy, or move the file away to start with an empty store",
                path.display()
            ),
            Self::Damaged { why } => write!(f, "the record is damaged: {why}; it will be replaced by the next write"),
            Self::Closed => f.write_str("the store is closed and must be opened again"),
            Self::NotBuilt { store } => write!(
                f,
                "this build has no store `{store}`; `memory` is in every build, `redb:PATH` in those with the feature `redb`"
            ),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StoreError {}
