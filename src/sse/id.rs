//! Writes the `id` line of a block, and reads the ids from whole blocks.
//!
//! In: an id, or the bytes of whole blocks. Out: a line, or the ids that the blocks set.
//! Law: an id is read as a client reads it, however its line was written: with or without the one space after the
//! colon, and ended by LF, CR or CRLF.
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>.

use super::line::{Field, field_of, is_id, line_end};

/// Appends the line that sets this id to `out`. The caller makes sure that the id holds no CR, LF or NUL.
pub fn write_id(out: &mut Vec<u8>, id: &[u8]) {
    debug_assert!(memchr::memchr3(b'\r', b'\n', 0, id).is_none(), "the id does not fit on a line");
    // Clients remove one space after the colon, so an id that begins with a space keeps that space.
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(id);
    out.push(b'\n');
}

/// The ids that the lines of some blocks set, in order. A line with a NUL sets none, and a line without a value sets
/// the empty id. A byte order mark before the first line is skipped.
///
/// If a block has several id lines, this gives all their ids, although only the last one counts for the event.
pub fn ids(blocks: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = blocks.strip_prefix(b"\xef\xbb\xbf").unwrap_or(blocks);
    let lines = std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (line, behind) = rest.split_at(line_end(rest).unwrap_or(rest.len()));
        // After a CR, the LF of a CRLF ends an empty line, which sets nothing.
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
