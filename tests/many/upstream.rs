//! An upstream that sends an event to all its streams at each tick, from one thread.
//!
//! In: requests, of which the path's first part says whether events have ids. Out: events of 256 bytes.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::rest;

/// Bytes of an event, with its last line end.
pub(crate) const EVENT: usize = 256;

/// Ends the ticks when it is dropped, and counts events.
pub(crate) struct Upstream {
    over: Arc<AtomicBool>,
    pub(crate) events: Arc<AtomicU64>,
    pub(crate) streams: Arc<AtomicU64>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

impl Upstream {
    /// Starts it, with so many milliseconds between two events of a stream.
    pub(crate) fn start(pace: u64) -> (SocketAddr, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let all: Arc<Mutex<Vec<(TcpStream, bool, u64)>>> = Arc::default();
        let upstream = Self { over: Arc::default(), events: Arc::default(), streams: Arc::default() };
        let (accepted, streams) = (Arc::clone(&all), Arc::clone(&upstream.streams));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if let Ok(begun) = begin(stream) {
                    accepted.lock().unwrap().push(begun);
                    streams.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let (over, events) = (Arc::clone(&upstream.over), Arc::clone(&upstream.events));
        thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                rest(Duration::from_millis(pace));
                let mut all = all.lock().unwrap();
                all.retain_mut(|(stream, has_ids, n)| {
                    *n += 1;
                    let event = event(*n, *has_ids);
                    stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).is_ok()
                });
                events.fetch_add(all.len() as u64, Ordering::SeqCst);
            }
        });
        (address, upstream)
    }
}

fn event(n: u64, has_ids: bool) -> String {
    let id = if has_ids { format!("id: {n}\n") } else { String::new() };
    let start = format!("{id}data: {n} ");
    format!("{start}{}\n\n", "x".repeat(EVENT - start.len() - 2))
}

fn begin(mut stream: TcpStream) -> std::io::Result<(TcpStream, bool, u64)> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut after) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let from = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(id) = head[from..].strip_prefix("Last-Event-ID: ") {
            after = id.trim_end().parse().unwrap_or(0);
        }
    }
    let has_ids = !head.contains(" /bare");
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    Ok((stream, has_ids, after))
}
