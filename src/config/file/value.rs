//! Reads one TOML value as the type that its key needs.
//!
//! In: a TOML value. Out: the value read, or a line that says what was found and how to write it.
//! Law: a text that may hold a password is never quoted.

use std::net::SocketAddr;
use std::path::PathBuf;

use toml::de::DeValue;

use super::problem::nearest;
use crate::base::Span;
use crate::config::networks::{Network, Networks};
use crate::config::process::LogFormat;
use crate::config::route::{AcceptEncoding, Dedup, Gap, HostSent, Ids, LingerFull, ResumeFrom, Share};
use crate::config::store::StoreConfig;
use crate::config::units::{parse_size, parse_span};
use crate::config::upstream::Upstream;

type Read<T> = Result<T, String>;

pub(super) fn text<'v>(given: &'v DeValue<'_>) -> Read<&'v str> {
    match given {
        DeValue::String(text) => Ok(text),
        other => Err(format!("this is {}: write a text in quotes", kind(other))),
    }
}

pub(super) fn count(given: &DeValue<'_>) -> Read<usize> {
    match given {
        DeValue::Integer(n) => usize::from_str_radix(n.as_str(), n.radix())
            .map_err(|_| format!("{n} cannot be counted: write a whole number, zero or more")),
        other => Err(format!("this is {}: write a whole number without quotes", kind(other))),
    }
}

pub(super) fn small_count(given: &DeValue<'_>) -> Read<u32> {
    let n = count(given)?;
    u32::try_from(n).map_err(|_| format!("{n} is too large: write at most {}", u32::MAX))
}

pub(super) fn size(given: &DeValue<'_>) -> Read<usize> {
    match given {
        DeValue::Integer(_) => count(given),
        DeValue::String(text) => parse_size(text).map_err(|e| quoted(text, e)),
        other => Err(format!("this is {}: write bytes as a number, or a text such as \"512KiB\"", kind(other))),
    }
}

pub(super) fn span(given: &DeValue<'_>) -> Read<Span> {
    match given {
        DeValue::String(text) => parse_span(text).map_err(|e| quoted(text, e)),
        DeValue::Integer(n) => Err(format!("a duration needs its unit, in quotes: write \"{n}s\" or \"{n}ms\"")),
        other => Err(format!("this is {}: write a duration in quotes, such as \"30s\"", kind(other))),
    }
}

/// A duration, where zero turns the setting off.
pub(super) fn span_or_off(given: &DeValue<'_>) -> Read<Option<Span>> {
    span(given).map(|span| (!span.is_zero()).then_some(span))
}

pub(super) fn path(given: &DeValue<'_>) -> Read<Option<PathBuf>> {
    match text(given)? {
        "" => Err("the path is empty: write a file's path or leave the key out".to_owned()),
        path => Ok(Some(PathBuf::from(path))),
    }
}

pub(super) fn dedup(given: &DeValue<'_>) -> Read<Dedup> {
    one_of(given, &[("resume", Dedup::Resume), ("always", Dedup::Always), ("off", Dedup::Off)])
}

pub(super) fn log_format(given: &DeValue<'_>) -> Read<LogFormat> {
    one_of(given, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
}

pub(super) fn linger_full(given: &DeValue<'_>) -> Read<LingerFull> {
    one_of(given, &[("pause", LingerFull::Pause), ("evict", LingerFull::Evict)])
}

pub(super) fn host_sent(given: &DeValue<'_>) -> Read<HostSent> {
    one_of(given, &[("auto", HostSent::Auto), ("client", HostSent::Client), ("upstream", HostSent::Upstream)])
}

pub(super) fn ids(given: &DeValue<'_>) -> Read<Ids> {
    one_of(given, &[("auto", Ids::Auto), ("off", Ids::Off)])
}

pub(super) fn accept_encoding(given: &DeValue<'_>) -> Read<AcceptEncoding> {
    one_of(given, &[("identity", AcceptEncoding::Identity), ("pass", AcceptEncoding::Pass)])
}

pub(super) fn gap(given: &DeValue<'_>) -> Read<Gap> {
    one_of(given, &[("event", Gap::Event), ("status", Gap::Status)])
}

pub(super) fn resume_from(given: &DeValue<'_>) -> Read<ResumeFrom> {
    one_of(given, &[("id", ResumeFrom::Id), ("session", ResumeFrom::Session)])
}

/// `true` shares among clients with the same credentials, `"public"` among all clients.
pub(super) fn share(given: &DeValue<'_>) -> Read<Share> {
    match given {
        DeValue::Boolean(true) => Ok(Share::Principal),
        DeValue::Boolean(false) => Ok(Share::Off),
        DeValue::String(text) if text == "public" => Ok(Share::Public),
        other => Err(format!("this is {}: write true, false or \"public\"", kind(other))),
    }
}

pub(super) fn switch(given: &DeValue<'_>) -> Read<bool> {
    match given {
        DeValue::Boolean(on) => Ok(*on),
        other => Err(format!("this is {}: write true or false, without quotes", kind(other))),
    }
}

pub(super) fn name(given: &DeValue<'_>) -> Read<String> {
    text(given).map(str::to_owned)
}

pub(super) fn name_or_none(given: &DeValue<'_>) -> Read<Option<String>> {
    text(given).map(|text| (!text.is_empty()).then(|| text.to_owned()))
}

pub(super) fn names(given: &DeValue<'_>) -> Read<Vec<String>> {
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

pub(super) fn address(given: &DeValue<'_>) -> Read<SocketAddr> {
    let text = text(given)?;
    text.parse().map_err(|_| quoted(text, "not an address: write an IP address and a port, such as `127.0.0.1:8080`"))
}

/// One address or a list of them.
pub(super) fn addresses(given: &DeValue<'_>) -> Read<Vec<SocketAddr>> {
    match given {
        DeValue::Array(items) => items.iter().map(|item| address(item.get_ref())).collect(),
        one => Ok(vec![address(one)?]),
    }
}

/// A list of addresses and blocks, or one of them.
pub(super) fn networks(given: &DeValue<'_>) -> Read<Networks> {
    let network = |given: &DeValue<'_>| {
        let text = text(given)?;
        text.parse::<Network>().map_err(|e| quoted(text, e))
    };
    match given {
        DeValue::Array(items) => items.iter().map(|item| network(item.get_ref())).collect(),
        one => Ok(std::iter::once(network(one)?).collect()),
    }
}

pub(super) fn store(given: &DeValue<'_>) -> Read<StoreConfig> {
    let text = text(given)?;
    StoreConfig::parse(text).map_err(|e| quoted(text, e))
}

pub(super) fn upstream(given: &DeValue<'_>) -> Read<Upstream> {
    let text = text(given)?;
    Upstream::parse(text).map_err(|e| quoted(text, e))
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
