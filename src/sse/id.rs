//! The `id` field as a line: written, and read back from blocks that were kept.
//!
//! In: an id, or the bytes of whole blocks. Out: a line; the ids that lines set.
//! Law: an id is read as a client reads it, however its line was written: with or without the one space behind the
//! colon, ended by LF, CR or CRLF.
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>.

use super::line::{Field, field_of, is_id, line_end};

/// Writes the line that sets this id at the end of `out`. The caller knows that the id holds neither CR, LF nor NUL.
pub fn write_id(out: &mut Vec<u8>, id: &[u8]) {
    debug_assert!(memchr::memchr3(b'\r', b'\n', 0, id).is_none(), "the id does not fit on a line");
    // Readers take off the space behind the colon, so an id that begins with a space keeps its own.
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(id);
    out.push(b'\n');
}

/// The ids that the lines of some blocks set, in order. A line with a NUL sets none, and a line without a value sets
/// the empty id. A byte order mark in front of the first line is passed over.
///
/// Where one block has several such lines, all of them come, though only the last one counts for its event.
pub fn ids(blocks: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = blocks.strip_prefix(b"\xef\xbb\xbf").unwrap_or(blocks);
    let lines = std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (line, behind) = rest.split_at(line_end(rest).unwrap_or(rest.len()));
        // Of a CRLF the LF ends an empty line, which sets nothing.
        rest = behind.get(1..).unwrap_or_default();
        Some(line)
    });
    lines.filter_map(field_of).filter(|(field, id)| *field == Field::Id && is_id(id)).map(|(_, id)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_written() {
        for id in [&b""[..], b"5", b" 5", b"a:b", b"\xff"] {
            let mut line = b"data: x\n".to_vec();
            write_id(&mut line, id);
            assert_eq!(ids(&line).collect::<Vec<_>>(), [id]);
        }
    }

    #[test]
    fn ids_are_found_however_their_lines_are_written() {
        for blocks in [
            &b"id: 5\ndata: x\n\n"[..],
            b"data: x\r\nid:5\r\n\r\n",
            b"event: e\rid: 5\r\r",
            b"id: 5",
            b"\xef\xbb\xbfid: 5\n\n",
            b": id: 6\nid: 5\n\n",
        ] {
            assert_eq!(ids(blocks).collect::<Vec<_>>(), [b"5"], "{blocks:?}");
        }
        assert_eq!(ids(b"id:  5\n\nid\n\nid: 6\nid: 7\n\n").collect::<Vec<_>>(), [&b" 5"[..], b"", b"6", b"7"]);
        for blocks in [&b"data: 5\n\n"[..], b"xid: 5\n\n", b"data: id: 5\n\n", b"id: 5\0\n\n", b"ID: 5\n\n", b""] {
            assert_eq!(ids(blocks).next(), None, "{blocks:?}");
        }
    }
}
