//! Programs that are no crates: a folder beside the build's, into which pinned packages of npm and pip are installed once.
//!
//! In: a folder of the tree with `package.json`, `package-lock.json`, `requirements.txt` and sources. Out: a copy of it
//! with what it needs, and Node to run it.
//! Law: nothing is installed into the tree, and nothing that is not pinned to its version.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this one")]

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PYTHONS: &[&str] = &["python3", "python3.13", "python3.12", "python3.11"];
const PYTHON: &str = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))";
const BROWSERS: &[&str] = &["chromium", "chromium-browser", "google-chrome"];
/// What decides which packages are installed.
const PINS: &[&str] = &["requirements.txt", "package.json", "package-lock.json"];

/// A filled folder.
pub struct Workshop(PathBuf);

impl Workshop {
    /// Copies the sources to `to` and installs their packages there, unless they are those of the last run.
    pub fn fill(from: &Path, to: &Path) -> io::Result<Self> {
        fs::create_dir_all(to)?;
        copy(from, to)?;
        let workshop = Self(to.to_owned());
        let pins = PINS.iter().map(|pin| fs::read_to_string(to.join(pin))).collect::<io::Result<String>>()?;
        let stamp = to.join("installed");
        if fs::read_to_string(&stamp).is_ok_and(|last| last == pins) {
            return Ok(workshop);
        }
        let Some(python) = find(PYTHONS, &["-c", PYTHON]) else {
            return Err(io::Error::other("there is no Python 3.11 or newer with venv"));
        };
        succeed(Command::new(python).args(["-m", "venv", "--clear"]).arg(to.join("venv")))?;
        let mut pip = Command::new(workshop.installed("python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
        succeed(pip.arg(to.join("requirements.txt")))?;
        let mut npm = Command::new(workshop.installed("npm"));
        npm.args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(to);
        succeed(npm.env("PATH", path_with(&to.join("venv/bin"))?))?;
        fs::write(stamp, pins)?;
        Ok(workshop)
    }

    /// Node, in this folder.
    pub fn node(&self) -> Command {
        let mut node = Command::new(self.installed("node"));
        node.current_dir(&self.0);
        node
    }

    /// A program of the environment that pip fills. Node is one of them.
    pub fn installed(&self, program: &str) -> PathBuf {
        self.0.join("venv/bin").join(program)
    }
}

/// Chromium: where `SEGNO_CHROMIUM` says, else by one of its names.
pub fn chromium() -> Option<String> {
    env::var("SEGNO_CHROMIUM").ok().or_else(|| find(BROWSERS, &["--version"]))
}

/// Says what is missing where nobody can overlook it, and fails where `required` is set to 1.
pub fn missing(what: &str, required: &str) {
    assert!(env::var_os(required).is_none_or(|value| value != "1"), "{what}");
    // Not by `eprintln!`, which the test harness captures.
    let _ = writeln!(io::stderr(), "SKIPPED: {what}");
}

/// The first of `names` that runs with `arguments`.
pub fn find(names: &[&str], arguments: &[&str]) -> Option<String> {
    let runs = |name: &&&str| {
        let mut command = Command::new(name);
        let status = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    names.iter().find(runs).map(ToString::to_string)
}

fn path_with(first: &Path) -> io::Result<OsString> {
    let rest = env::var_os("PATH").unwrap_or_default();
    let all = [first.to_owned()].into_iter().chain(env::split_paths(&rest));
    env::join_paths(all).map_err(io::Error::other)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let (from, to) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
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
