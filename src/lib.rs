//! Server-Sent Events that resume.
//!
//! segno stands between an event stream and its clients. When the upstream cuts a stream, segno asks it for the rest.
//! When a client is cut, it comes back and gets what it missed. Events that are known to be gone are said to be gone.
//!
//! The crate is two things: the program `segno`, a reverse proxy, and an engine to embed in programs that run no async
//! runtime. Take the smallest part that does what you need:
//!
//! | you have | take |
//! |---|---|
//! | bytes of an event stream | [`Parser`] gives whole events; [`Scanner`] finds where they end |
//! | a loop and a clock of your own | [`Tracker`]: what was received, delivered, and came before |
//! | sockets of your own, and cursors to store | `Engine`, with a tracker for each connection |
//! | a URL of an upstream | `Engine`, with a route in its [`Config`]: the whole proxy |
//!
//! # Example
//!
//! A body is cut inside an event. The next body begins with an event that came before, and the client gets each once:
//!
//! ```
//! use segno::Tracker;
//! use segno::base::Tick;
//! use segno::track::{Budget, Interner, TrackContext, TrackLimits};
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
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | none | | [`base`], [`sync`], [`sse`], [`timer`], [`store`] (in memory), [`config`], [`metrics`], [`track`]: no socket, no clock |
//! | `persist` | through the others | `clock`, `journal`, `slot`, `persist` |
//! | `redb` | yes | `store::redb`, a store in one file |
//! | `net` | through the others | `http`, `machine`, `reactor`, `engine`, `admin`; implies `persist` |
//! | `otel` | yes | `otlp`: traces for a collector; implies `net` |
//! | `tls` | yes | `https://` upstreams, and TLS towards clients; implies `net` |
//! | `file` | through `cli` | `config::file`, a configuration file in TOML |
//! | `cli` | yes | the program `segno`, `cli`; implies `net`, `redb` and `file` |
//! | `fuzzing` | | the bodies of the fuzz targets; no part of the interface |
//!
//! # Where to read on
//!
//! [`docs`] is the guide: [a quick start](docs::quick_start), [behaviour](docs::behaviour) case by case,
//! [configuration](docs::configuration), [operating](docs::operating), [the library](docs::library) by example, and
//! [the architecture](docs::architecture) for the first hour in the source. The modules below stand in the order of
//! their layers: each uses only layers above it.
#![forbid(unsafe_code)]

pub mod base;

pub mod sync;

#[cfg(any(feature = "persist", feature = "redis"))]
pub mod clock;

pub mod sse;
pub mod timer;

#[cfg(feature = "net")]
pub mod http;

pub mod store;

pub mod config;

pub mod metrics;

#[cfg(feature = "persist")]
pub mod journal;

#[cfg(feature = "otel")]
pub mod otlp;

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
#[cfg(all(feature = "net", any(test, feature = "fuzzing")))]
mod testing;

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
