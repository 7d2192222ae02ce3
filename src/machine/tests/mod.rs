//! Tests of the machine as a whole, in a [`World`] without sockets and without sleeping.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a panic is a failed test")]

mod asking;
mod bodies;
mod bounds;
mod buffers;
mod chaos;
mod checks;
mod corners;
mod counting;
mod delivered;
mod draining;
mod endpoints;
mod ends;
mod eras;
mod gaps;
mod heads;
mod healing;
mod holding;
mod llm;
mod mishaps;
mod mutations;
mod ordering;
mod orders;
mod pacing;
mod parting;
mod passing;
mod places;
mod principals;
mod reauthorizing;
mod rebuilt;
mod refusing;
mod reloading;
mod repeating;
mod resuming;
mod returning;
mod saying;
mod shared;
mod sharing;
mod standalone;
mod steps;
mod stored;
mod strangers;
mod tracing;
mod tunnels;
mod unshared;
mod upstreams;
mod varying;
mod visiting;
mod watched;

use crate::base::{Count, Span};
use crate::config::{Config, Limits, Route, Upstream};
use crate::machine::Input;
use crate::testing::wire::*;
use crate::testing::world::*;
use std::collections::HashMap;
