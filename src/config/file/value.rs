//! Reads one value as the type that its key needs, and shows it again.
//!
//! In: a TOML value, or text of a flag or a variable. Out: the value read, or a line that says what was found and how to
//! write it; and back.
//! Laws: a text that may hold a password is never quoted; each type is read and shown by one [`Kind`].

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeArray, DeValue};

use super::problem::nearest;
use super::shown::Shown;
use crate::base::{Span, TraceShare};
use crate::config::networks::{Network, Networks};
use crate::config::otlp::OtlpEndpoint;
use crate::config::process::{ClientCert, LogFormat, ProxyProtocol};
use crate::config::route::{AcceptEncoding, Dedup, Gap, HostSent, Ids, LingerFull, ResumeFrom, Share};
use crate::config::store::StoreConfig;
use crate::config::units::{parse_size, parse_span, show_size};
use crate::config::upstream::Upstream;
use crate::config::upstreams::{Balance, Sticky, Weighted};

type Read<T> = Result<T, String>;

/// How a value is written where there is only text: as a flag, or in a variable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// As it is.
    Text,
    /// A whole number.
    Count,
    /// `true` or `false`. A flag without a value says `true`.
    Switch,
    /// `true`, `false`, or another word. A flag without a value says `true`.
    SwitchOrText,
    /// Texts with commas between them.
    List,
}

/// How values of one type are read and shown.
pub(super) struct Kind<T: 'static> {
    /// What stands for the value in a help text.
    pub(super) place: &'static str,
    pub(super) form: Form,
    pub(super) read: fn(&DeValue<'_>) -> Read<T>,
    pub(super) show: fn(&T) -> Shown,
}

pub(super) const SPAN: Kind<Span> =
    Kind { place: "TIME", form: Form::Text, read: span, show: |span| Shown::Text(span.to_string()) };

/// Zero turns the setting off.
pub(super) const SPAN_OR_OFF: Kind<Option<Span>> = Kind {
    place: "TIME",
    form: Form::Text,
    read: span_or_off,
    show: |span| Shown::Text(span.unwrap_or_default().to_string()),
};

pub(super) const COUNT: Kind<usize> =
    Kind { place: "N", form: Form::Count, read: count, show: |n| Shown::Number(*n as u64) };

pub(super) const SMALL_COUNT: Kind<u32> =
    Kind { place: "N", form: Form::Count, read: small_count, show: |n| Shown::Number(u64::from(*n)) };

pub(super) const SIZE: Kind<usize> =
    Kind { place: "SIZE", form: Form::Text, read: size, show: |bytes| Shown::Text(show_size(*bytes)) };

pub(super) const SWITCH: Kind<bool> =
    Kind { place: "true|false", form: Form::Switch, read: switch, show: |on| Shown::Switch(*on) };

pub(super) const PATH: Kind<Option<PathBuf>> = Kind {
    place: "FILE",
    form: Form::Text,
    read: path,
    show: |path| path.as_ref().map_or(Shown::Nothing, |path| Shown::Text(path.display().to_string())),
};

pub(super) const PATHS: Kind<Vec<PathBuf>> = Kind {
    place: "FILE",
    form: Form::List,
    read: paths,
    show: |all| Shown::List(all.iter().map(|path| path.display().to_string()).collect()),
};

pub(super) const NAME: Kind<String> =
    Kind { place: "NAME", form: Form::Text, read: name, show: |name| Shown::Text(name.clone()) };

/// An empty name is none.
pub(super) const NAME_OR_NONE: Kind<Option<String>> = Kind {
    place: "NAME",
    form: Form::Text,
    read: name_or_none,
    show: |name| Shown::Text(name.clone().unwrap_or_default()),
};

/// An empty path is none.
pub(super) const TARGET_OR_NONE: Kind<Option<String>> = Kind { place: "PATH", ..NAME_OR_NONE };

/// Zero is any.
pub(super) const STATUS_OR_ANY: Kind<Option<u16>> = Kind {
    place: "N",
    form: Form::Count,
    read: status_or_any,
    show: |status| Shown::Number(status.unwrap_or_default().into()),
};

pub(super) const NAMES: Kind<Vec<String>> =
    Kind { place: "NAME", form: Form::List, read: names, show: |names| Shown::List(names.clone()) };

