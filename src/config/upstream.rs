//! An upstream's address, taken from a URL.
//!
//! In: `http://host:port/base`. Out: its parts, each in the form in which a layer below needs it.
//! Laws: no name is resolved; parts that a request would not carry (credentials, query, fragment) are refused.
//! Source: RFC 3986, section 3; RFC 9110, section 4.2.

use std::fmt;
use std::net::Ipv6Addr;

/// Plain or TLS.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    /// `http`: plain.
    Http,
    /// `https`: TLS.
    Https,
}

impl Scheme {
    /// The port of a URL that names none.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// As a URL writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Where requests of a route go.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Upstream {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// The name to resolve, which a certificate must hold too: in lower case; or an address, IPv6 without brackets.
    pub host: String,
    /// The port, never zero.
    pub port: u16,
    /// What is put before the path of each request: empty, or `/base` without a slash at its end.
    pub base_path: String,
    /// The `Host` field of a request: the host, IPv6 in brackets, and the port where it is not the scheme's own.
    pub authority: String,
}

/// Why a URL is not an upstream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UpstreamError {
    /// Neither `http://` nor `https://`.
    Scheme,
    /// No host.
    Host,
    /// A byte that no host may hold.
    HostByte(char),
    /// A port that is not 1 to 65535.
    Port(String),
    /// A name and password, which a request would not carry.
    Credentials,
    /// A query or fragment, which a prefix cannot have.
    Query,
    /// A space, control or non-ASCII character in the path.
    PathByte(char),
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => f.write_str("not an upstream: write `http://HOST:PORT` or `https://HOST:PORT`"),
            Self::Host => f.write_str("the upstream has no host: write `http://HOST:PORT`"),
            Self::HostByte(c) => write!(f, "{c:?} cannot stand in a host: write an ASCII name or an address"),
            Self::Port(port) => {
                write!(f, "`{}` is not a port: write a number from 1 to 65535", port.escape_debug())
            }
            Self::Credentials => f.write_str("the upstream holds credentials: leave them out, clients send their own"),
            Self::Query => f.write_str("the upstream holds a query or fragment: end it after the path"),
            Self::PathByte(c) => write!(f, "{c:?} cannot stand in a path: percent-encode it"),
        }
    }
}

impl std::error::Error for UpstreamError {}

impl Upstream {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`UpstreamError`], which says what is wrong and how to write it.
    pub fn parse(url: &str) -> Result<Self, UpstreamError> {
        let (scheme, rest) = scheme_of(url)?;
        if rest.contains(['?', '#']) {
            return Err(UpstreamError::Query);
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(UpstreamError::Credentials);
        }
        let (host, port) = split_port(authority)?;
        let port = port.map_or(Ok(scheme.default_port()), read_port)?;
        let host = read_host(host)?;
        let authority = authority_of(scheme, &host, port);
        Ok(Self { scheme, host, port, base_path: read_path(path)?, authority })
    }

    /// Stands in for an upstream that could not be read.
    #[cfg(feature = "file")]
    pub(super) fn nowhere() -> Self {
        let (host, authority) = ("nowhere".to_owned(), "nowhere".to_owned());
        Self { scheme: Scheme::Http, host, port: 80, base_path: String::new(), authority }
    }
}

impl fmt::Display for Upstream {
    /// Writes the URL that [`Upstream::parse`] reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority, self.base_path)
    }
}

fn scheme_of(url: &str) -> Result<(Scheme, &str), UpstreamError> {
    let (scheme, rest) = url.split_once("://").ok_or(UpstreamError::Scheme)?;
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Ok((Scheme::Http, rest)),
        "https" => Ok((Scheme::Https, rest)),
        _ => Err(UpstreamError::Scheme),
    }
}

/// Host (with its brackets) and port as written.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), UpstreamError> {
    if !authority.starts_with('[') {
        return Ok(authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))));
    }
    let end = authority.find(']').ok_or(UpstreamError::HostByte('['))? + 1;
    let (host, rest) = authority.split_at(end);
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err(UpstreamError::Port(rest.to_owned())),
    }
}

fn read_port(text: &str) -> Result<u16, UpstreamError> {
    let wrong = || UpstreamError::Port(text.to_owned());
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    text.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)
}

fn read_host(host: &str) -> Result<String, UpstreamError> {
    if host.is_empty() {
        return Err(UpstreamError::Host);
    }
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return match inner.parse::<Ipv6Addr>() {
            Ok(address) => Ok(address.to_string()),
            Err(_) => Err(UpstreamError::HostByte('[')),
        };
    }
    match host.chars().find(|c| !(c.is_ascii_alphanumeric() || "-._".contains(*c))) {
        Some(c) => Err(UpstreamError::HostByte(c)),
        None => Ok(host.to_ascii_lowercase()),
    }
}

fn read_path(path: &str) -> Result<String, UpstreamError> {
    match path.chars().find(|c| !c.is_ascii_graphic()) {
        Some(c) => Err(UpstreamError::PathByte(c)),
        None => Ok(path.trim_end_matches('/').to_owned()),
    }
}

fn authority_of(scheme: Scheme, host: &str, port: u16) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    if port == scheme.default_port() { host } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> (String, u16, String, String) {
        let u = Upstream::parse(url).unwrap();
        (u.host, u.port, u.base_path, u.authority)
    }

    fn wanted(host: &str, port: u16, base: &str, authority: &str) -> (String, u16, String, String) {
        (host.to_owned(), port, base.to_owned(), authority.to_owned())
    }

    #[test]
    fn a_url_falls_into_its_parts() {
        assert_eq!(parts("http://a.example:8080/v1/"), wanted("a.example", 8080, "/v1", "a.example:8080"));
        assert_eq!(parts("HTTPS://A.example"), wanted("a.example", 443, "", "a.example"));
        assert_eq!(parts("http://h:80/"), wanted("h", 80, "", "h"));
        assert_eq!(parts("https://[::1]:80/x/y"), wanted("::1", 80, "/x/y", "[::1]:80"));
        assert_eq!(parts("http://[0::1]"), wanted("::1", 80, "", "[::1]"));
    }

    #[test]
    fn an_upstream_prints_as_it_is_read() {
        for url in ["http://a:1/b", "https://a", "http://[::1]:8080"] {
            assert_eq!(Upstream::parse(url).unwrap().to_string(), url);
        }
    }

    #[test]
    fn what_is_wrong_has_a_name() {
        use UpstreamError::*;
        let cases = [
            ("localhost:80", Scheme),
            ("ftp://h", Scheme),
            ("", Scheme),
            ("http://", Host),
            ("http://:80", Host),
            ("http:///x", Host),
            ("http://a b", HostByte(' ')),
            ("http://ü", HostByte('ü')),
            ("http://[::1", HostByte('[')),
            ("http://[x]", HostByte('[')),
            ("http://h:0", Port("0".to_owned())),
            ("http://h:", Port(String::new())),
            ("http://h:+1", Port("+1".to_owned())),
            ("http://h:65536", Port("65536".to_owned())),
            ("http://::1", Port(":1".to_owned())),
            ("http://u:p@h", Credentials),
            ("http://h/?q", Query),
            ("http://h/\u{7}", PathByte('\u{7}')),
        ];
        for (url, error) in cases {
            assert_eq!(Upstream::parse(url), Err(error), "{url}");
        }
    }
}
