//! Scanner, parser and writer: caps, resets, work counted in bytes, round trips. `tests/conformance.rs` tests that they
//! agree with the standard.

use super::line::{is_id, line_end, work};
use super::*;
use crate::base::Random;

type Owned = Result<(String, String, String), ParseError>;

fn feed(parser: &mut Parser, mut input: &[u8]) -> Vec<Owned> {
    let mut all = Vec::new();
    while let Some(event) = parser.next(&mut input) {
        let owned = |e: Event<'_>| {
            (e.event_type_str().into_owned(), e.data_str().into_owned(), e.last_event_id_str().into_owned())
        };
        all.push(event.map(owned));
    }
    all
}

fn feed_in_pieces(parser: &mut Parser, input: &[u8], size: usize) -> Vec<Owned> {
    input.chunks(size).flat_map(|piece| feed(parser, piece)).collect()
}

fn event(event_type: &str, data: &str, id: &str) -> Owned {
    Ok((event_type.to_owned(), data.to_owned(), id.to_owned()))
}

fn too_long(cap: Cap, max: usize) -> Owned {
    Err(ParseError::TooLong { cap, max })
}

fn limits(max_line_bytes: usize, max_event_bytes: usize) -> ParserLimits {
    ParserLimits { max_line_bytes, max_event_bytes }
}

/// The ids of all blocks, "!" for one that is too long, "-" for none.
fn ids(scanner: &mut Scanner, input: &[u8], size: usize) -> Vec<String> {
    let mut all = Vec::new();
    for piece in input.chunks(size) {
        let mut rest = piece;
        while let Scan::Block { end, block } = scanner.scan(rest) {
            all.push(match block.id {
                BlockId::None => "-".to_owned(),
                BlockId::Set(id) => String::from_utf8_lossy(id).into_owned(),
                BlockId::TooLong => "!".to_owned(),
            });
            rest = &rest[end..];
        }
    }
    all
}

#[test]
fn an_event_in_one_piece_is_borrowed_from_the_input() {
    let input = b"event: a\ndata: hello\n\n".as_slice();
    let mut parser = Parser::new(ParserLimits::default());
    parser.next(&mut &b"\n"[..]);
    let mut rest = input;
    let event = parser.next(&mut rest).unwrap().unwrap();
    assert_eq!(event.data.as_ptr(), input[15..].as_ptr());
    assert_eq!(event.event_type.as_ptr(), input[7..].as_ptr());
}

#[test]
fn a_line_over_its_cap_gives_one_error_and_the_next_block_is_read() {
    let input = b"id: 1\ndata: 12345\ndata: 1\n\ndata: 1234\n\n";
    for size in 1..=input.len() {
        let mut parser = Parser::with_last_event_id(limits(10, 100), b"0");
        assert_eq!(feed_in_pieces(&mut parser, input, size), [too_long(Cap::Line, 10), event("message", "1234", "0")]);
    }
}

#[test]
fn an_event_over_its_cap_gives_one_error_and_the_next_block_is_read() {
    let input = b"data: 1\r\n: no part of it\r\ndata: 2\r\n\r\ndata: 1\r\ndata: 22\r\nid: 3\r\n\r\ndata\r\n\r\n";
    for size in 1..=input.len() {
        let mut parser = Parser::new(limits(100, 16));
        let expected = [event("message", "1\n2", ""), too_long(Cap::Event, 16), event("message", "", "")];
        assert_eq!(feed_in_pieces(&mut parser, input, size), expected, "size {size}");
    }
}

#[test]
fn a_comment_of_any_length_is_no_error() {
    let input = [b":".as_slice(), &[b'x'; 500], b"\ndata: 1\n\n"].concat();
    for size in [1, 7, 600] {
        let mut parser = Parser::new(limits(10, 10));
        assert_eq!(feed_in_pieces(&mut parser, &input, size), [event("message", "1", "")]);
    }
}

#[test]
fn errors_do_not_depend_on_where_the_input_is_cut() {
    let parts =
        ["data: 1234\n", "data:1\n", "id: 12\n", "\n", "\r", "\r\n", ": 123456789\n", "event: x\r", "\u{feff}", "d"];
    for seed in 0..20_000 {
        let random = &mut Random::new(seed);
        let input: Vec<u8> = (0..random.below(20)).flat_map(|_| parts[random.below(10) as usize].bytes()).collect();
        let limits = limits(random.below(14) as usize, random.below(40) as usize);
        let expected = feed(&mut Parser::new(limits), &input);
        for size in [1, 2, 3, 5, 11] {
            let found = feed_in_pieces(&mut Parser::new(limits), &input, size);
            assert_eq!(found, expected, "seed {seed}, size {size}, {limits:?}");
        }
    }
}

