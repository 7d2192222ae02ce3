//! Real clients, each without segno and through it: nothing may be worse through it. `tests/clients/README.md` says more.
//!
//! In: this build's `segno`, Python, and what pip and npm install into the target folder. Out: the table of the cases.
//! Laws: what is installed is pinned to its version. What is missing is said, and with `SEGNO_REQUIRE_CLIENTS=1` it is a
//! failure.

#![cfg(feature = "cli")]
#![allow(clippy::panic, reason = "a test may panic: that is a failed test")]

#[path = "support/workshop.rs"]
mod workshop;

use std::env;
use std::path::Path;
use workshop::{Workshop, chromium, missing};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");
const WORKSHOP: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/clients");
const REQUIRED: &str = "SEGNO_REQUIRE_CLIENTS";

#[test]
#[ignore = "installs packages: cargo test --test clients -- --ignored"]
fn nothing_is_worse_through_segno() {
    let chromium = chromium();
    if chromium.is_none() {
        missing("there is no Chromium: SEGNO_CHROMIUM may say where it is", REQUIRED);
    }
    let workshop = match Workshop::fill(Path::new(SOURCES), Path::new(WORKSHOP)) {
        Ok(workshop) => workshop,
        Err(error) => return missing(&format!("the clients could not be installed: {error}"), REQUIRED),
    };
    let mut bench = workshop.node();
    bench.arg("bench/main.mjs").args(["--segno", env!("CARGO_BIN_EXE_segno")]);
    bench.arg("--python").arg(workshop.installed("python"));
    if let Some(chromium) = &chromium {
        bench.args(["--chromium", chromium]);
    }
    bench.args(env::var("SEGNO_CLIENTS").iter().flat_map(|parts| parts.split(',')));
    let status = bench.status().unwrap_or_else(|error| panic!("{bench:?}: {error}"));
    assert!(status.success(), "some clients are worse off through segno: {status}");
}
