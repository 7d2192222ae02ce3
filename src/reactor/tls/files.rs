//! The files of TLS: certificates, keys, and whom to trust.
//!
//! In: names of files. Out: certificates, keys, verifiers, or a [`TlsError`] that names the file.
//! Law: a key belongs to its certificate.

use super::facts::CertificateFacts;
use crate::config::ClientCert;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why TLS cannot be set up.
#[derive(Debug)]
pub enum TlsError {
    /// A file with certificates could not be read.
    Certificates {
        /// The file. `None`: the system's roots.
        file: Option<PathBuf>,
        /// What went wrong.
        why: String,
    },
    /// A file with a key could not be read.
    Key {
        /// The file.
        file: PathBuf,
        /// What went wrong.
        why: String,
    },
    /// A certificate and a key cannot be used together.
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What went wrong.
        why: String,
    },
    /// A certificate cannot hold the name of the upstream's host.
    Name(String),
    /// The TLS library refuses to work.
    Library(String),
}

impl TlsError {
    pub(super) fn pair(cert: &Path, key: &Path, why: &rustls::Error) -> Self {
        let why = match why {
            rustls::Error::InconsistentKeys(_) => "the key belongs to another certificate".to_owned(),
            other => other.to_string(),
        };
        Self::Pair { cert: cert.to_owned(), key: key.to_owned(), why }
    }

    /// Whether it is about a key alone.
    pub(super) fn is_about_key(&self) -> bool {
        matches!(self, Self::Key { .. })
    }
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
            Self::Key { file, why } => write!(f, "cannot use the key in {}: {why}", file.display()),
            Self::Pair { cert, key, why } => {
                write!(f, "cannot use the certificate in {} with the key in {}: {why}", cert.display(), key.display())
            }
            Self::Name(host) => write!(f, "`{host}` is not a host name that a certificate can hold"),
            Self::Library(why) => write!(f, "TLS cannot be set up: {why}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// A certificate with its key, and what is known of it.
pub(super) fn pair(cert: &Path, key_file: &Path) -> Result<(CertifiedKey, Option<CertificateFacts>), TlsError> {
    let chain = chain(cert)?;
    let facts = CertificateFacts::of(cert, &chain, key_file, true);
    let certified = CertifiedKey::from_der(chain, key(key_file)?, &provider());
    Ok((certified.map_err(|e| TlsError::pair(cert, key_file, &e))?, facts))
}

pub(super) fn verifier(ca: &Path, which: ClientCert) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(roots_of_file(ca)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    let builder = match which {
        ClientCert::Required => builder,
        ClientCert::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|e| TlsError::Certificates { file: Some(ca.to_owned()), why: e.to_string() })
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates of a file, at least one.
pub(super) fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |why: String| TlsError::Certificates { file: Some(file.to_owned()), why };
    let read = CertificateDer::pem_file_iter(file).map_err(|e| wrong(said(&e)))?;
    let chain: Vec<_> = read.collect::<Result<_, _>>().map_err(|e| wrong(said(&e)))?;
    if chain.is_empty() {
        return Err(wrong("it holds no certificate in PEM form".to_owned()));
    }
    Ok(chain)
}

/// The first key of a file.
pub(super) fn key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(file).map_err(|e| {
        let why = match e {
            pem::Error::NoItemsFound => "it holds no key in PEM form without a password".to_owned(),
            other => said(&other),
        };
        TlsError::Key { file: file.to_owned(), why }
    })
}

/// What the system says of a file, or what is wrong inside.
fn said(e: &pem::Error) -> String {
    match e {
        pem::Error::Io(e) => e.to_string(),
        other => other.to_string(),
    }
}

pub(super) fn roots_or_system(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    ca.map_or_else(system_roots, roots_of_file)
}

fn roots_of_file(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(file)? {
        let wrong = |e: rustls::Error| TlsError::Certificates { file: Some(file.to_owned()), why: e.to_string() };
        roots.add(certificate).map_err(wrong)?;
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
