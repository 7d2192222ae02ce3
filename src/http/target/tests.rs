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
    for raw in ["/", "//x", "/a%2fb/c?d=../e?f", "/a|b\"<>\\^`{}", "/...", "/.a/a./..b", "/%2e%2e%2e", "/a%2Eb"] {
        assert_eq!(parse(&Method::Get, raw), Some((raw.to_owned(), None)));
    }
    assert_eq!(parse(&Method::Options, "*"), Some(("*".to_owned(), None)));
}

#[test]
fn dot_segments_are_resolved() {
    let cases = [
        ("/live/../admin", "/admin"),
        ("/live/%2e%2E/admin?x=/../", "/admin?x=/../"),
        ("/a/./b/.%2e/c", "/a/c"),
        ("/a/b/..", "/a/"),
        ("/a/b/.", "/a/b/"),
        ("/.", "/"),
        ("/a/..?q", "/?q"),
        ("/a//../b", "/a/b"),
        ("http://h/a/../b", "/b"),
    ];
    for (raw, path) in cases {
        assert_eq!(parse(&Method::Get, raw).map(|(path, _)| path), Some(path.to_owned()), "{raw}");
    }
    for raw in ["/..", "/../x", "/a/../../b", "/%2e%2e/x", "/./..", "http://h/.."] {
        assert!(matches!(parse_target(&Method::Get, raw.as_bytes()), Err(HeadError::Climbs(_))), "{raw}");
    }
}

/// A twin of the above: the algorithm of RFC 3986, section 5.2.4, word for word.
fn remove_dot_segments(path: &str) -> String {
    let (mut input, mut output) = (path.to_owned(), String::new());
    while !input.is_empty() {
        if input.starts_with("/./") || input == "/." {
            input = format!("/{}", input.get(3..).unwrap_or_default());
        } else if input.starts_with("/../") || input == "/.." {
            input = format!("/{}", input.get(4..).unwrap_or_default());
            output.truncate(output.rfind('/').unwrap_or(0));
        } else {
            let end = input[1..].find('/').map_or(input.len(), |at| at + 1);
            output.push_str(&input[..end]);
            input.drain(..end);
        }
    }
    output
}

#[test]
fn dots_are_resolved_as_the_rfc_says() {
    let mut random = crate::base::Random::new(3);
    for _ in 0..20_000 {
        let path: String =
            (0..=random.below(6)).map(|_| ["/a", "/.", "/..", "/", "/b.c"][random.below(5) as usize]).collect();
        if let Some(resolved) = without_dots(path.clone()) {
            assert_eq!(resolved, remove_dot_segments(&path), "{path}");
            assert_eq!(without_dots(resolved.clone()), Some(resolved), "{path}");
        }
    }
}

#[test]
fn what_some_program_would_lead_out_of_the_prefix_is_seen() {
    for path in
        ["/live/..%2fadmin", "/live/a/..%5C../x", "/live/..;a=b/x", "/live//..\\x", "/live/%2e.%2fx", "/live%2f..%2f"]
    {
        assert!(leads_out(path, "/live"), "{path}");
    }
    for path in ["/live", "/live/a%2f..%2fb", "/live/a/..;/b", "/live/x?../..%2f", "/live/..a", "/live/%2e/x"] {
        assert!(!leads_out(path, "/live"), "{path}");
    }
    assert!(leads_out("/..%2f", "/") && !leads_out("/a%2f..", "/"));
}

#[test]
fn other_targets_are_refused() {
    for raw in [
        "/\u{7f}",
        "/a\tb",
        "*",
        "a",
        "a:80",
        "ftp://a/",
        "http:///x",
        "http://u@a/",
        "http://",
        "/a#b",
        "http:/a",
        "?a",
        "\u{e9}",
    ] {
        assert_eq!(parse(&Method::Get, raw), None, "{raw}");
    }
}

#[test]
fn bytes_beyond_ascii_go_on_as_browsers_send_them() {
    let cases: [(&[u8], &str); 3] = [
        ("/caf\u{e9}?x=\u{20ac}".as_bytes(), "/caf%C3%A9?x=%E2%82%AC"),
        (b"/\xff", "/%FF"),
        ("/\u{e9}/../b".as_bytes(), "/b"),
    ];
    for (raw, path) in cases {
        assert_eq!(parse_target(&Method::Get, raw).ok().map(|t| t.path).as_deref(), Some(path));
    }
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
