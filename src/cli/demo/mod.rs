//! `segno demo`: a flaky upstream, the proxy and clients in one process, over real sockets of the loopback interface.
//!
//! In: a duration, and a function that starts the proxy. Out: a report that counts the cuts, and the events that were
//! lost, repeated or out of order. These three counts must be 0. Beside them stands what the same faults do to clients
//! without segno. An interrupt ends the run and gives the counts so far.
//! Laws: the upstream and the clients use none of segno's parsers and trackers; they count by the sequence numbers in
//! the data. The seed and the number of events decide everything that a stream does. The run is bounded in time, and
//! the report names each stream that hangs. With `--json`, standard output carries the JSON object and nothing else.

mod check;
mod client;
mod command;
mod direct;
mod kind;
mod parser;
mod picker;
mod report;
mod run;
mod script;
mod serve;
mod stream;
mod upstream;
mod world;

#[cfg(test)]
mod tests;

pub(crate) use command::command;
