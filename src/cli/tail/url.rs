//! The URL of a stream.
//!
//! In: a URL as text; the `Location` of a redirect. Out: a [`Url`] in parts.
//! Law: user names, passwords and fragments never become part of a request.
//! Source: RFC 3986, section 5.2, for the forms that `Location` takes in practice.

use crate::base::shown;
use crate::config::Upstream;

/// A URL in parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Url {
    /// Scheme, host and port, without a base path.
    pub(super) origin: Upstream,
    /// Path and query.
    pub(super) target: String,
}

impl Url {
    /// Reads `http://host:port/path?query`. A fragment is left out.
    ///
    /// # Errors
    /// Shows the text without its credentials, and says what is wrong and how to write the URL.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|why| format!("`{}`: {why}", echo(text)))
    }

    fn read(text: &str) -> Result<Self, String> {
        let text = text.split('#').next().unwrap_or_default();
        let start = text.find("://").map_or(0, |at| at + 3);
        let at = text[start..].find(['/', '?']).map_or(text.len(), |at| start + at);
        let (origin, rest) = text.split_at(at);
        let origin = Upstream::parse(origin).map_err(|e| e.to_string().replace("upstream", "URL"))?;
        let target = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        match target.bytes().all(|b| b.is_ascii_graphic()) {
            true => Ok(Self { origin, target }),
            false => Err("a URL cannot hold spaces or characters outside ASCII: percent-encode them".to_owned()),
        }
    }

    /// The URL that `location` names, relative to this one.
    pub(super) fn join(&self, location: &str) -> Result<Self, String> {
        if location.contains("://") {
            return Self::parse(location);
        }
        if location.starts_with("//") {
            return Self::parse(&format!("{}:{location}", self.origin.scheme.as_str()));
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let target = match location.as_bytes().first() {
            Some(b'/') => location.to_owned(),
            Some(b'?') => format!("{path}{location}"),
            _ => format!("{folder}/{location}"),
        };
        Self::parse(&format!("{}://{}{target}", self.origin.scheme.as_str(), self.origin.authority))
    }

    /// Whether both have the same origin, so that credentials for one may go to the other.
    pub(super) fn is_same_origin(&self, other: &Self) -> bool {
        let parts = |url: &Self| (url.origin.scheme, url.origin.host.clone(), url.origin.port);
        parts(self) == parts(other)
    }
}

/// The text as a message shows it: without a user's name, a password or a query.
fn echo(text: &str) -> Box<str> {
    let start = text.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = text.split_at(start);
    let (rest, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let left_out = if query.is_empty() { "" } else { "?..." };
    shown(&format!("{scheme}{host}{left_out}"), SHOWN)
}

/// Bytes of a URL that a message shows.
const SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_be_read_is_shown_without_its_credentials() {
        for (text, shown) in [
            ("localhost:80/feed", "`localhost:80/feed`"),
            ("ftp://me:hush@h/x?token=hush", "`ftp://h/x?...`"),
            ("http://h/a b#hush", "`http://h/a b?...`"),
        ] {
            let told = Url::parse(text).unwrap_err();
            assert!(told.starts_with(shown) && !told.contains("hush"), "{told}");
        }
    }

    #[test]
    fn a_url_is_read_in_parts() {
        let url = Url::parse("https://H.example:8443/a/b?c=d#e").unwrap();
        assert_eq!((url.origin.host.as_str(), url.origin.port, url.target.as_str()), ("h.example", 8443, "/a/b?c=d"));
        assert_eq!(Url::parse("http://h").unwrap().target, "/");
        assert_eq!(Url::parse("http://h?x").unwrap().target, "/?x");
        for wrong in ["", "h", "ftp://h", "http://", "http://h/a b"] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_redirect_is_resolved() {
        let from = Url::parse("http://h:81/a/b?c").unwrap();
        let to = |location: &str| {
            let url = from.join(location).unwrap();
            format!("{}://{}{}", url.origin.scheme.as_str(), url.origin.authority, url.target)
        };
        assert_eq!(to("/x"), "http://h:81/x");
        assert_eq!(to("x?y"), "http://h:81/a/x?y");
        assert_eq!(to("?z"), "http://h:81/a/b?z");
        assert_eq!(to("//i/x"), "http://i/x");
        assert_eq!(to("https://j:9/x"), "https://j:9/x");
        assert!(!from.is_same_origin(&from.join("//i/x").unwrap()));
    }
}
