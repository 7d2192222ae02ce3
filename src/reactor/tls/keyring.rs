//! The credentials for connections that come, shared with whoever reads the files again.
//!
//! In: [`Credentials`]. Out: the newest ones.
//! Laws: looking takes no lock; credentials that cannot be read leave those before in place; what a connection was
//! opened with stays its own.

use super::credentials::Credentials;
use super::dial::Dialer;
use super::facts::CertificateFacts;
use super::files::TlsError;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::sync::Latest;
use rustls::ServerConfig;
use std::sync::Arc;

/// A handle to the newest credentials, for any thread.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    newest: Arc<Latest<Credentials>>,
    metrics: Arc<Metrics>,
}

impl Keyring {
    /// Without credentials. When certificates end is told in `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { newest: Arc::default(), metrics }
    }

    /// Reads all files that a configuration names for TLS, and has new connections use what they hold. It blocks on the
    /// files, so a reactor that runs never calls it. Routes know their place in the newest configuration alone, so the
    /// credentials of another one come with that configuration only.
    ///
    /// # Errors
    /// [`TlsError`], which names the file. Then all stays as it was.
    pub(in crate::reactor) fn reload(&self, config: &Config) -> Result<(), TlsError> {
        self.put(Arc::new(Credentials::load(config)?));
        Ok(())
    }

    /// Has new connections use these credentials.
    pub(in crate::reactor) fn put(&self, credentials: Arc<Credentials>) {
        self.metrics.tell_certificates(credentials.facts().iter().map(CertificateFacts::end).collect());
        self.newest.put(Some(credentials));
    }

    /// What is known of the certificates that are shown to others.
    pub fn facts(&self) -> Vec<CertificateFacts> {
        self.newest.with(|now| now.map(|now| now.facts().to_vec()).unwrap_or_default())
    }

    pub(in crate::reactor) fn server(&self) -> Option<Arc<ServerConfig>> {
        self.newest.with(|now| now?.server())
    }

    pub(in crate::reactor) fn dialer(&self, route: usize) -> Option<Dialer> {
        self.newest.with(|now| now?.dialer(route))
    }
}
