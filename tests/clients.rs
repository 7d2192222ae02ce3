//! Real clients, each without segno and through it: nothing may be worse through it. `tests/clients/README.md` says more.
//!
//! In: this build's `segno`, Python, and what pip and npm install into the target folder. Out: the table of the cases.
//! Laws: what is installed is pinned to its version. What is missing is said, and with `SEGNO_REQUIRE_CLIENTS=1` it is a
//! failure.

#![cfg(feature = "cli")]
#![allow(clippy::panic, reason = "a test may panic: that is a failed test")]

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");
const WORKSHOP: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/clients");
const PYTHONS: &[&str] = &["python3", "python3.13", "python3.12", "python3.11"];
const BROWSERS: &[&str] = &["chromium", "chromium-browser", "google-chrome"];
/// What decides which packages are installed.
const PINS: &[&str] = &["requirements.txt", "package.json", "package-lock.json"];

#[test]
#[ignore = "installs packages: cargo test --test clients -- --ignored"]
fn nothing_is_worse_through_segno() {
    let chromium = env::var("SEGNO_CHROMIUM").ok().or_else(|| find(BROWSERS, &["--version"]));
    if chromium.is_none() {
        missing("there is no Chromium: SEGNO_CHROMIUM may say where it is");
    }
    let Some(python) = find(PYTHONS, &["-c", "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))"])
    else {
        return missing("there is no Python 3.11 or newer with venv");
    };
    let workshop = Path::new(WORKSHOP);
    if let Err(error) = fill(workshop, &python) {
        return missing(&format!("the clients could not be installed: {error}"));
    }
    let mut bench = node(workshop);
    bench.arg("bench/main.mjs").args(["--segno", env!("CARGO_BIN_EXE_segno")]);
    bench.arg("--python").arg(installed(workshop, "python"));
    if let Some(chromium) = &chromium {
        bench.args(["--chromium", chromium]);
    }
    bench.args(env::var("SEGNO_CLIENTS").iter().flat_map(|parts| parts.split(',')));
    let status = bench.status().unwrap_or_else(|error| panic!("{bench:?}: {error}"));
    assert!(status.success(), "some clients are worse off through segno: {status}");
}

/// Says so where nobody can overlook it, and fails where the run is required.
fn missing(what: &str) {
    assert!(env::var_os("SEGNO_REQUIRE_CLIENTS").is_none_or(|value| value != "1"), "{what}");
    // Not by `eprintln!`, which the test harness captures.
    let _ = writeln!(io::stderr(), "SKIPPED: {what}");
}

/// The first of `names` that runs with `arguments`.
fn find(names: &[&str], arguments: &[&str]) -> Option<String> {
    let runs = |name: &&&str| {
        let mut command = Command::new(name);
        let status = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    names.iter().find(runs).map(ToString::to_string)
}

/// Copies the sources to `workshop` and installs the clients there, unless they are those of the last run. JavaScript
/// finds its packages beside its sources alone, and none go into the tree.
fn fill(workshop: &Path, python: &str) -> io::Result<()> {
    fs::create_dir_all(workshop)?;
    copy(Path::new(SOURCES), workshop)?;
    let pins = PINS.iter().map(|pin| fs::read_to_string(workshop.join(pin))).collect::<io::Result<String>>()?;
    let stamp = workshop.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|last| last == pins) {
        return Ok(());
    }
    succeed(Command::new(python).args(["-m", "venv", "--clear"]).arg(workshop.join("venv")))?;
    let mut pip = Command::new(installed(workshop, "python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    succeed(pip.arg(workshop.join("requirements.txt")))?;
    let mut npm = Command::new(installed(workshop, "npm"));
    npm.args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(workshop);
    succeed(npm.env("PATH", path_with(&workshop.join("venv/bin"))?))?;
    fs::write(stamp, pins)
}

/// A program of the environment that pip fills. Node is one of them.
fn installed(workshop: &Path, program: &str) -> PathBuf {
    workshop.join("venv/bin").join(program)
}

fn node(workshop: &Path) -> Command {
    let mut node = Command::new(installed(workshop, "node"));
    node.current_dir(workshop);
    node
}

fn path_with(first: &Path) -> io::Result<OsString> {
    let rest = env::var_os("PATH").unwrap_or_default();
    let all = [first.to_owned()].into_iter().chain(env::split_paths(&rest));
    env::join_paths(all).map_err(io::Error::other)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            fs::create_dir_all(&to)?;
            copy(&from, &to)?;
        } else if from.extension() != Some(OsStr::new("pyc")) {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

fn succeed(command: &mut Command) -> io::Result<()> {
    let status = command.stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{command:?}: {status}"))) }
}
