//! The list of stored cursors, a page at a time.
//!
//! In: pages of the store, or why there is none. Out: the pieces of a chunked body, a JSON object a line; or, where the
//! client pages itself, one whole body.
//! Law: a list that has begun ends with its last chunk, whatever happens: where the store fails in the middle, the last
//! line says so (`{"error": ...}`), so that no client takes the part for the whole, and none has to guess at a cut.

use super::json::{write_json, write_text};
use super::paging::{PAGE, Paging, page_of};
use super::respond::respond;
use crate::base::StreamName;
use crate::http::{LAST_CHUNK, write_answer, write_piece};
use crate::store::Record;

/// A page of the store, or why there is none.
pub(super) type Found = Result<Vec<(StreamName, Record)>, String>;

/// How far a list has come.
#[derive(Debug)]
pub(super) struct List {
    head_only: bool,
    /// It is one page, of at most so many.
    most: Option<usize>,
    /// The head has been sent.
    begun: bool,
    /// The last record of the page before.
    pub(super) after: Option<StreamName>,
}

impl List {
    pub(super) fn new(head_only: bool, paging: Option<Paging>) -> Self {
        let (most, after) = paging.map_or((None, None), |paging| (Some(paging.limit), paging.after));
        Self { head_only, most, begun: false, after }
    }

    /// How many records to ask for at a time.
    pub(super) fn most(&self) -> usize {
        self.most.unwrap_or(PAGE)
    }

    /// The next bytes of the answer, and whether another page follows them.
    pub(super) fn next(&mut self, found: Found) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        let list = match found {
            Ok(list) => list,
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
        if let Some(most) = self.most {
            return (respond(200, &page_of(&list, most), "application/json", self.head_only), false);
        }
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
        for (name, cursor) in &list {
            write_json(name, cursor, &mut lines);
            lines.push(b'\n');
        }
        write_piece(&lines, true, &mut out);
        if list.len() < PAGE {
            out.extend_from_slice(LAST_CHUNK);
            return (out, false);
        }
        self.after = list.into_iter().next_back().map(|(name, _)| name);
        (out, true)
    }
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
        let mut list = List::new(false, None);
        let (first, more) = list.next(Ok((0..PAGE as u64).map(record).collect()));
        assert!(more && first.starts_with(b"HTTP/1.1 200 ") && !first.ends_with(LAST_CHUNK));
        assert_eq!(list.after.as_ref().map(|name| name.stream), Some(PAGE as u64 - 1));
        let (last, more) = list.next(Err("the disk\nis gone".to_owned()));
        let text = String::from_utf8(last).unwrap();
        assert!(!more && text.ends_with("{\"error\":\"the disk\\u000ais gone\"}\n\r\n0\r\n\r\n"), "{text}");
    }

    #[test]
    fn a_list_whose_store_fails_at_once_is_an_honest_status() {
        let (out, more) = List::new(false, None).next(Err("away".to_owned()));
        assert!(!more && out.starts_with(b"HTTP/1.1 503 ") && out.ends_with(b"away\n"));
    }

    #[test]
    fn an_empty_list_is_whole_and_a_head_is_alone() {
        let (out, more) = List::new(false, None).next(Ok(Vec::new()));
        assert!(!more && out.ends_with(b"\r\n\r\n0\r\n\r\n"));
        let (out, more) = List::new(true, None).next(Ok(vec![record(1)]));
        assert!(!more && out.ends_with(b"close\r\n\r\n"));
    }
}