pub(super) const ADDRESSES: Kind<Vec<SocketAddr>> = Kind {
    place: "ADDR",
    form: Form::List,
    read: addresses,
    show: |all| Shown::List(all.iter().map(SocketAddr::to_string).collect()),
};

pub(super) const ADDRESS_OR_NONE: Kind<Option<SocketAddr>> = Kind {
    place: "ADDR",
    form: Form::Text,
    read: |given| address(given).map(Some),
    show: |one| one.map_or(Shown::Nothing, |one| Shown::Text(one.to_string())),
};

pub(super) const NETWORKS: Kind<Networks> = Kind {
    place: "BLOCK",
    form: Form::List,
    read: networks,
    show: |all| Shown::List(all.iter().map(Network::to_string).collect()),
};

pub(super) const STORE: Kind<StoreConfig> =
    Kind { place: "STORE", form: Form::Text, read: store, show: |store| Shown::Text(store.to_string()) };

pub(super) const UPSTREAM: Kind<Upstream> =
    Kind { place: "URL", form: Form::Text, read: upstream, show: |url| Shown::Text(url.to_string()) };

pub(super) const UPSTREAMS: Kind<Vec<Weighted>> = Kind {
    place: "URL",
    form: Form::List,
    read: upstreams,
    show: |all| match all.is_empty() {
        true => Shown::Nothing,
        false => Shown::List(all.iter().map(Weighted::to_string).collect()),
    },
};

pub(super) const TRACE_SHARE: Kind<Option<TraceShare>> = Kind {
    place: "SHARE",
    form: Form::Text,
    read: |given| {
        let text = match given {
            DeValue::String(text) => text.to_string(),
            DeValue::Float(n) => n.as_str().to_owned(),
            DeValue::Integer(n) => n.as_str().to_owned(),
            other => return Err(format!("this is {}: write a number from 0 to 1, such as 0.01", kind(other))),
        };
        text.parse().map(Some).map_err(|e| quoted(&text, e))
    },
    show: |share| share.map_or(Shown::Nothing, |share| Shown::Text(share.to_string())),
};

pub(super) const OTLP: Kind<Option<OtlpEndpoint>> = Kind {
    place: "URL",
    form: Form::Text,
    read: |given| OtlpEndpoint::parse(text(given)?).map(Some),
    show: |at| at.as_ref().map_or(Shown::Nothing, |at| Shown::Text(at.to_string())),
};

/// Makes the kind of a few words.
macro_rules! words {
    ($name:ident: $type:ty, $place:literal, $($word:literal = $value:expr),*) => {
        pub(super) const $name: Kind<$type> = Kind {
            place: $place,
            form: Form::Text,
            read: |given| one_of(given, &[$(($word, $value)),*]),
            show: |value| Shown::Text(word_of(*value, &[$(($word, $value)),*])),
        };
    };
}

words!(DEDUP: Dedup, "resume|always|off", "resume" = Dedup::Resume, "always" = Dedup::Always, "off" = Dedup::Off);
words!(
    CLIENT_CERT: ClientCert,
    "required|optional",
    "required" = ClientCert::Required,
    "optional" = ClientCert::Optional
);
words!(
    PROXY_PROTOCOL: ProxyProtocol,
    "off|require|accept",
    "off" = ProxyProtocol::Off,
    "require" = ProxyProtocol::Require,
    "accept" = ProxyProtocol::Accept
);
words!(LOG_FORMAT: LogFormat, "text|json", "text" = LogFormat::Text, "json" = LogFormat::Json);
words!(LINGER_FULL: LingerFull, "pause|evict", "pause" = LingerFull::Pause, "evict" = LingerFull::Evict);
words!(
    HOST_SENT: HostSent,
    "auto|client|upstream",
    "auto" = HostSent::Auto,
    "client" = HostSent::Client,
    "upstream" = HostSent::Upstream
);
words!(
    BALANCE: Balance,
    "round-robin|least-streams",
    "round-robin" = Balance::RoundRobin,
    "least-streams" = Balance::LeastStreams
);
words!(
    STICKY: Sticky,
    "session|principal|off",
    "session" = Sticky::Session,
    "principal" = Sticky::Principal,
    "off" = Sticky::Off
);
words!(IDS: Ids, "auto|off", "auto" = Ids::Auto, "off" = Ids::Off);
words!(
    ACCEPT_ENCODING: AcceptEncoding,
    "identity|pass",
    "identity" = AcceptEncoding::Identity,
    "pass" = AcceptEncoding::Pass
);
words!(GAP: Gap, "event|status", "event" = Gap::Event, "status" = Gap::Status);
words!(RESUME_FROM: ResumeFrom, "id|session", "id" = ResumeFrom::Id, "session" = ResumeFrom::Session);

