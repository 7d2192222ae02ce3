//! TLS towards upstreams, by rustls, over a non-blocking socket.
//!
//! In: plain bytes and the socket. Out: the peer's plain bytes. An end with `close_notify` is an end; an end without it
//! is an error, since a truncation is a cut.
//! Law: the peer's certificate is checked against the system's roots, or against the certificates of `upstream_ca`
//! alone.

use crate::config::{Config, Fault, Route, Scheme, Section};
use crate::machine::ConnectError;
use mio::net::TcpStream;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection, RootCertStore};
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that may wait for the socket to take them.
const HELD: usize = 64 << 10;

/// One TLS connection.
#[derive(Debug)]
pub(super) struct Tls {
    session: ClientConnection,
    stream: TcpStream,
}

/// Why TLS cannot be set up for a route.
#[derive(Debug)]
pub enum TlsError {
    /// The file with certificates could not be read.
    Certificates {
        /// The file. `None`: the system's roots.
        file: Option<PathBuf>,
        /// What went wrong.
        why: String,
    },
    /// A certificate cannot hold the name of the upstream's host.
    Name(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificates { file: Some(file), why } => {
                write!(f, "cannot use the certificates in {}: {why}", file.display())
            }
            Self::Certificates { file: None, why } => {
                write!(f, "cannot use the system's root certificates: {why}; name a file with `upstream_ca`")
            }
            Self::Name(host) => write!(f, "`{host}` is not a host name that a certificate can hold"),
        }
    }
}

impl std::error::Error for TlsError {}

/// What a route needs to open TLS connections.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Dialer {
    /// The dialers of all routes, by the route's index. `None`: the upstream is plain HTTP.
    pub(super) fn of_routes(config: &Config) -> Result<Vec<Option<Self>>, TlsError> {
        config
            .routes
            .iter()
            .map(|route| match route.upstream.scheme {
                Scheme::Http => Ok(None),
                Scheme::Https => Self::new(&route.upstream.host, route.upstream_ca.as_deref()).map(Some),
            })
            .collect()
    }

    pub(super) fn new(host: &str, ca: Option<&Path>) -> Result<Self, TlsError> {
        let (name, roots) = (name_of(host)?, roots(ca)?);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| TlsError::Certificates { file: None, why: e.to_string() })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), name })
    }

    /// Puts TLS over a connected socket.
    pub(super) fn dial(&self, stream: TcpStream) -> io::Result<Tls> {
        let mut session =
            ClientConnection::new(Arc::clone(&self.config), self.name.clone()).map_err(io::Error::other)?;
        session.set_buffer_limit(Some(HELD));
        Ok(Tls { session, stream })
    }
}

/// Why a handshake failed, for the machine and for a person.
pub(super) fn in_words(e: &io::Error) -> (ConnectError, String) {
    use CertificateError as Bad;
    use rustls::Error as Tls;
    let Some(inner) = e.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) else {
        return (ConnectError::HandshakeCut, format!("the connection ended inside the handshake ({e})"));
    };
    match inner {
        Tls::InvalidCertificate(bad) => {
            let words = match bad {
                Bad::Expired | Bad::ExpiredContext { .. } => {
                    "its certificate has expired, or this machine's clock is wrong"
                }
                Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                    "its certificate is not valid yet, or this machine's clock is wrong"
                }
                Bad::UnknownIssuer => {
                    "nobody whom segno trusts has signed its certificate; `upstream_ca` names a file of further \
                     certificates to trust"
                }
                Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                    "its certificate is for another name than `upstream` has"
                }
                _ => "its certificate is not accepted; `upstream_ca` names a file of certificates to trust",
            };
            (ConnectError::Certificate, format!("{words} ({bad})"))
        }
        Tls::InvalidMessage(_) => {
            let words = "what came back is not TLS; if the port is for plain HTTP, write `http://` in `upstream`";
            (ConnectError::NotTls, format!("{words} ({inner})"))
        }
        Tls::AlertReceived(AlertDescription::InternalError | AlertDescription::UserCanceled) => {
            (ConnectError::HandshakeCut, format!("it broke the handshake off ({inner})"))
        }
        _ => (ConnectError::Tls, format!("no handshake is possible ({inner})")),
    }
}

