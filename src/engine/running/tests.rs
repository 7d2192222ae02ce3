//! Failed starts, a failed reactor, an engine that is dropped: what is stored, and what is free again.

use super::*;
use crate::config::{Config, Route, Routes, Upstream};
use crate::persist::Opener;
use crate::reactor::StartError;
use crate::store::memory;
use crate::store::scripted::Switch;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use std::net::TcpListener;
use std::time::Duration;

/// A store, and a channel that ends with the thread that has it open.
fn store() -> (Opener, Receiver<()>) {
    let (life, alive) = bounded(1);
    let open = move || {
        let _ = &life;
        Ok(memory::open(10))
    };
    (Box::new(open), alive)
}

fn ends(alive: &Receiver<()>) -> bool {
    alive.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Disconnected)
}

/// One route, to nowhere.
fn route() -> Routes {
    vec![Route::new(Upstream::parse("http://127.0.0.1:9").unwrap())].into()
}

/// An engine whose store refuses, and the stream of whose cursor it has not stored.
fn with_a_cursor_that_no_store_takes() -> (Engine, InlineTracker) {
    let switch = Switch::default();
    let open: Opener = Box::new({
        let switch = switch.clone();
        move || Ok(switch.wrap(memory::open(10)))
    });
    let engine = Engine::builder().store(open).start().unwrap();
    let mut tracker = engine.tracker(b"s", Span::from_secs(60)).unwrap();
    switch.refuse(true);
    tracker.feed(b"id: 1\ndata: x\n\n");
    tracker.forward(|_| Ok(())).unwrap();
    (engine, tracker)
}

#[test]
fn a_configuration_that_cannot_run_is_refused_with_all_its_faults() {
    let mut route = Route::new(Upstream::parse("http://127.0.0.1:9").unwrap());
    (route.replay_bytes, route.replay_events) = (0, 0);
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    let config = Config { listen: listen.clone(), routes: vec![route].into(), ..Config::default() };
    let refused = Engine::builder().config(config).start().unwrap_err().to_string();
    assert!(
        refused.starts_with("the configuration cannot run: route 1: `replay_events` is 0: write a number"),
        "{refused}"
    );
    assert!(refused.contains("; route 1: `replay_bytes` is 0"), "{refused}");
    let no_routes = Config { listen, ..Config::default() };
    let refused = Engine::builder().config(no_routes).start().unwrap_err().to_string();
    assert_eq!(refused, "the configuration cannot run: no routes: add a `[[route]]` with an `upstream`");
}

#[test]
fn a_start_that_fails_leaves_no_store_open() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config { listen: vec![taken.local_addr().unwrap()], routes: route(), ..Config::default() };
    let (open, alive) = store();
    assert!(matches!(Engine::builder().config(config).store(open).start(), Err(StartError::Listen { .. })));
    assert!(ends(&alive));
}

#[test]
fn cursors_that_are_left_are_told_also_when_the_reactor_had_failed() {
    let (engine, _tracker) = with_a_cursor_that_no_store_takes();
    let reactor = std::thread::spawn(|| Err(io::Error::other("no poll")));
    let failed = Engine { reactor, ..engine }.shutdown(Span::ZERO).unwrap_err();
    assert_eq!((failed.why.to_string().as_str(), failed.left.cursors.len()), ("no poll", 1));
    assert_eq!(failed.to_string(), "the reactor failed: no poll; 1 cursors could not be stored");
}

#[test]
fn an_engine_that_is_dropped_stops_and_closes_its_store() {
    let config = Config { listen: vec!["127.0.0.1:0".parse().unwrap()], routes: route(), ..Config::default() };
    let (open, alive) = store();
    let engine = Engine::builder().config(config).store(open).start().unwrap();
    let address = engine.addresses()[0];
    drop(engine);
    assert!(ends(&alive));
    // The reactor goes in its own time, and leaves its address to others.
    while TcpListener::bind(address).is_err() {
        std::thread::yield_now();
    }
}

/// A successor gets the store while this engine runs on. What it did not get is told by the end of this one.
#[test]
fn what_a_hand_over_could_not_store_the_end_tells_too() {
    let (engine, _tracker) = with_a_cursor_that_no_store_takes();
    let release = engine.store_release();
    assert_eq!(release.release(Span::ZERO).map(|left| left.cursors.len()), Some(1));
    assert_eq!(release.release(Span::ZERO), None, "it is closed");
    assert_eq!(engine.shutdown(Span::ZERO).unwrap().cursors.len(), 1);
}
