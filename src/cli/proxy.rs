//! `segno proxy`: runs the reverse proxy until it is told to stop.
//!
//! In: flags and a configuration file; signals. Out: one line on standard error as soon as the proxy listens, log
//! lines, one of them when it is told to stop and one when it has stopped, and exit code 0 after a drain.
//! SIGHUP reloads the configuration.
//! Laws: the proxy does not listen before it has checked the whole configuration; SIGTERM and SIGINT end it, a second
//! one at once, and no other signal does that can be caught; a standard error that nobody reads holds nothing up.

use super::args::ProxyArgs;
use super::files::OpenFiles;
use super::handover::{self, Before, TakenOver};
use super::load::Sources;
use super::reload::{self, Ask};
use super::token::token;
use super::{Stop, logging, service};
use crate::admin::{Access, Admin, Reloads, Source};
use crate::base::{Span, entropy};
use crate::config::file::Problem;
use crate::config::{Config, LogFormat, Route};
use crate::engine::Engine;
use crate::journal::{Journal, Level};
use crate::metrics::Gauge;
use crate::reactor::{Command, StartError};
use crossbeam_channel::{Sender, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How long the store may take to write the last cursors.
const FLUSH_FOR: Span = Span::from_secs(5);

/// How often is looked whether an address is free.
const LOOK: Duration = Duration::from_millis(200);

/// How long the last log lines may take.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The signals that are caught. SIGPIPE is ignored from the start, and reaches nobody.
const SIGNALS: [i32; 5] = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2];

/// Reads the configuration and runs the proxy with it.
pub(super) fn run(args: &ProxyArgs) -> Result<(), Stop> {
    let (sources, warnings) = Sources::of(args);
    let config = sources.read()?.config;
    let format = config.log_format;
    logging::start(format)?;
    warnings.iter().for_each(|what| logging::announce(format, "warn", what));
    let ended = serve(sources, config, args.take_over);
    match (ended, format) {
        (Err(stop), LogFormat::Json) => {
            logging::announce(format, "error", stop.to_string().trim_end());
            Err(Stop::Said(stop.code()))
        }
        (ended, _) => ended,
    }
}

/// A route as the first line names it.
fn describe(route: &Route) -> String {
    let upstreams: Vec<String> = route.each_upstream().map(|(upstream, _)| upstream.to_string()).collect();
    format!("{} to {}", route.name, upstreams.join(" and "))
}

/// Runs the proxy until it is told to stop.
fn serve(sources: Sources, config: Config, takes_over: bool) -> Result<(), Stop> {
    // Signals are caught before anything listens, so that none ends the process in between.
    let signals = Signals::new(SIGNALS).map_err(|e| Stop::failed("cannot catch signals", e))?;
    let routes: Vec<String> = config.routes.iter().map(describe).collect();
    let (files, format, store) = (OpenFiles::raise(), config.log_format, config.store.to_string());
    let secure = if config.speaks_tls() { config.listen.len() } else { 0 };
    let admin = config.admin.map(|address| access(&config).map(|access| (address, access))).transpose()?;
    let path = config.handover.clone();
    let mut taken = match path.as_deref().filter(|_| takes_over) {
        Some(path) => handover::take_over(path)?,
        None if takes_over => return Err(Stop::Usage("`--take-over` needs `--handover PATH`".to_owned())),
        None => None,
    };
    let mut listeners = taken.as_mut().map(|taken| std::mem::take(&mut taken.listeners)).unwrap_or_default();
    listeners.extend(service::listeners(&config.listens().collect::<Vec<_>>())?);
    let engine = Engine::builder().config(config).seed(entropy() as u64).listeners(listeners);
    let engine = engine.start().map_err(|why| not_started(why, WITHOUT_STORE))?;
    let mut journal = engine.journal();
    let reloads = reload::start(sources, &engine).map_err(|e| Stop::failed("cannot start a thread for reloads", e))?;
    if let Some((address, access)) = admin {
        start_admin(address, access, &engine, reloads.clone(), taken.is_some())?;
    }
    let (clock, metrics) = (engine.clock(), Arc::clone(engine.metrics()));
    let (tell, told) = bounded(1);
    let running = engine.reloader();
    let asked = move |signal: &str, journal: &mut Journal| {
        let streams = metrics.gauge(Gauge::Streams);
        service::stopping(running.running().drain_timeout, FLUSH_FOR.times(2));
        journal.say(Level::Info, format!("{signal}: stopping; event streams: {streams}"));
        // Only the first signal is told.
        let _ = tell.try_send(clock.now());
    };
    obey(signals, &engine, reloads, asked).map_err(|e| Stop::failed("cannot start a thread for signals", e))?;
    if let Some(path) = path
        && let Err(stop) = wait_for_successor(path, taken, &engine)
    {
        // Who has connected here meanwhile comes back to the proxy that goes on.
        let within = engine.config().drain_timeout;
        let _ = engine.shutdown(within);
        return Err(stop);
    }
    let scheme = |n| if n < secure { "https" } else { "http" };
    let addresses = engine.addresses().iter().enumerate();
    let listens: Vec<String> = addresses.map(|(n, address)| format!("{}://{address}", scheme(n))).collect();
    let (listens, routes, version) = (listens.join(", "), routes.join(", "), env!("CARGO_PKG_VERSION"));
    let what = format!("listening on {listens}; {routes}; store {store}; {files}; version {version}");
    logging::announce(format, "info", &what);
    service::ready(&what);
    service::give_signs_of_life(&engine).map_err(|e| Stop::failed("cannot start a thread for signs of life", e))?;
    let (left, failed) = match engine.join(FLUSH_FOR) {
        Ok(left) => (left, None),
        Err(e) => {
            let why = e.to_string();
            (e.left, Some(why))
        }
    };
    handover::tell_unflushed(&left, &mut journal);
    if failed.is_none() {
        let after = told.try_recv().map(|at| format!(" after {}", clock.now().since(at).rough())).unwrap_or_default();
        let cursors = left.cursors.len();
        journal.say(Level::Info, format!("stopped{after}; cursors that are not stored: {cursors}"));
    }
    journal.flush(LAST_LINES);
    match (failed, left.cursors.len()) {
        (Some(why), _) => Err(Stop::Failed(why)),
        (None, 0) => Ok(()),
        (None, n) => {
            Err(Stop::Failed(format!("{n} cursors could not be stored; their clients may get up to that much twice")))
        }
    }
}

