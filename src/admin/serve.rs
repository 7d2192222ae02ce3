//! Serves the pages, on a thread of its own.
//!
//! In: connections. Out: one answer each, then the connection closes.
//! Laws: one client holds the thread for a bounded time, however it spreads its bytes; while the system has no
//! descriptors the thread rests.

use super::page::metrics_page;
use crate::base::{Count, Span, StreamName, Tick};
use crate::clock::Clock;
use crate::http::{HeadFinder, HeadLimits, Method, RequestHead, parse_request, write_answer};
use crate::metrics::Metrics;
use crate::persist::PersistControl;
use crate::store::Record;
use crate::sync::park;
use crossbeam_channel::bounded;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How long a client may take over its request and over each page of the answer, and the store over each page.
const PATIENCE: Span = Span::from_secs(1);

/// How long a client may take in all.
const LONGEST: Span = Span::from_secs(60);

/// How long accepting rests after the system had no descriptor for a connection.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Records asked of the store at a time.
const PAGE: usize = 1_000;

const HEAD_BYTES: usize = 8 << 10;

/// Where the pages come from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The engine's counters.
    pub metrics: Arc<Metrics>,
    /// The engine's store.
    pub store: PersistControl,
    /// The engine's clock.
    pub clock: Clock,
}

/// The running server. It ends with the process.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
}

impl Admin {
    /// Binds the address and starts the thread.
    ///
    /// # Errors
    /// When the system refuses the address or the thread.
    pub fn start(address: SocketAddr, source: Source) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        thread::Builder::new()
            .name("segno-admin".to_owned())
            .spawn(move || run(listener.incoming(), &source, || park(Some(ACCEPT_REST))))?;
        Ok(Self { address })
    }

    /// The address that is listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves one connection after the other.
fn run(incoming: impl Iterator<Item = io::Result<TcpStream>>, source: &Source, mut rest: impl FnMut()) {
    let mut failing = false;
    for stream in incoming {
        match stream {
            Ok(stream) => {
                failing = false;
                if let Err(e) = serve(Patient::new(stream, source.clock), source) {
                    source.metrics.add(Count::AdminRequestsFailed, 1);
                    tracing::debug!("gave up a request to the admin address: {e}");
                }
            }
            Err(e) => {
                source.metrics.add(Count::AdminAcceptsFailed, 1);
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!("cannot accept at the admin address: {e}; trying again every {ACCEPT_REST:?}");
                }
                rest();
            }
        }
    }
}

/// A client's connection, and the time that the client has left.
struct Patient {
    stream: TcpStream,
    clock: Clock,
    /// The end of the time for the request, or for the page of the answer that is being sent.
    until: Tick,
    /// The end of the time for everything.
    end: Tick,
}

impl Patient {
    fn new(stream: TcpStream, clock: Clock) -> Self {
        let now = clock.now();
        Self { stream, clock, until: now + PATIENCE, end: now + LONGEST }
    }

    /// Gives the client its time for the next page.
    fn begin_page(&mut self) {
        self.until = self.clock.now() + PATIENCE;
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        match self.until.min(self.end).since(self.clock.now()) {
            Span::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left.into())),
        }
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn serve(mut stream: Patient, source: &Source) -> io::Result<()> {
    let mut out = Vec::new();
    match read_head(&mut stream)? {
        Err((status, why)) => write_answer(status, &why, &[], true, false, &mut out),
        Ok(head) => {
            let head_only = head.method == Method::Head;
            let (path, _) = head.target.split_once('?').unwrap_or((&head.target, ""));
            match path {
                _ if !matches!(head.method, Method::Get | Method::Head) => {
                    write_answer(405, "only GET is known here", &[("Allow", "GET, HEAD")], true, head_only, &mut out);
                }
                "/metrics" => {
                    let page = metrics_page(&source.metrics, source.clock.now());
                    text(&page, "text/plain; version=0.0.4; charset=utf-8", head_only, &mut out);
                }
                "/health" => health(source, head_only, &mut out),
                "/sessions" => return sessions(&mut stream, source, head_only),
                _ => write_answer(404, "known here: /metrics, /health, /sessions", &[], true, head_only, &mut out),
            }
        }
    }
    stream.begin_page();
    stream.write_all(&out)
}

/// Reads a request's head, of at most [`HEAD_BYTES`].
fn read_head(stream: &mut impl Read) -> io::Result<Result<RequestHead, (u16, String)>> {
    let limits = HeadLimits { bytes: HEAD_BYTES, ..HeadLimits::default() };
    let (mut finder, mut input, mut buffer) = (HeadFinder::new(), Vec::new(), [0; 2_048]);
    loop {
        if let Some(end) = finder.find(&input) {
            let head = parse_request(&input[finder.skip()..end], limits);
            return Ok(head.map_err(|e| (e.status(), e.to_string())));
        }
        if let Err(e) = limits.check_unfinished(&input) {
            return Ok(Err((e.status(), e.to_string())));
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => input.extend_from_slice(&buffer[..n]),
        }
    }
}

fn text(body: &str, content_type: &str, head_only: bool, out: &mut Vec<u8>) {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    out.extend_from_slice(head.as_bytes());
    if !head_only {
        out.extend_from_slice(body.as_bytes());
    }
}

