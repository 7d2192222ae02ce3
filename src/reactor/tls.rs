//! TLS by rustls, towards upstreams and towards clients.
//!
//! In: files of certificates, connected sockets. Out: connections that carry plain bytes.
//! Law: the peer's certificate is checked as the configuration says, and a truncation is never an end.
//!
//! `wire` is one connection, and `sent` knows what of it has arrived. `credentials` are made of `files`; the `keyring` has
//! the newest, by which `dial` and `wire` open connections. `names` chooses a certificate for a client, `identity` says
//! who a client is by its own, `facts` what there is to say of those that are shown. `faults` and `words` are for people.

mod credentials;
mod dial;
mod facts;
mod faults;
mod files;
mod identity;
mod keyring;
mod names;
mod sent;
mod wire;
mod words;

pub use credentials::Credentials;
pub(super) use dial::Dialer;
pub use dial::client_session;
pub use facts::CertificateFacts;
pub(super) use faults::tls_faults;
pub use files::TlsError;
pub use keyring::Keyring;
pub(super) use wire::Tls;
pub(super) use words::{in_words, of_client_in_words};
