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
    Secret::new(5).identity(&head, &head.target, &route, client)
}

fn of(lines: &str) -> Identity {
    identity(&format!("GET /rooms/1 HTTP/1.1\r\nHost: h\r\n{lines}\r\n"), HOME, |_| {})
}

#[test]
fn other_credentials_make_another_session() {
    let a = of("Authorization: Bearer a\r\n");
    assert_eq!(a, of("Authorization: Bearer a\r\nCookie: tab=1\r\nAccept: x\r\n"));
    for other in [
        "",
        "Authorization: Bearer b\r\n",
        "X-Api-Key: Bearer a\r\n",
        "Authorization: Bearer a\r\nX-Api-Key: k\r\n",
        "Authorization: Bearer a\r\nMcp-Session-Id: s\r\n",
    ] {
        assert_ne!(a.session, of(other).session, "{other}");
    }
}

#[test]
fn cookies_count_only_where_there_is_nothing_better() {
    assert_ne!(of("Cookie: a=1\r\n").session, of("Cookie: a=2\r\n").session);
    assert_ne!(of("Cookie: a=1\r\n").session, of("").session);
}

#[test]
fn a_cookie_that_is_named_counts_alone() {
    let with = |cookie: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\n\r\n");
        identity(&request, HOME, |route| route.principal.push("cookie:sid".to_owned())).session
    };
    assert_eq!(with("sid=1; theme=dark"), with("theme=light; sid=1"));
    assert_ne!(with("sid=1"), with("sid=2"));
}

#[test]
fn without_credentials_the_address_counts() {
    let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let request = "GET /rooms/1 HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_ne!(of("").session, identity(request, other, |_| {}).session);
    let six = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
    assert_eq!(of("").session, identity(request, six, |_| {}).session);
}

#[test]
fn another_target_makes_another_session_unless_the_client_names_it() {
    let get =
        |path: &str, lines: &str| identity(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n{lines}\r\n"), HOME, |_| {});
    assert_ne!(get("/rooms/1", "").session, get("/rooms/2", "").session);
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
    }
}
