//! What an error of the server or of the connection means for the store.
//!
//! In: errors as the `redis` crate tells them, or the text of one that a script has caught. Out: a [`StoreError`] that
//! says what helps, and whether to try again, to back off, to open the store again, or to give up.
//! Law: a message names the server and the user, and no password.

use super::address::{Address, Kind};
use crate::store::error::{ServerFault, StoreError};
use ::redis::{ErrorKind, RedisError};

/// What an error means that came while something was asked of the server.
pub(super) fn of(address: &Address, error: &RedisError) -> StoreError {
    let code = error.code().unwrap_or_default();
    let detail = error.detail().unwrap_or_default();
    match error.kind() {
        ErrorKind::AuthenticationFailed => denied(address, "the server does not accept it with this password"),
        ErrorKind::InvalidClientConfig => server(address, ServerFault::Misnamed, &error.to_string()),
        ErrorKind::Server(_) | ErrorKind::Extension => sorted(address, code, detail, &error.to_string()),
        ErrorKind::ClusterConnectionNotFound => server(address, ServerFault::PartAway, detail),
        ErrorKind::UnexpectedReturnType | ErrorKind::Client => match code_within(&error.to_string()) {
            Some(code) => sorted(address, code, detail, &error.to_string()),
            None => server(address, ServerFault::Away, &error.to_string()),
        },
        _ if error.to_string().contains("authentication failed") => {
            denied(address, "the server does not accept it with this password")
        }
        _ => match code_within(&error.to_string()) {
            Some(code) => sorted(address, code, detail, &error.to_string()),
            None if error.is_timeout() => server(address, ServerFault::Away, "it did not answer in time"),
            None => server(address, ServerFault::Away, &error.to_string()),
        },
    }
}

/// What it means that a call of a Cluster failed altogether for this reason.
pub(super) fn of_all(address: &Address, error: &RedisError) -> StoreError {
    match of(address, error) {
        StoreError::Server { fault: ServerFault::PartAway, why, .. } => server(address, ServerFault::Away, &why),
        other => other,
    }
}

/// What the text of an error means that a script has caught: a code, then words.
pub(super) fn of_text(address: &Address, text: &str) -> StoreError {
    let (code, detail) = text.split_once(' ').unwrap_or((text, ""));
    sorted(address, code.trim_start_matches('-'), detail, text)
}

/// Who connects is not let in.
pub(super) fn denied(address: &Address, why: &str) -> StoreError {
    let user = address.credentials.user.as_deref().unwrap_or("default");
    server(address, ServerFault::Denied, &format!("user `{user}`: {why}"))
}

pub(super) fn server(address: &Address, fault: ServerFault, why: &str) -> StoreError {
    // What a server says may hold anything.
    let why: String = why.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    StoreError::Server { server: address.to_string().into(), fault, why: why.into() }
}

/// The longest part of a message that a server chooses, in characters.
const LONGEST: usize = 300;

/// Codes that tell what to do, wherever they stand in a message.
const CODES: [&str; 11] = [
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
    "READONLY",
    "LOADING",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "WRONGTYPE",
    "OOM",
    "MISCONF",
    "NOREPLICAS",
];

fn code_within(text: &str) -> Option<&'static str> {
    CODES.into_iter().find(|code| text.contains(code))
}

fn sorted(address: &Address, code: &str, detail: &str, whole: &str) -> StoreError {
    let is_cluster = address.kind == Kind::Cluster;
    let fault = match code {
        "NOAUTH" => return denied(address, "the server asks for a password, and there is none"),
        "WRONGPASS" => return denied(address, "the server does not accept it with this password"),
        "NOPERM" => return denied(address, &format!("it may not do this: {detail}")),
        // What one node says: slots move to another one just now, or nobody has them, or it has lost the others.
        "TRYAGAIN" | "CLUSTERDOWN" => ServerFault::PartAway,
        "LOADING" | "BUSY" | "MASTERDOWN" => ServerFault::Busy,
        "MOVED" | "ASK" | "CROSSSLOT" if !is_cluster => {
            return server(address, ServerFault::Misnamed, "it is a node of a Cluster: write `redis+cluster://`");
        }
        "READONLY" | "MOVED" | "ASK" => ServerFault::Replaced,
        "OOM" | "MISCONF" | "NOREPLICAS" => ServerFault::Full,
        "WRONGTYPE" => ServerFault::Foreign,
        _ if whole.contains("DB index") || whole.contains("switch database") => ServerFault::Misnamed,
        _ if whole.contains("cluster support disabled") => ServerFault::Misnamed,
        _ if whole.contains("max number of clients") => ServerFault::Full,
        _ => ServerFault::Refused,
    };
    let why = if detail.is_empty() { whole.to_owned() } else { format!("{code} {detail}") };
    server(address, fault, &why)
}
