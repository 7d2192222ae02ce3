//! Media types, event ids and waiting times as clients and upstreams write them.

use super::*;

fn with(lines: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in lines {
        headers.push(name, value.as_bytes()).unwrap();
    }
    headers
}

#[test]
fn only_the_type_itself_accepts_event_streams() {
    let good = [
        "text/event-stream",
        "Text/Event-Stream",
        "application/json, text/event-stream",
        "a/b;x=\",\\\",text\", text/event-stream;q=0.1",
        "a/b;x=\\,text/event-stream",
        "text/event-stream;q=",
        "text/event-stream ; charset=utf-8",
        "text/event-stream;q=0, text/event-stream;x=1",
    ];
    for value in good {
        assert!(accepts_event_stream(&with(&[("accept", value)])), "{value}");
    }
    let bad = [
        "*/*",
        "text/*",
        "text/event-stream;q=0",
        "text/event-stream; Q=0.000",
        "text/event-streams",
        "a/b;x=\",text/event-stream,\"",
        "",
    ];
    for value in bad {
        assert!(!accepts_event_stream(&with(&[("Accept", value)])), "{value}");
    }
    assert!(!accepts_event_stream(&Headers::new()));
}

#[test]
fn a_second_accept_line_counts() {
    assert!(accepts_event_stream(&with(&[("Accept", "*/*"), ("Accept", "text/event-stream")])));
}

#[test]
fn a_content_type_counts_with_any_parameters() {
    for value in ["text/event-stream", "TEXT/event-stream;charset=UTF-8", "text/event-stream ;x"] {
        assert!(is_event_stream(&with(&[("content-type", value)])), "{value}");
    }
    for value in ["text/plain", "text/event-streaming", "application/json; a=text/event-stream"] {
        assert!(!is_event_stream(&with(&[("content-type", value)])), "{value}");
    }
}

#[test]
fn identity_does_not_count_as_a_coding() {
    assert!(!is_encoded(&with(&[("Content-Encoding", "identity")])));
    assert!(!is_encoded(&with(&[("Content-Encoding", "")])));
    assert!(is_encoded(&with(&[("Content-Encoding", "identity, GZip")])));
}

#[test]
fn a_wait_is_seconds_or_measured_from_the_responses_own_date() {
    let date = ("Date", "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(retry_after(&with(&[("Retry-After", "120")])), Some(Span::from_secs(120)));
    assert_eq!(retry_after(&with(&[("Retry-After", "0")])), Some(Span::ZERO));
    assert_eq!(retry_after(&with(&[("Retry-After", "99999999999999999999999")])), Some(Span::MAX));
    let later = ("Retry-After", "Sun, 06 Nov 1994 08:50:07 GMT");
    assert_eq!(retry_after(&with(&[later, date])), Some(Span::from_secs(30)));
    let earlier = ("Retry-After", "Sat, 05 Nov 1994 08:50:07 GMT");
    assert_eq!(retry_after(&with(&[earlier, date])), Some(Span::ZERO));
    assert_eq!(retry_after(&with(&[later])), None);
    for bad in ["", "-1", "1.5", "soon", "10 "] {
        let read = retry_after(&with(&[("Retry-After", bad), date]));
        assert_eq!(read, None, "{bad}");
    }
}

#[test]
fn a_cursor_is_one_header_of_bounded_length() {
    let id = |lines, expected| assert_eq!(last_event_id(&with(lines), None, 4), expected, "{lines:?}");
    id(&[], LastEventId::None);
    id(&[("Last-Event-ID", "")], LastEventId::None);
    id(&[("last-event-id", "12\u{e9}")], LastEventId::Id(b"12\xc3\xa9"));
    id(&[("Last-Event-ID", "1"), ("last-event-id", "1")], LastEventId::Id(b"1"));
}

#[test]
fn an_id_that_no_log_can_hold_is_no_error() {
    fn of(headers: &Headers) -> LastEventId<'_> {
        last_event_id(headers, None, 4)
    }
    assert_eq!(of(&with(&[("last-event-id", "a b\u{e9}")])), LastEventId::Unknown, "it is too long");
    assert_eq!(of(&with(&[("Last-Event-ID", "1"), ("Last-Event-ID", "2")])), LastEventId::Unknown);
    assert_eq!(of(&with(&[("Last-Event-ID", ""), ("Last-Event-ID", "2")])), LastEventId::Unknown);
    let mut latin = Headers::new();
    latin.push("Last-Event-ID", b"caf\xe9").unwrap();
    assert_eq!(last_event_id(&latin, None, 10), LastEventId::Unknown);
    for parameter in [&b"\0"[..], b"a\n", b"\r", b"\xff"] {
        assert_eq!(last_event_id(&Headers::new(), Some(parameter), 4), LastEventId::Unknown);
    }
}
