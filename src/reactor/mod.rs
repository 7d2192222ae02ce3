//! The one thread that owns every socket: a mio loop that carries out what the machine says.
//!
//! In: readiness of sockets, commands, replies of the store. Out: reads, writes, connections, checkpoints, counts, log
//! lines.
//!
//! **Law of the thread.** It waits in `poll` and nowhere else: no lock, no disk, no name look-up, no store, no blocking
//! channel, no blocking log writer.
//!
//! Sockets are registered once, edge-triggered, for both directions. A read that gives less than it had room for has
//! emptied the socket (the kernel tells of what comes later, and of the other side's end, by a new edge), so an event
//! costs one wake-up, one read and one write.
//!
//! A turn of the loop:
//! 1. `run` waits in the poll, then hands each socket's news to the `shell`.
//! 2. The `shell` reads, tells the machine, and carries out all that the machine says before it reads on. Writes wait
//!    for a few reads of other upstreams, so that they follow each other.
//! 3. `connecting` opens connections to upstreams: `resolve` finds addresses, `tls` shakes hands.
//! 4. `listeners` give new connections to the `shell`, those with TLS to the `lobby` first, where they shake hands.
//! 5. `run` reports the turn's counts, and `checkpoints` publish the streams' cursors.
//!
//! Other threads reach the loop through `remote` (commands) and `store` (replies) alone.

mod acknowledged;
pub(crate) mod checkpoints;
mod connecting;
mod listeners;
#[cfg(feature = "tls")]
mod lobby;
mod log_lines;
mod porch;
mod refusal;
mod reload;
mod remote;
mod resolve;
mod run;
mod shell;
mod socket;
mod sockets;
mod start;
mod store;
#[cfg(feature = "tls")]
mod tls;
mod watch;

pub use listeners::Fit;
pub use reload::Prepared;
#[cfg(test)]
pub(crate) use remote::Commands;
pub use remote::{Command, Remote};
pub use run::Reactor;
pub use start::{Parts, StartError, file_faults};
pub use store::{Follow, Keep, LogNews, NewsSender, Reply, StoreLink};
#[cfg(feature = "tls")]
pub use tls::{CertificateFacts, Credentials, Keyring, TlsError, client_session};
