//! One connection to a stream: opened, asked, read.
//!
//! In: a URL, the request's lines, a cursor. Out: the head of the answer, then pieces of its body.
//! Laws: no wait is longer than [`LOOK`], so that signals are heard; a body that ends before its end is an error.

use super::url::Url;
use crate::config::Scheme;
use crate::http::{AtEof, BodyDecoder, HeadFinder, HeadLimits, Method, Piece, ResponseHead, parse_response};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How often a wait is interrupted to look for signals.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// How long an address may take to answer.
const CONNECT: Duration = Duration::from_secs(10);

/// Bytes read at a time.
const READ: usize = 64 << 10;

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Vec<u8>>,
}

impl Ask {
    /// The request as bytes.
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

/// What reading gave.
pub(super) enum Got {
    /// Some of the body.
    Bytes,
    /// Nothing came in time: look at signals and read on.
    Nothing,
    /// The body ended as it should.
    End,
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
    /// Connects to the first address that answers.
    ///
    /// # Errors
    /// That of the last address, or of the name's look-up.
    pub(super) fn open(url: &Url) -> io::Result<Self> {
        let mut why = io::Error::new(ErrorKind::NotFound, "its name has no address");
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
        self.stream.socket().set_read_timeout(Some(LOOK))
    }

    /// Whether the other side may have had what was sent: with TLS not before both sides have agreed.
    pub(super) fn is_established(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => true,
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => !stream.conn.is_handshaking(),
        }
    }

    /// Reads on until the answer's head is there. `None`: not yet.
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
                Some(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "it closed without an answer")),
                Some(_) => {}
            }
        }
    }

    /// Reads once and hands the body's bytes over.
    pub(super) fn read(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<Got> {
        if self.input.is_empty() {
            match self.fill()? {
                None => return Ok(Got::Nothing),
                Some(0) if self.body.at_eof() == AtEof::Truncated => return Err(ErrorKind::UnexpectedEof.into()),
                Some(0) => return Ok(Got::End),
                Some(_) => {}
            }
        }
        let (mut used, mut got) = (0, Got::Bytes);
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
                    got = Got::End;
                    break;
                }
            }
        }
        self.input.clear();
        Ok(if self.body.is_done() { Got::End } else { got })
    }

    /// Reads what there is behind the input; `None` when nothing comes in time.
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
