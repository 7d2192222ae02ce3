//! `segno demo`: runs a flaky upstream, a real engine and clients, and writes the report.
//!
//! In: the arguments. Out: the report on standard output, and a failure if a promise was broken.

use super::super::args::DemoArgs;
use super::run::{DURATIONS, EndProxy, Error, Options, run};
use super::serve::serve;
use crate::admin::{Access, Admin, Source};
use crate::base::{Span, entropy};
use crate::cli::Stop;
use crate::clock::Clock;
use crate::config::file::Problem;
use crate::config::{Config, Route, Routes, Scheme, StoreConfig, Upstream};
use crate::engine::Engine;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Heals per second. The demo cuts far more often than a real upstream does.
const HEAL_RATE: u32 = 1_000;

/// How long the demo runs without `--duration`.
const DURATION: Span = Span::from_secs(20);

/// Runs the demo, or serves only its upstream if the arguments name an address.
pub(crate) fn command(args: &DemoArgs) -> Result<(), Stop> {
    let clock = Clock::start();
    let now = Arc::new(move || clock.now());
    if let Some(addr) = args.listen {
        return serve(addr, args.duration, now);
    }
    let duration = args.duration.unwrap_or(DURATION);
    let (least, most) = DURATIONS;
    if !(least..=most).contains(&duration) {
        let what = format!("`--duration` is {duration}: write a time from {} to {}", least.rough(), most.rough());
        return Err(Stop::Problems { file: None, list: vec![Problem::anywhere(what)] });
    }
    let options = Options::new(duration, args.json);
    let (mut out, mut err) = (io::stdout().lock(), io::stderr());
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|e| Stop::failed("cannot catch signals", e))?;
    let mut is_interrupted = move || signals.pending().next().is_some();
    let report = run(&options, now, |upstream| start_proxy(upstream, args), &mut is_interrupted, &mut out, &mut err)
        .map_err(|e| Stop::Failed(e.to_string()))?;
    if report.ok { Ok(()) } else { Err(Stop::Failed("segno broke a promise; see the report".to_owned())) }
}

/// Writes a line on standard error. The demo runs even if it cannot be written.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(io::stderr(), "{line}");
}

/// Starts an engine with the defaults of `segno proxy`, on a port that the system chooses.
fn start_proxy(upstream: SocketAddr, args: &DemoArgs) -> Result<(SocketAddr, EndProxy), Error> {
    let engine = Engine::start(config(upstream, args), entropy() as u64).map_err(|e| Error::Proxy(e.into()))?;
    let address = engine.addresses().first().copied();
    let address = address.ok_or_else(|| Error::Proxy("the proxy listens nowhere".into()))?;
    if let Some(admin) = args.admin {
        let admin = Admin::start(admin, Source::of(&engine), Access::default()).map_err(|e| Error::Proxy(e.into()))?;
        say(&format!("segno demo: metrics and health at http://{}", admin.address()));
    }
    // Threads of the engine that do not end within this time end with the process.
    let stop = move || drop(engine.shutdown(Span::from_secs(1)));
    Ok((address, Box::new(stop)))
}

fn config(upstream: SocketAddr, args: &DemoArgs) -> Config {
    let upstream = Upstream {
        scheme: Scheme::Http,
        host: upstream.ip().to_string(),
        port: upstream.port(),
        base_path: String::new(),
        authority: upstream.to_string(),
    };
    let route = Route { heal_rate: HEAL_RATE, ..Route::new(upstream) };
    Config {
        listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
        routes: Routes::from(vec![route]),
        store: args.store.clone().unwrap_or(StoreConfig::Memory),
        ..Config::default()
    }
}