#[test]
fn a_new_connection_keeps_the_id_string_and_the_time_and_nothing_else() {
    let mut parser = Parser::with_last_event_id(ParserLimits::default(), b"0");
    assert_eq!(
        feed(&mut parser, b"retry: 5\nid: 1\ndata: a\n\nid: 2\nevent: x\ndata: b\nda"),
        [event("message", "a", "1")]
    );
    assert_eq!(parser.last_event_id_buffer(), b"2");
    parser.reset();
    assert_eq!((parser.last_event_id(), parser.last_event_id_buffer()), (&b"1"[..], &b"1"[..]));
    assert_eq!(parser.retry(), Some(5));
    assert_eq!(feed(&mut parser, b"\xef\xbb\xbfdata: c\n\n"), [event("message", "c", "1")]);
}

#[test]
fn a_block_given_up_does_not_outlive_its_connection() {
    let mut parser = Parser::new(limits(10, 100));
    assert_eq!(feed(&mut parser, b"data: 1234567\nda"), [too_long(Cap::Line, 10)]);
    parser.reset();
    assert_eq!(feed(&mut parser, b"data: 1\n\n"), [event("message", "1", "")]);
}

#[test]
fn a_mark_is_recognised_at_the_start_of_a_body_only() {
    let input = b"\xef\xbb\xbfid: 1\n\n\xef\xbb\xbfid: 2\n\n";
    for size in 1..=input.len() {
        assert_eq!(ids(&mut Scanner::new(9), input, size), ["1", "-"]);
        assert_eq!(ids(&mut Scanner::resumed(9), input, size), ["-", "-"]);
    }
}

#[test]
fn an_id_over_the_cap_is_reported_unless_a_later_one_fits() {
    let input = b"id: 1234\n\nid: 12345\n\nid: 1\nid: 12345\ndata\n\nid: 12345\nid: 1\n\nid: 1\nid: 12345\0\n\nid: 12345\nid: \0\n\n";
    for size in 1..=input.len() {
        assert_eq!(ids(&mut Scanner::new(4), input, size), ["1234", "!", "!", "1", "1", "!"], "size {size}");
    }
}

#[test]
fn a_split_id_costs_no_more_memory_than_the_caps() {
    let mut scanner = Scanner::new(8);
    let input = [b"id: 12345678\nid: ".as_slice(), &[b'9'; 10_000], b"\n\n"].concat();
    assert_eq!(ids(&mut scanner, &input, 1), ["!"]);
    assert!(scanner.capacity() <= 32, "{}", scanner.capacity());
    assert!(size_of::<Scanner>() <= 64);
}

#[test]
fn the_lines_before_an_open_block_are_counted_as_whole() {
    let mut scanner = Scanner::new(9);
    let steps: [(&[u8], usize, Position); 8] = [
        (b": ping\n\n: p", 8, Position::Comment),
        (b"in", 0, Position::Comment),
        (b"g\n", 2, Position::Boundary),
        (b":\r", 2, Position::Boundary),
        (b"\n\nda", 2, Position::Block),
        (b"ta: 1\n: in it\n", 0, Position::Block),
        (b":", 0, Position::Block),
        (b"", 0, Position::Block),
    ];
    for (input, whole, position) in steps {
        assert_eq!(scanner.scan(input), Scan::More { whole });
        assert_eq!(scanner.position(), position);
    }
    let block = Block { id: BlockId::None, has_data: true, retry: None };
    assert_eq!(scanner.scan(b"\n\nx"), Scan::Block { end: 2, block });
    assert_eq!(scanner.position(), Position::Boundary);
}