/// An engine that serves is healthy. A store that is away is named in the body, since streams flow without it.
fn health(source: &Source, head_only: bool, out: &mut Vec<u8>) {
    let p = source.metrics.persistence();
    let store = match (p.store_open.get(), p.breaker_open.get()) {
        (0, _) => "away: nothing is stored until it opens",
        (_, 0) => "open",
        _ => "failing: cursors wait in memory",
    };
    text(&format!("ok\nstore: {store}\n"), "text/plain; charset=utf-8", head_only, out);
}

/// The stored cursors, a JSON object a line, until the connection closes.
fn sessions(stream: &mut Patient, source: &Source, head_only: bool) -> io::Result<()> {
    let mut after = None;
    let mut begun = false;
    loop {
        let asked = ask(source, after.take());
        stream.begin_page();
        let page = match asked {
            Ok(page) => page,
            Err(why) if !begun => {
                let mut out = Vec::new();
                write_answer(503, &why, &[("Retry-After", "1")], true, head_only, &mut out);
                return stream.write_all(&out);
            }
            // The chunked body breaks off here, so the client sees that it is not whole.
            Err(why) => return Err(io::Error::other(why)),
        };
        if !begun {
            begun = true;
            stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            )?;
        }
        let mut lines = Vec::new();
        for (name, cursor) in &page {
            write_json(name, cursor, &mut lines);
            lines.push(b'\n');
        }
        let mut out = Vec::new();
        crate::http::write_piece(&lines, true, &mut out);
        let last = page.len() < PAGE;
        if last {
            out.extend_from_slice(crate::http::LAST_CHUNK);
        }
        if !head_only {
            stream.write_all(&out)?;
        }
        if last || head_only {
            return Ok(());
        }
        after = page.into_iter().next_back().map(|(name, _)| name);
    }
}

fn ask(source: &Source, after: Option<StreamName>) -> Result<Vec<(StreamName, Record)>, String> {
    let (answer, wait) = bounded(1);
    // The reader may have given up waiting.
    let reply = Box::new(move |found| drop(answer.try_send(found)));
    source.store.scan(after, PAGE, reply).map_err(|e| e.to_string())?;
    match wait.recv_timeout(PATIENCE.into()) {
        Ok(found) => found.map_err(|e| e.to_string()),
        Err(_) => Err("the store did not answer in time".to_owned()),
    }
}

/// Appends a stored cursor as a JSON object on one line. Bytes that are not UTF-8 become U+FFFD.
pub(crate) fn write_json(name: &StreamName, cursor: &Record, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"session\":");
    write_text(&name.session, out);
    out.extend_from_slice(format!(",\"stream\":\"{:016x}\",\"last_event_id\":", name.stream).as_bytes());
    write_text(cursor.id.as_bytes(), out);
    let Record { epoch, sequence, last_seen_ms, .. } = cursor;
    let rest = format!(",\"sequence\":{sequence},\"epoch\":{epoch},\"last_seen_ms\":{last_seen_ms}}}");
    out.extend_from_slice(rest.as_bytes());
}

fn write_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            c if u32::from(c) < 0x20 => out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::EventId;
    use crate::engine::Engine;

    fn source(engine: &Engine) -> Source {
        Source { metrics: Arc::clone(engine.metrics()), store: engine.store(), clock: engine.clock() }
    }

    #[test]
    fn an_accept_that_fails_is_counted_and_rested_from() {
        let engine = Engine::builder().start().unwrap();
        let fail = || Err(io::Error::from(io::ErrorKind::OutOfMemory));
        let mut rests = 0;
        run((0..5).map(|_| fail()), &source(&engine), || rests += 1);
        assert_eq!((rests, engine.count(Count::AdminAcceptsFailed)), (5, 5));
    }

    #[test]
    fn a_client_that_sends_byte_by_byte_is_given_up_in_time_and_the_next_is_served() {
        let engine = Engine::builder().start().unwrap();
        let admin = Admin::start(SocketAddr::from(([127, 0, 0, 1], 0)), source(&engine)).unwrap();
        let mut slow = TcpStream::connect(admin.address()).unwrap();
        let (clock, mut sent) = (Clock::start(), 0);
        slow.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        // Never as long without a byte as a client may take over all of its request.
        while slow.write_all(b"G").is_ok() {
            sent += 1;
            assert!(sent < 50, "{sent} bytes in {}, and it still waits for more", clock.now().since(Tick::ZERO));
            match slow.read(&mut [0]) {
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                _ => break,
            }
        }
        let mut next = TcpStream::connect(admin.address()).unwrap();
        next.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        next.write_all(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut answer = String::new();
        next.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("ok\n"), "{answer}");
        assert_eq!(engine.count(Count::AdminRequestsFailed), 1);
    }

    #[test]
    fn a_cursor_is_one_line_of_valid_json_whatever_it_holds() {
        let all: Vec<u8> = (0..=255).collect();
        let name = StreamName { session: all.clone().into(), stream: 1 };
        let id = EventId::from_bytes(&all).unwrap();
        let mut line = Vec::new();
        write_json(&name, &Record { epoch: 1, sequence: 2, id, last_seen_ms: 3 }, &mut line);
        let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert!(!line.contains(&b'\n'));
        assert_eq!(
            (json["last_event_id"].as_str().unwrap(), &json["sequence"]),
            (&*String::from_utf8_lossy(&all), &2.into())
        );
    }
}
