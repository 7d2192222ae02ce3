//! A proxy that has no descriptor left.
//!
//! In: a process with 64 descriptors, and more connections than that. Out: events, answers, processor time, log lines.
//! Laws: open streams go on; what cannot be served waits or is refused; the proxy does not spin; it recovers as soon as
//! descriptors are free again.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use std::time::{Duration, Instant};
use support::process::Process;
use support::{Awaited, Client, Door, End, Peer, Script, event, rest, signal, until};

const DESCRIPTORS: usize = 64;
const STREAMS: usize = 8;

/// An upstream of [`STREAMS`] streams. At every signal but the last it sends one event on each. Then it sends an
/// ordinary answer.
fn upstream(go_on: Awaited, rounds: usize) -> Script {
    Script::run(move |door| {
        let mut peers: Vec<Peer> = (0..STREAMS).map(|_| door.accept()).collect();
        for peer in &mut peers {
            peer.head();
            peer.begin_stream();
            peer.send_chunk(event(1));
        }
        for n in 0..rounds {
            go_on.take();
            peers.iter_mut().for_each(|peer| peer.send_chunk(event(n + 2)));
        }
        // These are closed too, so that the proxy cannot keep one for another request.
        peers.into_iter().for_each(|mut peer| peer.send_last_chunk());
        let mut peer = door.accept();
        peer.head();
        peer.answer("sane");
    })
}

#[test]
fn a_proxy_without_descriptors_serves_what_it_has_does_not_spin_and_recovers() {
    const ROUNDS: usize = 3;
    let (go_on, awaited) = signal();
    let script = upstream(awaited, ROUNDS);
    let proxy = Process::with_descriptors(script.address(), DESCRIPTORS as u64);
    let mut streams: Vec<Client> = (0..STREAMS).map(|_| proxy.client()).collect();
    streams.iter_mut().for_each(|client| client.get_events("/events"));
    let mut ordinary = proxy.client();
    for client in &mut streams {
        client.head();
        client.until(event(1));
    }
    // These clients send nothing. The first of them are accepted, and the others wait in the kernel.
    let crowd: Vec<Client> = (0..2 * DESCRIPTORS).map(|_| proxy.client()).collect();
    until("it has no descriptor left", || proxy.descriptors() >= DESCRIPTORS);
    let cpu = proxy.cpu();
    for n in 0..ROUNDS {
        go_on.give();
        streams.iter_mut().for_each(|client| client.until(event(n + 2)));
        rest(Duration::from_millis(500));
    }
    let busy = proxy.cpu() - cpu;
    assert!(busy < Duration::from_millis(250), "without descriptors it takes {busy:?} of 1.5 s");
    // The streams have ended, but their clients are still connected. The free descriptors go to connections that wait.
    streams.iter_mut().for_each(|client| assert_eq!(client.rest(), End::Whole));
    until("those who waited are accepted", || proxy.descriptors() >= DESCRIPTORS);
    ordinary.get("/no-descriptor-for-upstream");
    assert_eq!(ordinary.answer().status, 502);
    drop((crowd, streams));
    let mut later = proxy.client();
    later.get("/sane");
    assert_eq!(later.answer().text(), "sane");
    script.end();
    proxy.assert_grown_below(8);
    proxy.signal("TERM");
    let (status, lines) = proxy.end();
    assert_eq!(status.code(), Some(0));
    let said = lines.iter().filter(|line| line.contains("cannot accept a connection")).count();
    assert!((1..500).contains(&said), "{said} lines say so: {:?}", lines.first());
}

#[test]
fn a_client_that_leaves_stream_after_stream_takes_no_descriptor_from_others() {
    const LEFT: usize = 3 * DESCRIPTORS;
    let script = Script::run(|door| {
        let mut peers: Vec<Peer> = (0..LEFT).map(|_| stream(door)).collect();
        peers.push(stream(door));
        for peer in &mut peers {
            peer.until_gone();
        }
    });
    let proxy = Process::limited(
        &format!("-n {DESCRIPTORS}"),
        &["--store", "memory", "--linger", "60s", "--upstream", &format!("http://{}", script.address())],
    );
    // One connection at a time; each leaves a stream behind that lingers.
    for _ in 0..LEFT {
        let mut client = proxy.client();
        client.get_events("/events");
        client.head();
        client.until(event(1));
    }
    let begun = Instant::now();
    let mut other = proxy.client();
    other.get_events("/other");
    other.head();
    other.until(event(1));
    assert!(begun.elapsed() < Duration::from_secs(2), "served after {:?}", begun.elapsed());
    drop(proxy);
    script.end();
}

/// A stream with one event, on the next connection.
fn stream(door: &mut Door) -> Peer {
    let mut peer = door.accept();
    peer.head();
    peer.begin_stream();
    peer.send_chunk(event(1));
    peer
}

#[test]
fn a_low_limit_on_open_files_is_raised_as_far_as_the_system_allows_and_told() {
    let flags = ["--store", "memory", "--upstream", "http://127.0.0.1:9"];
    let proxy = Process::limited("-S -n 64", &flags);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", proxy.id())).unwrap();
    let open = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let (soft, hard) = open.trim().split_once(' ').map(|(soft, rest)| (soft, rest.split_whitespace().next())).unwrap();
    assert_eq!(Some(soft), hard, "{open}");
    assert!(proxy.listening().contains(&format!("; open files: {soft} (raised from 64)")), "{}", proxy.listening());
}
