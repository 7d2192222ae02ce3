//! The lines of a head: where they end, and which are refused.

use super::*;

fn parse(block: &str, ends: LineEnds) -> Result<Headers, HeadError> {
    parse_block(block.as_bytes(), ends, HeadLimits::default())
}

#[test]
fn whitespace_around_a_value_is_cut_and_inside_is_kept() {
    let h = parse("A: \t b  c \t\r\nD:\r\nE:f\r\n\r\n", LineEnds::Strict).unwrap();
    assert_eq!(h.get("a"), Some(&b"b  c"[..]));
    assert_eq!((h.get("d"), h.get("e")), (Some(&b""[..]), Some(&b"f"[..])));
}

#[test]
fn an_error_says_which_line_is_wrong_and_why() {
    let cases = [
        ("A: b\nC: d\r\n\r\n", HeadError::BareLf { line: 2 }),
        ("A: b\r\nC: d\n\r\n", HeadError::BareLf { line: 3 }),
        ("A: b\r\n\n", HeadError::BareLf { line: 3 }),
        ("A: b\rC: d\r\n\r\n", HeadError::BareCr { line: 2 }),
        ("A: b\r\r\n\r\n", HeadError::BareCr { line: 2 }),
        ("A\r: b\r\n\r\n", HeadError::BareCr { line: 2 }),
        ("A: b\r\n c\r\n\r\n", HeadError::Folded { line: 3 }),
        (" A: b\r\n\r\n", HeadError::Folded { line: 2 }),
        ("A: b\0c\r\n\r\n", HeadError::Control { line: 2, byte: 0 }),
        ("A: b\x7f\r\n\r\n", HeadError::Control { line: 2, byte: 0x7f }),
        ("A: b\x0bc\r\n\r\n", HeadError::Control { line: 2, byte: 0x0b }),
        ("A : b\r\n\r\n", HeadError::SpaceBeforeColon { line: 2 }),
        ("A\t: b\r\n\r\n", HeadError::SpaceBeforeColon { line: 2 }),
        ("A: b\r\n: c\r\n\r\n", HeadError::HeaderName { line: 3, text: excerpt_of_name(b": c") }),
        ("AB\r\n\r\n", HeadError::HeaderName { line: 2, text: excerpt_of_name(b"AB") }),
        ("A B: c\r\n\r\n", HeadError::HeaderName { line: 2, text: excerpt_of_name(b"A B: c") }),
        ("A: b\r\n", HeadError::Unfinished),
        ("A: b\r\n\r\nC: d\r\n\r\n", HeadError::Unfinished),
        ("", HeadError::Unfinished),
    ];
    for (block, error) in cases {
        assert_eq!(parse(block, LineEnds::Strict), Err(error), "{block:?}");
    }
}

#[test]
fn an_upstream_may_end_lines_with_lf_alone() {
    let h = parse("A: b\nC: d\r\n\n", LineEnds::Lenient).unwrap();
    assert_eq!((h.get("A"), h.get("C")), (Some(&b"b"[..]), Some(&b"d"[..])));
    assert_eq!(parse("A: b\rC: d\n\n", LineEnds::Lenient), Err(HeadError::BareCr { line: 2 }));
}

#[test]
fn bytes_beyond_ascii_are_allowed_in_values() {
    let h = parse_block(b"A: \xc3\xa9\xff\r\n\r\n", LineEnds::Strict, HeadLimits::default()).unwrap();
    assert_eq!(h.get("A"), Some(&b"\xc3\xa9\xff"[..]));
}

#[test]
fn one_line_above_the_limit_is_refused() {
    let limits = HeadLimits { headers: 3, ..HeadLimits::default() };
    let block = |n| "A: b\r\n".repeat(n) + "\r\n";
    assert!(parse_block(block(3).as_bytes(), LineEnds::Strict, limits).is_ok());
    let refused = parse_block(block(4).as_bytes(), LineEnds::Strict, limits);
    assert_eq!(refused, Err(HeadError::TooManyHeaders { limit: 3 }));
}
