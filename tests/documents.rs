//! Compares the reference pages and the sample configuration with the program.
//!
//! In: `docs/configuration.md`, `docs/operating.md`, `examples/segno.toml`, the help of the program. Out: a failed test
//! if a key, a flag or a metric is missing, does not exist, or has another default.
//! Law: in a table, the first cell of a row has the name in backticks, and the second has the default.
#![cfg(feature = "cli")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use segno::admin::{PageFormat, metrics_page};
use segno::base::Tick;
use segno::config::file::{Flags, read};
use segno::config::{Config, Limits, Otlp, Persist, Route, StoreConfig, Tracing, Upstream};
use segno::metrics::Metrics;

const CONFIGURATION: &str = include_str!("../docs/configuration.md");
const OPERATING: &str = include_str!("../docs/operating.md");
const SAMPLE: &str = include_str!("../examples/segno.toml");

/// The keys that a route must set or may set for itself alone; every other key has a default.
const ADDRESS: [&str; 4] = ["name", "host", "path", "upstream"];
const COMMANDS: [&str; 10] =
    ["proxy", "demo", "tail", "sessions", "parse", "check", "config", "reload", "alerts", "grafana"];

fn config(text: &str) -> Config {
    read(text, &Flags::default()).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"))
}

fn default_route() -> Route {
    Route::new(Upstream::parse("http://h").unwrap())
}

/// The cells of each row of a page's tables, without the header rows.
fn rows(page: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let cells = |line: &'static str| Some(line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect());
    page.lines().filter_map(cells)
}

/// The name and the default of each row that begins with a name. `None` if the row gives no default.
fn named(page: &'static str) -> Vec<(&'static str, Option<&'static str>)> {
    let code = |cell: &'static str| cell.strip_prefix('`')?.strip_suffix('`');
    rows(page).filter_map(|row| Some((code(row.first()?)?, row.get(1).and_then(|cell| code(cell))))).collect()
}

/// The names of a struct's fields, without those of nested structs.
fn fields(shown: &str) -> Vec<String> {
    let own = |line: &&str| line.starts_with("    ") && !line.starts_with("     ");
    shown.lines().filter(own).filter_map(|line| Some(line.trim().split_once(": ")?.0.to_owned())).collect()
}

/// The rows that describe keys. Rows for commands and flags begin with what a user types.
fn key_rows() -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
    named(CONFIGURATION).into_iter().filter(|(name, _)| !name.starts_with("--") && !name.starts_with("segno "))
}

/// Every key of a configuration file, as the fields of the configuration name them.
fn keys() -> Vec<String> {
    let config = Config { routes: vec![default_route()].into(), ..Config::default() };
    let (persist, limits) = (format!("{:#?}", Persist::default()), format!("{:#?}", Limits::default()));
    let set = format!("{:#?}", default_route().set);
    let shown = [format!("{config:#?}"), persist, limits, format!("{:#?}", default_route()), set];
    // These fields are tables of keys.
    let is_key = |field: &String| !["persist", "limits", "routes", "set", "tracing", "otlp"].contains(&field.as_str());
    let traces = fields(&format!("{:#?}", Tracing::default())).into_iter().map(|field| format!("trace_{field}"));
    // Headers have no key, since they are secret.
    let exports = fields(&format!("{:#?}", Otlp::default())).into_iter().filter(|field| field != "headers");
    let exports = exports.map(|field| if field == "endpoint" { "otlp".to_owned() } else { format!("otlp_{field}") });
    // The file calls the list of a set what it is.
    let named = |field: String| if field == "all" { "upstreams".to_owned() } else { field };
    shown.iter().flat_map(|shown| fields(shown)).filter(is_key).chain(traces).chain(exports).map(named).collect()
}

