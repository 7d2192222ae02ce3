//! What there is to know of a certificate before somebody is shown it.
//!
//! In: the certificates of a file, the file of their key. Out: names and dates, and what somebody should look at.
//! Law: nothing here refuses a certificate: one that has run out is served, since some clients take it, and none takes
//! a proxy that does not start.

use crate::metrics::CertificateEnd;
use rustls::pki_types::CertificateDer;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The shortest time that a certificate should last when it is read, in seconds: two weeks.
const SOON: i64 = 14 * DAY;
const DAY: i64 = 24 * 3_600;

/// What a file of certificates says of its first one, which is the one that is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFacts {
    /// The file.
    pub file: PathBuf,
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// When it begins to be good, in seconds since the Unix epoch.
    pub not_before: i64,
    /// When it ceases to be good, in seconds since the Unix epoch.
    pub not_after: i64,
    /// It is shown to clients, not to an upstream.
    pub to_clients: bool,
    /// Each certificate of the file has signed the one before it, as far as names tell.
    pub(super) is_chain: bool,
    /// It says what it is for, and that it is for something else.
    pub(super) is_for_others: bool,
    /// The key's file, if everybody on this machine can read it.
    pub(super) open_key: Option<PathBuf>,
}

impl CertificateFacts {
    /// Reads the facts. `None`: the first certificate cannot be read.
    pub(super) fn of(file: &Path, chain: &[CertificateDer<'_>], key: &Path, to_clients: bool) -> Option<Self> {
        let read: Vec<X509Certificate<'_>> =
            chain.iter().map_while(|der| Some(X509Certificate::from_der(der).ok()?.1)).collect();
        let own = read.first()?;
        let usage = own.extended_key_usage().ok().flatten();
        let is_for = |usage: &x509_parser::extensions::ExtendedKeyUsage<'_>| {
            usage.any || if to_clients { usage.server_auth } else { usage.client_auth }
        };
        Some(Self {
            file: file.to_owned(),
            names: names(own),
            not_before: own.validity().not_before.timestamp(),
            not_after: own.validity().not_after.timestamp(),
            to_clients,
            is_chain: read.windows(2).all(|pair| match pair {
                [below, above] => below.issuer().as_raw() == above.subject().as_raw(),
                _ => true,
            }),
            is_for_others: usage.is_some_and(|usage| !is_for(usage.value)),
            open_key: is_open(key).then(|| key.to_owned()),
        })
    }

    /// When the certificate ceases to be good, for the metrics page.
    pub(super) fn end(&self) -> CertificateEnd {
        let name = self.names.first().cloned().unwrap_or_default();
        CertificateEnd { file: self.file.display().to_string(), name, not_after: self.not_after }
    }

    /// Whole days from `now`, in seconds since the Unix epoch, until the certificate ceases to be good.
    pub fn days_left(&self, now: u64) -> i64 {
        self.not_after.saturating_sub_unsigned(now).div_euclid(DAY)
    }

    /// What somebody should look at, one line each.
    pub fn cautions(&self, now: u64) -> Vec<String> {
        let mut found = Vec::new();
        let (file, days) = (self.file.display(), self.days_left(now));
        let mut add = |what: String| found.push(format!("the certificate in {file} {what}"));
        if days < 0 {
            add("has expired: clients refuse it".to_owned());
        } else if self.not_after.saturating_sub_unsigned(now) < SOON {
            add(format!("expires in {days} days"));
        }
        if self.not_before > i64::try_from(now).unwrap_or(i64::MAX) {
            add("is not valid yet, or this machine's clock is wrong".to_owned());
        }
        if !self.is_chain {
            add("is not followed by the one that has signed it: put them in order, each before the one that signed it"
                .to_owned());
        }
        if self.is_for_others {
            let side = if self.to_clients { "a server" } else { "a client" };
            add(format!("says that it is not for {side}"));
        }
        if self.to_clients && self.names.is_empty() {
            add("names no host: clients refuse it".to_owned());
        }
        if let Some(key) = &self.open_key {
            found.push(format!("everybody on this machine can read the key in {}: give it mode 0600", key.display()));
        }
        found
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(alternative)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    };
    alternative.value.general_names.iter().filter_map(name).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(unix)]
fn is_open(key: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(key).is_ok_and(|meta| meta.mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_open(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_should_look_at_is_said() {
        let sound = CertificateFacts {
            file: "a.pem".into(),
            names: vec!["a.example".to_owned()],
            not_before: 0,
            not_after: 100 * DAY,
            to_clients: true,
            is_chain: true,
            is_for_others: false,
            open_key: None,
        };
        let now = |day: i64| (day * DAY) as u64;
        assert_eq!((sound.cautions(now(1)), sound.days_left(now(1))), (Vec::new(), 99));
        assert_eq!(sound.cautions(now(90)), ["the certificate in a.pem expires in 10 days"]);
        assert!(sound.cautions(now(101))[0].contains("has expired"));
        let bad = CertificateFacts {
            names: Vec::new(),
            not_before: 50 * DAY,
            is_chain: false,
            is_for_others: true,
            open_key: Some("a.key".into()),
            ..sound
        };
        let told = bad.cautions(now(1)).join("\n");
        for part in ["not valid yet", "put them in order", "not for a server", "names no host", "read the key in a.key"]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}