/// A file's path, or a list of them.
fn paths(given: &DeValue<'_>) -> Read<Vec<PathBuf>> {
    let DeValue::Array(items) = given else { return Ok(path(given)?.into_iter().collect()) };
    items.iter().filter_map(|item| path(item.get_ref()).transpose()).collect()
}

/// `true` shares among clients with the same credentials, `"public"` among all clients.
pub(super) const SHARE: Kind<Share> = Kind {
    place: "true|false|public",
    form: Form::SwitchOrText,
    read: share,
    show: |share| match share {
        Share::Off => Shown::Switch(false),
        Share::Principal => Shown::Switch(true),
        Share::Public => Shown::Text("public".to_owned()),
    },
};

/// The text of a flag or a variable, as a file would write it.
pub(super) fn of_text(form: Form, text: &str) -> Read<DeValue<'_>> {
    let plain = |text| DeValue::String(Cow::Borrowed(text));
    match (form, text) {
        (Form::Switch | Form::SwitchOrText, "true") => Ok(DeValue::Boolean(true)),
        (Form::Switch | Form::SwitchOrText, "false") => Ok(DeValue::Boolean(false)),
        (Form::Switch, _) => Err(quoted(text, "write true or false")),
        (Form::Text | Form::SwitchOrText, _) => Ok(plain(text)),
        (Form::Count, _) => {
            let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            // TOML allows no zero in front.
            let digits = text.trim_start_matches('0');
            let digits = if digits.is_empty() { "0" } else { digits };
            let number = is_number.then(|| DeValue::parse(digits).ok()).flatten();
            number.map(Spanned::into_inner).ok_or_else(|| quoted(text, "write a whole number, zero or more"))
        }
        (Form::List, _) => {
            let mut list = DeArray::new();
            for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
                list.push(Spanned::new(0..0, plain(item)));
            }
            Ok(DeValue::Array(list))
        }
    }
}

pub(super) fn text<'v>(given: &'v DeValue<'_>) -> Read<&'v str> {
    match given {
        DeValue::String(text) => Ok(text),
        other => Err(format!("this is {}: write a text in quotes", kind(other))),
    }
}

fn count(given: &DeValue<'_>) -> Read<usize> {
    match given {
        DeValue::Integer(n) => usize::from_str_radix(n.as_str(), n.radix())
            .map_err(|_| format!("{n} cannot be counted: write a whole number, zero or more")),
        other => Err(format!("this is {}: write a whole number without quotes", kind(other))),
    }
}

fn small_count(given: &DeValue<'_>) -> Read<u32> {
    let n = count(given)?;
    u32::try_from(n).map_err(|_| format!("{n} is too large: write at most {}", u32::MAX))
}

fn status_or_any(given: &DeValue<'_>) -> Read<Option<u16>> {
    let n = count(given)?;
    let status = u16::try_from(n).map_err(|_| format!("{n} is no status: write 0, or one such as 200"))?;
    Ok((status > 0).then_some(status))
}

fn size(given: &DeValue<'_>) -> Read<usize> {
    match given {
        DeValue::Integer(_) => count(given),
        DeValue::String(text) => parse_size(text).map_err(|e| quoted(text, e)),
        other => Err(format!("this is {}: write bytes as a number, or a text such as \"512KiB\"", kind(other))),
    }
}

fn span(given: &DeValue<'_>) -> Read<Span> {
    match given {
        DeValue::String(text) => parse_span(text).map_err(|e| quoted(text, e)),
        DeValue::Integer(n) => Err(format!("a duration needs its unit, in quotes: write \"{n}s\" or \"{n}ms\"")),
        other => Err(format!("this is {}: write a duration in quotes, such as \"30s\"", kind(other))),
    }
}

/// A duration, where zero turns the setting off.
fn span_or_off(given: &DeValue<'_>) -> Read<Option<Span>> {
    span(given).map(|span| (!span.is_zero()).then_some(span))
}

fn path(given: &DeValue<'_>) -> Read<Option<PathBuf>> {
    match text(given)? {
        "" => Err("the path is empty: write a file's path or leave the key out".to_owned()),
        path => Ok(Some(PathBuf::from(path))),
    }
}

