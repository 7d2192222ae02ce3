//! Targets in each form, and those that are refused.

use super::*;

fn parse(method: &Method, raw: &str) -> Option<(String, Option<String>)> {
    parse_target(method, raw.as_bytes()).ok().map(|t| (t.path, t.authority))
}

#[test]
fn an_absolute_target_becomes_its_path() {
    let cases = [
        ("http://a.example/x?y", "/x?y", "a.example"),
        ("HTTP://a.example:80", "/", "a.example:80"),
        ("https://[::1]:8443?q=/", "/?q=/", "[::1]:8443"),
        ("http://a//b", "//b", "a"),
    ];
    for (raw, path, host) in cases {
        assert_eq!(parse(&Method::Get, raw), Some((path.to_owned(), Some(host.to_owned()))), "{raw}");
    }
    assert_eq!(parse(&Method::Options, "http://a"), Some(("*".to_owned(), Some("a".to_owned()))));
}

#[test]
fn an_origin_target_stays_as_sent() {
    for raw in ["/", "//x", "/a%2fb/../c?d=e?f", "/\u{e9}", "/a|b\"<>\\^`{}"] {
        assert_eq!(parse(&Method::Get, raw), Some((raw.to_owned(), None)));
    }
    assert_eq!(parse(&Method::Options, "*"), Some(("*".to_owned(), None)));
}

#[test]
fn other_targets_are_refused() {
    for raw in ["*", "a", "a:80", "ftp://a/", "http:///x", "http://u@a/", "http://", "/a#b", "http:/a", "?a", "\u{e9}"]
    {
        assert_eq!(parse(&Method::Get, raw), None, "{raw}");
    }
    assert!(parse_target(&Method::Get, b"/\xff").is_err());
}

#[test]
fn an_authority_is_a_host_with_an_optional_port() {
    for good in ["a", "a.b-c_d:80", "127.0.0.1:65535", "[::1]", "[fe80::1]:8080", "a:", "%41b", "xn--a.example"] {
        assert!(check_authority(good.as_bytes()).is_ok(), "{good}");
    }
    let bad = [
        "",
        ":80",
        "a:65536",
        "a:99999999999999999999",
        "a:8o",
        "a b",
        "u@a",
        "a/b",
        "a?b",
        "a#b",
        "a,b",
        "a:1:2",
        "[::1",
        "[]",
        "[::g]",
        "::1",
        "[::1]x",
        "%4",
        "%zz",
        "%4g",
        "\u{e9}",
        "a\\b",
        "a:-1",
        "a:+1",
        "[v1.a]",
    ];
    for bad in bad {
        assert!(check_authority(bad.as_bytes()).is_err(), "{bad}");
    }
}
