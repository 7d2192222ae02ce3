//! The service manager that started this process, if one did: sockets from it, and words to it.
//!
//! In: what the manager left in the environment (sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3)). Out: sockets
//! that listen already; to the manager, when the proxy serves, reloads and stops, and a sign of life.
//! Laws: a socket that the configuration does not name ends the start, since clients would wait at it for ever; the sign
//! of life is given only while the reactor turns; without a manager nothing is sent.

use super::Stop;
use crate::base::Span;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::metrics::{Metrics, ReactorState};
use crate::reactor::Fit;
use crossbeam_channel::bounded;
use listenfd::ListenFd;
use sd_notify::{NotifyState, notify, watchdog_enabled};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

/// The sockets that the manager opened for this process, each of which must be one of `listen`.
pub(super) fn listeners(listen: &[SocketAddr]) -> Result<Vec<TcpListener>, Stop> {
    let mut given = ListenFd::from_env();
    let mut listeners = Vec::new();
    for n in 0..given.len() {
        let what = format!("socket {n} of the service manager");
        let taken =
            given.take_tcp_listener(n).map_err(|e| Stop::failed(&format!("{what} takes no connections by TCP"), e))?;
        let Some(listener) = taken else { continue };
        let address = listener.local_addr().map_err(|e| Stop::failed(&what, e))?;
        if !listen.iter().any(|asked| Fit::of(&listener, *asked).is_some()) {
            let known: Vec<String> = listen.iter().map(SocketAddr::to_string).collect();
            let known = known.join(", ");
            return Err(Stop::Usage(format!(
                "{what} listens on {address}, which is not in `listen` ({known}): name it there"
            )));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

/// The proxy serves. `what`: what a person reads in the manager's list.
pub(super) fn ready(what: &str) {
    // A manager that is gone wants no words.
    let _ = notify(&[NotifyState::Ready, NotifyState::Status(what)]);
}

/// The configuration is read again. [`reloaded`] says that this is over.
pub(super) fn reloading() {
    let Ok(now) = NotifyState::monotonic_usec_now() else { return };
    let _ = notify(&[NotifyState::Reloading, now]);
}

/// The proxy serves on, by the new configuration or the old one.
pub(super) fn reloaded() {
    let _ = notify(&[NotifyState::Ready]);
}

/// The proxy drains, which takes at most `drain`, and then has `rest` to store what is left.
pub(super) fn stopping(drain: Span, rest: Span) {
    let micros = u32::try_from(drain.micros().saturating_add(rest.micros())).unwrap_or(u32::MAX);
    let _ = notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros), NotifyState::Status("draining")]);
}

/// Gives the manager a sign of life twice in the time that it allows, while the reactor turns.
///
/// # Errors
/// No thread could be started.
pub(super) fn give_signs_of_life(engine: &Engine) -> io::Result<()> {
    let Some(allowed) = watchdog_enabled() else { return Ok(()) };
    let (clock, metrics) = (engine.clock(), Arc::clone(engine.metrics()));
    thread::Builder::new().name("segno-watchdog".to_owned()).spawn(move || {
        let (_open, nothing) = bounded::<()>(0);
        while gives_sign(&metrics, &clock) {
            let _ = nothing.recv_timeout(allowed / 2);
        }
    })?;
    Ok(())
}

/// False once the reactor has ended: what is left to do then has the bound of a stop.
fn gives_sign(metrics: &Metrics, clock: &Clock) -> bool {
    let state = metrics.reactor(clock.now());
    if matches!(state, ReactorState::Turning) {
        let _ = notify(&[NotifyState::Watchdog]);
    }
    !matches!(state, ReactorState::Ended)
}
