//! What listeners and routes need for TLS, read from the files of a configuration: all of it or none.
//!
//! In: a configuration. Out: [`Credentials`].
//! Laws: certificates that live connections were opened with stay theirs, and new credentials are for those that come;
//! where clients must have certificates, no session is resumed, so that each connection is judged by the files of its
//! time.

use super::dial::{Dialer, Known};
use super::facts::CertificateFacts;
use super::files::{TlsError, pair, provider, verifier};
use super::names::Names;
use crate::config::{Config, Scheme};
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use std::sync::Arc;

/// What listeners and routes need for TLS: read from files, and never changed.
#[derive(Debug)]
pub struct Credentials {
    /// `None`: listeners speak plain HTTP.
    server: Option<Arc<ServerConfig>>,
    /// By upstream, in the order of the routes; `None` where the upstream is plain HTTP.
    dialers: Vec<Option<Dialer>>,
    facts: Vec<CertificateFacts>,
}

impl Credentials {
    /// Reads all files that a configuration names for TLS.
    ///
    /// # Errors
    /// The first [`TlsError`], which names the file.
    pub fn load(config: &Config) -> Result<Self, TlsError> {
        let mut facts = Vec::new();
        let server = if config.speaks_tls() { Some(Arc::new(server(config, &mut facts)?)) } else { None };
        let mut dialers = Vec::with_capacity(config.routes.len());
        let mut known = Known::of_none(config.routes.each_upstream().count());
        for (_, route, upstream) in config.routes.each_upstream() {
            let is_tls = upstream.scheme == Scheme::Https;
            dialers.push(if is_tls { Some(known.dialer(route, upstream)?) } else { None });
        }
        facts.append(&mut known.facts);
        Ok(Self { server, dialers, facts })
    }

    /// What is known of the certificates that are shown to others.
    pub fn facts(&self) -> &[CertificateFacts] {
        &self.facts
    }

    pub(in crate::reactor) fn server(&self) -> Option<Arc<ServerConfig>> {
        self.server.clone()
    }

    pub(in crate::reactor) fn dialer(&self, upstream: usize) -> Option<Dialer> {
        self.dialers.get(upstream)?.clone()
    }
}

/// How the listeners speak TLS.
fn server(config: &Config, facts: &mut Vec<CertificateFacts>) -> Result<ServerConfig, TlsError> {
    let mut names = Names::default();
    for (cert, key_file) in config.tls_pairs() {
        let (certified, known) = pair(cert, key_file)?;
        names.add(certified, known.as_ref().map_or(&[], |facts| &facts.names));
        facts.extend(known);
    }
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Library(e.to_string()))?;
    let builder = match config.client_ca.as_deref() {
        None => builder.with_no_client_auth(),
        Some(ca) => builder.with_client_cert_verifier(verifier(ca, config.client_cert)?),
    };
    let mut server = builder.with_cert_resolver(Arc::new(names));
    server.alpn_protocols = vec![b"http/1.1".to_vec(), b"http/1.0".to_vec()];
    // What is needed to resume a session lies with the client, in a ticket.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    match config.client_ca {
        Some(_) => server.send_tls13_tickets = 0,
        None => {
            server.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|e| TlsError::Library(e.to_string()))?;
        }
    }
    Ok(server)
}
