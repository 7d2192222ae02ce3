//! Where cursors are kept, as the command line and the file write it.
//!
//! In: `memory`, `redb:PATH`, `redis://…`. Out: a [`StoreConfig`]. The engine, which opens it, refuses what is not
//! built in, and a URL that it cannot read.
//! Law: a password in a URL is never shown.

use std::fmt;
use std::path::PathBuf;

/// A store, named but not opened.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum StoreConfig {
    /// In this process: a restart forgets every cursor. Nothing to set up.
    #[default]
    Memory,
    /// A redb file on this machine: cursors outlive a restart. One process at a time may open it.
    Redb {
        /// The file. It is created where there is none.
        path: PathBuf,
    },
    /// A Redis server, a master that Sentinels name, or a Cluster: cursors are shared by several machines. Each flush is
    /// a round trip.
    Redis {
        /// The whole URL, credentials included.
        url: String,
    },
    /// The store that the embedding program opens itself, which may outlive the process. No file can name it.
    Own,
}

impl StoreConfig {
    /// Whether what is stored may outlive this process.
    pub fn may_outlive(&self) -> bool {
        *self != Self::Memory
    }

    /// Reads `memory`, `redb:PATH`, or a URL whose scheme begins with `redis`.
    ///
    /// # Errors
    /// A line that gives the forms there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "memory" {
            return Ok(Self::Memory);
        }
        if let Some(path) = text.strip_prefix("redb:").filter(|path| !path.is_empty()) {
            return Ok(Self::Redb { path: PathBuf::from(path) });
        }
        if text.split_once("://").is_some_and(|(scheme, rest)| scheme.starts_with("redis") && !rest.is_empty()) {
            return Ok(Self::Redis { url: text.to_owned() });
        }
        Err("not a store: write `memory`, `redb:PATH` or `redis://HOST`".to_owned())
    }
}

impl fmt::Display for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Redb { path } => write!(f, "redb:{}", path.display()),
            Self::Redis { url } => f.write_str(&without_credentials(url)),
            Self::Own => f.write_str("a store of the program's own"),
        }
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The URL's scheme, host and path. Where an `@` stands behind the host, a password that was not percent-encoded may
/// reach that far, and only the scheme is shown.
fn without_credentials(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if behind.contains('@') {
        return format!("{scheme}://…");
    }
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let path = behind.split(['?', '#']).next().unwrap_or("");
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read_and_shown_again() {
        for text in ["memory", "redb:/var/lib/segno.redb", "redis://127.0.0.1:6379/0"] {
            assert_eq!(StoreConfig::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_store_is_refused() {
        for text in ["", "Memory", "redb:", "redis://", "sqlite:x", "segno.redb"] {
            assert!(StoreConfig::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for url in ["rediss://me:secret/x?secret@h:1/2", "redis://h?password=x@secret", "redis://me:secret#@h"] {
            let store = StoreConfig::parse(url).unwrap();
            assert!(!format!("{store:?} {store}").contains("secret"), "{store}");
        }
        let store = StoreConfig::parse("redis://me:secret@h:1/2?password=secret").unwrap();
        assert_eq!(store.to_string(), "redis://h:1/2");
    }
}
