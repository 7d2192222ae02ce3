//! Who a client's certificate names.
//!
//! In: a certificate that was verified. Out: bytes that are the same for all certificates of one client.
//! Law: it fails closed: who issued it, its subject and its alternative names all count, so that a certificate which is
//! renewed is the same client, and one with another name is another. One that names nobody is itself alone.

use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The identity in a certificate.
pub(super) fn of(certificate: &[u8]) -> Vec<u8> {
    let whole = || [&b"whole"[..], certificate].concat();
    let Ok((_, read)) = X509Certificate::from_der(certificate) else { return whole() };
    let alternative = read.extensions().iter().find(|e| e.oid == OID_X509_EXT_SUBJECT_ALT_NAME).map(|e| e.value);
    if read.subject().iter().next().is_none() && alternative.is_none() {
        return whole();
    }
    let parts = [read.issuer().as_raw(), read.subject().as_raw(), alternative.unwrap_or_default()];
    parts.iter().flat_map(|part| (part.len() as u64).to_le_bytes().into_iter().chain(part.iter().copied())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair};

    fn identity(issuer: &str, subject: Option<&str>, names: &[&str], key: &KeyPair) -> Vec<u8> {
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.distinguished_name.push(DnType::CommonName, issuer);
        let issuer = Issuer::new(ca, KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        if let Some(subject) = subject {
            params.distinguished_name.push(DnType::CommonName, subject);
        }
        of(params.signed_by(key, &issuer).unwrap().der())
    }

    #[test]
    fn a_renewed_certificate_is_the_same_client_and_another_name_or_issuer_is_another() {
        let keys = [(); 2].map(|()| KeyPair::generate().unwrap());
        let [ada, renewed] = [0, 1].map(|n| identity("ca", Some("ada"), &["ada.example"], &keys[n]));
        assert_eq!(ada, renewed);
        assert_ne!(ada, identity("ca", Some("ada"), &["eve.example"], &keys[0]));
        assert_ne!(ada, identity("ca", Some("eve"), &["ada.example"], &keys[0]));
        assert_ne!(ada, identity("other", Some("ada"), &["ada.example"], &keys[0]));
        assert_ne!(identity("ca", None, &[], &keys[0]), identity("ca", None, &[], &keys[1]));
    }

    #[test]
    fn what_cannot_be_read_is_itself_alone() {
        assert_ne!(of(b"a"), of(b"b"));
    }
}
