//! SIGTERM in the middle of a long replay: the client sees a cut and no end, and a restarted proxy gives it the rest,
//! from upstream or from the stored log.
//!
//! In: a client that reads a replay slowly, signals. Out: the events that the client got from both proxies, the stored
//! cursor, the requests to upstream.
//! Laws: a cut stays a cut; `durable <= delivered`; nothing is lost and nothing comes twice.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use socket2::{Domain, SockRef, Socket, Type};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use support::process::Process;
use support::store::Store;
use support::{Client, End, Peer, Script, Signal, signal, until};

/// Far more events than fit between the proxy and a client that does not read.
const EVENTS: usize = 7_000;

/// How many events the first client takes before it is cut off.
const FIRST: usize = 10;

/// How many events the second client takes before the signal.
const SLOW: usize = 50;

fn event(id: usize) -> String {
    format!("id: {id}\ndata: {}\n\n", "x".repeat(1_000))
}

fn start(upstream: SocketAddr, store: &Store, more: &[&str]) -> Process {
    let upstream = format!("http://{upstream}");
    // At once: else a client that reads fast has everything before its moment comes.
    let flags = ["--upstream", &upstream, "--store", &store.flag(), "--linger", "60s", "--drain-spread", "0s"];
    let log = ["--replay-events", "10000", "--replay-bytes", "8MiB"];
    Process::with_args(&[&flags[..], &log, more].concat())
}

/// Asks for the events after event `after`.
fn ask(proxy: &Process, after: usize) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // Otherwise the system may grow the buffer to the size of the whole replay.
    socket.set_recv_buffer_size(256 << 10).unwrap();
    socket.connect(&proxy.address().into()).unwrap();
    let mut client = Client::over(TcpStream::from(socket));
    client.send(format!(
        "GET /feed HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\nLast-Event-ID: {after}\r\n\r\n"
    ));
    client
}

/// Sends each event in its own chunk.
fn send(peer: &mut Peer, events: impl Iterator<Item = usize>) {
    peer.begin_stream();
    events.for_each(|id| peer.send_chunk(event(id)));
}

/// The number of the last whole event in a body, which begins with event `first` and may end anywhere. Fails if an
/// event is missing, repeated, or different from upstream's.
fn last_event(body: &str, first: usize) -> usize {
    let ids = body.lines().filter(|line| line.starts_with("id: ")).count();
    let (mut left, mut last) = (body, first - 1);
    while let Some(at) = left.find("id: ")
        && let Some(behind) = left[at..].strip_prefix(&event(last + 1))
    {
        (left, last) = (behind, last + 1);
    }
    // The event after it may have been cut off.
    let whole = last + 1 - first;
    assert!(
        ids == whole || ids == whole + 1 && !left.contains("\n\n"),
        "{ids} events, {whole} of them as they should be"
    );
    last
}

/// A client in the middle of a replay: it has taken some events, and more events wait than any buffer holds.
fn in_replay(proxy: &Process, all_sent: &support::Awaited) -> Client {
    let mut first = proxy.client();
    first.open_events("/feed");
    first.until(event(FIRST));
    SockRef::from(first.socket()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(first);
    all_sent.take();
    let mut slow = ask(proxy, FIRST);
    slow.head();
    slow
}

/// Ends the proxy inside the replay of a client that has read up to [`SLOW`]. If `patient`, the client reads on while
/// the proxy waits for it; else it gets only what was on its way. Returns the last event that the client got.
fn end_in_replay(proxy: Process, mut slow: Client, store: &Store, patient: bool) -> usize {
    let mut body = String::new();
    while !body.contains(&event(SLOW)) {
        let mut some = [0; 4 << 10];
        let n = slow.read(&mut some);
        body.push_str(std::str::from_utf8(&some[..n]).unwrap());
    }
    proxy.signal("TERM");
    until("the proxy accepts no connection", || TcpStream::connect(proxy.address()).is_err());
    if !patient {
        proxy.signal("TERM");
        until("the process has ended", || proxy.has_ended());
    }
    body.push_str(std::str::from_utf8(&slow.until_gone()).unwrap());
    let (status, lines) = proxy.end();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
    assert!(!body.contains("\r\n0\r\n\r\n"), "the client takes this for an end");
    let last = last_event(&body, FIRST + 1);
    assert!((SLOW..EVENTS).contains(&last), "not in the middle of the replay: {last}");
    let cursor = store.cursor().expect("the store has its cursor");
    assert!((FIRST..=last).contains(&cursor), "{cursor} is stored, and {last} was delivered");
    assert!(cursor == last || !patient, "{cursor} is stored, and {last} was delivered in peace");
    last
}

/// Asks for the events after `last` and reads the rest, up to a clean end.
fn take_the_rest(proxy: &Process, last: usize) {
    let mut client = ask(proxy, last);
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200 ") && !head.contains("Segno-Gap"), "{head}");
    assert_eq!(client.rest(), End::Whole);
    assert!(!client.text().contains("segno.gap"));
    assert_eq!(last_event(client.text(), last + 1), EVENTS);
}

/// An upstream that sends all events until the proxy makes it wait, and then answers a request for the rest. The
/// receiver gets the event that this request names.
fn upstream(all_sent: Signal) -> (Script, Receiver<usize>) {
    let (tell, asked) = channel();
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        send(&mut peer, 1..=EVENTS);
        all_sent.give();
        peer.until_gone();
        let mut peer = door.accept();
        let head = peer.head();
        let id = head
            .lines()
            .find_map(|line| line.strip_prefix("Last-Event-ID: "))
            .expect("the request has a Last-Event-ID");
        let id: usize = id.parse().unwrap();
        tell.send(id).unwrap();
        send(&mut peer, id + 1..=EVENTS);
        peer.send_last_chunk();
    });
    (script, asked)
}

#[test]
fn a_replay_cut_by_sigterm_goes_on_from_the_same_upstream() {
    let (all_sent, awaited) = signal();
    let (script, asked) = upstream(all_sent);
    let store = Store::new("drain-upstream");
    let proxy = start(script.address(), &store, &[]);
    let slow = in_replay(&proxy, &awaited);
    let last = end_in_replay(proxy, slow, &store, false);
    take_the_rest(&start(script.address(), &store, &[]), last);
    assert_eq!(asked.recv(), Ok(last), "upstream is asked for what the client lacks");
    script.end();
}

#[test]
fn a_replay_that_sigterm_waits_for_is_a_cut_too_and_its_last_event_is_stored() {
    let (all_sent, awaited) = signal();
    let (script, asked) = upstream(all_sent);
    let store = Store::new("drain-patient");
    let proxy = start(script.address(), &store, &[]);
    let slow = in_replay(&proxy, &awaited);
    let last = end_in_replay(proxy, slow, &store, true);
    take_the_rest(&start(script.address(), &store, &[]), last);
    assert_eq!(asked.recv(), Ok(last), "upstream is asked for what the client lacks");
    script.end();
}

#[test]
fn a_replay_cut_by_sigterm_goes_on_from_the_stored_log() {
    let (all_sent, awaited) = signal();
    let (script, asked) = upstream(all_sent);
    let store = Store::new("drain-durable");
    let proxy = start(script.address(), &store, &["--durable"]);
    let slow = in_replay(&proxy, &awaited);
    let last = end_in_replay(proxy, slow, &store, false);
    take_the_rest(&start(script.address(), &store, &["--durable"]), last);
    let behind = asked.recv().unwrap();
    assert!(
        behind > last + 1_000,
        "upstream is asked for the events after {behind}, and {last} was delivered: not from the store"
    );
    script.end();
}
