//! What an error of the server or of the connection means for the store.
//!
//! In: errors as the `redis` crate tells them, or the text of one that a script has caught. Out: a [`StoreError`] that
//! says what helps, and whether to try again, to back off, to open the store again, or to give up.
//! Law: a message names the server and the user, and no password.

use super::address::{Address, Kind};
use crate::store::error::{ServerFault, StoreError};
use ::redis::{ErrorKind, RedisError};

/// What an error means that came while a connection was made.
pub(super) fn of_opening(address: &Address, error: &RedisError) -> StoreError {
    let text = error.to_string();
    let misnamed = |why: &str| server(address, ServerFault::Misnamed, why);
    let opened = match error.kind() {
        // A Cluster tells what its nodes said in one text.
        _ if text.contains("NoPerm") => denied(address, &format!("it may not do this: {text}")),
        _ if text.contains("Missing slot coverage") => {
            let user = address.credentials.user.as_deref().unwrap_or("default");
            let why = format!("slots of the Cluster have no node, or user `{user}` may not run `cluster|slots`");
            server(address, ServerFault::Away, &why)
        }
        ErrorKind::Parse if !address.tls => {
            misnamed("what answers there does not speak Redis; if it speaks TLS, write `rediss` in place of `redis`")
        }
        ErrorKind::Io | ErrorKind::Client if address.tls => {
            let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
            if says(&["invalid peer certificate"]) {
                server(address, ServerFault::Untrusted, &text)
            } else if says(&["InvalidContentType"]) {
                misnamed("what answers there does not speak TLS; write `redis` in place of `rediss`")
            } else if says(&["fatal alert"]) && says(&["ertificate", "UnknownCA", "HandshakeFailure", "DecryptError"]) {
                let why = format!("the server wants a client certificate that it trusts, in `cert` and `key`: {text}");
                denied(address, &why)
            } else {
                of(address, error)
            }
        }
        _ => of(address, error),
    };
    // A server says nothing to what it takes for the beginning of another protocol.
    match opened {
        StoreError::Server { fault: ServerFault::Away, why, .. }
            if !address.hosts.is_empty() && (error.is_timeout() || error.is_connection_dropped()) =>
        {
            let hint = if address.tls { "no TLS, write `redis`" } else { "TLS, write `rediss`" };
            server(address, ServerFault::Away, &format!("{why}; if it speaks {hint}"))
        }
        opened => opened,
    }
}

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
        _ if whole.contains("can't run this command") => {
            return denied(address, "it may not run one of the commands of a script");
        }
        _ if whole.contains("max number of clients") => ServerFault::Full,
        _ => ServerFault::Refused,
    };
    let why = if detail.is_empty() { whole.to_owned() } else { format!("{code} {detail}") };
    server(address, fault, &why)
}

/// Why nothing of a batch was written, where nothing was. That is the server's state and says nothing of the items, unless
/// a part of the store alone is away.
pub(super) fn of_a_batch<T>(results: &[Result<T, StoreError>]) -> Option<StoreError> {
    let first = results.first().and_then(|result| result.as_ref().err())?;
    let is_all = results.iter().all(|result| result.as_ref().is_err_and(|e| !e.is_of_a_part()));
    is_all.then(|| first.clone())
}
