//! Ordinary answers: head and body go to the client as upstream sent them.
//!
//! In: heads and bodies of answers that are not event streams. Out: the same for the client, framed for its version.
//! Law: nothing is kept; upstream waits while the client does not take what has come.
//! Source: RFC 9110, 15.2 (interim responses).

use super::conn::Conn;
use super::cx::Cx;
use super::exchange::{Exchange, Phase};
use super::keys::ConnKey;
use super::pool::Conns;
use super::stream::Body;
use super::stream::head::{UNBUFFERED, for_others};
use super::visits::REQUEST_ID;
use crate::config::Ids;
use crate::http::{self, BodyDecoder, BodyLength, Method, Piece, ResponseFraming, ResponseHead, Version};

impl Exchange {
    /// Sends an interim answer on to the client, if the client understands interim answers and still waits.
    pub(super) fn pass_interim(&self, cx: &mut Cx, conns: &mut Conns, head: &ResponseHead) {
        let reader = self.readers().only().filter(|_| self.stream().is_none());
        if let Some(reader) = reader.filter(|reader| reader.version != Version::Http10 && !reader.head_sent)
            && let Some(c) = conns.get_mut(reader.client)
        {
            http::write_response(head, ResponseFraming::None, Version::Http11, false, &[], c.out.end());
            conns.flush(cx, reader.client);
        }
    }

    /// Writes a redirect of upstream to itself back to what the client asked.
    pub(super) fn localize(&self, cx: &Cx, head: &mut ResponseHead) {
        if !head.headers.contains("Location") {
            return;
        }
        let upstream = &cx.route(self.route()).upstream;
        let host = self.request.header("Host").and_then(|host| std::str::from_utf8(host).ok()).unwrap_or_default();
        let itself = http::Itself { host, is_clients: host != upstream.authority, base_path: &upstream.base_path };
        http::localize(&mut head.headers, itself);
    }

    /// Lets a page of another origin send `Last-Event-ID`, where upstream lets it ask at all: clients send ids of segno's
    /// own there, of which upstream does not know. Browsers let every page send it that uses `EventSource`.
    pub(super) fn allow_cursor(&self, cx: &Cx, head: &mut ResponseHead) {
        const ALLOWED: &str = "Access-Control-Allow-Headers";
        let is_preflight = self.request.method == Method::Options
            && self.request.header("Access-Control-Request-Method").is_some()
            && cx.route(self.route()).ids == Ids::Auto;
        let allows = matches!(head.status, 200..=299) && head.headers.contains("Access-Control-Allow-Origin");
        if is_preflight && allows && !head.headers.contains_token(ALLOWED, "Last-Event-ID") {
            // Lists may be given in several lines (RFC 9110 section 5.3).
            let _ = head.headers.push(ALLOWED, b"Last-Event-ID");
        }
    }

    /// Sends the head of the answer on.
    pub(super) fn begin_pass(&mut self, cx: &mut Cx, conns: &mut Conns, conn: ConnKey, head: &ResponseHead) {
        self.phase = Phase::Passing(conn);
        let is_stream = http::is_event_stream(&head.headers) && head.body != BodyLength::None;
        // A gateway with a clock adds the date where upstream has none (RFC 9110, 6.6.1).
        let date = cx.date.header().filter(|_| !head.headers.contains("Date"));
        let own = self.request.id().filter(|_| !head.headers.contains(REQUEST_ID)).map(Box::<str>::from);
        let readers = self.readers_mut();
        (readers.head_sent, readers.last_sent) = (true, cx.now);
        let others = readers.iter_mut().any(|reader| !reader.asked).then(|| for_others(head));
        for reader in readers.iter_mut() {
            if let Some(c) = conns.get_mut(reader.client) {
                reader.keep_alive &= c.body.is_done() && !cx.draining;
                let head = others.as_ref().filter(|_| !reader.asked).unwrap_or(head);
                cx.visits.answer(reader.client, head.status);
                // Who gave its request no id gets upstream's answer as it is.
                let given = cx.visits.id_of(reader.client).or(own.as_deref().filter(|_| reader.asked));
                let given = given.filter(|id| !cx.visits.has_made(id));
                let (mut lines, mut said) = ([UNBUFFERED; 3], usize::from(is_stream));
                for line in [date, given.map(|id| (REQUEST_ID, id))].into_iter().flatten() {
                    lines[said] = line;
                    said += 1;
                }
                reader.send_head(c, head, head.body, &lines[..said], cx.now);
            }
        }
        readers.flush(cx, conns);
    }

    /// Passes a part of the body on; returns how many bytes were used.
    pub(super) fn pass(&self, cx: &mut Cx, conns: &mut Conns, conn: ConnKey, bytes: &[u8]) -> (usize, Body) {
        let Some(reader) = self.readers().only() else { return (0, Body::Open) };
        let Some(c) = conns.get_mut(conn) else { return (0, Body::Open) };
        let mut body = std::mem::replace(&mut c.body, BodyDecoder::new(BodyLength::None));
        let (mut used, mut state) = (0, Body::Open);
        if let Some(to) = conns.get_mut(reader.client) {
            (used, state) = copy(&mut body, bytes, reader.chunked, to);
        }
        if let Some(c) = conns.get_mut(conn) {
            c.body = body;
        }
        conns.flush(cx, reader.client);
        (used, state)
    }
}

fn copy(body: &mut BodyDecoder, bytes: &[u8], chunked: bool, to: &mut Conn) -> (usize, Body) {
    let mut used = 0;
    loop {
        match body.next(&bytes[used..]) {
            Ok((n, Piece::Data(data))) => {
                used += n;
                http::write_piece(data, chunked, to.out.end());
            }
            Ok((n, Piece::End)) => return (used + n, Body::Done),
            Ok((n, Piece::More)) => return (used + n, Body::Open),
            Err(e) => return (used, Body::Broken(e.to_string())),
        }
    }
}
