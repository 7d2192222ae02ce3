//! A small client that shows every byte that it gets, and how a body ended.
//!
//! In: requests as bytes. Out: heads, bodies, and whether their framing was complete.

use super::PATIENCE;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};

/// How a body ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The body is complete, as its framing says.
    Whole,
    /// The connection ended before the body was complete.
    Cut,
}

/// An answer, with the part of its body that came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    pub end: End,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }
}

/// What a client's bytes go through: the socket, or TLS over it.
pub trait Wire: Read + Write + Send {
    /// The socket below.
    fn socket(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

/// One connection to the proxy.
pub struct Client {
    stream: BufReader<Box<dyn Wire>>,
    /// The event stream so far, without its chunk framing.
    pub text: Vec<u8>,
}

impl Client {
    pub fn connect(to: SocketAddr) -> Self {
        Self::over(TcpStream::connect(to).expect("the proxy accepts"))
    }

    pub fn over(stream: impl Wire + 'static) -> Self {
        stream.socket().set_nodelay(true).unwrap();
        stream.socket().set_read_timeout(Some(PATIENCE)).unwrap();
        stream.socket().set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(Box::new(stream)), text: Vec::new() }
    }

    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref().socket()
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends until all bytes are sent or the proxy refuses more. Returns whether the proxy took all.
    pub fn pour(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// Sends a GET without `Accept: text/event-stream`, as browsers and curl do.
    pub fn get(&mut self, target: &str) {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
    }

    /// Sends a GET that asks for events.
    pub fn get_events(&mut self, target: &str) {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n"));
    }

    /// Sends a GET that asks for events, and reads the head of the stream.
    pub fn open_events(&mut self, target: &str) -> String {
        self.get_events(target);
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.to_ascii_lowercase().contains("transfer-encoding: chunked\r\n"), "{head}");
        head
    }

    /// Reads a head.
    pub fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let n = self.stream.read_line(&mut head).unwrap_or_else(|e| panic!("{e} after {head:?}"));
            assert_ne!(n, 0, "the connection ends inside {head:?}");
        }
        head
    }

    /// Reads a whole answer to a request that was not a HEAD.
    pub fn answer(&mut self) -> Answer {
        let head = self.head();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        let mut body = Vec::new();
        let end = self.read_body(&head, |piece| body.extend_from_slice(piece));
        Answer { status, head, body, end }
    }

    /// Reads a body as its head frames it.
    pub fn read_body(&mut self, head: &str, mut each: impl FnMut(&[u8])) -> End {
        let head = head.to_ascii_lowercase();
        if head.contains("transfer-encoding: chunked\r\n") {
            return self.read_chunks(each);
        }
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let mut left: usize = length.and_then(|n| n.parse().ok()).unwrap_or(0);
        let mut piece = vec![0; 64 << 10];
        while left > 0 {
            let most = left.min(piece.len());
            match self.stream.read(&mut piece[..most]) {
                Ok(0) => return End::Cut,
                Ok(n) => {
                    left -= n;
                    each(&piece[..n]);
                }
                Err(e) => return cut(&e),
            }
        }
        End::Whole
    }

    /// Reads a stream of numbered events to its end, on a thread of its own. Fails if one is missing or comes twice, if
    /// there is anything beside them, or if the stream is cut. Gives how many there were.
    pub fn read_numbered(mut self, target: &str) -> JoinHandle<usize> {
        self.open_events(target);
        let read = move || {
            let mut text = Vec::new();
            let end = self.read_chunks(|piece| text.extend_from_slice(piece));
            assert_eq!(end, End::Whole, "a stream was cut");
            let text = String::from_utf8(text).unwrap();
            let ids: Vec<usize> = text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect();
            assert!(ids.iter().copied().eq(1..=ids.len()), "lost or repeated: {ids:?}");
            assert_eq!(
                text.len(),
                ids.iter().map(|n| format!("id: {n}\ndata: {n}\n\n").len()).sum::<usize>(),
                "{text}"
            );
            ids.len()
        };
        thread::Builder::new().stack_size(256 << 10).spawn(read).unwrap()
    }

    /// Reads chunks up to the last one, or to the end of the connection. `each` does not get a chunk that is cut off.
    pub fn read_chunks(&mut self, mut each: impl FnMut(&[u8])) -> End {
        loop {
            match read_chunk(&mut self.stream) {
                Ok(Some(chunk)) => each(&chunk),
                Ok(None) => return End::Whole,
                Err(e) => return cut(&e),
            }
        }
    }

    /// Reads on in an event stream until `what` has come. All that came is in [`Client::text`].
    pub fn until(&mut self, what: impl AsRef<[u8]>) {
        let what = what.as_ref();
        let mut from = 0;
        while memchr::memmem::find(&self.text[from..], what).is_none() {
            from = self.text.len().saturating_sub(what.len());
            match read_chunk(&mut self.stream) {
                Ok(Some(chunk)) => self.text.extend_from_slice(&chunk),
                other => panic!("{:?} did not come, but {other:?}", String::from_utf8_lossy(what)),
            }
        }
    }

    /// Reads an event stream to its end. All that came is in [`Client::text`].
    pub fn rest(&mut self) -> End {
        let mut text = std::mem::take(&mut self.text);
        let end = self.read_chunks(|chunk| text.extend_from_slice(chunk));
        self.text = text;
        end
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.text).expect("the stream is text")
    }

    /// Reads some bytes as they come, with the chunk framing; 0 at the end.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        self.stream.read(into).unwrap()
    }

    /// Reads some bytes as they come, or how the connection ends.
    pub fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.read(into)
    }

    /// Reads one more byte, or how the connection ends: `Ok(0)` is an orderly end.
    pub fn read_end(&mut self) -> io::Result<usize> {
        self.stream.read(&mut [0])
    }

    /// Reads until the proxy has closed or reset the connection. Returns the bytes that came before.
    pub fn until_gone(&mut self) -> Vec<u8> {
        let mut got = Vec::new();
        if let Err(e) = self.stream.read_to_end(&mut got) {
            cut(&e);
        }
        got
    }

    /// A second handle, for a thread that sends while this one reads.
    pub fn sender(&self) -> TcpStream {
        self.socket().try_clone().unwrap()
    }

    /// Closes the connection, as a client does that leaves.
    pub fn close(self) {
        let _ = self.socket().shutdown(Shutdown::Both);
    }
}

/// Takes an error for the end of the connection. Panics on a time-out, which is not an end.
fn cut(e: &io::Error) -> End {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    assert!(matches!(e.kind(), BrokenPipe | ConnectionReset | UnexpectedEof), "the answer stops without an end: {e}");
    End::Cut
}

/// Reads one chunk. For the last one reads its blank line too, and returns `None`.
pub fn read_chunk(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let Some(size) = line.strip_suffix("\r\n") else { return Err(io::ErrorKind::UnexpectedEof.into()) };
    let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("{line:?} is no size of a chunk"));
    let mut chunk = vec![0; size + 2];
    from.read_exact(&mut chunk)?;
    assert_eq!(&chunk[size..], b"\r\n", "a chunk does not end where it should");
    chunk.truncate(size);
    Ok((size > 0).then_some(chunk))
}