/// The client's side of a TLS connection to a host, for a socket of the caller's. The host's certificate is checked
/// against the system's roots.
///
/// # Errors
/// [`TlsError`], when there are no roots, or a certificate cannot hold the host's name.
pub fn client_session(host: &str) -> Result<ClientConnection, TlsError> {
    let dialer = Dialer::new(host, None)?;
    ClientConnection::new(dialer.config, dialer.name).map_err(|e| TlsError::Name(format!("{host}: {e}")))
}

/// What is wrong with the certificates that routes trust, and with the names of their upstreams.
pub(super) fn tls_faults(config: &Config) -> Vec<Fault> {
    // Many routes trust the same certificates.
    let mut known: Vec<(Option<&Path>, Option<String>)> = Vec::new();
    let mut found = Vec::new();
    let is_tls = |route: &Route| route.upstream.scheme == Scheme::Https;
    for (n, route) in config.routes.iter().enumerate().filter(|(_, route)| is_tls(route)) {
        let mut add = |key, what| found.push(Fault { section: Section::Route(n), key, other: None, what });
        if let Err(why) = name_of(&route.upstream.host) {
            add("upstream", format!("`upstream`: {why}"));
        }
        let ca = route.upstream_ca.as_deref();
        let at = known.iter().position(|(known, _)| *known == ca).unwrap_or_else(|| {
            known.push((ca, roots(ca).err().map(|why| why.to_string())));
            known.len() - 1
        });
        if let Some(why) = known.get(at).and_then(|(_, why)| why.as_ref()) {
            let key = if ca.is_some() { "upstream_ca" } else { "upstream" };
            add(key, format!("`{key}`: {why}"));
        }
    }
    found
}

fn name_of(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    ca.map_or_else(system_roots, roots_of_file)
}

fn roots_of_file(file: &Path) -> Result<RootCertStore, TlsError> {
    let wrong = |why: String| TlsError::Certificates { file: Some(file.to_owned()), why };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|e| wrong(e.to_string()))? {
        let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
        roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("it holds no certificate in PEM form".to_owned()));
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _unreadable) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(TlsError::Certificates { file: None, why });
    }
    Ok(roots)
}

impl Tls {
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn stream_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Goes on with the handshake. True when it is done.
    pub(super) fn handshake(&mut self) -> io::Result<bool> {
        while self.session.is_handshaking() {
            self.send_ciphertext()?;
            if !self.session.is_handshaking() {
                break;
            }
            match self.take_ciphertext() {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        self.send_ciphertext()?;
        Ok(true)
    }

    pub(super) fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(room) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.take_ciphertext()?,
                other => return other,
            }
        }
    }

    /// Takes plain bytes until the socket is full. A caller that sees fewer taken than it gave waits for the socket to
    /// become writable, which only a full socket reports.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_ciphertext()?;
        let mut taken = 0;
        for slice in slices {
            let mut rest: &[u8] = slice;
            while !rest.is_empty() {
                let n = self.session.writer().write(rest)?;
                self.send_ciphertext()?;
                if n == 0 && taken == 0 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                if n == 0 {
                    return Ok(taken);
                }
                taken += n;
                rest = &rest[n..];
            }
        }
        Ok(taken)
    }

    /// Sends what is held, after the socket became writable again.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.send_ciphertext()
    }

    /// Says `close_notify`: nothing more comes (RFC 8446 section 6.1). The socket takes it now or, if it is full, with
    /// what is held; a connection that is broken needs no such word.
    pub(super) fn say_end(&mut self) {
        if !self.session.is_handshaking() {
            self.session.send_close_notify();
            let _ = self.send_ciphertext();
        }
    }

    fn take_ciphertext(&mut self) -> io::Result<()> {
        match self.session.read_tls(&mut self.stream)? {
            0 => {
                if self.session.is_handshaking() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let _ = self.session.process_new_packets().map_err(io::Error::other)?;
            }
            _ => {
                let result = self.session.process_new_packets().map_err(io::Error::other);
                // An alert goes out as far as it can. A connection that cannot be written may still hold an answer; the
                // read behind that answer reports the break.
                let _ = self.send_ciphertext();
                result?;
            }
        }
        Ok(())
    }

    fn send_ciphertext(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
