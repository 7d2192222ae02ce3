//! `segno demo --listen ADDR`: serves the flaky upstream alone, for trying things by hand.
//!
//! In: an address and a duration; SIGTERM or SIGINT. Out: one line on standard error that says where the upstream
//! listens and what to try; event streams that are cut as in the demo.
//! Laws: the upstream is the demo's own, with the same bounds; a signal or the end of the duration ends it with
//! success.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::picker::Picker;
use super::run::SEED;
use super::upstream::Upstream;
use super::world::{Now, World};
use crate::base::Span;
use crate::cli::Stop;

/// How long the upstream serves without `--duration`: ten years.
const ENDLESS: Span = Span::from_secs(10 * 365 * 86_400);

/// Serves the flaky upstream on `addr` until a signal comes or `duration` is over.
pub(super) fn serve(addr: SocketAddr, duration: Option<Span>, now: Now) -> Result<(), Stop> {
    // Signals are caught before anything listens, so that none ends the process in between.
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(|e| Stop::failed("cannot catch signals", e))?;
    let world = Arc::new(World::new(now, duration.unwrap_or(ENDLESS), SEED));
    let picker = Picker::new(SEED);
    let find = Arc::new(move |path: &str, last_id: Option<&str>| picker.find(path, last_id));
    let upstream = Upstream::start(addr, Arc::clone(&world), find)
        .map_err(|e| Stop::failed(&format!("cannot listen on {addr}; choose another address for `--listen`"), e))?;
    let url = format!("http://{}", upstream.addr);
    // If standard error is closed, nobody sees this line; the upstream serves all the same.
    let _ = writeln!(
        io::stderr(),
        "segno demo: listening on {url}, GET /feed, /restart or /no-ids, POST /answer; it cuts streams, and now and then \
         refuses connections for half a second; try `curl -N {url}/feed`, \
         or `segno proxy --upstream {url}` and ask that"
    );
    while world.now() < world.end && !upstream.has_ended() && signals.pending().next().is_none() {
        world.doze(world.end);
    }
    let failed = upstream.has_ended();
    world.stop();
    upstream.join();
    if failed {
        return Err(Stop::failed("the demo's upstream ended", world.tally().failures.join("; ")));
    }
    Ok(())
}
