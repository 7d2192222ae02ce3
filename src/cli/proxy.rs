//! `segno proxy`: runs the reverse proxy until it is told to stop.
//!
//! In: flags and a configuration file; SIGTERM or SIGINT. Out: one line on standard error as soon as the proxy listens,
//! log lines, and exit code 0 after a drain.
//! Laws: the proxy does not listen before it has checked the whole configuration; a second signal ends it at once.

use super::args::ProxyArgs;
use super::{Stop, load, logging};
use crate::admin::{Admin, Source};
use crate::base::Span;
use crate::engine::Engine;
use crate::persist::Unflushed;
use crate::reactor::Command;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

/// How long after the first signal unfinished answers may go on.
const DRAIN_FOR: Span = Span::from_secs(10);

/// How long the store may take to write the last cursors.
const FLUSH_FOR: Span = Span::from_secs(5);

/// Reads the configuration and runs the proxy with it.
pub(super) fn run(args: &ProxyArgs) -> Result<(), Stop> {
    let config = load::config(args.config.as_deref(), args.flags())?;
    let _logs = logging::start();
    // Signals are caught before anything listens, so that none ends the process in between.
    let signals = Signals::new([SIGTERM, SIGINT]).map_err(|e| Stop::failed("cannot catch signals", e))?;
    let routes: Vec<String> = config.routes.iter().map(|r| format!("{} to {}", r.name, r.upstream)).collect();
    let admin = config.admin;
    let engine = Engine::start(config, random_seed()).map_err(|e| Stop::Failed(e.to_string()))?;
    if let Some(address) = admin {
        start_admin(address, &engine)?;
    }
    end_on(signals, &engine).map_err(|e| Stop::failed("cannot start a thread for signals", e))?;
    let listens: Vec<String> = engine.addresses().iter().map(|a| format!("http://{a}")).collect();
    // If standard error is closed, nobody sees this line; the proxy serves all the same.
    let _ = writeln!(io::stderr(), "segno: listening on {}; {}", listens.join(", "), routes.join(", "));
    let left = engine.join(FLUSH_FOR).map_err(|e| {
        log_unflushed(&e.left);
        Stop::Failed(e.to_string())
    })?;
    log_unflushed(&left);
    match left.cursors.len() {
        0 => Ok(()),
        n => Err(Stop::Failed(format!("{n} cursors could not be stored; their clients may get up to that much twice"))),
    }
}

/// Serves metrics, health and cursors.
fn start_admin(address: SocketAddr, engine: &Engine) -> Result<(), Stop> {
    let source = Source { metrics: Arc::clone(engine.metrics()), store: engine.store(), clock: engine.clock() };
    let admin = Admin::start(address, source)
        .map_err(|e| Stop::failed(&format!("cannot listen on {address} for `--admin`"), e))?;
    tracing::info!("metrics, health and sessions at http://{}", admin.address());
    Ok(())
}

/// Logs each stream whose cursor could not be stored.
fn log_unflushed(left: &Unflushed) {
    for (name, cursor) in &left.cursors {
        let session = name.session.escape_ascii();
        tracing::error!("not stored: session {session}, stream {:x}, event id {:?}", name.stream, cursor.id);
    }
    if left.hung {
        tracing::error!("a call to the store has not returned; the proxy ends without it");
    }
}

/// Drains at the first signal and stops at the second.
fn end_on(mut signals: Signals, engine: &Engine) -> io::Result<()> {
    let remote = engine.remote();
    thread::Builder::new().name("segno-signals".to_owned()).spawn(move || {
        let mut asked = false;
        for _ in signals.forever() {
            let command = if asked { Command::Stop } else { Command::Drain(DRAIN_FOR) };
            if !remote.send(command) && asked {
                std::process::exit(1);
            }
            asked = true;
        }
    })?;
    Ok(())
}

/// A number that nobody can guess. It comes from the random keys of the standard library's hash tables.
pub(super) fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
