//! Where each value of a configuration came from.
//!
//! In: the places that the reader noted. Out: an [`Effective`] configuration, whose every value tells its [`Origin`].
//! Law: each key is here once for each place that it has a value in, those with their default included.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use super::flags::{flag, variable};
use super::keys::{KNOBS, Key, LIMITS, REPLAY, TOP};
use super::shown::Shown;
use crate::config::check::Section;
use crate::config::process::Config;
use crate::config::route::Route;

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Nothing sets the key.
    Default,
    /// The file, at this line and column.
    File(usize, usize),
    /// An environment variable.
    Variable(String),
    /// A flag, with its dashes.
    Flag(String),
}

impl Origin {
    /// The origin as people read it. `file`: what the file is called.
    pub fn show(&self, file: &str) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::File(line, column) => format!("{file}:{line}:{column}"),
            Self::Variable(name) | Self::Flag(name) => name.clone(),
        }
    }
}

/// Where a value stands, as the reader notes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In the text.
    Text(Range<usize>),
    /// In the variable of this key.
    Variable(&'static str),
    /// In the flag of this key.
    Flag(&'static str),
    /// In this variable, which all programs may read.
    Shared(&'static str),
}

impl Place {
    /// A flag's or a variable's name, as a message begins with it.
    pub(super) fn beside(&self) -> Option<String> {
        match self {
            Self::Text(_) => None,
            Self::Variable(key) => Some(variable(key)),
            Self::Flag(key) => Some(format!("--{}", flag(key))),
            Self::Shared(name) => Some((*name).to_owned()),
        }
    }
}

/// The places of values, by section and key. The empty key is the section as a whole.
#[derive(Default)]
pub(super) struct Places {
    of: HashMap<(Section, String), Place>,
}

impl Places {
    pub(super) fn get(&self, section: Section, key: &str) -> Option<&Place> {
        self.of.get(&(section, key.to_owned()))
    }

    /// The value of a key now comes from here.
    pub(super) fn set(&mut self, section: Section, key: &str, place: Place) {
        self.of.insert((section, key.to_owned()), place);
    }

    /// The same, unless the key has a value already.
    pub(super) fn set_if_unset(&mut self, section: Section, key: &str, place: Place) {
        self.of.entry((section, key.to_owned())).or_insert(place);
    }

    /// The origins of all values. `place`: line and column of an offset in the text.
    pub(super) fn into_origins(self, place: impl Fn(usize) -> (usize, usize)) -> HashMap<(Section, String), Origin> {
        let origin = |from: Place| match from {
            Place::Text(span) => {
                let (line, column) = place(span.start);
                Origin::File(line, column)
            }
            Place::Variable(key) => Origin::Variable(variable(key)),
            Place::Flag(key) => Origin::Flag(format!("--{}", flag(key))),
            Place::Shared(name) => Origin::Variable(name.to_owned()),
        };
        self.of.into_iter().map(|(key, from)| (key, origin(from))).collect()
    }
}

/// A configuration, and where each of its values came from.
#[derive(Clone, PartialEq, Eq)]
pub struct Effective {
    /// The configuration.
    pub config: Config,
    pub(super) origins: HashMap<(Section, String), Origin>,
}

impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

/// The values of one table of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    /// What the table is called: empty at the top of the file.
    pub name: &'static str,
    /// Key, value and origin.
    pub rows: Vec<(&'static str, Shown, Origin)>,
}

impl Effective {
    /// Every value, in the order of a file.
    pub fn tables(&self) -> Vec<Table> {
        let config = &self.config;
        let mut tables = vec![
            Table { name: "", rows: self.rows(TOP, config, Section::Top) },
            Table { name: "replay", rows: self.rows(REPLAY, config, Section::Top) },
            Table { name: "limits", rows: self.rows(LIMITS, config, Section::Limits) },
        ];
        for (n, route) in config.routes.iter().enumerate() {
            let mut rows = self.address(route, n);
            rows.extend(self.rows(KNOBS, route, Section::Route(n)));
            tables.push(Table { name: "route", rows });
        }
        tables
    }

    /// Where the value of a key came from.
    pub fn origin(&self, section: Section, key: &str) -> Origin {
        self.origins.get(&(section, key.to_owned())).cloned().unwrap_or(Origin::Default)
    }

    fn rows<T>(&self, keys: &'static [Key<T>], of: &T, section: Section) -> Vec<(&'static str, Shown, Origin)> {
        keys.iter().map(|key| (key.name, (key.show)(of), self.origin(section, key.name))).collect()
    }

    /// What a route says of itself alone.
    fn address(&self, route: &Route, n: usize) -> Vec<(&'static str, Shown, Origin)> {
        let text = |text: &str| Shown::Text(text.to_owned());
        let host = route.host.as_deref().map_or(Shown::Nothing, text);
        let upstream = match route.set.all.is_empty() {
            true => text(&route.upstream.to_string()),
            false => Shown::Nothing,
        };
        let own = [("name", text(&route.name)), ("host", host), ("path", text(&route.path)), ("upstream", upstream)];
        own.into_iter().map(|(key, shown)| (key, shown, self.origin(Section::Route(n), key))).collect()
    }
}
