//! What several tests of clients that come back ask for, and how they read what they got.

use super::*;

pub(super) fn get(id: &str) -> String {
    format!("GET /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nLast-Event-ID: {id}\r\n\r\n")
}

pub(super) fn with(lines: &str, id: &str) -> String {
    format!("GET /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{lines}Last-Event-ID: {id}\r\n\r\n")
}

/// Data of the events an end got, in order.
pub(super) fn data(w: &World, end: usize) -> Vec<String> {
    let body = w.body(end).0;
    body.split("\n\n").filter_map(|e| Some(e.split("data: ").nth(1)?.lines().next()?.to_owned())).collect()
}

/// The last id that an end got.
pub(super) fn last_id(w: &World, end: usize) -> String {
    let body = w.body(end).0;
    let last = body.lines().rfind(|line| line.starts_with("id: ")).map(|line| line[4..].to_owned());
    last.unwrap_or_default()
}

/// A client of a stream without ids that has got events `a` and `b`.
pub(super) fn without_ids(w: &mut World) -> (usize, usize) {
    let c = w.client_with(GET_STREAM);
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}{}", chunk("data: a\n\n"), chunk("data: b\n\n")));
    (c, u)
}

pub(super) fn gap_header(w: &World, end: usize) -> Option<String> {
    let wire = w.wire(end);
    wire.lines().find_map(|line| line.strip_prefix("Segno-Gap: ").map(str::to_owned))
}
