//! Reloads whose reactor is late, gone, or turns when the test says so.
//!
//! In: configurations, and a reactor's end of the channel. Out: what is said to who asked, and what runs.
//! Law: nothing is said to be refused that may still be taken over.

use super::*;
use crate::config::{Route, Upstream};
use crate::reactor::Commands;
use mio::{Poll, Token, Waker};
use std::thread;

fn config(window: usize) -> Config {
    let route = Route { window, ..Route::new(Upstream::parse("http://h").unwrap()) };
    Config { routes: vec![route].into(), ..Config::default() }
}

/// A reloader, and the end of the reactor, which turns when the test says so.
fn reloader() -> (Reloader, Commands, Poll) {
    let poll = Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
    let (remote, commands) = Remote::new(waker);
    let running = Running::new(Arc::new(config(1)));
    let journal = Journal::start(Arc::default()).unwrap();
    let reloader = Reloader::new(remote, Arc::default(), running, journal);
    (Reloader { patience: Duration::from_millis(20), ..reloader }, commands, poll)
}

fn take_over(commands: &Commands) {
    let Ok(Command::Reload(prepared)) = commands.0.recv() else { panic!("no configuration") };
    prepared.tell(Ok(()));
}

fn window(reloader: &Reloader) -> usize {
    reloader.running().routes[0].window
}

#[test]
fn a_reactor_that_answers_late_is_not_said_to_refuse_and_what_it_took_over_is_told_then() {
    let (reloader, commands, _poll) = reloader();
    assert!(matches!(reloader.reload(&config(2)), Err(NotReloaded::Late)));
    assert_eq!((window(&reloader), reloader.settled().is_none()), (1, true));
    // Another one meanwhile is not handed over, and is told so.
    assert!(matches!(reloader.reload(&config(3)), Err(NotReloaded::Busy)));
    take_over(&commands);
    let settled = reloader.settled().unwrap().unwrap();
    assert_eq!((&*settled.changed, window(&reloader)), (&["route /".to_owned()][..], 2));
    assert!(reloader.settled().is_none() && commands.0.is_empty(), "told once");
    // What comes next goes by what runs.
    let reactor = thread::spawn(move || take_over(&commands));
    assert!(reloader.reload(&config(2)).unwrap().changed.is_empty());
    reactor.join().unwrap();
}

#[test]
fn a_reactor_that_has_ended_says_so_and_no_late_answer_is_awaited() {
    let (reloader, commands, _poll) = reloader();
    assert!(matches!(reloader.reload(&config(2)), Err(NotReloaded::Late)));
    drop(commands);
    assert!(matches!(reloader.settled(), Some(Err(NotReloaded::NoReactor))));
    assert!(matches!(reloader.reload(&config(2)), Err(NotReloaded::NoReactor)));
    assert_eq!(window(&reloader), 1);
}

#[test]
fn looking_at_what_runs_does_not_wait_for_a_reload() {
    let (reloader, ..) = reloader();
    let _reloads = reloader.late.lock();
    assert_eq!(window(&reloader), 1);
}
