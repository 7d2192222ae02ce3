//! Lists that a client asks for page by page: stored cursors, and streams that live.
//!
//! In: the parameters `after` and `limit`, pages of the store, the slots. Out: JSON objects, each with the `next` to
//! ask for.
//! Law: a page is bounded, and so is the work for it.

use super::json::{write_json, write_text};
use crate::base::StreamName;
use crate::slot::{Phase, SlotsView};
use crate::store::Record;

/// The most entries of a page, and records asked of the store at a time.
pub(super) const PAGE: usize = 1_000;

/// Entries of a page whose client names no number.
const DEFAULT_LIMIT: usize = 100;

const NOT_A_NEXT: &str = "`after` is not the `next` of a page";

/// What part of the stored cursors a client asks for.
#[derive(Debug)]
pub(super) struct Paging {
    pub(super) after: Option<StreamName>,
    pub(super) limit: usize,
}

impl Paging {
    /// By the parameters. `None`: there are none, so the client wants the whole list.
    pub(super) fn of(after: Option<&str>, limit: Option<&str>) -> Result<Option<Self>, &'static str> {
        if after.is_none() && limit.is_none() {
            return Ok(None);
        }
        let after = after.map(|text| read_name(text).ok_or(NOT_A_NEXT)).transpose()?;
        Ok(Some(Self { after, limit: read_limit(limit)? }))
    }
}

fn read_limit(limit: Option<&str>) -> Result<usize, &'static str> {
    let Some(limit) = limit else { return Ok(DEFAULT_LIMIT) };
    let sound = limit.parse().ok().filter(|limit| (1..=PAGE).contains(limit));
    sound.ok_or("`limit` is not a number from 1 to 1000")
}

/// A page of stored cursors. If it is full, there may be another.
pub(super) fn page_of(list: &[(StreamName, Record)], most: usize) -> String {
    let mut page = Page::new("sessions");
    for (name, record) in list {
        page.begin();
        write_json(name, record, &mut page.out);
    }
    let next = list.last().filter(|_| list.len() >= most);
    page.end(next.map(|(name, _)| write_name(name)))
}

/// A stream's name as `next` gives it.
fn write_name(name: &StreamName) -> String {
    let session: String = name.session.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{session}.{:x}", name.stream)
}

fn read_name(text: &str) -> Option<StreamName> {
    let (session, stream) = text.split_once('.')?;
    let pairs = session.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    let session: Vec<u8> = pairs.collect::<Option<_>>()?;
    Some(StreamName { session: session.into(), stream: u64::from_str_radix(stream, 16).ok()? })
}

/// What part of the live streams a client asks for.
#[derive(Debug)]
pub(super) struct StreamList {
    from: u32,
    limit: usize,
}

impl StreamList {
    /// By the parameters.
    pub(super) fn of(after: Option<&str>, limit: Option<&str>) -> Result<Self, &'static str> {
        let place = |text: &str| text.parse::<u32>().map_err(|_| NOT_A_NEXT);
        let from = after.map(place).transpose()?.map_or(0, |place| place.saturating_add(1));
        Ok(Self { from, limit: read_limit(limit)? })
    }

    /// The page.
    pub(super) fn json(&self, streams: &SlotsView) -> String {
        let mut page = Page::new("streams");
        let (mut last, mut listed) = (None, 0);
        for (place, stream, durable) in streams.streams_from(self.from) {
            if listed == self.limit {
                return page.end(last);
            }
            page.begin();
            let out = &mut page.out;
            out.extend_from_slice(b"{\"session\":");
            write_text(&stream.name.session, out);
            out.extend_from_slice(format!(",\"stream\":\"{:016x}\",\"last_event_id\":", stream.name.stream).as_bytes());
            match &stream.cursor {
                Some(cursor) => write_text(cursor.id.as_bytes(), out),
                None => out.extend_from_slice(b"null"),
            }
            let delivered = stream.cursor.map_or(0, |cursor| cursor.sequence);
            let is_live = stream.phase == Phase::Live;
            let rest = format!(",\"delivered\":{delivered},\"durable\":{durable},\"live\":{is_live}}}");
            out.extend_from_slice(rest.as_bytes());
            (last, listed) = (Some(place), listed + 1);
        }
        page.end(None::<u32>)
    }
}

/// A JSON object with a list, on its way.
struct Page {
    out: Vec<u8>,
    any: bool,
}

impl Page {
    fn new(name: &str) -> Self {
        Self { out: format!("{{\"{name}\":[").into_bytes(), any: false }
    }

    /// Another entry begins.
    fn begin(&mut self) {
        let is_first = !std::mem::replace(&mut self.any, true);
        self.out.extend_from_slice(if is_first { b"\n" } else { b",\n" });
    }

    fn end(mut self, next: Option<impl std::fmt::Display>) -> String {
        let next = next.map_or("null".to_owned(), |next| format!("\"{next}\""));
        self.out.extend_from_slice(format!("\n],\"next\":{next}}}\n").as_bytes());
        String::from_utf8_lossy(&self.out).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Cursor, EventId, Tick};
    use crate::slot::slots;
    use std::sync::Arc;

    fn name(n: u64) -> StreamName {
        StreamName { session: b"s"[..].into(), stream: n }
    }

    fn read(text: &str) -> serde_json::Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_page_names_the_next_one_if_it_is_full() {
        let record = |n| {
            let id = EventId::from_bytes(b"7").unwrap();
            (name(n), Record { epoch: 1, sequence: 2, id, last_seen_ms: 3 })
        };
        let json = read(&page_of(&[record(1), record(2)], 2));
        assert_eq!((json["sessions"].as_array().unwrap().len(), &json["next"]), (2, &"73.2".into()));
        assert!(read(&page_of(&[record(1)], 2))["next"].is_null() && read(&page_of(&[], 2))["next"].is_null());
        let paging = Paging::of(Some("73.2"), None).unwrap().unwrap();
        assert_eq!((paging.after, paging.limit), (Some(name(2)), DEFAULT_LIMIT));
        for (after, limit) in [(Some("x"), None), (Some("7.1"), None), (None, Some("0")), (None, Some("1001"))] {
            assert!(Paging::of(after, limit).is_err(), "{after:?} {limit:?}");
        }
        assert!(Paging::of(None, None).unwrap().is_none());
    }

    #[test]
    fn streams_are_read_from_their_slots_page_by_page() {
        let (mut writer, _drain) = slots(8);
        let id = EventId::from_bytes(b"seven").unwrap();
        for n in 0..5 {
            let key = writer.take(Arc::new(name(n))).unwrap();
            writer.publish(key, &Cursor { sequence: 10 + n, id: id.clone(), at: Tick::ZERO });
        }
        let (mut seen, mut after, view) = (Vec::new(), None::<String>, writer.view());
        loop {
            let json = read(&StreamList::of(after.as_deref(), Some("2")).unwrap().json(&view));
            let page = json["streams"].as_array().unwrap();
            assert!(page.len() <= 2 && page.iter().all(|s| s["last_event_id"] == "seven" && s["durable"] == 0));
            seen.extend(page.iter().map(|stream| stream["delivered"].as_u64().unwrap()));
            match json["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => break,
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, [10, 11, 12, 13, 14]);
        assert!(StreamList::of(Some("x"), None).is_err());
    }
}
