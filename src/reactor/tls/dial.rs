//! TLS towards upstreams: what a route needs to open a connection.
//!
//! In: a host's name, the certificates to trust, a certificate to show. Out: TLS over a connected socket.
//! Law: the host's certificate is checked against the system's roots, or against the certificates of `upstream_ca`
//! alone.

use super::files::{TlsError, chain, key, provider, roots_or_system};
use super::wire::Tls;
use crate::config::{Route, Upstream};
use mio::net::TcpStream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What a route needs to open TLS connections.
#[derive(Clone, Debug)]
pub(in crate::reactor) struct Dialer {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Dialer {
    pub(super) fn of(route: &Route, upstream: &Upstream) -> Result<Self, TlsError> {
        let cert = route.upstream_cert.as_deref();
        let own = cert.map(|cert| (cert, route.upstream_key.as_deref().unwrap_or(cert)));
        Self::new(&upstream.host, route.upstream_ca.as_deref(), own)
    }

    fn new(host: &str, ca: Option<&Path>, own: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        let (name, roots) = (name_of(host)?, roots_or_system(ca)?);
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| TlsError::Library(e.to_string()))?
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some((cert, key_file)) => builder
                .with_client_auth_cert(chain(cert)?, key(key_file)?)
                .map_err(|e| TlsError::pair(cert, key_file, &e))?,
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), name })
    }

    /// Puts TLS over a connected socket.
    pub(in crate::reactor) fn dial(&self, stream: TcpStream) -> io::Result<Tls> {
        let session = ClientConnection::new(Arc::clone(&self.config), self.name.clone()).map_err(io::Error::other)?;
        Ok(Tls::over(stream, session.into()))
    }
}

/// The client's side of a TLS connection to a host, for a socket of the caller's. The host's certificate is checked
/// against the system's roots.
///
/// # Errors
/// [`TlsError`], when there are no roots, or a certificate cannot hold the host's name.
pub fn client_session(host: &str) -> Result<ClientConnection, TlsError> {
    let dialer = Dialer::new(host, None, None)?;
    ClientConnection::new(dialer.config, dialer.name).map_err(|e| TlsError::Name(format!("{host}: {e}")))
}

/// A host's name, as a certificate can hold it.
pub(super) fn name_of(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))
}
