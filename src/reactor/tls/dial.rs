//! TLS towards upstreams: what a route needs to open a connection.
//!
//! In: a host's name, the certificates to trust, a certificate to show. Out: TLS over a connected socket.
//! Laws: the host's certificate is checked against the system's roots, or against the certificates of `upstream_ca`
//! alone; routes that name the same files share what was read from them.

use super::facts::CertificateFacts;
use super::files::{TlsError, chain, key, provider, roots_or_system};
use super::wire::Tls;
use crate::config::{Route, Upstream};
use mio::net::TcpStream;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Sessions of one host that are kept to be resumed. rustls has this many places for each.
const SESSIONS: usize = 8;

/// Hosts whose sessions are kept, at least.
const HOSTS: usize = 32;

/// What a route needs to open TLS connections.
#[derive(Clone, Debug)]
pub(in crate::reactor) struct Dialer {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// The file of authorities, and those of a certificate and its key.
type Files = (Option<PathBuf>, Option<(PathBuf, PathBuf)>);

/// What was read for the routes before. Routes with the same files share all of it: the roots of a system take 100 KB
/// and some milliseconds.
#[derive(Debug)]
pub(super) struct Known {
    /// Sessions that can be resumed, of all hosts together.
    sessions: usize,
    /// By the file of authorities; `None`: the system's.
    roots: HashMap<Option<PathBuf>, Arc<RootCertStore>>,
    configs: HashMap<Files, Arc<ClientConfig>>,
    /// The certificates that are shown to upstreams.
    pub(super) facts: Vec<CertificateFacts>,
}

impl Known {
    /// Nothing is known, and so many upstreams will have to be.
    pub(super) fn of_none(upstreams: usize) -> Self {
        let sessions = SESSIONS * upstreams.max(HOSTS);
        Self { sessions, roots: HashMap::new(), configs: HashMap::new(), facts: Vec::new() }
    }

    /// What a route needs for one of its upstreams.
    pub(super) fn dialer(&mut self, route: &Route, upstream: &Upstream) -> Result<Dialer, TlsError> {
        let name = name_of(&upstream.host)?;
        let cert = route.upstream_cert.as_deref();
        let own = cert.map(|cert| (cert.to_owned(), route.upstream_key.as_deref().unwrap_or(cert).to_owned()));
        let files = (route.upstream_ca.clone(), own);
        if let Some(config) = self.configs.get(&files) {
            return Ok(Dialer { config: Arc::clone(config), name });
        }
        let roots = match self.roots.get(&files.0) {
            Some(roots) => Arc::clone(roots),
            None => Arc::new(roots_or_system(files.0.as_deref())?),
        };
        self.roots.insert(files.0.clone(), Arc::clone(&roots));
        let own = match &files.1 {
            None => None,
            Some((cert, key_file)) => {
                let chain = chain(cert)?;
                if !self.facts.iter().any(|known| known.file == *cert) {
                    self.facts.extend(CertificateFacts::of(cert, &chain, key_file, false));
                }
                Some((cert.as_path(), key_file.as_path(), chain))
            }
        };
        let mut config = client_config(roots, own)?;
        config.resumption = Resumption::in_memory_sessions(self.sessions);
        let config = Arc::new(config);
        self.configs.insert(files, Arc::clone(&config));
        Ok(Dialer { config, name })
    }
}

/// How a client speaks TLS that trusts these roots, and shows this certificate if it is asked for one.
fn client_config(
    roots: Arc<RootCertStore>,
    own: Option<(&Path, &Path, Vec<CertificateDer<'static>>)>,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Library(e.to_string()))?
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((cert, key_file, chain)) => {
            builder.with_client_auth_cert(chain, key(key_file)?).map_err(|e| TlsError::pair(cert, key_file, &e))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

impl Dialer {
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
    let (name, config) = (name_of(host)?, client_config(Arc::new(roots_or_system(None)?), None)?);
    ClientConnection::new(Arc::new(config), name).map_err(|e| TlsError::Name(format!("{host}: {e}")))
}

/// A host's name, as a certificate can hold it.
pub(super) fn name_of(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Upstream;

    #[test]
    fn a_thousand_routes_read_the_systems_roots_once_and_each_has_its_own_name() {
        let mut known = Known::of_none(1_000);
        let dialers: Vec<Dialer> = (0..1_000)
            .map(|n| {
                let route = Route::new(Upstream::parse(&format!("https://host-{n}.example")).unwrap());
                known.dialer(&route, &route.upstream).unwrap()
            })
            .collect();
        assert_eq!((known.roots.len(), known.configs.len()), (1, 1));
        assert!(dialers.iter().all(|dialer| Arc::ptr_eq(&dialer.config, &dialers[0].config)));
        assert_eq!(dialers[999].name, name_of("host-999.example").unwrap());
    }
}
