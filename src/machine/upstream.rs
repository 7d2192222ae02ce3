//! A connection to upstream: heads of answers in, bodies passed on or tracked.
//!
//! In: what upstream's socket says. Out: heads and bodies for clients, and events for trackers.
//! Laws: an answer that is not an event stream passes through as it is; reading stops while the client does not take
//! what has come; what upstream does wrong is told and counted, and ends as a failure or a cut, never as a clean end.

use super::answer::{Answer, Situation, Verdict, verdict};
use super::conn::{Conn, ConnKey, HIGH_WATER, Peer, UpstreamState};
use super::exchange::{Ending, Exchange, ExchangeKey, Phase, may_repeat};
use super::{Close, Machine, Notice};
use crate::base::Count;
use crate::http::{self, AtEof, BodyDecoder, BodyLength, HeadLimits, Piece, ResponseFraming, ResponseHead, Version};

impl Machine {
    /// How much a connection to upstream may be read.
    pub(super) fn upstream_room(&self, c: &Conn) -> usize {
        let Some(state) = c.upstream().map(|u| u.state) else { return 0 };
        match (state, c.exchange.and_then(|k| self.exchanges.get(k))) {
            (UpstreamState::Connecting, _) => 0,
            (UpstreamState::Idle, _) | (_, None) => 1,
            // Interim answers go to the client, and no faster than it takes them.
            (UpstreamState::Head, Some(x)) if x.stream.is_none() && self.answer_room(x) == 0 => 0,
            (UpstreamState::Head, _) => self.config.limits.header_bytes.saturating_sub(c.input.len()),
            (UpstreamState::Body, _) if !c.input.is_empty() => 0,
            (UpstreamState::Body, Some(x)) => match self.answer_room(x) {
                // Others have taken the room that was left, and no reader will make any: the next byte tells so.
                0 if x.phase == Phase::Streaming && x.is_delivered() => 1,
                room => room,
            },
        }
    }

    /// How much of a body there is room for.
    fn answer_room(&self, x: &Exchange) -> usize {
        match &x.stream {
            Some(stream) => stream.tracker.room(&self.routes[x.route()].limits, &self.budget),
            // Several clients wait for one head; interim ones are passed on to none of them.
            None if x.readers.len() > 1 => HIGH_WATER,
            None => match x.client().and_then(|client| self.conns.get(client)) {
                Some(client) if client.out.len() < HIGH_WATER => HIGH_WATER,
                _ => 0,
            },
        }
    }

