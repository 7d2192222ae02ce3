//! Server-Sent Events that resume.
//!
//! There are two things in this crate:
//!
//! - **An engine**, to embed in a program that does not run an async runtime. One thread, the *reactor*, owns every
//!   socket; `Engine` starts it. What it does is decided by `machine`, a state machine that
//!   takes bytes and a tick and gives actions.
//! - **A reverse proxy**, the `segno` program, made of the engine, a command line and a configuration file.
//!
//! The parts below the sockets stand alone: [`Scanner`] finds where events end, [`Parser`] gives whole events,
//! [`Tracker`] knows what of a stream was received and delivered, and which events came before.
//!
//! # How bytes travel
//!
//! ```text
//! upstream socket -> http (de-chunk) -> sse scanner -> tracker (window, marks) -> log -> client socket
//!                                                         |
//!                                                         +-> slot -> persister (its own thread) -> store
//! ```
//!
//! When upstream is cut, the reactor asks it again with the id of the last whole event in `Last-Event-ID`; the tracker
//! drops what comes a second time. The client sees no more than a pause. When the client is cut, upstream is read on into
//! the log, and the client that comes back reads on from there.
//!
//! How far a stream was delivered is left in its slot, at most once a turn and without waiting; the persister writes
//! what is newest in all slots, one commit a window.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | none | | [`base`], [`sync`], [`sse`], [`timer`], [`store`] (in memory), [`config`], [`metrics`], [`track`]: no socket, no clock |
//! | `persist` | through the others | `clock`, `slot`, `persist` |
//! | `redb` | yes | `store::redb`, a store in one file |
//! | `net` | through the others | `http`, `machine`, `reactor`, `engine`, `admin`; implies `persist` |
//! | `tls` | yes | `https://` upstreams; implies `net` |
//! | `file` | through `cli` | `config::file`, a configuration file in TOML |
//! | `cli` | yes | the `segno` program, `cli`; implies `net`, `redb` and `file` |
//! | `fuzzing` | | the bodies of the fuzz targets; no part of the interface |
//!
//! # Where to start reading
//!
//! The modules stand below in the order of their layers; each uses only layers above it in this list. [`sse`] and
//! [`track`] hold the work on streams. `machine` states the law of the loop in its first lines, `reactor` the law of
//! its thread.
//!
//! # Example
//!
//! A body is cut inside an event, the next one begins with an event that came before:
//!
//! ```
//! use segno::base::Tick;
//! use segno::track::{Budget, Interner, TrackContext, TrackLimits};
//! use segno::Tracker;
//!
//! let limits = TrackLimits::default();
//! let (mut interner, mut budget) = (Interner::new(7, 1_000), Budget::new(1 << 20));
//! let mut tracker = Tracker::new(&limits);
//! let mut feed = |tracker: &mut Tracker, bytes: &[u8]| {
//!     let now = Tick::from_millis(0);
//!     tracker.feed(TrackContext { limits: &limits, interner: &mut interner, budget: &mut budget, now }, bytes)
//! };
//!
//! tracker.begin(false, false);
//! feed(&mut tracker, b"id: 1\ndata: a\n\nid: 2\ndata: ha");
//! tracker.cut();
//! tracker.begin(true, true);
//! let fed = feed(&mut tracker, b"id: 1\ndata: a\n\nid: 2\ndata: half\n\n");
//! assert_eq!(fed.duplicates, 1);
//! let (bytes, _) = tracker.slices(tracker.start(), tracker.whole());
//! assert_eq!(bytes, b"id: 1\ndata: a\n\nid: 2\ndata: half\n\n");
//! ```
#![forbid(unsafe_code)]

pub mod base;

pub mod sync;

#[cfg(feature = "persist")]
pub mod clock;

pub mod sse;
pub mod timer;

#[cfg(feature = "net")]
pub mod http;

pub mod store;

pub mod config;

pub mod metrics;

#[cfg(feature = "persist")]
pub mod slot;

#[cfg(feature = "persist")]
pub mod persist;

pub mod track;

#[cfg(feature = "net")]
pub mod machine;
#[cfg(feature = "net")]
pub mod reactor;

#[cfg(feature = "net")]
pub mod engine;

#[cfg(feature = "net")]
pub mod admin;
#[cfg(feature = "cli")]
pub mod cli;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;

pub use config::Config;
#[cfg(feature = "net")]
pub use engine::Engine;
pub use sse::{Parser, Scanner};
pub use track::Tracker;

pub mod docs;

/// The code in the README, compiled and run as tests.
#[cfg(all(doctest, feature = "net"))]
#[doc = include_str!("../README.md")]
struct Readme;
