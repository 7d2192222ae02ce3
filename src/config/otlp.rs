//! Where recorded traces are sent: to a collector that speaks OTLP over HTTP.
//!
//! In: keys of the configuration; texts of the variables that OpenTelemetry names. Out: [`Otlp`], with its defaults.
//! Laws: a header may be a secret, so none is ever shown; an address with credentials, a query or a fragment is refused.
//! Sources: OpenTelemetry, "OTLP Exporter Configuration"; "Resource SDK", `OTEL_RESOURCE_ATTRIBUTES`.

use super::upstream::{Scheme, Upstream};
use crate::base::Span;
use std::fmt;
use std::path::PathBuf;

/// Where a collector takes traces.
const TRACES: &str = "/v1/traces";

/// Headers at most, and bytes of one.
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 8 << 10;

/// Where recorded traces are sent. They are sent where [`Otlp::endpoint`] is set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Otlp {
    /// Where the collector takes traces. Default none. With one, all traces are recorded unless
    /// [`Tracing::sample`](super::Tracing::sample) says otherwise, at most [`Tracing::rate`](super::Tracing::rate) of
    /// them a second.
    pub endpoint: Option<OtlpEndpoint>,
    /// A file of headers for each call, one `NAME: VALUE` on each line. Default none.
    pub headers_file: Option<PathBuf>,
    /// The same from elsewhere. What is in the file rules instead.
    pub headers: OtlpHeaders,
    /// What the service is called. Default `segno`.
    pub service: String,
    /// What else is said of this process, each as `name=value` with percent-encoding. Default nothing.
    pub attributes: Vec<String>,
    /// How long a call to the collector may take. Default 10 s. Longer suits a distant collector. Shorter gives up sooner
    /// on one that hangs, and what waits behind it is sent sooner to one that has come back.
    pub timeout: Span,
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            endpoint: None,
            headers_file: None,
            headers: OtlpHeaders::default(),
            service: "segno".to_owned(),
            attributes: Vec::new(),
            timeout: Span::from_secs(10),
        }
    }
}

impl Otlp {
    /// The name and the value of each attribute.
    pub fn named_attributes(&self) -> impl Iterator<Item = (String, String)> {
        self.attributes.iter().filter_map(|text| attribute(text))
    }
}

/// Where a collector takes traces: `http://HOST:PORT/PATH`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OtlpEndpoint(Upstream);

impl OtlpEndpoint {
    /// Reads a URL. Without a path, it is that of the standard.
    ///
    /// # Errors
    /// A line that says what is wrong.
    pub fn parse(url: &str) -> Result<Self, String> {
        let at = Upstream::parse(url).map_err(|e| e.to_string())?;
        let base_path = if at.base_path.is_empty() { TRACES.to_owned() } else { at.base_path };
        Ok(Self(Upstream { base_path, ..at }))
    }

    /// Reads the URL of a collector that takes other things as well, each at a path of its own.
    ///
    /// # Errors
    /// As [`OtlpEndpoint::parse`].
    pub fn parse_base(url: &str) -> Result<Self, String> {
        let at = Upstream::parse(url).map_err(|e| e.to_string())?;
        Ok(Self(Upstream { base_path: at.base_path.clone() + TRACES, ..at }))
    }

    /// Whether it is called over TLS.
    pub fn is_secure(&self) -> bool {
        self.0.scheme == Scheme::Https
    }
}

impl fmt::Display for OtlpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.0.scheme.as_str(), self.0.authority, self.0.base_path)
    }
}

/// Headers of each call to a collector.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct OtlpHeaders(Vec<(String, String)>);

impl OtlpHeaders {
    /// Reads `name=value,name=value`, values percent-encoded, as `OTEL_EXPORTER_OTLP_HEADERS` has them.
    ///
    /// # Errors
    /// A line that does not show what it is about.
    pub fn of_list(text: &str) -> Result<Self, &'static str> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        Self::of(items.map(|item| {
            let (name, value) = item.split_once('=').ok_or("a header is written `name=value`")?;
            Ok((name.trim().to_owned(), percent_decoded(value.trim()).ok_or("a value is not percent-encoded UTF-8")?))
        }))
    }

    /// Reads lines of `NAME: VALUE`. Empty lines, and those that begin with `#`, are passed over.
    ///
    /// # Errors
    /// A line that does not show what it is about.
    pub fn of_lines(text: &str) -> Result<Self, &'static str> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self::of(lines.map(|line| {
            let (name, value) = line.split_once(':').ok_or("a header is written `NAME: VALUE`, one on each line")?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }))
    }

    fn of(all: impl Iterator<Item = Result<(String, String), &'static str>>) -> Result<Self, &'static str> {
        let all = all.collect::<Result<Vec<_>, _>>()?;
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        };
        let is_value = |value: &str| value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b));
        if all.len() > MAX_HEADERS {
            return Err("there are more than 64 headers");
        }
        match all.iter().find(|(name, value)| !is_name(name) || !is_value(value) || value.len() > MAX_HEADER_BYTES) {
            None => Ok(Self(all)),
            Some((name, _)) if !is_name(name) => Err("a name of a header has bytes that none may have"),
            Some(_) => Err("a value of a header is not visible ASCII of at most 8 KiB"),
        }
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for OtlpHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} headers", self.0.len())
    }
}

/// The name and the value of an attribute.
pub(in crate::config) fn attribute(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let name = name.trim();
    if name.is_empty() { None } else { Some((name.to_owned(), percent_decoded(value.trim())?)) }
}

/// A text in which `%41` stands for `A`. `None`: what stands there is no text.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_gets_that_of_the_standard() {
        let shown = |url| OtlpEndpoint::parse(url).map(|at| at.to_string());
        assert_eq!(shown("http://127.0.0.1:4318").as_deref(), Ok("http://127.0.0.1:4318/v1/traces"));
        assert_eq!(shown("http://h:1/v1/traces").as_deref(), Ok("http://h:1/v1/traces"));
        assert_eq!(shown("https://h/own/").as_deref(), Ok("https://h/own"));
        assert_eq!(OtlpEndpoint::parse_base("https://h/own/").unwrap().to_string(), "https://h/own/v1/traces");
        for wrong in ["h:4318", "grpc://h", "http://me:hush@h", "http://h/?key=hush"] {
            assert!(!shown(wrong).unwrap_err().contains("hush"), "{wrong}");
        }
    }

    #[test]
    fn headers_are_read_and_never_shown() {
        let listed = OtlpHeaders::of_list("api-key = a%20b%2Cc , x=").unwrap();
        assert_eq!(listed.iter().collect::<Vec<_>>(), [("api-key", "a b,c"), ("x", "")]);
        let lines = OtlpHeaders::of_lines("# mine\n\nAuthorization: Bearer hush\n").unwrap();
        assert_eq!(lines.iter().collect::<Vec<_>>(), [("Authorization", "Bearer hush")]);
        assert_eq!(format!("{lines:?}"), "1 headers");
        for wrong in ["hush", "a b=1", "a=%00", "=1"] {
            assert!(OtlpHeaders::of_list(wrong).is_err(), "{wrong}");
        }
        assert!(OtlpHeaders::of_lines("hush").is_err());
    }

    #[test]
    fn an_attribute_is_a_name_and_a_value() {
        assert_eq!(attribute(" a = b%3Dc%zz"), Some(("a".to_owned(), "b=c%zz".to_owned())));
        assert!(attribute("a").is_none() && attribute("=a").is_none() && attribute("a=%ff").is_none());
    }
}
