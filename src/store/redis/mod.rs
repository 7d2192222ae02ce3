//! A store on a Redis server, which several machines share: one server, a master that Sentinels name, or a Cluster.
//!
//! In: a URL. Out: an [`Opened`] store.
//!
//! # Layout
//! With the prefix `segno`, which a URL may change:
//!
//! | key | what it holds |
//! |---|---|
//! | `segno:{meta}:format` | the number of this layout |
//! | `segno:{meta}:epoch` | the epoch that was handed out last |
//! | `segno:{meta}:key` | the key that names are hashed with, as 32 hexadecimal digits |
//! | `segno:{BB}:names` | a sorted set, all scores 0: the names of the records in one of 64 buckets |
//! | `segno:{BB}:SESSION.STREAM` | a record, as [`encoding`](super::encoding) writes it, with its version first |
//! | `segno:{BB}:log:SESSION.STREAM` | where logs are shared: a Redis stream of blocks of events, and the end |
//! | `segno:{BB}:own:SESSION.STREAM` | a hash: who owns this log, until when, and what it holds; `log.lua` names its fields |
//!
//! `SESSION` is the session in hexadecimal digits, `STREAM` the stream's number in 16 of them, `BB` the bucket: a hash
//! of the session, so all of a session lies in one slot of a Cluster. Members of a sorted set with one score are in the
//! order of their bytes, which is the order of names.
//!
//! Records expire by themselves, `session_idle` after their last write, but those of cursors that a user has named. No
//! command of Redis writes many records with their expiry, and a script that writes each by itself costs the server as
//! much as a write for each event. So a record that is written again and again lacks its expiry while that goes on, and
//! gets it when its stream was quiet for a round of [`settle`](super::SessionStore::settle), or the process ends. What a
//! killed process leaves without, the sweep of any other removes. The sorted sets do not expire; the sweep takes names
//! out whose record is gone.
//!
//! Logs expire with the age that their stream's events may have, counted from the last write, and are trimmed with each
//! block.
//!
//! # Epochs
//! An epoch is the server's time in microseconds, or one more than the last epoch where that is greater. So it grows
//! also where a server comes back empty, or a replica takes over that had not heard of the last ones.
//!
//! # Laws
//! Comparing and writing happen in one script, so no write can come in between. A batch costs one round trip. Every call
//! has a time-out. A connection that is lost ends the opening; the next one asks the Sentinels again, and offers the key
//! again to a server that came back empty. A node of a Cluster that is lost ends nothing: the others are written and read
//! as ever, and what is meant for this one fails at once until it is back ([`ServerFault::PartAway`]). A record counts as
//! written only when the node answered that has it. A password is never shown.
//!
//! [`ServerFault::PartAway`]: super::ServerFault::PartAway

mod address;
mod bare;
mod caller;
mod cluster;
mod connect;
mod fault;
mod follower;
mod link;
mod logs;
mod names;
mod node;
mod sessions;
mod slots;
#[cfg(test)]
mod tests;

pub use address::{Address, Kind};

use super::error::StoreError;
use super::opened::Opened;
use follower::Follower;
use logs::Logs;
use sessions::Sessions;
use std::time::Duration;

/// Opens the store at an address. A record expires `expiry` after its last write; `None`: none does.
///
/// # Errors
/// [`StoreError::Server`], which names the server and never the password.
pub fn open(address: &Address, expiry: Option<Duration>) -> Result<Opened, StoreError> {
    let sessions = Sessions::open(address, expiry, true)?;
    let lookup = Sessions::open(address, expiry, false)?;
    Ok(Opened { sessions: Box::new(sessions), lookup: Box::new(lookup), logs: None, log_lookup: None, follower: None })
}

/// The same, with logs that all processes share which open it so: three connections more.
///
/// # Errors
/// [`StoreError::Server`], which names the server and never the password.
pub fn open_shared(address: &Address, expiry: Option<Duration>) -> Result<Opened, StoreError> {
    let logs = Box::new(Logs::open(address, expiry)?);
    let log_lookup = Box::new(Logs::open(address, expiry)?);
    let follower = Box::new(Follower::open(address)?);
    let opened = open(address, expiry)?;
    Ok(Opened { logs: Some(logs), log_lookup: Some(log_lookup), follower: Some(follower), ..opened })
}
