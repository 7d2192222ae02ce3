//! The command itself: flaky upstream, a real engine between, clients; the report on standard output.
//!
//! In: the arguments. Out: the report; a failure when a promise was not kept.

use super::super::args::DemoArgs;
use super::super::proxy::random_seed;
use super::run::{EndProxy, Error, Options, run};
use super::serve::serve;
use crate::base::Span;
use crate::cli::Stop;
use crate::clock::Clock;
use crate::config::{Config, Route, Routes, Scheme, Upstream};
use crate::engine::Engine;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Heals a second: the demo cuts far more often than any upstream should.
const HEAL_RATE: u32 = 1_000;

/// How long the demo runs without `--duration`.
const DURATION: Span = Span::from_secs(20);

/// Runs the demo, or serves its upstream alone.
pub(crate) fn command(args: &DemoArgs) -> Result<(), Stop> {
    let clock = Clock::start();
    let now = Arc::new(move || clock.now());
    if let Some(addr) = args.listen {
        return serve(addr, args.duration, now);
    }
    let options = Options::new(args.duration.unwrap_or(DURATION), args.json);
    let (mut out, mut err) = (io::stdout().lock(), io::stderr());
    let report = run(&options, now, start_proxy, &mut out, &mut err).map_err(|e| Stop::Failed(e.to_string()))?;
    if report.ok { Ok(()) } else { Err(Stop::Failed("the demo saw a promise broken; see the report".to_owned())) }
}

/// An engine with the defaults of `segno proxy`, on a port of the system's choice.
fn start_proxy(upstream: SocketAddr) -> Result<(SocketAddr, EndProxy), Error> {
    let engine = Engine::start(config(upstream), random_seed()).map_err(|e| Error::Proxy(e.into()))?;
    let address = engine.addresses().first().copied();
    let address = address.ok_or_else(|| Error::Proxy("the proxy listens nowhere".into()))?;
    // The engine's threads end with the process if they do not end now.
    let stop = move || drop(engine.shutdown(Span::from_secs(1)));
    Ok((address, Box::new(stop)))
}

fn config(upstream: SocketAddr) -> Config {
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
        ..Config::default()
    }
}
