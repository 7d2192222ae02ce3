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
    /// The address of a store on a server cannot be understood.
    BadAddress {
        /// What is wrong with it. Shows no password.
        why: Box<str>,
    },
    /// The server that keeps the store did not do what it was asked.
    Server {
        /// Where it is, without a user and a password.
        server: Box<str>,
        /// What kind of trouble it is.
        fault: ServerFault,
        /// What the server or the system says.
        why: Box<str>,
    },
    /// This build has no such store.
    NotBuilt {
        /// What was asked for.
        store: Box<str>,
    },
    /// Another reason of the store's own.
    Refused(Box<str>),
}

/// The kinds of trouble with a server that keeps a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ServerFault {
    /// It cannot be reached, or did not answer in time.
    Away,
    /// One node of a Cluster cannot be reached or does not answer, or some slots cannot be used for now. The others can.
    PartAway,
    /// It is there, and cannot serve for now: it loads its data, runs a script, or its cluster is not whole.
    Busy,
    /// It is a replica, or no master any more: another one must be asked.
    Replaced,
    /// It has no room, or may not write for another reason of its own.
    Full,
    /// It does not let this user in, or not do this.
    Denied,
    /// It cannot prove with its certificate that it is the one that was meant.
    Untrusted,
    /// Its keys with this prefix are not a store of segno, or one of a newer version.
    Foreign,
    /// The address names a server or a database that cannot be the one that was meant.
    Misnamed,
    /// It refuses for another reason.
    Refused,
}

impl ServerFault {
    /// What helps.
    fn advice(self) -> &'static str {
        match self {
            Self::Away => "start it, or correct its address",
            Self::PartAway => "the other nodes are asked as ever, and this one when it is back",
            Self::Busy => "it is asked again later",
            Self::Replaced => "name the master, or Sentinels that know it",
            Self::Full => "give it room, as its own message says",
            Self::Denied => "correct the user and the password, or what this user may do there",
            Self::Untrusted => "correct `ca`, the name in the address, or the server's certificate",
            Self::Foreign => "use another `prefix` or another database",
            Self::Misnamed => "correct the address",
            Self::Refused => "look into the server's own log",
        }
    }
}

impl ServerFault {
    /// Whether a person must do something about the address, the user or the prefix.
    fn is_misconfigured(self) -> bool {
        matches!(self, Self::Denied | Self::Untrusted | Self::Foreign | Self::Misnamed)
    }
}

impl StoreError {
    /// Whether trying again may help, without anybody doing something about the cause.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Locked { .. } | Self::Closed | Self::Refused(_) | Self::Full { .. } => true,
            // A directory may be mounted later.
            Self::Misplaced { .. } | Self::Gone { .. } => true,
            Self::Server { fault, .. } => !fault.is_misconfigured(),
            _ => false,
        }
    }

    /// Whether the store's name or path is wrong, so that a person must say what was meant: no store was ever there.
    pub fn is_misconfigured(&self) -> bool {
        if let Self::Server { fault, .. } = self {
            return fault.is_misconfigured();
        }
        let no_place = matches!(self, Self::Misplaced { .. } | Self::BadKey { .. } | Self::BadAddress { .. });
        no_place || matches!(self, Self::Foreign { .. } | Self::Newer { .. } | Self::NotBuilt { .. })
    }

    /// Whether a part of the store alone is away: the other parts can be written and read.
    pub fn is_of_a_part(&self) -> bool {
        matches!(self, Self::Server { fault: ServerFault::PartAway, .. })
    }

    /// Whether this opening of the store can do nothing more, while the next one may.
    pub fn ends_the_opening(&self) -> bool {
        let is_lost = |fault: &ServerFault| matches!(fault, ServerFault::Away | ServerFault::Replaced);
        matches!(self, Self::Closed | Self::Gone { .. }) || matches!(self, Self::Server { fault, .. } if is_lost(fault))
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
            Self::BadAddress { why } => write!(f, "the address of the store cannot be read: {why}"),
            Self::Server { server, fault, why } => write!(f, "{server}: {why}; {}", fault.advice()),
            Self::NotBuilt { store } => write!(
                f,
                "this build has no store `{store}`; `memory` is in every build, `redb:PATH` and `redis://HOST` in those with \
                 the features `redb` and `redis`"
            ),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StoreError {}
