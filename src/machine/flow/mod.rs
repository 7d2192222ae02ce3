//! The conductors: what happens to connections, exchanges, sessions and timers together when something comes in.
//!
//! In: one input at a time. Out: outputs, and on the queue of [`After`](super::cx::After) what is left to do once the
//! reaction is over.
//! Laws: only here and at the door is there an `impl Machine`; an exchange is looked up once in a reaction, and what
//! concerns it alone is a method of its own; a conductor may drop another exchange or begin a new
//! one, and never runs the reaction of another.
//!
//! In the order in which a request travels: `client` reads it, `admission` lets it in, `request` takes it down and
//! finds its place, `resume` gives it one in a stream that is here, `orders` in the answer to an earlier try, `rebuild`
//! has one from the store, `follow` one that another instance goes on writing, `heal` asks upstream, `upstream` reads the
//! answer, `answer` does what it means, `part` has those ask that it is not for, `tunnel` passes on what is no HTTP any
//! more, `several` chooses an upstream, `health` checks them, `send`
//! hands it to sockets, `end` ends it, `drain` ends all of them, `timers` sees to what takes too long, `places` and
//! `buffers` to what is short.

mod admission;
mod answer;
mod buffers;
#[cfg(any(test, feature = "fuzzing", debug_assertions))]
mod check;
mod client;
mod drain;
mod end;
mod follow;
mod heal;
mod health;
mod orders;
mod part;
mod places;
mod rebuild;
mod reload;
mod request;
mod resume;
mod send;
mod several;
mod timers;
mod tunnel;
mod upstream;
