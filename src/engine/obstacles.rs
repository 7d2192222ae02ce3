//! What stands in the way of an engine with a configuration: files that are missing or of no use, parts that this build
//! leaves out.
//!
//! In: a configuration. Out: every [`Fault`] that the start of an engine would meet outside of the configuration.
//! Laws: nothing is opened for good, nothing stays that was made, nobody is connected to; an obstacle that may pass by
//! itself, such as a store that another process has locked, is none.

#[cfg(feature = "tls")]
use crate::clock::Clock;
use crate::config::{Config, Fault, Section, StoreConfig};
use crate::reactor::file_faults;
#[cfg(feature = "tls")]
use crate::reactor::{CertificateFacts, Credentials};
use crate::store::StoreError;

/// Everything outside of a configuration that keeps an engine from starting with it. [`Config::faults`] has what is
/// wrong inside.
pub fn obstacles(config: &Config) -> Vec<Fault> {
    let mut found = file_faults(config);
    found.extend(store_fault(config));
    #[cfg(feature = "otel")]
    found.extend(super::exports::obstacle(config));
    found
}

/// What somebody should look at though the engine starts, and when certificates end: one line each.
#[cfg(feature = "tls")]
pub fn remarks(config: &Config) -> Vec<String> {
    let now = Clock::start().calendar_secs();
    let facts = Credentials::load(config).map(|credentials| credentials.facts().to_vec()).unwrap_or_default();
    let end = |facts: &CertificateFacts| {
        let (file, names, days) = (facts.file.display(), facts.names.join(", "), facts.days_left(now));
        format!("the certificate in {file} is for {names}, and is good for {days} days")
    };
    facts.iter().flat_map(|facts| std::iter::once(end(facts)).chain(facts.cautions(now))).collect()
}

/// What somebody should look at though the engine starts. A build without TLS looks at no certificates.
#[cfg(not(feature = "tls"))]
pub fn remarks(_: &Config) -> Vec<String> {
    Vec::new()
}

fn store_fault(config: &Config) -> Option<Fault> {
    let why = match &config.store {
        StoreConfig::Memory | StoreConfig::Own => return None,
        #[cfg(feature = "redb")]
        StoreConfig::Redb { path } => {
            let why = crate::store::redb::obstacle(path).filter(|_| !config.store_optional)?;
            let advice = "or start with `--store-optional`, and nothing is stored until that is mended";
            format!("{why}; {advice}")
        }
        #[cfg(feature = "redis")]
        StoreConfig::Redis { url } => match crate::store::redis::Address::parse(url) {
            Ok(address) if address.tls && !cfg!(feature = "tls") => {
                StoreError::NotBuilt { store: config.store.to_string().into() }.to_string()
            }
            Ok(_) => return None,
            Err(e) => e.to_string(),
        },
        #[allow(unreachable_patterns, reason = "stores that this build leaves out")]
        other => StoreError::NotBuilt { store: other.to_string().into() }.to_string(),
    };
    Some(Fault { section: Section::Top, key: "store", other: None, what: format!("`store`: {why}") })
}

#[cfg(all(test, feature = "redb"))]
mod tests {
    use super::*;

    #[test]
    fn a_look_at_a_store_makes_nothing_and_finds_what_is_in_the_way() {
        let folder = std::env::temp_dir().join(format!("segno-obstacles-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let found = |name: &str| {
            let store = StoreConfig::Redb { path: folder.join(name) };
            obstacles(&Config { store, ..Config::default() }).into_iter().map(|fault| fault.what).collect::<String>()
        };
        let left = || std::fs::read_dir(&folder).unwrap().count();
        assert_eq!((found("new.redb"), left()), (String::new(), 0));
        assert!(found("no/new.redb").contains("its directory does not exist"));
        assert!(found("").contains("it is a directory"));
        std::fs::write(folder.join("thesis"), "my thesis").unwrap();
        assert!(found("thesis").contains("is not a store of segno"));
        std::fs::write(folder.join("keyed.key"), "segno-key-1 00\n").unwrap();
        assert!(found("keyed").contains("cannot be used as the store's key"));
        assert_eq!(left(), 2);
        let opened = crate::store::redb::open(&folder.join("ours")).unwrap();
        // One that is open elsewhere is no obstacle: it may be free by the start.
        assert_eq!(found("ours"), "");
        drop(opened);
        assert_eq!(found("ours"), "");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
