//! Which certificate a client gets, by the name that it asks for.
//!
//! In: certificates with their keys, and the names in them. Out: the one for a client's hello.
//! Laws: an exact name comes before a wildcard, which stands for one label; who names nothing, or what no certificate
//! has, gets the first. Of several certificates with one name, the first whose key the client can use.

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;

/// All certificates of the listeners.
#[derive(Default, Debug)]
pub(super) struct Names {
    all: Vec<Arc<CertifiedKey>>,
    /// By names in lower case; a wildcard begins with `*.`.
    places: HashMap<String, Vec<usize>>,
}

impl Names {
    /// Adds a certificate. The first one is the default.
    pub(super) fn add(&mut self, certified: CertifiedKey, names: &[String]) {
        for name in names {
            self.places.entry(name.to_ascii_lowercase()).or_default().push(self.all.len());
        }
        self.all.push(Arc::new(certified));
    }

    /// The places of the certificates for a name, the best first.
    fn of_name(&self, name: &str) -> impl Iterator<Item = usize> {
        let name = name.to_ascii_lowercase();
        let wild = name.split_once('.').and_then(|(_, rest)| self.places.get(&format!("*.{rest}")));
        self.places.get(&name).into_iter().chain(wild).flatten().copied()
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().into_iter().flat_map(|name| self.of_name(name));
        let is_usable = |n: &usize| {
            self.all.get(*n).is_some_and(|certified| certified.key.choose_scheme(hello.signature_schemes()).is_some())
        };
        // Without a name all certificates are as good: those of the default's own names are.
        let others = (0..self.all.len()).take(1);
        let place = named.chain(others).find(is_usable).or(Some(0))?;
        self.all.get(place).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::KeyPair;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

    #[test]
    fn an_exact_name_comes_before_a_wildcard_which_stands_for_one_label() {
        let mut names = Names::default();
        for own in [&["default.example"][..], &["*.example.org", "Example.org"], &["a.example.org"]] {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(KeyPair::generate().unwrap().serialize_der()));
            let key = super::super::files::provider().key_provider.load_private_key(key).unwrap();
            let own: Vec<String> = own.iter().map(|&name| name.to_owned()).collect();
            names.add(CertifiedKey::new(Vec::new(), key), &own);
        }
        let best = |name: &str| names.of_name(name).next();
        assert_eq!(best("A.example.ORG"), Some(2));
        assert_eq!(best("b.example.org"), Some(1));
        assert_eq!(best("example.org"), Some(1));
        assert_eq!(best("x.b.example.org"), None);
        assert_eq!(best("other"), None);
    }
}