#[test]
fn work_is_linear_in_the_bytes_however_small_the_pieces() {
    let line = |field: &str| [field.as_bytes(), &[b'7'; 256 << 10], b"\n\n"].concat();
    for field in ["data: ", "id: ", "event: ", "retry: ", ": ", "unknown: "] {
        let input = line(field);
        for size in [1, 2, 100, 16 << 10, input.len()] {
            work::take();
            feed_in_pieces(&mut Parser::new(limits(1 << 20, 1 << 20)), &input, size);
            assert!(work::take() <= 3 * input.len(), "parser, {field} in pieces of {size}");
            ids(&mut Scanner::new(usize::MAX), &input, size);
            assert!(work::take() <= 4 * input.len(), "scanner, {field} in pieces of {size}");
        }
    }
}

#[test]
fn the_scanner_copies_no_id_that_lies_in_one_input() {
    let input = b"id: 123456789\ndata: x\n\n".repeat(100);
    let mut scanner = Scanner::resumed(99);
    ids(&mut scanner, &input, input.len());
    assert_eq!(scanner.capacity(), 0);
}

#[test]
fn written_events_are_read_back() {
    let parts = ["", "a", " ", "\n", "\r", "\r\n", ":", "data: x", "\u{feff}", "é"];
    let some =
        |random: &mut Random| -> String { (0..random.below(6)).map(|_| parts[random.below(10) as usize]).collect() };
    let mut parser = Parser::new(ParserLimits::default());
    let mut id = String::new();
    for seed in 0..10_000 {
        let random = &mut Random::new(seed);
        let (name, data, new_id) = (some(random), some(random), some(random));
        let fits = |text: &String| !text.contains(['\r', '\n']);
        let name = Some(name).filter(fits).filter(|_| random.below(2) == 0);
        let new_id = Some(new_id).filter(fits).filter(|_| random.below(2) == 0);
        let mut out = Vec::new();
        write_comment(&mut out, data.as_bytes());
        write_event(&mut out, name.as_deref(), new_id.as_deref().map(str::as_bytes), data.as_bytes()).unwrap();
        id = new_id.unwrap_or(id);
        let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| "message".to_owned());
        let data = data.replace("\r\n", "\n").replace('\r', "\n");
        let size = 1 + random.below(40) as usize;
        assert_eq!(feed_in_pieces(&mut parser, &out, size), [event(&name, &data, &id)], "seed {seed}");
    }
}

#[test]
fn ids_and_types_that_would_break_the_line_are_refused_and_nothing_is_written() {
    let mut out = b"x".to_vec();
    for bad in ["\r", "a\n", "ab\0"] {
        let at = bad.len() - 1;
        assert_eq!(write_event(&mut out, None, Some(bad.as_bytes()), b""), Err(WriteError::Id(at)));
        assert_eq!(write_event(&mut out, Some(bad), Some(b"1"), b""), Err(WriteError::EventType(at)));
    }
    assert_eq!(out, b"x");
}

#[test]
fn errors_say_what_is_wrong_and_where() {
    let too_long = |cap| ParseError::TooLong { cap, max: 77 }.to_string();
    assert_eq!(too_long(Cap::Line), "line of more than 77 bytes (max_line_bytes), its event is dropped");
    assert_eq!(too_long(Cap::Event), "event of more than 77 bytes (max_event_bytes), it is dropped");
    assert_eq!(WriteError::Id(3).to_string(), "id holds a CR, LF or NUL at byte 3");
    assert_eq!(WriteError::EventType(0).to_string(), "event type holds a CR, LF or NUL at byte 0");
}

#[test]
fn a_written_reconnection_time_sets_it_and_dispatches_nothing() {
    let mut out = Vec::new();
    write_retry(&mut out, u64::MAX);
    let mut parser = Parser::new(ParserLimits::default());
    assert_eq!(feed(&mut parser, &out), []);
    assert_eq!(parser.retry(), Some(u64::MAX));
}

#[test]
fn a_search_by_words_finds_what_a_search_by_bytes_finds() {
    let bytes = [0, 1, 9, 10, 11, 12, 13, 14, 0x7f, 0x80, 0x81, 0x8a, 0x8d, 0xff, b'a', b'b'];
    for seed in 0..50_000 {
        let random = &mut Random::new(seed);
        let rare = random.below(16) + 1;
        let text: Vec<u8> = (0..random.below(40))
            .map(|_| if random.below(rare) == 0 { bytes[random.below(16) as usize] } else { b'x' })
            .collect();
        assert_eq!(line_end(&text), text.iter().position(|&b| b == b'\r' || b == b'\n'), "{text:?}");
        assert_eq!(is_id(&text), text.iter().all(|&b| b != 0), "{text:?}");
    }
}
