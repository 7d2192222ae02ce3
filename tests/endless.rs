//! Events and comments without an end, or of a gigabyte: they pass through, and the proxy does not keep their bytes.
//!
//! In: an upstream that sends one very long event or comment. Out: the bytes that arrive, and the proxy's memory.
//! Law: segno inserts nothing inside an event or a comment.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use std::time::Duration;
use support::process::Process;
use support::{Client, End, Peer, Script, rest};

/// By how much the process's memory may grow at its peak, in MiB.
const BOUND: u64 = 8;

/// An upstream of one stream, and a client of it.
fn run(say: impl FnOnce(&mut Peer) + Send + 'static, flags: &[&str], read: impl FnOnce(&mut Client)) {
    let script = Script::run(move |door| {
        let mut peer = door.accept();
        peer.head();
        peer.begin_stream();
        say(&mut peer);
    });
    let upstream = format!("http://{}", script.address());
    let proxy = Process::with_flags(&[&["--upstream", &upstream][..], flags].concat());
    let mut client = proxy.client();
    client.open_events("/");
    read(&mut client);
    script.end();
    proxy.assert_grown_below(BOUND);
}

#[test]
fn an_event_of_a_gigabyte_passes_whole() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 1 << 10;
    let (begin, end) = ("id: 1\ndata: ", "\n\nid: 2\ndata: after\n\n");
    let say = move |peer: &mut Peer| {
        peer.send_chunk(begin);
        let piece = [format!("{PIECE:x}\r\n").as_bytes(), &[b'x'; PIECE], b"\r\n"].concat();
        (0..PIECES).for_each(|_| peer.send(&piece));
        peer.send_chunk(end);
        peer.send_last_chunk();
    };
    run(say, &[], |client| {
        let (mut first, mut count, mut last) = (Vec::new(), 0, Vec::new());
        let ended = client.read_chunks(|piece| {
            if first.len() < begin.len() {
                first.extend_from_slice(piece);
            }
            count += piece.len();
            last.extend_from_slice(&piece[piece.len().saturating_sub(end.len())..]);
            last.drain(..last.len().saturating_sub(end.len()));
        });
        assert_eq!((ended, count), (End::Whole, begin.len() + PIECES * PIECE + end.len()));
        assert!(first.starts_with(begin.as_bytes()) && last == end.as_bytes(), "its first or last bytes differ");
    });
}

#[test]
fn a_comment_without_end_passes_with_nothing_of_segnos_inside_and_its_cut_is_a_cut() {
    const PIECES: usize = 20;
    const PIECE: usize = 1 << 20;
    let say = |peer: &mut Peer| {
        peer.send_chunk("id: 1\ndata: first\n\n: ");
        for _ in 0..PIECES {
            peer.send_chunk([b'x'; PIECE]);
            // Long enough for a heartbeat, if one were allowed here.
            rest(Duration::from_millis(50));
        }
    };
    run(say, &["--heartbeat", "20ms"], |client| {
        let mut got = Vec::new();
        assert_eq!(client.read_chunks(|piece| got.extend_from_slice(piece)), End::Cut);
        let comment = got.splitn(2, |b| *b == b'x').nth(1).expect("the comment comes");
        assert_eq!(comment.len() + 1, PIECES * PIECE);
        assert!(comment.iter().all(|b| *b == b'x'), "something stands inside the comment");
    });
}
