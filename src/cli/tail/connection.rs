//! One connection to a stream: opens it, sends the request, reads the answer.
//!
//! In: a URL, a [`Request`], the id of the last event. Out: the head of the answer, then pieces of its body.
//! Laws: no read waits longer than [`POLL`], so that a signal is noticed soon; a body that breaks off is an error.

use super::url::Url;
use crate::config::Scheme;
use crate::http::{AtEof, BodyDecoder, HeadFinder, HeadLimits, Method, Piece, ResponseHead, parse_response};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How often a wait is interrupted to check for signals.
pub(super) const POLL: Duration = Duration::from_millis(100);

/// How long one address may take to accept the connection, and one write to be accepted.
const CONNECT: Duration = Duration::from_secs(10);

/// The size of the read buffer, in bytes.
const READ: usize = 64 << 10;

/// A request, without what depends on the connection.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Vec<u8>>,
}

impl Request {
    /// The request as bytes, with the id in `cursor` as its `Last-Event-ID`.
    pub(super) fn write(&self, url: &Url, cursor: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        let mut line = |name: &str, value: &[u8]| {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        };
        let given = |name: &str| self.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        line("Host", url.origin.authority.as_bytes());
        for (name, value) in [("Accept", "text/event-stream"), ("Cache-Control", "no-store"), ("User-Agent", "segno")] {
            if !given(name) {
                line(name, value.as_bytes());
            }
        }
        self.headers.iter().for_each(|(name, value)| line(name, value.as_bytes()));
        if let Some(id) = cursor {
            line("Last-Event-ID", id);
        }
        if let Some(body) = &self.body {
            line("Content-Length", body.len().to_string().as_bytes());
        }
        let first = format!("{} {} HTTP/1.1\r\n", self.method.as_str(), url.target);
        [first.as_bytes(), &out, b"\r\n", self.body.as_deref().unwrap_or_default()].concat()
    }
}

/// The result of one read.
pub(super) enum Progress {
    /// Bytes of the body came.
    Bytes,
    /// Nothing came in time. Check for signals and read on.
    Nothing,
    /// The body ended as it should.
    End,
    /// The connection ended, and the body with it: it has no length and no chunks.
    Closed,
}

/// An open connection.
pub(super) struct Connection {
    stream: Stream,
    input: Vec<u8>,
    body: BodyDecoder,
    buffer: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

impl Connection {
    /// Connects to the first address that accepts.
    ///
    /// # Errors
    /// The error of the last address, or of the name's look-up.
    pub(super) fn open(url: &Url) -> io::Result<Self> {
        let mut why = io::Error::new(ErrorKind::NotFound, "the name has no address");
        for address in (url.origin.host.as_str(), url.origin.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_write_timeout(Some(CONNECT))?;
                    let stream = secure(stream, url)?;
                    let body = BodyDecoder::new(crate::http::BodyLength::None);
                    return Ok(Self { stream, input: Vec::new(), body, buffer: vec![0; READ] });
                }
                Err(e) => why = e,
            }
        }
        Err(why)
    }

    pub(super) fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.writer().write_all(request)?;
        self.stream.writer().flush()?;
        self.stream.socket().set_read_timeout(Some(POLL))
    }

    /// Whether the upstream may have received what was sent. With TLS that is not possible before the handshake is
    /// done.
    pub(super) fn is_established(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => true,
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => !stream.conn.is_handshaking(),
        }
    }

    /// Reads on towards the end of the answer's head. `None` if it has not come in time; call again.
    pub(super) fn head(&mut self, method: &Method) -> io::Result<Option<ResponseHead>> {
        let limits = HeadLimits::default();
        let wrong = |e: &dyn std::fmt::Display| io::Error::new(ErrorKind::InvalidData, e.to_string());
        loop {
            let mut finder = HeadFinder::new();
            if let Some(end) = finder.find(&self.input) {
                let head = parse_response(&self.input[finder.skip()..end], method, limits).map_err(|e| wrong(&e))?;
                self.input.drain(..end);
                if head.is_interim() {
                    continue;
                }
                self.body = BodyDecoder::new(head.body);
                return Ok(Some(head));
            }
            limits.check_unfinished(&self.input).map_err(|e| wrong(&e))?;
            match self.fill()? {
                None => return Ok(None),
                Some(0) => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "the connection closed without an answer"));
                }
                Some(_) => {}
            }
        }
    }

    /// Reads once and calls `each` with the body's bytes.
    pub(super) fn read(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<Progress> {
        if self.input.is_empty() {
            match self.fill()? {
                None => return Ok(Progress::Nothing),
                Some(0) if self.body.at_eof() == AtEof::Truncated => return Err(ErrorKind::UnexpectedEof.into()),
                Some(0) if self.body.at_eof() == AtEof::UntilClose => return Ok(Progress::Closed),
                Some(0) => return Ok(Progress::End),
                Some(_) => {}
            }
        }
        let (mut used, mut got) = (0, Progress::Bytes);
        loop {
            let (n, piece) = match self.body.next(&self.input[used..]) {
                Ok(next) => next,
                Err(e) => return Err(io::Error::new(ErrorKind::InvalidData, e.to_string())),
            };
            used += n;
            match piece {
                Piece::Data(data) => each(data),
                Piece::More => break,
                Piece::End => {
                    got = Progress::End;
                    break;
                }
            }
        }
        self.input.clear();
        Ok(if self.body.is_done() { Progress::End } else { got })
    }

    /// Reads once and appends the bytes to the input. Gives their number, or `None` if nothing came in time.
    fn fill(&mut self) -> io::Result<Option<usize>> {
        match self.stream.reader().read(&mut self.buffer) {
            Ok(n) => {
                self.input.extend_from_slice(&self.buffer[..n]);
                Ok(Some(n))
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref(),
        }
    }

    fn reader(&mut self) -> &mut dyn Read {
        match self {
            Self::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream,
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream,
        }
    }
}

fn secure(stream: TcpStream, url: &Url) -> io::Result<Stream> {
    match url.origin.scheme {
        Scheme::Http => Ok(Stream::Plain(stream)),
        #[cfg(feature = "tls")]
        Scheme::Https => {
            let session = crate::reactor::client_session(&url.origin.host).map_err(io::Error::other)?;
            Ok(Stream::Tls(Box::new(rustls::StreamOwned::new(session, stream))))
        }
        #[cfg(not(feature = "tls"))]
        Scheme::Https => {
            Err(io::Error::new(ErrorKind::Unsupported, "this build has no TLS; build with the feature `tls`"))
        }
    }
}
