//! `segno demo`: a flaky upstream, the proxy and clients in one process, over real sockets of the loopback interface.
//!
//! In: how long, and a function that puts the proxy between. Out: what was cut, and how many events were lost, repeated
//! or out of order; all three must be 0.
//! Laws: upstream and clients use none of segno's parsers and trackers, they count by sequence numbers in the data;
//! what a stream of so many events does follows from a seed; the run is bounded in time, a stream that hangs fails by
//! name; with `--json` nothing but the object goes to standard output.

mod check;
mod client;
mod command;
mod kind;
mod lane;
mod menu;
mod reader;
mod report;
mod run;
mod script;
mod serve;
mod upstream;
mod world;

#[cfg(test)]
mod tests;

pub(crate) use command::command;
