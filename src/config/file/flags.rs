//! What is said beside the file: flags of the command line, and environment variables.
//!
//! In: names and texts. Out: [`Flags`], which the reader puts between the file and the routes' own keys; warnings of
//! variables that mean nothing; and [`keys()`], from which the command line makes its flags and their help.
//! Laws: a flag beats a variable; a variable that is empty is not set; a variable of segno's that nothing reads is told
//! of, unless it is one that Kubernetes makes for a service of that name.

use std::ffi::OsString;

use super::keys::{self, Help, KNOBS, Key, LIMITS, REPLAY, TOP, UPSTREAM};
use super::otel::{Otel, Said};
use super::problem::nearest;
use super::value::{self, Form};
use crate::config::process::Config;
use crate::config::route::Route;
use crate::config::store::StoreConfig;
use crate::config::upstream::Upstream;

/// What the names of all variables begin with.
const PREFIX: &str = "SEGNO_";

/// Variables that are no keys: they are read elsewhere.
const OTHERS: [&str; 3] = ["SEGNO_CONFIG", "SEGNO_LOG", "SEGNO_ADMIN_TOKEN"];

/// Variables told of, at most.
const MOST_TOLD: usize = 10;

/// The settings of the command line and of the environment. Each beats the file, but not a route's own key.
#[derive(Clone, Default, Debug)]
pub struct Flags {
    /// Variables before flags.
    given: Vec<Given>,
    /// Variables that are not text.
    unread: Vec<&'static str>,
    /// What is said to all programs that send traces.
    otel: Otel,
    /// The store where nothing names one.
    pub(super) default_store: Option<StoreConfig>,
}

/// One setting.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) key: &'static str,
    pub(super) text: String,
    pub(super) is_flag: bool,
}

/// A key as the command line shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyHelp {
    /// The key in the file.
    pub name: &'static str,
    /// The flag, without its dashes.
    pub flag: String,
    /// The environment variable.
    pub variable: String,
    /// What stands for the value.
    pub place: &'static str,
    /// How the value is written.
    pub form: Form,
    /// What the key does, without a full stop.
    pub what: &'static str,
    /// What more and less of it, or one value and the other, gain and cost; without a full stop.
    pub trades: &'static str,
    /// Whether the short help has it.
    pub is_common: bool,
    /// The value where nothing sets the key.
    pub default: Option<String>,
    /// The part of the help that it belongs to. `None`: the first.
    pub heading: Option<&'static str>,
}

/// All keys that have a flag and a variable: every one but those that name a single route.
pub fn keys() -> Vec<KeyHelp> {
    let (config, route) = (Config::default(), Route::new(Upstream::nowhere()));
    let upstream = KeyHelp { default: None, ..help(UPSTREAM, &route, None) };
    let mut all = vec![upstream];
    all.extend([TOP, REPLAY].into_iter().flatten().map(|key| help(key, &config, None)));
    all.extend(KNOBS.iter().map(|key| help(key, &route, Some("For all routes"))));
    all.extend(LIMITS.iter().map(|key| help(key, &config, Some("Bounds of the whole process"))));
    all
}

fn help<T>(key: &Key<T>, of: &T, heading: Option<&'static str>) -> KeyHelp {
    let Help { what, trades, is_common } = key.help;
    let (flag, variable) = (flag(key.name), variable(key.name));
    let default = (key.show)(of).as_flag();
    let (name, place, form) = (key.name, key.place, key.form);
    KeyHelp { name, flag, variable, place, form, what, trades, is_common, default, heading }
}

/// The flag of a key, without its dashes. One that may be given several times is named for one of its values.
pub(super) fn flag(key: &str) -> String {
    match key {
        "admin_hosts" => "admin-host".to_owned(),
        key => key.replace('_', "-"),
    }
}

/// The environment variable of a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase())
}

/// Whether a text can be the value of a key.
///
/// # Errors
/// A line that says how to write it.
pub fn check(key: &str, text: &str) -> Result<(), String> {
    if let Some(key) = keys::of_config(key) {
        return value::of_text(key.form, text).and_then(|given| (key.read)(&given)).map(drop);
    }
    let Some(key) = keys::of_route(key) else { return Err("there is no such key".to_owned()) };
    value::of_text(key.form, text).and_then(|given| (key.read)(&given)).map(drop)
}

