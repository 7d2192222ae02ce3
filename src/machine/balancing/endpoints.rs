//! Which stream tells its client where to send messages: in MCP's transport of 2024-11-05 a stream's first event names
//! the URL of its messages, which only the upstream that has the stream understands.
//!
//! In: names of targets, as hashes under the process's key, and the exchanges whose streams have told them. Out: the
//! same, for as long as the exchange is there.
//! Laws: an exchange has at most one target; a target belongs to the stream that named it last to the same principal, so
//! that nobody leads another's requests.
//! Source: Model Context Protocol, revision 2024-11-05, transports, "HTTP with SSE".

use super::names::Name;
use crate::machine::keys::ExchangeKey;
use std::collections::HashMap;

/// Bytes of the first event of a stream in which its client is told where to send messages.
pub(in crate::machine) const TOLD: u64 = 4 << 10;

/// Targets that streams have told their clients.
#[derive(Default, Debug)]
pub(in crate::machine) struct Endpoints {
    streams: HashMap<Name, ExchangeKey>,
    names: HashMap<ExchangeKey, Name>,
}

impl Endpoints {
    pub(in crate::machine) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// The stream of this exchange has told its client this target.
    pub(in crate::machine) fn tell(&mut self, name: Name, key: ExchangeKey) {
        self.forget(key);
        if let Some(before) = self.streams.insert(name, key) {
            self.names.remove(&before);
        }
        self.names.insert(key, name);
    }

    /// The exchange whose stream has told this target.
    pub(in crate::machine) fn find(&self, name: Name) -> Option<ExchangeKey> {
        self.streams.get(&name).copied()
    }

    /// The exchange is over.
    pub(in crate::machine) fn forget(&mut self, key: ExchangeKey) {
        if let Some(name) = self.names.remove(&key) {
            self.streams.remove(&name);
        }
    }

    /// Exchanges that have a target.
    #[cfg(any(test, feature = "fuzzing", debug_assertions))]
    pub(in crate::machine) fn keys(&self) -> impl Iterator<Item = ExchangeKey> {
        self.names.keys().copied()
    }
}

/// The path and query that a client asks for whose stream at `base` told it this URL. Source: RFC 3986, section 5.2, but
/// for segments of dots behind the first, which no server writes here.
pub(in crate::machine) fn resolve(base: &str, url: &str) -> Option<String> {
    let url = url.trim_ascii().split('#').next().unwrap_or_default();
    let (path, _) = base.split_once('?').unwrap_or((base, ""));
    let behind_host = |rest: &str| match rest.find(['/', '?']) {
        Some(at) if rest[at..].starts_with('/') => rest[at..].to_owned(),
        Some(at) => format!("/{}", &rest[at..]),
        None => "/".to_owned(),
    };
    if let Some(rest) = url.strip_prefix("//") {
        return Some(behind_host(rest));
    }
    let scheme = url.split_once("://").filter(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphanumeric()));
    match url.as_bytes().first()? {
        _ if let Some((_, rest)) = scheme => Some(behind_host(rest)),
        b'/' => Some(url.to_owned()),
        b'?' => Some(format!("{path}{url}")),
        _ => {
            let (mut folder, mut rest) = (path.rsplit_once('/').map_or("", |(folder, _)| folder), url);
            loop {
                if let Some(behind) = rest.strip_prefix("./") {
                    rest = behind;
                } else if let Some(behind) = rest.strip_prefix("../") {
                    (folder, rest) = (folder.rsplit_once('/').map_or("", |(folder, _)| folder), behind);
                } else {
                    return Some(format!("{folder}/{rest}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_resolved_against_that_of_the_stream() {
        for (base, url, expected) in [
            ("/sse", "/messages?id=1", "/messages?id=1"),
            ("/mcp/sse?x=/y", "messages?id=1", "/mcp/messages?id=1"),
            ("/mcp/sse", "./messages/1", "/mcp/messages/1"),
            ("/mcp/v1/sse", "../messages/1#x", "/mcp/messages/1"),
            ("/sse", "../../m", "/m"),
            ("/mcp/sse?old", "?id=1", "/mcp/sse?id=1"),
            ("/sse", "http://host:9/messages?u=http://x/y", "/messages?u=http://x/y"),
            ("/sse", "https://host?id=1", "/?id=1"),
            ("/sse", "//host/m", "/m"),
            ("/sse", " /m ", "/m"),
        ] {
            assert_eq!(resolve(base, url).as_deref(), Some(expected), "{url} at {base}");
        }
        assert_eq!(resolve("/sse", ""), None);
    }
}