/// Who may read the admin pages.
fn access(config: &Config) -> Result<Access, Stop> {
    let access = Access::default().hosts(config.admin_hosts.clone());
    match token(config.admin_token_file.as_deref()).map_err(Stop::Usage)? {
        None => Ok(access),
        Some(token) => access.token(&token).map_err(|e| Stop::Failed(e.to_string())),
    }
}

/// What to do about a store that cannot be the one that was meant, besides mending its name.
const WITHOUT_STORE: &str = "; or start with `--store-optional`, and nothing is stored until that is mended";

/// A store that is not the one that was meant is a problem of the configuration.
pub(super) fn not_started(why: StartError, advice: &str) -> Stop {
    match why {
        StartError::Store { why } => {
            Stop::Problems { file: None, list: vec![Problem::anywhere(format!("`store`: {why}{advice}"))] }
        }
        other => Stop::Failed(other.to_string()),
    }
}

/// Takes the store over if there is a proxy before this one, and waits for the one after.
fn wait_for_successor(path: PathBuf, taken: Option<TakenOver>, engine: &Engine) -> Result<(), Stop> {
    let shown = path.display().to_string();
    let wrong = |e: io::Error| Stop::failed(&format!("cannot listen on {} for `--handover`", shown), e);
    let Some(taken) = taken else { return handover::wait_for_successor(path.clone(), engine).map_err(wrong) };
    let (free, is_free) = bounded(1);
    let then = move |before| {
        let _ = free.try_send(before);
    };
    taken.go_on(engine.store(), engine.journal(), then).map_err(wrong)?;
    if is_free.recv_timeout(handover::ANSWER) == Ok(Before::GoesOn) {
        let what = "did not take over: the proxy that runs waits no longer for this one, and goes on as before";
        return Err(Stop::Failed(format!("{what} (at {shown}); start this one again")));
    }
    match handover::wait_for_successor(path, engine).map_err(wrong) {
        // The old proxy listens no more: to end here would leave nobody.
        Err(why) => {
            engine.journal().say(Level::Error, format!("{why}; no successor can take over from this proxy"));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Serves metrics, health and cursors. Where this proxy takes over (`waits`), the one before it has the address until it
/// ends.
fn start_admin(
    address: SocketAddr,
    access: Access,
    engine: &Engine,
    reloads: Sender<Ask>,
    waits: bool,
) -> Result<(), Stop> {
    let by = "a request to the admin address";
    let passes = move |answer| reloads.try_send(Ask { by, answer: Some(answer) }).is_ok();
    let mut source = Source::of(engine);
    source.reloads = Some(Reloads::by(passes));
    let mut journal = engine.journal();
    let start = move || {
        let admin = Admin::start(address, source, access)?;
        journal.say(Level::Info, format!("metrics, health and sessions at http://{}", admin.address()));
        Ok(())
    };
    let wrong = |e: io::Error| Stop::failed(&format!("cannot listen on {address} for `--admin`"), e);
    if !waits || TcpListener::bind(address).is_ok() {
        return start().map_err(wrong);
    }
    let mut journal = engine.journal();
    journal.say(Level::Info, format!("{address} for `--admin` is taken until the proxy before this one has ended"));
    let wait = move || {
        let (_open, nothing) = bounded::<()>(0);
        while TcpListener::bind(address).is_err() {
            let _ = nothing.recv_timeout(LOOK);
        }
        if let Err(e) = start() {
            journal.say(Level::Error, format!("cannot listen on {address} for `--admin`: {e}"));
        }
    };
    thread::Builder::new().name("segno-admin-wait".to_owned()).spawn(wait).map_err(wrong)?;
    Ok(())
}

/// Drains at the first signal that asks for an end, and stops at the second. Other signals are told of and change
/// nothing.
fn obey(
    mut signals: Signals,
    engine: &Engine,
    reloads: Sender<Ask>,
    asked_by: impl Fn(&str, &mut Journal) + Send + 'static,
) -> io::Result<()> {
    let (remote, mut journal, running) = (engine.remote(), engine.journal(), engine.reloader());
    thread::Builder::new().name("segno-signals".to_owned()).spawn(move || {
        let mut asked = false;
        for signal in signals.forever() {
            let name = signal_name(signal).unwrap_or("a signal");
            if signal == SIGHUP {
                // Those that wait will read the same file.
                let _ = reloads.try_send(Ask { by: "SIGHUP", answer: None });
                continue;
            }
            if let Some(what) = what_of(signal) {
                journal.say(Level::Info, format!("{name}: {what}; going on as before"));
                continue;
            }
            if !asked {
                asked_by(name, &mut journal);
            }
            let command = if asked { Command::Stop } else { Command::Drain(running.running().drain_timeout) };
            if !remote.send(command) && asked {
                std::process::exit(1);
            }
            asked = true;
        }
    })?;
    Ok(())
}

/// What there is to say of a signal that does not end the proxy.
fn what_of(signal: i32) -> Option<&'static str> {
    match signal {
        SIGUSR1 | SIGUSR2 => Some("this signal has no meaning here"),
        _ => None,
    }
}
