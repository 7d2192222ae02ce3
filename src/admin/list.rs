//! The list of stored cursors, a page at a time.
//!
//! In: pages of the store, or why there is none. Out: the pieces of a chunked body, a JSON object a line.
//! Law: a list that has begun ends with its last chunk, whatever happens: where the store fails in the middle, the last
//! line says so (`{"error": ...}`), so that no client takes the part for the whole, and none has to guess at a cut.

use crate::base::StreamName;
use crate::http::{LAST_CHUNK, write_answer, write_piece};
use crate::store::Record;

/// Records asked of the store at a time.
pub(super) const PAGE: usize = 1_000;

/// A page of the store, or why there is none.
pub(super) type Found = Result<Vec<(StreamName, Record)>, String>;

/// How far a list has come.
#[derive(Debug)]
pub(super) struct List {
    head_only: bool,
    /// The head has been sent.
    begun: bool,
    /// The last record of the page before.
    pub(super) after: Option<StreamName>,
}

impl List {
    pub(super) fn new(head_only: bool) -> Self {
        Self { head_only, begun: false, after: None }
    }

    /// The next bytes of the answer, and whether another page follows them.
    pub(super) fn next(&mut self, found: Found) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        let page = match found {
            Ok(page) => page,
            Err(why) if !self.begun => {
                write_answer(503, &why, &[("Retry-After", "1")], true, self.head_only, &mut out);
                return (out, false);
            }
            Err(why) => {
                let mut line = b"{\"error\":".to_vec();
                write_text(why.as_bytes(), &mut line);
                line.extend_from_slice(b"}\n");
                write_piece(&line, true, &mut out);
                out.extend_from_slice(LAST_CHUNK);
                return (out, false);
            }
        };
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\nTransfer-Encoding: chunked\r\n\
                  Cache-Control: no-store\r\nConnection: close\r\n\r\n",
            );
        }
        if self.head_only {
            return (out, false);
        }
        let mut lines = Vec::new();
        for (name, cursor) in &page {
            write_json(name, cursor, &mut lines);
            lines.push(b'\n');
        }
        write_piece(&lines, true, &mut out);
        if page.len() < PAGE {
            out.extend_from_slice(LAST_CHUNK);
            return (out, false);
        }
        self.after = page.into_iter().next_back().map(|(name, _)| name);
        (out, true)
    }
}

/// Appends a stored cursor as a JSON object on one line. Bytes that are not UTF-8 become U+FFFD.
pub(crate) fn write_json(name: &StreamName, cursor: &Record, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"session\":");
    write_text(&name.session, out);
    out.extend_from_slice(format!(",\"stream\":\"{:016x}\",\"last_event_id\":", name.stream).as_bytes());
    write_text(cursor.id.as_bytes(), out);
    let Record { epoch, sequence, last_seen_ms, .. } = cursor;
    let rest = format!(",\"sequence\":{sequence},\"epoch\":{epoch},\"last_seen_ms\":{last_seen_ms}}}");
    out.extend_from_slice(rest.as_bytes());
}

pub(super) fn write_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            c if u32::from(c) < 0x20 => out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::EventId;

    fn record(n: u64) -> (StreamName, Record) {
        let id = EventId::from_bytes(b"7").unwrap();
        (StreamName { session: b"s"[..].into(), stream: n }, Record { epoch: 1, sequence: 2, id, last_seen_ms: 3 })
    }

    #[test]
    fn a_list_whose_store_fails_in_the_middle_says_so_and_ends() {
        let mut list = List::new(false);
        let (first, more) = list.next(Ok((0..PAGE as u64).map(record).collect()));
        assert!(more && first.starts_with(b"HTTP/1.1 200 ") && !first.ends_with(LAST_CHUNK));
        assert_eq!(list.after.as_ref().map(|name| name.stream), Some(PAGE as u64 - 1));
        let (last, more) = list.next(Err("the disk\nis gone".to_owned()));
        let text = String::from_utf8(last).unwrap();
        assert!(!more && text.ends_with("{\"error\":\"the disk\\u000ais gone\"}\n\r\n0\r\n\r\n"), "{text}");
    }

    #[test]
    fn a_list_whose_store_fails_at_once_is_an_honest_status() {
        let (out, more) = List::new(false).next(Err("away".to_owned()));
        assert!(!more && out.starts_with(b"HTTP/1.1 503 ") && out.ends_with(b"away\n"));
    }

    #[test]
    fn an_empty_list_is_whole_and_a_head_is_alone() {
        let (out, more) = List::new(false).next(Ok(Vec::new()));
        assert!(!more && out.ends_with(b"\r\n\r\n0\r\n\r\n"));
        let (out, more) = List::new(true).next(Ok(vec![record(1)]));
        assert!(!more && out.ends_with(b"close\r\n\r\n"));
    }

    #[test]
    fn a_cursor_is_one_line_of_valid_json_whatever_it_holds() {
        let all: Vec<u8> = (0..=255).collect();
        let name = StreamName { session: all.clone().into(), stream: 1 };
        let id = EventId::from_bytes(&all).unwrap();
        let mut line = Vec::new();
        write_json(&name, &Record { epoch: 1, sequence: 2, id, last_seen_ms: 3 }, &mut line);
        let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert!(!line.contains(&b'\n'));
        assert_eq!(
            (json["last_event_id"].as_str().unwrap(), &json["sequence"]),
            (&*String::from_utf8_lossy(&all), &2.into())
        );
    }
}