impl Flags {
    /// Adds a flag: the name of its key as the file writes it, and its value. A name that is no key is passed over.
    pub fn flag(&mut self, key: &str, text: &str) {
        if let Some(key) = known(key) {
            self.given.push(Given { key, text: text.to_owned(), is_flag: true });
        }
    }

    /// The same, for flags that are made on the spot.
    #[must_use]
    pub fn with(mut self, key: &str, text: &str) -> Self {
        self.flag(key, text);
        self
    }

    /// The store where nothing names one.
    #[must_use]
    pub fn or_store(self, store: StoreConfig) -> Self {
        Self { default_store: Some(store), ..self }
    }

    /// Adds what environment variables say. Returns a line for each variable of segno's that nothing reads.
    pub fn variables(&mut self, all: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut at = 0;
        for (name, text) in all {
            if let (Some(name), Some(text)) = (name.to_str(), text.to_str()) {
                self.otel.note(name, text);
            }
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
            if OTHERS.contains(&name) || text.is_empty() {
                continue;
            }
            match (key_of(name), text.to_str()) {
                (Some(key), Some(text)) => {
                    self.given.insert(at, Given { key, text: text.to_owned(), is_flag: false });
                    at += 1;
                }
                (Some(key), None) => self.unread.push(key),
                (None, _) if is_of_a_service(name) || warnings.len() >= MOST_TOLD => {}
                (None, _) => warnings.push(unknown(name)),
            }
        }
        warnings.extend(self.otel.read().1);
        warnings
    }

    /// The variables that give a key.
    pub fn names(&self) -> Vec<String> {
        self.given.iter().filter(|given| !given.is_flag).map(|given| variable(given.key)).collect()
    }

    /// What is said to all programs that send traces. All else that is said comes before it.
    pub(super) fn said_to_all(&self) -> Vec<Said> {
        self.otel.read().0
    }

    /// Whether no program may send traces.
    pub(super) fn sends_nothing(&self) -> bool {
        self.otel.is_disabled()
    }

    /// Whether a flag or a variable gives a key.
    pub fn gives(&self, key: &str) -> bool {
        self.given.iter().any(|given| given.key == key)
    }

    /// The text that rules for a key.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.given.iter().rfind(|given| given.key == key).map(|given| given.text.as_str())
    }

    /// In the order in which they are applied: what comes later beats what came before.
    pub(super) fn given(&self) -> impl Iterator<Item = &Given> {
        self.given.iter()
    }

    /// Variables whose values are not text.
    pub(super) fn unread(&self) -> impl Iterator<Item = String> {
        self.unread.iter().map(|key| variable(key))
    }
}

/// The name of a key that has a flag and a variable, as the tables have it.
fn known(key: &str) -> Option<&'static str> {
    keys::of_config(key).map(|key| key.name).or_else(|| keys::of_route(key).map(|key| key.name))
}

fn key_of(variable: &str) -> Option<&'static str> {
    let name = variable.strip_prefix(PREFIX)?;
    // Names of variables keep their case, so `SEGNO_listen` is no key.
    (!name.contains(|c: char| c.is_ascii_lowercase())).then(|| known(&name.to_ascii_lowercase())).flatten()
}

/// Whether Kubernetes makes such a variable for each service, here one whose name begins with `segno`.
fn is_of_a_service(name: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"].iter().any(|end| name.ends_with(end))
        || ["_SERVICE_PORT_", "_PORT_"].iter().any(|part| name.contains(part))
}

fn unknown(name: &str) -> String {
    let all: Vec<String> = keys().into_iter().map(|key| key.name.to_owned()).collect();
    let others = OTHERS.map(|name| name[PREFIX.len()..].to_ascii_lowercase());
    let all: Vec<&str> = all.iter().chain(&others).map(String::as_str).collect();
    let shown = name.escape_debug();
    match nearest(&name[PREFIX.len()..], &all) {
        Some(near) => format!("unknown variable `{shown}`, which changes nothing: did you mean `{}`?", variable(near)),
        None => format!("unknown variable `{shown}`, which changes nothing"),
    }
}
