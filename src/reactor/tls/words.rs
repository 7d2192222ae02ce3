//! Why a handshake failed, for the machine and for a person.
//!
//! In: the error of a socket or of rustls. Out: what the machine makes of it, and a line for the log.
//! Law: where there is something to do about it, the line says what.

use crate::machine::ConnectError;
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use std::io;

/// Why the handshake with an upstream failed.
pub(in crate::reactor) fn in_words(e: &io::Error) -> (ConnectError, String) {
    use CertificateError as Bad;
    let Some(inner) = inner(e) else {
        return (ConnectError::HandshakeCut, format!("the connection ended inside the handshake ({e})"));
    };
    match inner {
        Error::InvalidCertificate(bad) => {
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
        Error::InvalidMessage(_) => {
            let words = "what came back is not TLS; if the port is for plain HTTP, write `http://` in `upstream`";
            (ConnectError::NotTls, format!("{words} ({inner})"))
        }
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown,
        ) => {
            let words = "it does not accept the certificate that it was shown, or wants one: see `upstream_cert`";
            (ConnectError::Tls, format!("{words} ({inner})"))
        }
        Error::AlertReceived(AlertDescription::InternalError | AlertDescription::UserCanceled) => {
            (ConnectError::HandshakeCut, format!("it broke the handshake off ({inner})"))
        }
        _ => (ConnectError::Tls, format!("no handshake is possible ({inner})")),
    }
}

/// Why the handshake with a client failed.
pub(in crate::reactor) fn of_client_in_words(e: &io::Error) -> String {
    let Some(inner) = inner(e) else { return format!("{e}") };
    let words = match inner {
        Error::InvalidCertificate(_) => "the client's certificate is not accepted; `client_ca` names whom to trust",
        Error::NoCertificatesPresented => "the client has sent no certificate, and `client_cert` requires one",
        Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::CertificateUnknown) => {
            "the client does not trust the certificate of `tls_cert`"
        }
        Error::AlertReceived(_) => "the client has broken it off",
        Error::NoApplicationProtocol => "the client speaks other protocols than HTTP/1.1",
        Error::InvalidMessage(_) => "what came is not TLS",
        Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered | PeerIncompatible::Tls12NotOfferedOrEnabled) => {
            "the client offers only versions of TLS before 1.2"
        }
        _ => "the client offers nothing that can be agreed on",
    };
    format!("{words} ({inner})")
}

fn inner(e: &io::Error) -> Option<&Error> {
    e.get_ref().and_then(|inner| inner.downcast_ref::<Error>())
}
