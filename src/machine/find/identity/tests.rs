//! Who is told apart from whom, and which ids are segno's own.

use super::*;
use crate::base::Random;
use crate::config::Upstream;
use crate::http::{HeadLimits, parse_request};
use std::net::Ipv4Addr;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn identity(request: &str, client: IpAddr, adjust: impl FnOnce(&mut Route)) -> Identity {
    let mut route = Route::new(Upstream::parse("http://up").unwrap());
    adjust(&mut route);
    let head = parse_request(request.as_bytes(), HeadLimits::default()).unwrap();
    let secret = Secret::new(5);
    let who = secret.principal(&head, &route, client, None);
    secret.identity(&who, &head, &head.target, &route)
}

fn of(lines: &str) -> Identity {
    identity(&format!("GET /rooms/1 HTTP/1.1\r\nHost: h\r\n{lines}\r\n"), HOME, |_| {})
}

#[test]
fn whatever_goes_upstream_makes_another_principal() {
    let all = [
        "",
        "Authorization: Bearer a\r\n",
        "Authorization: Bearer b\r\n",
        "X-Api-Key: Bearer a\r\n",
        "Authorization: Bearer a\r\nX-Api-Key: k\r\n",
        "Authorization: Bearer a\r\nMcp-Session-Id: s\r\n",
        "Authorization: Bearer a\r\nMcp-Session-Id: t\r\n",
        "Authorization: Bearer a\r\nCookie: s=1\r\n",
        "Authorization: Bearer a\r\nCookie: s=1; s=2\r\n",
        "Authorization: Bearer a\r\nCookie: s=2; s=1\r\n",
        "Authorization: Bearer a\r\nCookie: s=1; _gatekeeper=2\r\n",
        "X-User: a\r\n",
        "X-User: a\r\nX-User: b\r\n",
        "X-User: b\r\nX-User: a\r\n",
        "X-Usera: \r\n",
        "Sec-Session-Id: a\r\n",
        "Origin: https://a.example\r\n",
    ];
    for (n, a) in all.iter().enumerate() {
        assert!(all[n + 1..].iter().all(|b| !of(a).owns(&of(b)) && of(a).session != of(b).session), "{a}");
    }
}

#[test]
fn the_order_of_names_and_of_cookies_says_nothing() {
    let same = |a: &str, b: &str| of(a) == of(b);
    assert!(same("X-A: 1\r\nX-B: 2\r\n", "x-b: 2\r\nx-a: 1\r\n"));
    assert!(same("Cookie: a=1; b=2\r\n", "Cookie: b=2\r\nCookie: a=1\r\n"));
    assert!(same("Cookie: a=1\r\n", "Cookie: _ga=7; a=1; _pk_id.1=2;; _ga_XY=3\r\n"));
}

#[test]
fn a_page_of_the_host_itself_is_no_other_page() {
    assert_eq!(of(""), of("Origin: https://h\r\n"));
    assert!(
        ["https://h.example", "https://h:81", "null", "h"].iter().all(|o| of("") != of(&format!("Origin: {o}\r\n")))
    );
}

#[test]
fn what_does_not_go_upstream_does_not_count() {
    assert_eq!(of(""), of("Connection: X-Hop, keep-alive\r\nKeep-Alive: 5\r\nX-Hop: 1\r\n"));
    assert_ne!(of(""), of("X-Hop: 1\r\n"));
}

#[test]
fn a_cookie_that_is_named_counts_alone() {
    let with = |cookie: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\n\r\n");
        identity(&request, HOME, |route| route.principal.push("cookie:sid".to_owned())).session
    };
    assert_eq!(with("sid=1; theme=dark"), with("theme=light; sid=1"));
    assert_ne!(with("sid=1"), with("sid=2"));
    assert_ne!(with("theme=light"), with("theme=dark"));
}

#[test]
fn the_address_counts_for_what_can_be_guessed_and_where_there_is_no_credential() {
    let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let there = |lines: &str| identity(&format!("GET /rooms/1 HTTP/1.1\r\nHost: h\r\n{lines}\r\n"), other, |_| {});
    for (lines, session) in [("", false), ("Authorization: a\r\n", true), ("Authorization:\r\n", false)] {
        let (a, b) = (of(lines), there(lines));
        assert_eq!((a.owns(&b), a.is_at(&b), a.shares(&b)), (true, false, session), "{lines}");
    }
    let six = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
    assert_eq!(of(""), identity("GET /rooms/1 HTTP/1.1\r\nHost: h\r\n\r\n", six, |_| {}));
    let (a, b) = (of("X-Real-IP: 192.0.2.1\r\n"), of("X-Real-IP: 192.0.2.2\r\n"));
    assert!(a.owns(&b) && !a.is_at(&b) && !a.shares(&b));
}

#[test]
fn another_target_makes_another_session_unless_the_client_names_it() {
    let get =
        |path: &str, lines: &str| identity(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n{lines}\r\n"), HOME, |_| {});
    assert_ne!({ get("/rooms/1", "").session }, { get("/rooms/2", "").session });
    let (a, b) = (get("/a", "Mcp-Session-Id: s\r\n"), get("/b", "Mcp-Session-Id: s\r\n"));
    assert_eq!((a.session, a.named), (b.session, true));
    assert_ne!(a.target, b.target);
}

#[test]
fn an_own_id_is_read_back_and_nothing_else_is() {
    let mut random = Random::new(3);
    for _ in 0..1_000 {
        let (token, n) = (Token(u128::from(random.next()) << 64 | u128::from(random.next())), random.next());
        let text = [&token.prefix()[..], n.to_string().as_bytes()].concat();
        assert!(text.len() <= 46);
        assert!(text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')));
        assert_eq!(Token::parse(&text), Some((token, n)));
        for id in [&text[1..], &text[..20], &[&text[..], b"x"].concat()] {
            assert_eq!(Token::parse(id), None);
        }
    }
    let prefix = Token(1).prefix();
    for number in ["", "01", "+1", "18446744073709551616"] {
        assert_eq!(Token::parse(&[&prefix[..], number.as_bytes()].concat()), None, "{number}");
    }
}

#[test]
fn a_token_is_known_by_its_maker_alone() {
    let (here, there) = (Secret::new(1), Secret::new(3));
    let again = Secret::new(1);
    for n in 0..100 {
        let token = here.token(n);
        assert!(here.made(token) && again.made(token) && !there.made(token));
        assert!(!here.made(Token(token.0 ^ 1 << (n % 128))));
        assert_eq!(token, again.token(n), "a token outlives the process");
        let by_post = n % 2 == 0;
        assert_eq!(here.token(here.draw(&mut Random::new(n), by_post)).is_by_post(), by_post);
    }
}
