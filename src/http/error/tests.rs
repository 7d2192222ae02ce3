//! The messages of errors, and the statuses that they are answered with.

use super::*;

#[test]
fn an_excerpt_is_printable_and_short() {
    assert_eq!(&*excerpt(b"a\r\n\x00\xff"), "a\\r\\n\\x00\\xff");
    assert!(excerpt(&[0xff; 70_000]).len() < 300);
}

#[test]
fn an_excerpt_holds_no_query_no_password_and_no_value() {
    assert_eq!(&*excerpt(b"GET /a?token=secret b HTTP/1.1"), "GET /a...");
    assert_eq!(&*excerpt(b"GET http://me:secret@h/ HTTP/1.1"), "GET http...");
    assert_eq!(&*excerpt(b"me:secret@h"), "me...");
    assert_eq!(&*excerpt(b"GET /a:b c HTTP/1.1"), "GET /a:b c HTTP/1.1");
    assert_eq!(&*excerpt_of_name(b"Authorization Bearer secret"), "Authorization...");
    assert_eq!(&*excerpt_of_name(b"A(B: secret"), "A(B...");
    assert_eq!(&*excerpt_of_name(b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.secret"), "eyJhbGciOiJIUzI1NiIsInR5...");
}

#[test]
fn a_message_is_one_lower_case_line_without_full_stop() {
    for e in all() {
        let text = e.to_string();
        assert!(!text.contains('\n') && !text.ends_with('.'), "{text}");
    }
}

#[test]
fn each_error_has_its_own_message_that_shows_what_was_sent() {
    let mut messages = std::collections::HashSet::new();
    for e in all() {
        let text = e.to_string();
        let shown = format!("{e:?}");
        assert!(!shown.contains("shown") || text.contains("shown"), "{text}");
        assert!(!shown.contains("77") || text.contains("77"), "{text}");
        assert!(messages.insert(text), "{e}");
    }
}

fn all() -> Vec<HeadError> {
    let text = || excerpt(b"shown\n");
    vec![
        HeadError::Unfinished,
        HeadError::TooLong { limit: 77 },
        HeadError::RequestLineTooLong { limit: 77 },
        HeadError::TooManyHeaders { limit: 77 },
        HeadError::TooManyOptions { limit: 77 },
        HeadError::BareLf { line: 77 },
        HeadError::BareCr { line: 77 },
        HeadError::Folded { line: 77 },
        HeadError::Control { line: 77, byte: 9 },
        HeadError::SpaceBeforeColon { line: 77 },
        HeadError::HeaderName { line: 77, text: text() },
        HeadError::BothFramings,
        HeadError::ContentLengthRepeated,
        HeadError::ContentLength(text()),
        HeadError::ContentLengthTooLarge,
        HeadError::TransferCoding(text()),
        HeadError::ChunkedNotOnce,
        HeadError::TransferEncodingIn10,
        HeadError::RequestLine(text()),
        HeadError::Version(text()),
        HeadError::Method(text()),
        HeadError::Connect,
        HeadError::Target(text()),
        HeadError::Climbs(text()),
        HeadError::HostMissing,
        HeadError::HostRepeated,
        HeadError::Host(text()),
        HeadError::Expect(text()),
        HeadError::StatusLine(text()),
        HeadError::SwitchedProtocols,
    ]
}
