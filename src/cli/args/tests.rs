//! Arguments as users write them, and the configuration that they make.

use super::*;
use crate::config::file;
use crate::config::{Dedup, Route, Share, Upstream};

fn proxy(words: &[&str]) -> ProxyArgs {
    let all = ["segno", "proxy"].iter().chain(words);
    match Args::try_parse_from(all).unwrap().command {
        Command::Proxy(args) => *args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definitions_of_the_arguments_are_consistent() {
    command().debug_assert();
}

/// The words of a line, as a shell would split them. A pipe or a redirection ends the line.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for c in line.chars() {
        match c {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.into_iter().take_while(|word| !["|", ">"].contains(&word.as_str())).collect()
}

#[test]
fn every_command_has_examples_that_the_program_takes() {
    let commands = command();
    let names: Vec<&str> = commands.get_subcommands().map(clap::Command::get_name).collect();
    let told: Vec<&str> = examples::EXAMPLES.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        {
            let mut told = told;
            told.sort_unstable();
            told
        },
        {
            let mut names = names;
            names.sort_unstable();
            names
        }
    );
    for (line, _) in examples::EXAMPLES.iter().flat_map(|(_, examples)| *examples) {
        assert!(line.len() <= 98, "the help would break this line: {line}");
        let own = line.split(" | ").find(|part| part.starts_with("segno ")).unwrap();
        command().try_get_matches_from(words(own)).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn every_flag_reaches_the_configuration() {
    let args = proxy(&[
        "--upstream=http://h:1/b",
        "--listen=[::1]:1",
        "--listen=127.0.0.1:2",
        "--store=redb:x",
        "--admin=127.0.0.1:3",
        "--linger=1s",
        "--heartbeat=2s",
        "--replay-events=3",
        "--replay-bytes=4MiB",
        "--heal-for=5s",
        "--hold-head=6s",
        "--upstream-idle=7s",
        "--max-event-bytes=8KiB",
        "--upstream-ca=ca.pem",
        "--dedup=always",
    ]);
    let config = file::read("", &args.flags()).unwrap();
    assert_eq!((config.listen.len(), config.admin.map(|a| a.port())), (2, Some(3)));
    assert_eq!(config.store, StoreConfig::Redb { path: "x".into() });
    let mut expected = Route::new(Upstream::parse("http://h:1/b").unwrap());
    expected.linger = Span::from_secs(1);
    expected.heartbeat = Span::from_secs(2);
    expected.replay_events = 3;
    expected.replay_bytes = 4 << 20;
    expected.heal_for = Span::from_secs(5);
    expected.hold_head = Span::from_secs(6);
    expected.upstream_idle = Some(Span::from_secs(7));
    expected.max_event_bytes = 8 << 10;
    expected.upstream_ca = Some("ca.pem".into());
    expected.dedup = Dedup::Always;
    assert_eq!(config.routes[0], expected);
}

#[test]
fn flags_that_are_not_given_leave_the_defaults() {
    let config = file::read("", &proxy(&["--upstream", "http://h"]).flags()).unwrap();
    let routes = vec![Route::new(Upstream::parse("http://h").unwrap())].into();
    assert_eq!(config, crate::config::Config { routes, store: default_store(), ..Default::default() });
}

#[test]
fn every_key_but_those_of_one_route_has_a_flag_that_takes_its_default() {
    for key in file::keys() {
        let Some(default) = key.default else { continue };
        let flag = format!("--{}={default}", key.flag);
        let config = file::read("", &proxy(&["--upstream=http://h", &flag]).flags()).unwrap();
        let routes = vec![Route::new(Upstream::parse("http://h").unwrap())].into();
        let store = if key.name == "store" { config.store.clone() } else { default_store() };
        assert_eq!(config, crate::config::Config { routes, store, ..Default::default() }, "{flag}");
    }
}

#[test]
fn a_switch_is_on_without_a_value_and_off_with_false() {
    let on = |word: &str| file::read("", &proxy(&["--upstream=http://h", word]).flags()).unwrap();
    assert_eq!([on("--access-log"), on("--access-log=false")].map(|config| config.access_log), [true, false]);
    let shares = [on("--share"), on("--share=public")].map(|config| config.routes[0].share);
    assert_eq!(shares, [Share::Principal, Share::Public]);
}

#[test]
fn a_value_that_cannot_be_read_says_how_to_write_it() {
    for (flag, hint) in [("--linger=30", "`30s`"), ("--replay-bytes=1MB", "`1MiB`"), ("--upstream=h:1", "http://HOST")]
    {
        let error = Args::try_parse_from(["segno", "proxy", flag]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(hint), "{error}");
    }
    assert!(Args::try_parse_from(["segno", "parse", "--read-size=0"]).is_err());
}
