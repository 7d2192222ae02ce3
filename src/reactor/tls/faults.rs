//! What is wrong with the files that TLS needs.
//!
//! In: a configuration. Out: every fault, at the key that names the file.
//! Law: what the start of a reactor would refuse is named here.

use super::dial::name_of;
use super::files::{TlsError, pair, roots_or_system, verifier};
use crate::config::{Config, Fault, Scheme, Section};
use std::path::Path;

/// What is wrong with the files that listeners and routes need, and with the names of upstreams.
pub(in crate::reactor) fn tls_faults(config: &Config) -> Vec<Fault> {
    let mut found = Vec::new();
    let mut add = |section, key, why: &TlsError| {
        let fault = Fault { section, key, other: None, what: format!("`{key}`: {why}") };
        found.push(fault);
    };
    for (cert, key_file) in config.tls_pairs() {
        if let Err(why) = pair(cert, key_file) {
            let key = if why.is_about_key() && !config.tls_key.is_empty() { "tls_key" } else { "tls_cert" };
            add(Section::Top, key, &why);
        }
    }
    if let Some(ca) = config.client_ca.as_deref().filter(|_| config.speaks_tls())
        && let Err(why) = verifier(ca, config.client_cert)
    {
        add(Section::Top, "client_ca", &why);
    }
    // Many routes trust the same certificates.
    let mut known: Vec<(Option<&Path>, Option<TlsError>)> = Vec::new();
    for (n, route) in config.routes.iter().enumerate().filter(|(_, r)| r.upstream.scheme == Scheme::Https) {
        let section = Section::Route(n);
        let ca = route.upstream_ca.as_deref();
        for (upstream, _) in route.each_upstream() {
            if let Err(why) = name_of(&upstream.host) {
                add(section, if route.set.all.is_empty() { "upstream" } else { "upstreams" }, &why);
            }
        }
        let at = known.iter().position(|(known, _)| *known == ca).unwrap_or_else(|| {
            known.push((ca, roots_or_system(ca).err()));
            known.len() - 1
        });
        match known.get(at) {
            Some((_, Some(why))) => add(section, if ca.is_some() { "upstream_ca" } else { "upstream" }, why),
            _ => {
                if let Some(cert) = route.upstream_cert.as_deref()
                    && let Err(why) = pair(cert, route.upstream_key.as_deref().unwrap_or(cert))
                {
                    let is_key = why.is_about_key() && route.upstream_key.is_some();
                    add(section, if is_key { "upstream_key" } else { "upstream_cert" }, &why);
                }
            }
        }
    }
    found
}
