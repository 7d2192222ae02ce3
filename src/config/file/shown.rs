//! A value as it is shown to people and programs: in TOML, in a help text, as a piece of JSON.
//!
//! In: a value of the configuration, by its key. Out: a [`Shown`].
//! Laws: what is shown in TOML is read back as the same value, except where a secret is left out; a secret is never
//! shown.

use std::fmt::Write as _;

/// What a configuration has at one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shown {
    /// A text, or something that is written as one: a time, a size, a word.
    Text(String),
    /// A whole number.
    Number(u64),
    /// Yes or no.
    Switch(bool),
    /// Texts.
    List(Vec<String>),
    /// The key is not set, and has no value that says so.
    Nothing,
}

impl Shown {
    /// The value in TOML. `None`: the key must be left out.
    pub fn toml(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(quoted(text)),
            Self::Number(n) => Some(n.to_string()),
            Self::Switch(on) => Some(on.to_string()),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
                Some(format!("[{}]", items.join(", ")))
            }
            Self::Nothing => None,
        }
    }

    /// The value as a flag would give it. `None`: there is nothing to give.
    pub(super) fn as_flag(&self) -> Option<String> {
        match self {
            Self::Text(text) if text.is_empty() => None,
            Self::Text(text) => Some(text.clone()),
            Self::Number(n) => Some(n.to_string()),
            Self::Switch(on) => Some(on.to_string()),
            Self::List(items) if items.is_empty() => None,
            Self::List(items) => Some(items.join(",")),
            Self::Nothing => None,
        }
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut line = String::with_capacity(text.len() + 2);
    line.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a text cannot fail.
                let _ = write!(line, "\\U{:08X}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line.push('"');
    line
}
