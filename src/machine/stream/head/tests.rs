//! Which lines are kept, for how long, and how many.

use super::*;

fn head(lines: &[(&str, &str)]) -> ResponseHead {
    let mut head = ResponseHead::ok();
    lines.iter().for_each(|(name, value)| head.headers.push(name, value.as_bytes()).unwrap());
    head
}

fn kept(heads: &mut Heads, lines: &[(&str, &str)]) -> KeptHead {
    heads.keep(0, &head(lines), &mut Counts::default())
}

fn text(lines: &[u8]) -> String {
    String::from_utf8(lines.to_vec()).unwrap()
}

#[test]
fn what_belongs_to_one_client_one_answer_or_one_hop_is_not_kept() {
    let mut heads = Heads::new(1);
    let kept = kept(
        &mut heads,
        &[
            ("Content-Type", "text/event-stream; charset=utf-8"),
            ("Set-Cookie", "a=b"),
            ("mcp-session-id", "s"),
            ("Date", "now"),
            ("Connection", "close, X-Hop"),
            ("X-Hop", "1"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Length", "4"),
            ("Segno-Gap", "evicted"),
            ("Cache-Control", "no-store, private"),
            ("X-Mine", ""),
        ],
    );
    let expected = "Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-store, private\r\nX-Mine: \r\n";
    assert_eq!(text(&kept), expected);
    let later = heads.later(0, Some(&kept), None).unwrap();
    assert_eq!(later.headers.get("X-Mine"), Some(&b""[..]));
    assert_eq!(later.headers.len(), 3);
}

#[test]
fn streams_with_the_same_head_share_it_and_the_last_one_gives_it_back() {
    let mut heads = Heads::new(1);
    let (a, b) = (kept(&mut heads, &[("A", "1")]), kept(&mut heads, &[("A", "1")]));
    let other = kept(&mut heads, &[("A", "2")]);
    assert!(Arc::ptr_eq(&a, &b) && heads.bytes() == 12);
    heads.release(a);
    assert_eq!(heads.bytes(), 12);
    heads.release(b);
    heads.release(other);
    assert_eq!(heads.bytes(), 0);
    assert_eq!(text(&kept(&mut heads, &[("A", "1")])), "A: 1\r\n");
}

#[test]
fn kept_heads_are_bounded_one_by_one_and_together() {
    let mut heads = Heads::new(1);
    let (long, most) = ("x".repeat(HEAD_BYTES), "y".repeat(HEAD_BYTES - 64));
    let first = kept(&mut heads, &[("A", "1"), ("B", &long), ("C", "2")]);
    assert_eq!(text(&first), "A: 1\r\nC: 2\r\n");
    let mut all = vec![first];
    let mut counts = Counts::default();
    for n in 0..ALL_BYTES / HEAD_BYTES + 200 {
        let lines = [("N", &*n.to_string()), ("A", &*most), ("Content-Type", "t"), ("Vary", "Origin")];
        all.push(heads.keep(0, &head(&lines), &mut counts));
    }
    assert!(heads.bytes() <= ALL_BYTES + 64, "{}", heads.bytes());
    assert!(counts.get(Count::HeadsShortened) > 0);
    assert_eq!(text(all.last().unwrap()), "Content-Type: t\r\nVary: Origin\r\n");
    all.into_iter().for_each(|head| heads.release(head));
    assert_eq!(heads.bytes(), 0);
}

/// A page of this origin that reads the events.
fn at(origin: &[u8]) -> Reads<'_> {
    Reads { origin, path: b"/events" }
}

#[test]
fn what_a_browser_needs_is_kept_however_long_the_other_lines_are() {
    let (mut heads, mut counts) = (Heads::new(1), Counts::default());
    let long = "x".repeat(HEAD_BYTES - 20);
    let kept = heads.keep(
        0,
        &head(&[("Policy", &long), ("Content-Type", "t"), ("Access-Control-Allow-Origin", "*")]),
        &mut counts,
    );
    assert_eq!(text(&kept), "Content-Type: t\r\nAccess-Control-Allow-Origin: *\r\n");
}

#[test]
fn what_an_origin_may_read_at_one_path_says_nothing_of_another() {
    let mut heads = Heads::new(1);
    heads.learn(0, at(b"https://a"), &head(&[("Access-Control-Allow-Origin", "*")]));
    assert!(heads.own(0, Some(Reads { origin: b"https://a", path: b"/private" })).is_none());
}

#[test]
fn an_origin_is_told_what_upstream_last_answered_to_it() {
    let mut heads = Heads::new(1);
    let says = |heads: &Heads, origin: &str| {
        let own = heads.own(0, Some(at(origin.as_bytes())))?;
        Some(text(own.headers.get("Access-Control-Allow-Origin")?))
    };
    assert_eq!(says(&heads, "https://a"), None);
    heads.learn(
        0,
        at(b"https://a"),
        &head(&[("access-control-allow-origin", "https://a"), ("Vary", "Origin"), ("B", "c")]),
    );
    assert_eq!((says(&heads, "https://a").as_deref(), says(&heads, "https://b")), (Some("https://a"), None));
    let own = heads.own(0, Some(at(b"https://a"))).unwrap();
    assert!(own.headers.contains("Vary") && !own.headers.contains("B"));
    heads.learn(0, at(b"https://a"), &head(&[("B", "c")]));
    assert_eq!(says(&heads, "https://a"), None, "upstream does not allow it any more");
    for n in 0..PAGES + 1 {
        heads.learn(0, at(n.to_string().as_bytes()), &head(&[("Access-Control-Allow-Origin", "*")]));
    }
    assert_eq!((says(&heads, "0"), says(&heads, "1").as_deref()), (None, Some("*")), "the oldest makes room");
    let long = "x".repeat(ORIGIN_BYTES + 1);
    heads.learn(0, at(long.as_bytes()), &head(&[("Access-Control-Allow-Origin", "*")]));
    assert_eq!(says(&heads, &long), None);
    assert!(heads.own(0, None).is_some());
}
