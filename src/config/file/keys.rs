//! The keys that a file may hold, and what each of them sets.
//!
//! In: a key and its value. Out: a [`Setting`] to apply, or the reason why the value does not fit.
//! Law: each key stands here once; the file, its messages and their suggestions all read these tables.

use std::rc::Rc;

use toml::de::DeValue;

use super::problem::nearest;
use super::value;
use crate::config::process::Limits;
use crate::config::route::Route;

/// A change to a route, kept until the route is made.
pub type Setting = Rc<dyn Fn(&mut Route)>;

/// A change to the limits.
pub(super) type LimitSetting = Box<dyn FnOnce(&mut Limits)>;

/// One key of a route or of `[defaults]`.
pub(super) struct Knob {
    pub(super) key: &'static str,
    pub(super) read: fn(&DeValue<'_>) -> Result<Setting, String>,
}

/// One key of `[limits]`.
pub(super) struct Limit {
    pub(super) key: &'static str,
    pub(super) read: fn(&DeValue<'_>) -> Result<LimitSetting, String>,
}

/// Makes a table row of each field. The key is the field's name.
macro_rules! knobs {
    ($($field:ident: $read:path),* $(,)?) => {
        &[$(Knob {
            key: stringify!($field),
            read: |given| {
                let value = $read(given)?;
                Ok(Rc::new(move |route: &mut Route| route.$field = value.clone()))
            },
        }),*]
    };
}

macro_rules! limits {
    ($($field:ident: $read:path),* $(,)?) => {
        &[$(Limit {
            key: stringify!($field),
            read: |given| {
                let value = $read(given)?;
                Ok(Box::new(move |limits: &mut Limits| limits.$field = value))
            },
        }),*]
    };
}

pub(super) const TOP_KEYS: &[&str] = &[
    "listen",
    "admin",
    "admin_hosts",
    "admin_token_file",
    "trusted_proxies",
    "peer_timeout",
    "store",
    "store_optional",
    "access_log",
    "log_format",
    "flush_window",
    "activity_window",
    "session_idle",
    "replay",
    "limits",
    "defaults",
    "route",
];

/// Keys of a route alone. `upstream` may stand in `[defaults]` too.
pub(super) const ROUTE_KEYS: &[&str] = &["name", "host", "path", "upstream"];

pub(super) const LIMITS: &[Limit] = limits! {
    streams: value::count,
    sessions: value::count,
    streams_per_session: value::count,
    lingering_per_principal: value::count,
    lingering_per_address: value::count,
    connections: value::count,
    tunnels: value::count,
    header_bytes: value::size,
    buffer_budget: value::size,
    log_budget: value::size,
};

pub(super) const KNOBS: &[Knob] = knobs! {
    upstream_ca: value::path,
    upstream_host: value::host_sent,
    heal_for: value::span,
    hold_head: value::span,
    heal_rate: value::small_count,
    heartbeat: value::span,
    linger: value::span,
    linger_post: value::span,
    linger_bytes: value::size,
    linger_full: value::linger_full,
    cancel_on_disconnect: value::switch,
    ids: value::ids,
    accept_encoding: value::accept_encoding,
    gap: value::gap,
    share: value::share,
    share_headers: value::names,
    resume_from: value::resume_from,
    principal: value::names,
    reauthorize: value::span_or_off,
    session_header: value::name,
    last_event_id_param: value::name_or_none,
    stall: value::span,
    upstream_idle: value::span_or_off,
    connect_timeout: value::span,
    head_timeout: value::span,
    body_timeout: value::span,
    keep_alive: value::span,
    response_timeout: value::span,
    window: value::count,
    replay_events: value::count,
    replay_bytes: value::size,
    replay_age: value::span,
    max_event_bytes: value::size,
    max_id_bytes: value::size,
    dedup: value::dedup,
};

/// The message for an unknown key: the nearest key of this table, or the table that the key belongs to, or all keys.
pub(super) fn unknown(key: &str, known: impl Iterator<Item = &'static str>) -> String {
    let known: Vec<&str> = known.collect();
    let shown = key.escape_debug();
    if let Some(near) = nearest(key, &known) {
        return format!("unknown key `{shown}`: did you mean `{near}`?");
    }
    if let Some(home) = home(key) {
        return format!("unknown key `{shown}` here: it belongs {home}");
    }
    if let Some((near, home)) = nearest_elsewhere(key) {
        return format!("unknown key `{shown}`: did you mean `{near}`? it belongs {home}");
    }
    format!("unknown key `{shown}`: take it out, or use one of {}", known.join(", "))
}

/// The nearest key of any table, and the table that it belongs to.
fn nearest_elsewhere(key: &str) -> Option<(&'static str, &'static str)> {
    let knobs = KNOBS.iter().map(|knob| knob.key).chain(LIMITS.iter().map(|limit| limit.key));
    let all: Vec<&'static str> = knobs.chain(ROUTE_KEYS.iter().chain(TOP_KEYS).copied()).collect();
    let near = nearest(key, &all)?;
    Some((near, home(near)?))
}

fn home(key: &str) -> Option<&'static str> {
    if KNOBS.iter().any(|knob| knob.key == key) {
        Some("under `[defaults]` or `[[route]]`")
    } else if LIMITS.iter().any(|limit| limit.key == key) {
        Some("under `[limits]`")
    } else if ROUTE_KEYS.contains(&key) {
        Some("under `[[route]]`")
    } else if TOP_KEYS.contains(&key) {
        Some("at the top, before the first table")
    } else {
        None
    }
}
