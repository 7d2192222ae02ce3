//! The flaky upstream: plays the scripts on blocking sockets, with one thread per connection.
//!
//! In: requests `GET /NAME` or `POST /NAME`, with or without `Last-Event-ID`. Out: event streams that break as their
//! scripts say. At intervals there is no listener at all, so that connections are refused.
//! Laws: every socket has timeouts; the number of connections has a bound; a cut is noted before its bytes go out, so
//! that the next request finds the note, however early it comes.
//! Source: RFC 9112 section 7.1 (chunks) and 8 (incomplete messages).

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use super::kind::{Cut, Kind, Spot};
use super::stream::{Body, Response, Stream};
use super::world::World;
use crate::base::{Random, Span, Tick};

/// Connections at one time. A further one is closed at once, and the run fails.
const MAX_CONNECTIONS: usize = 512;
/// The longest request head, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// How long one read of the request, or one write of the response, may take.
const IO_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an outage lasts.
const OUTAGE: Span = Span::from_millis(300);
/// The time from the start of one outage to the start of the next.
const OUTAGE_EVERY: Span = Span::from_secs(2);
/// Attempts to bind the same port again.
const BIND_ATTEMPTS: u32 = 100;

/// Finds the stream for a request. In: the path without its leading `/`, and the `Last-Event-ID`. `None` is answered
/// 404.
pub(super) type Find = Arc<dyn Fn(&str, Option<&str>) -> Option<Arc<Stream>> + Send + Sync>;

/// A port of the loopback interface that the system chooses.
pub(super) const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// An upstream that listens.
pub(super) struct Upstream {
    pub(super) addr: SocketAddr,
    acceptor: JoinHandle<()>,
}

impl Upstream {
    /// Binds `addr` and serves it until the world stops.
    ///
    /// # Errors
    /// The address cannot be bound, or no thread can be started.
    pub(super) fn start(addr: SocketAddr, world: Arc<World>, find: Find) -> io::Result<Self> {
        let listener = bind(addr)?;
        let addr = listener.local_addr()?;
        let acceptor =
            thread::Builder::new().name("upstream".to_owned()).spawn(move || accept(&world, &find, addr, listener))?;
        Ok(Self { addr, acceptor })
    }

    /// Whether the upstream has ended: it was stopped, or could not bind its address again after an outage.
    pub(super) fn has_ended(&self) -> bool {
        self.acceptor.is_finished()
    }

    /// Waits for all threads. Call [`World::stop`] first.
    pub(super) fn join(self) {
        // A thread that panicked has left its stream unfinished. The stream's client reports that.
        let _ = self.acceptor.join();
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts connections, and closes the listener for a while now and then.
fn accept(world: &Arc<World>, find: &Find, addr: SocketAddr, mut listener: TcpListener) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    let mut next_outage = world.start + Span::from_secs(1);
    while !world.is_stopped() {
        if world.now() >= next_outage && next_outage + OUTAGE_EVERY <= world.end {
            next_outage = next_outage + OUTAGE_EVERY;
            drop(listener);
            world.set_down();
            world.sleep_until(world.now() + OUTAGE);
            listener = match bind_again(world, addr) {
                Ok(listener) => listener,
                Err(error) => {
                    world.fail(format!("upstream: cannot bind {addr} again: {error}"));
                    break;
                }
            };
            world.set_up();
        }
        match listener.accept() {
            Ok((socket, _)) => admit(world, find, socket, &mut threads),
            // No connection waits, or its peer has left again. In both cases we try again soon.
            Err(_) => _ = world.doze(world.now() + Span::from_millis(1)),
        }
    }
    threads.into_iter().for_each(|thread| _ = thread.join());
}

fn bind_again(world: &World, addr: SocketAddr) -> io::Result<TcpListener> {
    let mut bound = bind(addr);
    for _ in 0..BIND_ATTEMPTS {
        if bound.is_ok() || world.is_stopped() {
            break;
        }
        world.doze(world.now() + Span::from_millis(20));
        bound = bind(addr);
    }
    bound
}

fn admit(world: &Arc<World>, find: &Find, socket: TcpStream, threads: &mut Vec<JoinHandle<()>>) {
    threads.retain(|thread| !thread.is_finished());
    if threads.len() >= MAX_CONNECTIONS {
        world.fail("upstream: too many connections at one time".to_owned());
        return;
    }
    let (shared, find) = (Arc::clone(world), Arc::clone(find));
    // The peer may leave at any time. If events are lost by that, the stream's client reports them.
    let serve = move || _ = serve(&shared, &find, socket);
    match thread::Builder::new().name("upstream connection".to_owned()).spawn(serve) {
        Ok(thread) => threads.push(thread),
        Err(error) => world.fail(format!("upstream: no thread for a connection: {error}")),
    }
}

/// Serves one connection, which carries one request.
fn serve(world: &World, find: &Find, mut socket: TcpStream) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(IO_TIMEOUT))?;
    socket.set_write_timeout(Some(IO_TIMEOUT))?;
    let Some((name, last_id)) = request(&mut socket)? else { return Ok(()) };
    let Some(stream) = find(&name, last_id.as_deref()) else { return respond(&mut socket, 404) };
    match stream.answer(world, last_id.as_deref()) {
        Response::Reset => reset(&socket),
        Response::Status(code) => respond(&mut socket, code),
        Response::Body(body) => Connection { world, stream: &stream, socket, chunked: true }.play(&body),
    }
}