/// `true` shares among clients with the same credentials, `"public"` among all clients.
fn share(given: &DeValue<'_>) -> Read<Share> {
    match given {
        DeValue::Boolean(true) => Ok(Share::Principal),
        DeValue::Boolean(false) => Ok(Share::Off),
        DeValue::String(text) if text == "public" => Ok(Share::Public),
        other => Err(format!("this is {}: write true, false or \"public\"", kind(other))),
    }
}

fn switch(given: &DeValue<'_>) -> Read<bool> {
    match given {
        DeValue::Boolean(on) => Ok(*on),
        other => Err(format!("this is {}: write true or false, without quotes", kind(other))),
    }
}

fn name(given: &DeValue<'_>) -> Read<String> {
    text(given).map(str::to_owned)
}

fn name_or_none(given: &DeValue<'_>) -> Read<Option<String>> {
    text(given).map(|text| (!text.is_empty()).then(|| text.to_owned()))
}

fn names(given: &DeValue<'_>) -> Read<Vec<String>> {
    match given {
        DeValue::Array(items) => items.iter().map(|item| name(item.get_ref())).collect(),
        other => Err(format!("this is {}: write a list, such as [\"Authorization\"]", kind(other))),
    }
}

/// One of a few words.
fn one_of<T: Copy>(given: &DeValue<'_>, words: &[(&str, T)]) -> Read<T> {
    let text = text(given)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let shown = text.escape_debug();
    Err(match nearest(text, &known) {
        Some(near) => format!("unknown value `{shown}`: did you mean `{near}`?"),
        None => {
            let (last, rest) = known.split_last().map_or(("", &[][..]), |(last, rest)| (*last, rest));
            format!("unknown value `{shown}`: write {} or {last}", rest.join(", "))
        }
    })
}

fn address(given: &DeValue<'_>) -> Read<SocketAddr> {
    let text = text(given)?;
    text.parse().map_err(|_| quoted(text, "not an address: write an IP address and a port, such as `127.0.0.1:8080`"))
}

/// One address or a list of them.
fn addresses(given: &DeValue<'_>) -> Read<Vec<SocketAddr>> {
    match given {
        DeValue::Array(items) => items.iter().map(|item| address(item.get_ref())).collect(),
        one => Ok(vec![address(one)?]),
    }
}

/// A list of addresses and blocks, or one of them.
fn networks(given: &DeValue<'_>) -> Read<Networks> {
    let network = |given: &DeValue<'_>| {
        let text = text(given)?;
        text.parse::<Network>().map_err(|e| quoted(text, e))
    };
    match given {
        DeValue::Array(items) => items.iter().map(|item| network(item.get_ref())).collect(),
        one => Ok(std::iter::once(network(one)?).collect()),
    }
}

fn store(given: &DeValue<'_>) -> Read<StoreConfig> {
    let text = text(given)?;
    StoreConfig::parse(text).map_err(|e| quoted(text, e))
}

pub(super) fn upstream(given: &DeValue<'_>) -> Read<Upstream> {
    let text = text(given)?;
    Upstream::parse(text).map_err(|e| quoted(text, e))
}

/// A list of upstreams, each a text that may end with its weight.
fn upstreams(given: &DeValue<'_>) -> Read<Vec<Weighted>> {
    let one = |given: &DeValue<'_>| {
        let text = text(given)?;
        Weighted::parse(text).map_err(|e| quoted(text, e))
    };
    match given {
        DeValue::Array(items) if items.is_empty() => {
            Err("the list is empty: name the upstreams, or leave the key out".to_owned())
        }
        DeValue::Array(items) => items.iter().map(|item| one(item.get_ref())).collect(),
        other => Err(format!("this is {}: write a list, such as [\"http://a:8080\", \"http://b:8080\"]", kind(other))),
    }
}

/// The word of a value.
fn word_of<T: PartialEq>(value: T, words: &[(&str, T)]) -> String {
    words.iter().find(|(_, known)| *known == value).map_or_else(String::new, |(word, _)| (*word).to_owned())
}

/// What is wrong with a text, and the text itself unless it may hold a password.
fn quoted(text: &str, why: impl std::fmt::Display) -> String {
    if text.contains('@') {
        return why.to_string();
    }
    format!("{why} (found `{}`)", text.escape_debug())
}

fn kind(given: &DeValue<'_>) -> &'static str {
    match given {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