/// What the program prints.
fn help(command: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_segno")).args([command, "--help"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The long flags in a text.
fn flags(text: &str) -> BTreeSet<&str> {
    let flag = |at: usize| {
        let rest = &text[at + 2..];
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(rest.len());
        Some(&rest[..end]).filter(|flag| !flag.is_empty() && !text[..at].ends_with('-'))
    };
    text.match_indices("--").filter_map(|(at, _)| flag(at)).filter(|flag| *flag != "help").collect()
}

#[test]
fn the_page_leaves_no_key_out() {
    for key in keys() {
        assert!(key_rows().any(|(row, _)| row == key), "docs/configuration.md has no row for `{key}`");
    }
}

#[test]
fn the_page_names_only_keys_that_exist() {
    let keys = keys();
    for (row, _) in key_rows() {
        assert!(keys.iter().any(|key| key == row), "docs/configuration.md has a row for `{row}`, which is no key");
    }
}

#[test]
fn the_page_gives_every_default_as_it_is() {
    let limits = fields(&format!("{:#?}", Limits::default()));
    let mut route = fields(&format!("{:#?}", default_route()));
    route.extend(fields(&format!("{:#?}", default_route().set)));
    let (mut top, mut tables) = (String::new(), [String::new(), String::new(), String::new()]);
    for (key, value) in key_rows() {
        let Some(value) = value.filter(|_| !ADDRESS.contains(&key)) else { continue };
        let table = match key {
            _ if limits.iter().any(|limit| limit == key) => &mut tables[0],
            _ if route.iter().any(|knob| knob == key) => &mut tables[1],
            "durable" | "replay_shared" => &mut tables[2],
            _ => &mut top,
        };
        table.push_str(&format!("{key} = {value}\n"));
    }
    let [limits, defaults, replay] = tables;
    let text =
        format!("{top}[limits]\n{limits}[defaults]\n{defaults}[replay]\n{replay}[[route]]\nupstream = \"http://h\"\n");
    let store = StoreConfig::Redb { path: "segno.redb".into() };
    assert_eq!(config(&text), Config { store, routes: vec![default_route()].into(), ..Config::default() });
}

#[test]
fn the_sample_leaves_no_key_out() {
    // These keys have no default value.
    let silent = [
        "admin",
        "admin_token_file",
        "client_ca",
        "trace_sample",
        "upstream_ca",
        "upstream_cert",
        "upstream_key",
        "upstreams",
        "name",
        "host",
        "path",
    ];
    for key in keys() {
        let shown = SAMPLE.contains(&format!("{key} = "));
        assert!(shown || silent.contains(&key.as_str()), "examples/segno.toml does not show `{key}`");
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
fn the_page_leaves_no_flag_out() {
    for command in COMMANDS {
        let help = help(command);
        let rows = rows(CONFIGURATION).map(|row| row.join(" ")).filter(|row| match command {
            "proxy" => row.starts_with("`--"),
            other => row.starts_with(&format!("`segno {other}`")),
        });
        let rows: Vec<String> = rows.collect();
        let told: BTreeSet<&str> = rows.iter().flat_map(|row| flags(row)).collect();
        for flag in flags(&help) {
            assert!(told.contains(flag), "docs/configuration.md: no `{command} --{flag}`");
        }
    }
}

#[test]
fn the_page_names_the_variable_of_each_flag() {
    for key in segno::config::file::keys() {
        let is_told = |row: Vec<&str>| {
            let flag = row[0].trim_start_matches("`--").split(['`', '[', ' ']).next();
            flag == Some(key.flag.as_str()) && row[1] == format!("`{}`", key.variable)
        };
        assert!(rows(CONFIGURATION).any(is_told), "docs/configuration.md: no `--{}` with {}", key.flag, key.variable);
    }
}

#[test]
fn the_page_and_the_help_say_of_each_knob_what_it_trades() {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    let help = words(&help("proxy"));
    for key in segno::config::file::keys() {
        let (what, trades) = (key.what, key.trades);
        assert!(trades.split(' ').count() > 4 && !what.contains(trades), "`{}` trades nothing: {trades:?}", key.name);
        let is_told = |row: Vec<&str>| {
            row[0].starts_with(&format!("`--{}", key.flag)) && row.last() == Some(&&*format!("{trades}."))
        };
        assert!(
            rows(CONFIGURATION).any(is_told),
            "docs/configuration.md: the row of `--{}` does not end with: {trades}.",
            key.flag
        );
        assert!(help.contains(trades), "the help of --{} does not say: {trades}", key.flag);
    }
}

#[test]
fn the_operating_page_lists_exactly_the_metrics_that_exist() {
    let page = metrics_page(&Arc::new(Metrics::default()), Tick::ZERO, PageFormat::Text);
    let real: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    let told: BTreeSet<&str> =
        named(OPERATING).iter().map(|(name, _)| *name).filter(|name| !name.starts_with('/')).collect();
    let missing: Vec<&&str> = real.iter().filter(|name| !told.contains(**name)).collect();
    assert!(missing.is_empty(), "docs/operating.md has no row for {missing:?}");
    let invented: Vec<&&str> = told.iter().filter(|name| !real.contains(**name)).collect();
    assert!(invented.is_empty(), "docs/operating.md lists {invented:?}, which are not on the metrics page");
}
