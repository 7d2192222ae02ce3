//! Holds the README's tables and the sample configuration against the code.
//!
//! In: `README.md`, `examples/segno.toml`. Out: failed tests where they say other than the defaults.
//! Law: every key of a route and of the limits stands in both, with its default.
#![cfg(feature = "cli")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

use segno::config::file::{Flags, read};
use segno::config::{Config, Limits, Route, StoreConfig, Upstream};

const README: &str = include_str!("../README.md");
const SAMPLE: &str = include_str!("../examples/segno.toml");

/// What a route says of itself; everything else has a default.
const ADDRESS: [&str; 4] = ["name", "host", "path", "upstream"];

fn config(text: &str) -> Config {
    read(text, Flags::default()).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"))
}

fn default_route() -> Route {
    Route::new(Upstream::parse("http://h").unwrap())
}

/// Key and default of each row of the README's tables; no default where it says so.
fn rows() -> Vec<(&'static str, Option<&'static str>)> {
    let cells = |line: &'static str| line.strip_prefix("| `")?.split_once("` | ");
    let value = |rest: &'static str| rest.strip_prefix('`')?.split('`').next();
    README.lines().filter_map(cells).map(|(key, rest)| (key, value(rest))).collect()
}

/// The names of a struct's own fields.
fn fields(shown: &str) -> Vec<&str> {
    let own = |line: &&str| line.starts_with("    ") && !line.starts_with("     ");
    shown.lines().filter(own).filter_map(|line| Some(line.trim().split_once(": ")?.0)).collect()
}

#[test]
fn the_readme_gives_every_default_as_it_is() {
    let (mut limits, mut defaults) = (String::from("[limits]\n"), String::from("[defaults]\n"));
    let shown = format!("{:#?}", Limits::default());
    for (key, value) in rows() {
        let table = if fields(&shown).contains(&key) { &mut limits } else { &mut defaults };
        if let Some(value) = value {
            table.push_str(&format!("{key} = {value}\n"));
        }
    }
    let config = config(&format!("{limits}{defaults}[[route]]\nupstream = \"http://h\"\n"));
    assert_eq!(config, Config { routes: vec![default_route()].into(), ..Config::default() });
}

#[test]
fn the_readme_and_the_sample_leave_no_key_out() {
    let (limits, route) = (format!("{:#?}", Limits::default()), format!("{:#?}", default_route()));
    for key in fields(&limits).into_iter().chain(fields(&route)).filter(|key| !ADDRESS.contains(key)) {
        assert!(rows().iter().any(|(row, _)| *row == key), "README.md has no row for `{key}`");
        assert!(SAMPLE.contains(&format!("{key} = ")), "examples/segno.toml does not show `{key}`");
    }
}

#[test]
fn the_sample_is_sound_and_shows_the_defaults() {
    let config = config(SAMPLE);
    let expected = Route::new(config.routes[0].upstream.clone());
    assert_eq!((config.routes.len(), &config.routes[0]), (3, &expected));
    let store = StoreConfig::Redb { path: "segno.redb".into() };
    assert_eq!(config, Config { routes: config.routes.clone(), store, ..Config::default() });
}

#[test]
fn the_configuration_in_the_readme_is_sound() {
    let text = README.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(config(text.unwrap_or_default()).routes.len(), 3);
}
