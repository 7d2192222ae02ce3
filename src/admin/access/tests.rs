//! Names and tokens that are let in, and those that are not.

use super::*;
use crate::http::{HeadLimits, parse_request};

fn check(access: &Access, lines: &str) -> Result<(), Shut> {
    let version = if lines.contains("Host") { "1.1" } else { "1.0" };
    let head = format!("GET /sessions HTTP/{version}\r\n{lines}\r\n");
    access.check(&parse_request(head.as_bytes(), HeadLimits::default()).unwrap())
}

#[test]
fn addresses_localhost_and_names_that_were_given_are_known_and_no_other_name() {
    let access = Access::default().hosts(vec!["Segno.internal".to_owned()]);
    for host in [
        "127.0.0.1",
        "127.0.0.1:9090",
        "[::1]:9090",
        "[::1]",
        "10.1.2.3:9090",
        "localhost",
        "LocalHost.:80",
        "a.localhost",
        "segno.INTERNAL:9090",
    ] {
        assert_eq!(check(&access, &format!("Host: {host}\r\n")), Ok(()), "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:9090",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "notlocalhost",
        "0x7f.1",
        "2130706433",
        "segno.internal.evil.example",
    ] {
        assert_eq!(check(&access, &format!("Host: {host}\r\n")), Err(Shut::Foreign), "{host}");
    }
    assert_eq!(check(&access, ""), Ok(()));
}

#[test]
fn with_a_token_only_those_who_send_it_are_let_in() {
    let access = Access::default().token(" hush-hush\n").unwrap();
    for lines in ["Authorization: Bearer hush-hush\r\n", "authorization: bearer  hush-hush\r\n"] {
        assert_eq!(check(&access, lines), Ok(()), "{lines}");
    }
    for lines in [
        "",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: Bearer hush-hus\r\n",
        "Authorization: Bearer hush-hush-\r\n",
        "Authorization: Basic hush-hush\r\n",
        "Authorization: hush-hush\r\n",
        "Authorization: Bearer hush-hush\r\nAuthorization: Bearer hush-hush\r\n",
    ] {
        assert_eq!(check(&access, lines), Err(Shut::NoToken), "{lines}");
    }
    assert!(!format!("{access:?}").contains("hush"), "{access:?}");
}

#[test]
fn what_nobody_could_send_is_no_token() {
    for text in ["", " \n", "a b", "a\nb", "\u{e4}", &"x".repeat(LONGEST + 1)] {
        assert_eq!(Access::default().token(text).map(drop), Err(TokenError), "{text:?}");
    }
}

#[test]
fn without_a_token_an_order_comes_from_this_machine_and_from_no_other_site() {
    let order = |access: &Access, peer: &str, lines: &str| {
        let head = format!("POST /drain HTTP/1.1\r\nHost: 127.0.0.1:9090\r\n{lines}\r\n");
        access.check_order(&parse_request(head.as_bytes(), HeadLimits::default()).unwrap(), peer.parse().unwrap())
    };
    let (open, shut) = (Access::default(), Access::default().token("hush").unwrap());
    for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(order(&open, peer, ""), Ok(()), "{peer}");
    }
    for peer in ["10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"] {
        assert_eq!(order(&open, peer, ""), Err(Shut::Remote), "{peer}");
        assert_eq!(order(&shut, peer, ""), Ok(()), "{peer}: its token was looked at before");
    }
    assert_eq!(order(&open, "::1", "Origin: http://127.0.0.1:9090\r\n"), Ok(()));
    for origin in ["http://evil.example", "null", "https://127.0.0.1:9090", "http://127.0.0.1"] {
        assert_eq!(order(&open, "::1", &format!("Origin: {origin}\r\n")), Err(Shut::OtherSite), "{origin}");
    }
}