/// Reads a request: the path without its leading `/`, and the `Last-Event-ID`. `None` if the peer left or sent
/// something else.
fn request(socket: &mut TcpStream) -> io::Result<Option<(String, Option<String>)>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 2048];
    let (head, mut body) = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break (String::from_utf8_lossy(&bytes[..at]).into_owned(), bytes.len() - at - 4);
        }
        match socket.read(&mut buffer)? {
            0 => return Ok(None),
            n => bytes.extend_from_slice(&buffer[..n]),
        }
        if bytes.len() > MAX_HEAD {
            return Ok(None);
        }
    };
    let mut lines = head.split("\r\n");
    let words = lines.next().and_then(|line| line.split_once(" /"));
    let path =
        words.filter(|(method, _)| matches!(*method, "GET" | "POST")).and_then(|(_, rest)| rest.split(' ').next());
    let field = |wanted: &str| {
        let fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
        fields.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim()).next()
    };
    // If the body stayed unread, the kernel would end the connection with a reset.
    let length = field("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    while body < length {
        match socket.read(&mut buffer)? {
            0 => return Ok(None),
            n => body += n,
        }
    }
    Ok(path.map(|path| (path.to_owned(), field("last-event-id").map(str::to_owned))))
}

/// Sends a head without a body and ends the connection.
fn respond(socket: &mut TcpStream, code: u16) -> io::Result<()> {
    let fields = match code {
        204 => "",
        429 => "Retry-After: 1\r\nContent-Length: 0\r\n",
        _ => "Content-Length: 0\r\n",
    };
    write!(socket, "HTTP/1.1 {code} Demo\r\n{fields}Connection: close\r\n\r\n")?;
    socket.shutdown(Shutdown::Write)
}

/// Makes the kernel send RST when the socket is dropped. The caller drops the socket next.
fn reset(socket: &TcpStream) -> io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

/// One response that is an event stream.
struct Connection<'a> {
    world: &'a World,
    stream: &'a Stream,
    socket: TcpStream,
    chunked: bool,
}

impl Connection<'_> {
    /// Sends the stream until its next cut or its end.
    fn play(mut self, body: &Body) -> io::Result<()> {
        self.chunked = body.cut.is_none_or(|cut| cut.chunked);
        self.head(body.preface)?;
        let mut n = body.from;
        loop {
            if let Some(cut) = body.cut.filter(|cut| cut.after <= n) {
                return self.cut(n, &cut, true);
            }
            if n >= self.stream.script.len() {
                return self.end();
            }
            match self.wait(self.stream.due(n)) {
                Wait::Due => self.event(n)?,
                Wait::Outage(number) => return self.cut(n, &outage_cut(number, n), false),
                Wait::Stopped => return reset(&self.socket),
            }
            n = self.stream.script.next(n);
        }
    }

    fn head(&mut self, preface: &str) -> io::Result<()> {
        let framing = if self.chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
        let fields = "Content-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n";
        write!(self.socket, "HTTP/1.1 200 OK\r\n{fields}{framing}\r\n")?;
        if preface.is_empty() { Ok(()) } else { self.piece(preface.as_bytes()) }
    }

    fn wait(&self, due: Tick) -> Wait {
        loop {
            // An outage ends connections with a FIN between events. Without chunks that would be a legal end of the
            // body.
            if let Some(number) = self.world.outage()
                && self.chunked
                && self.stream.is_cut_by_outage(number)
            {
                return Wait::Outage(number);
            }
            if self.world.is_stopped() {
                return Wait::Stopped;
            }
            if self.world.doze(due) {
                return Wait::Due;
            }
        }
    }

    fn event(&mut self, n: usize) -> io::Result<()> {
        self.stream.note_write(n, self.world.now());
        self.piece(&self.stream.script.block(n))
    }

    /// Writes bytes of the body, as one chunk if the body has chunks.
    fn piece(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.chunked {
            return self.socket.write_all(bytes);
        }
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.socket.write_all(&chunk)
    }

    /// Breaks the connection before event `n` or inside it.
    fn cut(mut self, n: usize, cut: &Cut, planned: bool) -> io::Result<()> {
        let block = self.stream.script.block(n);
        if matches!(cut.spot, Spot::Inside | Spot::Chunk) && !self.world.sleep_until(self.stream.due(n)) {
            return reset(&self.socket);
        }
        if cut.spot == Spot::Chunk {
            self.stream.note_write(n, self.world.now());
        }
        self.stream.note_cut(self.world, cut.kind, planned);
        match cut.spot {
            Spot::Between => {}
            Spot::Inside => self.piece(&block[..cut.part(block.len())])?,
            Spot::ChunkHeader => self.socket.write_all(b"1")?,
            Spot::Chunk => {
                let mut chunk = format!("{:x}\r\n", block.len() + 64).into_bytes();
                chunk.extend_from_slice(&block);
                self.socket.write_all(&chunk)?;
            }
        }
        if cut.reset { reset(&self.socket) } else { self.socket.shutdown(Shutdown::Write) }
    }

    /// Ends the stream as its rule says: with the last chunk, or with a FIN. For odd client numbers the FIN is inside
    /// an event.
    fn end(mut self) -> io::Result<()> {
        self.stream.note_end();
        if self.stream.script.rule.closes() {
            self.socket.write_all(b"0\r\n\r\n")?;
        } else if self.stream.script.client % 2 == 1 {
            self.piece(b"data: half an ev")?;
        }
        self.socket.shutdown(Shutdown::Write)
    }
}

enum Wait {
    Due,
    Outage(usize),
    Stopped,
}

/// The cut that an outage makes.
fn outage_cut(number: usize, n: usize) -> Cut {
    Cut::new(Kind::Refused, n, &mut Random::new((number << 16 | n) as u64))
}
