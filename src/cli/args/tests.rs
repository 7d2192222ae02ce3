//! Arguments as users write them, and the configuration that they make.

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;
use crate::config::file;

fn proxy(words: &[&str]) -> ProxyArgs {
    let all = ["segno", "proxy"].iter().chain(words);
    match Args::try_parse_from(all).unwrap().command {
        Command::Proxy(args) => *args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definitions_of_the_arguments_are_consistent() {
    Args::command().debug_assert();
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
    let config = file::read("", args.flags()).unwrap();
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
    let config = file::read("", proxy(&["--upstream", "http://h"]).flags()).unwrap();
    let routes = vec![Route::new(Upstream::parse("http://h").unwrap())].into();
    assert_eq!(config, crate::config::Config { routes, store: default_store(), ..Default::default() });
}

#[test]
fn a_proxy_needs_an_upstream_or_a_file() {
    let error = Args::try_parse_from(["segno", "proxy"]).unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::MissingRequiredArgument, 2));
    assert!(proxy(&["--config", "x"]).upstream.is_none());
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