    pub(super) fn on_upstream_data(&mut self, conn: ConnKey, bytes: &[u8]) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        let Peer::Upstream(u) = &c.peer else { return };
        match u.state {
            UpstreamState::Body => self.on_body(conn, bytes),
            UpstreamState::Head => {
                c.input.extend_from_slice(bytes);
                self.read_answer(conn);
            }
            // Bytes that answer nothing: whatever they are, they must not become the next answer.
            UpstreamState::Idle => self.drop_idle(conn),
            UpstreamState::Connecting => {}
        }
    }

    /// Takes heads off the input: any number of interim ones, then the answer's.
    fn read_answer(&mut self, conn: ConnKey) {
        let limits = HeadLimits { bytes: self.config.limits.header_bytes, ..HeadLimits::default() };
        loop {
            let Some(c) = self.conns.get_mut(conn) else { return };
            let Some(key) = c.exchange else { return self.close(conn, Close::Finish) };
            let Some(x) = self.exchanges.get(key) else { return self.close(conn, Close::Finish) };
            let Some(found) = c.find_head() else {
                if let Err(e) = limits.check_unfinished(&c.input) {
                    self.malformed(key, &e.to_string());
                }
                return;
            };
            match http::parse_response(&c.input[found.clone()], &x.request.method, limits) {
                Ok(head) if head.is_interim() => {
                    c.consume_input(found.end);
                    self.pass_interim(key, &head);
                }
                Ok(head) => {
                    c.consume_input(found.end);
                    return self.on_answer(key, conn, &head);
                }
                Err(e) => return self.malformed(key, &e.to_string()),
            }
        }
    }

    /// An interim answer goes on to the client, if it understands those and still waits (RFC 9110, 15.2).
    fn pass_interim(&mut self, key: ExchangeKey, head: &ResponseHead) {
        let Some(x) = self.exchanges.get(key) else { return };
        let Some(reader) = x.readers.only() else { return };
        if reader.version == Version::Http10 || reader.head_sent || x.stream.is_some() {
            return;
        }
        let client = reader.client;
        if let Some(c) = self.conns.get_mut(client) {
            http::write_response(head, ResponseFraming::None, Version::Http11, false, &[], c.out.end());
            self.flush(client);
        }
    }

    fn on_answer(&mut self, key: ExchangeKey, conn: ConnKey, head: &ResponseHead) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        x.request.settle_era(x.heard_body.as_ref().and_then(|body| body.revision()));
        let answer = Answer {
            status: head.status,
            // The answer to a HEAD has the headers of a stream and no body.
            event_stream: http::is_event_stream(&head.headers) && head.body != BodyLength::None,
            encoded: http::is_encoded(&head.headers),
        };
        let situation = situation(x);
        if let Some(c) = self.conns.get_mut(conn) {
            c.body = BodyDecoder::new(head.body);
            if let Some(u) = c.upstream_mut() {
                u.state = UpstreamState::Body;
                u.keep_alive = head.keep_alive;
            }
        }
        let conflict = head.status == 409 && situation == Situation::Healing && x.request.era.is_resumable_mcp();
        // An MCP server that still holds the stream that was cut answers so until it has noticed.
        let verdict = if conflict { Verdict::Retry } else { verdict(situation, answer) };
        match verdict {
            Verdict::Stream => self.begin_stream(key, head),
            Verdict::Pass => {
                self.part_ways(key);
                self.end_deleted_session(key, head.status);
                let Some(x) = self.exchanges.get(key) else { return };
                if answer.event_stream && answer.encoded {
                    let target = x.target();
                    self.counts.one(Count::StreamsEncoded);
                    self.notice(Notice::EncodedStream { target });
                }
                self.begin_pass(key, head);
            }
            Verdict::End => return self.end_stream(key, Ending::Clean),
            Verdict::Retry => {
                x.upstream = None;
                x.retry_after = http::retry_after(&head.headers).unwrap_or_default();
                self.close(conn, Close::Finish);
                return self.attempt_failed(key, &format!("upstream answered {}", head.status), true);
            }
            Verdict::Refused => return self.on_cursor_refused(key, head.status),
            Verdict::Cut => return self.give_up(key, 502, &format!("upstream answered {}", head.status)),
        }
        let rest = self.conns.get_mut(conn).map(|c| std::mem::take(&mut c.input)).unwrap_or_default();
        self.on_body(conn, &rest);
    }

    /// Upstream has ended a session that the client deleted: nothing of it is kept.
    fn end_deleted_session(&mut self, key: ExchangeKey, status: u16) {
        let Some(x) = self.exchanges.get(key) else { return };
        let identity = x.request.identity;
        let is_delete = x.request.method == http::Method::Delete && identity.named && x.request.era.is_resumable_mcp();
        if is_delete
            && matches!(status, 200..=299 | 404 | 410)
            && let Some(session) = self.sessions.find(identity.session)
        {
            self.end_session(session, false);
        }
    }

    /// Sends the head of an ordinary answer on.
    fn begin_pass(&mut self, key: ExchangeKey, head: &ResponseHead) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        x.phase = Phase::Passing;
        x.head_sent = true;
        x.last_sent = self.now;
        for (_, reader) in x.readers.iter_mut() {
            let Some(c) = self.conns.get_mut(reader.client) else { continue };
            let framing = ResponseFraming::relayed(head.body, reader.version);
            reader.head_sent = true;
            reader.last_sent = self.now;
            reader.chunked = framing == ResponseFraming::Chunked;
            reader.until_close = framing == ResponseFraming::UntilClose;
            reader.keep_alive &= c.body.is_done();
            let close = !reader.keep_alive || reader.until_close || self.draining;
            http::write_response(head, framing, reader.version, close, &[], c.out.end());
        }
        self.flush_readers(key);
    }

    /// Takes in bytes of a body as far as there is room; the rest waits in the connection's input.
    pub(super) fn on_body(&mut self, conn: ConnKey, bytes: &[u8]) {
        let Some(key) = self.conns.get(conn).and_then(|c| c.exchange) else { return };
        let Some(x) = self.exchanges.get(key) else { return };
        let (used, body) = match x.phase {
            Phase::Streaming => self.feed(key, conn, bytes),
            Phase::Passing => self.pass(key, conn, bytes),
            _ => return,
        };
        match body {
            Body::Open if used < bytes.len() => {
                if let Some(c) = self.conns.get_mut(conn) {
                    c.input = bytes[used..].to_vec();
                }
                self.let_read(key, conn);
            }
            Body::Open => {}
            Body::Done => {
                if let Some(c) = self.conns.get_mut(conn) {
                    c.input = bytes[used..].to_vec();
                }
                self.on_body_end(key, conn);
            }
            Body::Broken(why) => self.malformed(key, &why),
        }
    }

    fn pass(&mut self, key: ExchangeKey, conn: ConnKey, bytes: &[u8]) -> (usize, Body) {
        let Some(x) = self.exchanges.get(key) else { return (0, Body::Open) };
        let Some(reader) = x.readers.only() else { return (0, Body::Open) };
        let (client, chunked) = (reader.client, reader.chunked);
        let Some(c) = self.conns.get_mut(conn) else { return (0, Body::Open) };
        let mut body = std::mem::replace(&mut c.body, BodyDecoder::new(BodyLength::None));
        let (mut used, mut state) = (0, Body::Open);
        if let Some(to) = self.conns.get_mut(client) {
            loop {
                match body.next(&bytes[used..]) {
                    Ok((n, Piece::Data(data))) => {
                        used += n;
                        http::write_piece(data, chunked, to.out.end());
                    }
                    Ok((n, piece)) => {
                        used += n;
                        state = if matches!(piece, Piece::End) { Body::Done } else { Body::Open };
                        break;
                    }
                    Err(e) => {
                        state = Body::Broken(e.to_string());
                        break;
                    }
                }
            }
        }
        if let Some(c) = self.conns.get_mut(conn) {
            c.body = body;
        }
        self.flush(client);
        (used, state)
    }

    /// The body is whole: upstream's connection is free, the client gets what is left.
    fn on_body_end(&mut self, key: ExchangeKey, conn: ConnKey) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        x.upstream = None;
        let streaming = x.stream.is_some();
        let asked_whole = x.client().and_then(|k| self.conns.get(k)).is_none_or(|c| c.body.is_done());
        self.recycle(conn, asked_whole);
        match streaming {
            true => self.finish_stream(key),
            false => self.end_answer(key, Ending::Clean),
        }
    }

    pub(super) fn on_upstream_eof(&mut self, conn: ConnKey) {
        let Some(c) = self.conns.get(conn) else { return };
        let state = c.upstream().map(|u| u.state);
        let Some(key) = c.exchange else { return self.drop_idle(conn) };
        match (state, c.body.at_eof()) {
            (Some(UpstreamState::Body), AtEof::UntilClose) => self.on_close_delimited_end(key, conn),
            (Some(UpstreamState::Body), _) => self.on_upstream_lost(key, "its connection ended in the middle"),
            _ => self.on_no_answer(key, conn),
        }
    }

    pub(super) fn on_upstream_reset(&mut self, conn: ConnKey) {
        let Some(c) = self.conns.get(conn) else { return };
        let Some(key) = c.exchange else { return self.drop_idle(conn) };
        match c.upstream().map(|u| u.state) {
            Some(UpstreamState::Body) => self.on_upstream_lost(key, "its connection broke"),
            _ => self.on_no_answer(key, conn),
        }
    }

    fn on_close_delimited_end(&mut self, key: ExchangeKey, conn: ConnKey) {
        if let Some(u) = self.conns.get_mut(conn).and_then(Conn::upstream_mut) {
            u.keep_alive = false;
        }
        let in_event = self.exchanges.get(key).and_then(|x| x.stream.as_ref()).is_some_and(|s| s.is_inside_event());
        match in_event {
            true => self.on_upstream_lost(key, "its connection ended inside an event"),
            false => self.on_body_end(key, conn),
        }
    }

    /// The connection ended before an answer came.
    fn on_no_answer(&mut self, key: ExchangeKey, conn: ConnKey) {
        let Some(c) = self.conns.get(conn) else { return };
        let stale = c.input.is_empty() && c.upstream().is_some_and(|u| u.reused);
        self.close(conn, Close::Finish);
        let Some(x) = self.exchanges.get_mut(key) else { return };
        x.upstream = None;
        if stale && may_repeat(&x.request) {
            // Upstream closed an idle connection while the request travelled: it has not been served.
            return self.ask(key);
        }
        // A POST that is being healed is asked for by GET, which may be repeated.
        let may_retry = x.can_heal();
        self.attempt_failed(key, "upstream closed the connection without an answer", may_retry);
    }

    pub(super) fn on_upstream_silent(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let upstream = x.upstream.and_then(|u| self.conns.get(u));
        if upstream.is_some_and(|c| c.paused || !c.input.is_empty())
            && let Some(stream) = &mut x.stream
        {
            // It is not silent, it is not read.
            stream.last_heard = self.now;
            return;
        }
        self.on_upstream_lost(key, "it was silent for longer than `upstream_idle`");
    }

    /// Upstream does not speak HTTP as it should: nothing more is taken from this connection.
    fn malformed(&mut self, key: ExchangeKey, why: &str) {
        self.counts.one(Count::UpstreamMalformed);
        let Some(x) = self.exchanges.get(key) else { return };
        let (target, phase) = (x.target(), x.phase);
        self.notice(Notice::Malformed { target, why: why.into() });
        match phase {
            Phase::Streaming | Phase::Passing => self.on_upstream_lost(key, why),
            _ => self.give_up(key, 502, &format!("upstream broke HTTP: {why}")),
        }
    }

    /// The body of an answer ended before its end.
    fn on_upstream_lost(&mut self, key: ExchangeKey, why: &str) {
        let Some(x) = self.exchanges.get_mut(key) else { return };
        let streaming = x.stream.is_some();
        if let Some(upstream) = x.upstream.take() {
            self.close(upstream, Close::Finish);
        }
        match streaming {
            true => self.on_stream_cut(key, why),
            false => self.end_answer(key, Ending::Cut),
        }
    }
}

/// What became of a body.
pub(super) enum Body {
    Open,
    Done,
    Broken(String),
}

fn situation(x: &Exchange) -> Situation {
    match &x.stream {
        Some(stream) if stream.begun || x.request.cursor.is_some() => Situation::Healing,
        Some(_) => Situation::Opened,
        None if x.is_stream_request() => Situation::Held,
        None => Situation::Plain,
    }
}
