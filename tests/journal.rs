//! An engine whose program reads its log lines badly: the subscriber behind `tracing` never returns.
//!
//! In: a failing upstream, so that there is something to log. Out: answers, and an end.
//! Law: the reactor waits for nobody, so whoever reads log lines cannot stop it.
#![cfg(feature = "net")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use segno::base::Span;
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use support::{Client, PATIENCE, Proxy};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Tells of the first line, and then waits for a word that never comes.
struct Stuck {
    met: Sender<()>,
    word: Mutex<Receiver<()>>,
}

impl Subscriber for Stuck {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        let _ = self.met.send(());
        let _ = self.word.lock().map(|word| word.recv());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_subscriber_that_never_returns_stops_no_request_and_no_end() {
    let ((met, is_met), (_silent, word)) = (channel(), channel());
    tracing::subscriber::set_global_default(Stuck { met, word: Mutex::new(word) }).unwrap();
    // A port on which nobody listens.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::with(closed, |route| route.heal_for = Span::from_millis(10));
    for n in 0..20 {
        let mut client = Client::connect(proxy.address());
        client.get("/");
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 502 "), "request {n}: {head}");
        if n == 0 {
            is_met.recv_timeout(PATIENCE).expect("the subscriber has got a line");
        }
    }
    // Its end waits for the subscriber for a moment only.
    drop(proxy);
}
