//! A client's connection: heads in, request bodies passed on, one request after the other.
//!
//! In: what the client's socket says. Out: exchanges, and bytes for upstream.
//! Laws: what is refused gets a status and a reason, and never reaches upstream; a client that has ended its
//! sending while it waits or reads is gone (proxies before and browsers close like that), and upstream hears of it;
//! input is held back while upstream does not take it.

use super::conn::{Client, ClientState, Conn, ConnKey, HIGH_WATER, Peer};
use super::era::Era;
use super::exchange::{Ending, Exchange, ExchangeKey, Phase, Reader, Request};
use super::identity::Identity;
use super::identity::Token;
use super::repeat::HeardBody;
use super::resume::Resume;
use super::{Close, Machine, Notice, Output};
use crate::base::{Count, Span};
use crate::config::Share;
use crate::http::{self, BodyDecoder, BodyLength, HeadLimits, Method, Piece, RequestHead};
use std::net::IpAddr;

/// How long a connection is read after the last answer, so that the client reads it before it sees the close.
const LINGER_FOR: Span = Span::from_secs(2);

/// Bytes of a next request that are taken in while one is being served.
const PIPELINE: usize = 4 << 10;

impl Machine {
    pub(super) fn on_accepted(&mut self, address: IpAddr) {
        if self.draining {
            self.counts.one(Count::ConnectionsRefused);
            return self.outputs.push_back(Output::Refuse);
        }
        let client = Client { address, state: ClientState::Head, seat: 0 };
        match self.conns.insert(Conn::new(Peer::Client(client))) {
            Ok(conn) => {
                self.counts.one(Count::ConnectionsAccepted);
                self.outputs.push_back(Output::Adopt { conn });
                self.set_deadline(conn, self.now + self.head_timeout);
            }
            Err(_) => {
                self.counts.one(Count::ConnectionsRefused);
                self.notice(Notice::Full { what: "connection" });
                self.outputs.push_back(Output::Refuse);
            }
        }
    }

    pub(super) fn on_client_data(&mut self, conn: ConnKey, bytes: &[u8]) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        match c.client_state() {
            Some(ClientState::Closing | ClientState::Lingering) => {}
            Some(ClientState::Head) => {
                let first = c.input.is_empty();
                c.input.extend_from_slice(bytes);
                if first {
                    self.set_deadline(conn, self.now + self.head_timeout);
                }
                self.read_head(conn);
            }
            _ => {
                c.input.extend_from_slice(bytes);
                self.pump_request(conn);
            }
        }
    }

    /// How much a client's connection may be read.
    pub(super) fn client_room(&self, c: &Conn) -> usize {
        let limit = self.config.limits.header_bytes;
        match c.client_state() {
            Some(ClientState::Head) => limit.saturating_sub(c.input.len()),
            Some(ClientState::Busy) if c.body.is_done() => PIPELINE.saturating_sub(c.input.len()),
            Some(ClientState::Busy) => {
                let held = c.exchange.and_then(|key| self.repeat_room(key, c.input.len()));
                match c.input.is_empty() && self.upstream_takes(c.exchange) {
                    true => HIGH_WATER,
                    false => held.unwrap_or(0),
                }
            }
            _ => HIGH_WATER,
        }
    }

    fn upstream_takes(&self, exchange: Option<ExchangeKey>) -> bool {
        let upstream = exchange.and_then(|k| self.exchanges.get(k)).and_then(|x| x.upstream);
        upstream.and_then(|u| self.conns.get(u)).is_some_and(|u| u.is_established() && u.out.len() < HIGH_WATER)
    }

    /// Takes a head off the input, if it is whole.
    fn read_head(&mut self, conn: ConnKey) {
        let limits = HeadLimits { bytes: self.config.limits.header_bytes, ..HeadLimits::default() };
        let Some(c) = self.conns.get_mut(conn) else { return };
        let Some(found) = c.find_head() else {
            if let Err(e) = limits.check_unfinished(&c.input) {
                self.refuse(conn, e.status(), &e.to_string());
            }
            return;
        };
        match http::parse_request(&c.input[found.clone()], limits) {
            Ok(head) => {
                c.consume_input(found.end);
                self.on_request(conn, head);
            }
            Err(e) => self.refuse(conn, e.status(), &e.to_string()),
        }
    }

    fn on_request(&mut self, conn: ConnKey, mut head: RequestHead) {
        self.counts.one(Count::Requests);
        let Some(route) = self.config.routes.position(head.host.as_deref(), &head.target) else {
            return self.refuse(conn, 404, "no route for this host and path; see `[[route]]` in the configuration");
        };
        let max_id = self.config.routes[route].max_id_bytes;
        let parameter = self.config.routes[route].last_event_id_param.as_ref();
        let parameter = parameter.and_then(|name| http::take_parameter(&mut head.target, name));
        let cursor = match http::last_event_id(&head.headers, parameter.as_deref(), max_id) {
            Ok(cursor) => cursor.filter(|id| !id.is_empty()).map(Box::from),
            Err(e) => return self.refuse(conn, e.status(), &e.to_string()),
        };
        let Some(c) = self.conns.get_mut(conn) else { return };
        let Peer::Client(client) = &mut c.peer else { return };
        client.state = ClientState::Busy;
        let identity = self.secret.identity(&head, &head.target, &self.config.routes[route], client.address);
        let share = self.config.routes[route].share;
        let mut identity = identity;
        if share == Share::Public && http::accepts_event_stream(&head.headers) {
            identity.session = self.secret.public(&self.config.routes[route], identity.target);
        }
        let mut request = request(&head, &self.config.routes[route], client.address, cursor, identity);
        c.body = BodyDecoder::new(head.body);
        let mut reader = Reader::new(conn, head.version, head.keep_alive, self.now);
        // The socket may be full of an answer of segno's own to the request before.
        reader.blocked = !c.out.is_empty();
        client.seat = 0;
        match self.find_stream(&request, route) {
            Resume::New => self.open_exchange(conn, route, request, reader),
            Resume::NewAfter(reason) => {
                let gap = (request.method == Method::Get).then_some(reason);
                let asked = request.cursor.take();
                self.open_exchange(conn, route, Request { gap, asked, ..request }, reader);
            }
            Resume::Repeat(token, seq) => {
                let asked = request.cursor.take();
                self.open_repeat(conn, route, Request { asked, ..request }, reader, token, seq);
            }
            found => self.resume_at(conn, request, reader, found),
        }
    }

    /// Begins to serve a request by asking upstream.
    fn open_exchange(&mut self, conn: ConnKey, route: usize, request: Request, reader: Reader) {
        let place = (request.identity.session, request.identity.target);
        let may_share = self.config.routes[route].share != Share::Off && request.may_share();
        if may_share && let Some(key) = self.waiting.get(&place).copied().filter(|key| self.is_waiting(*key)) {
            return self.wait_beside(conn, key, reader);
        }
        let Some(c) = self.conns.get_mut(conn) else { return };
        let hears = request.method == Method::Post && request.accepts_stream;
        let mut exchange = Exchange::new(route, request, reader, self.now);
        exchange.heard_body = hears.then(|| Box::new(HeardBody::new(self.secret.body())));
        match self.exchanges.insert(exchange) {
            Ok(key) => {
                if may_share {
                    self.waiting.insert(place, key);
                }
                c.exchange = Some(key);
                let deadline = if c.body.is_done() { crate::base::Tick::NEVER } else { self.body_deadline(route) };
                self.set_deadline(conn, deadline);
                if self.look_up(key) {
                    return;
                }
                self.ask(key);
                self.arm(key);
            }
            Err(_) => {
                self.counts.one(Count::StreamsRefused);
                self.notice(Notice::Full { what: "stream" });
                self.answer_and_close(conn, 503, "all streams are taken; try again later", &[("Retry-After", "5")]);
            }
        }
    }

    /// Begins to serve a POST that may be one that came before.
    fn open_repeat(&mut self, conn: ConnKey, route: usize, request: Request, reader: Reader, token: Token, seq: u64) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        match self.exchanges.insert(Exchange::new(route, request, reader, self.now)) {
            Ok(key) => {
                c.exchange = Some(key);
                if let Some(x) = self.exchanges.get_mut(key) {
                    x.phase = Phase::Waiting(self.now + self.config.routes[route].body_timeout);
                    x.heard_body = Some(Box::new(HeardBody::new(self.secret.body())));
                }
                self.set_deadline(conn, self.body_deadline(route));
                self.arm(key);
                self.await_body(conn, key, token, seq);
            }
            Err(_) => {
                self.counts.one(Count::StreamsRefused);
                self.answer_and_close(conn, 503, "all streams are taken; try again later", &[("Retry-After", "5")]);
            }
        }
    }

    fn body_deadline(&self, route: usize) -> crate::base::Tick {
        self.now + self.config.routes[route].body_timeout
    }

    /// Passes on as much of the request's body as upstream takes. What follows the body waits for its turn.
    pub(super) fn pump_request(&mut self, conn: ConnKey) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        let Some(key) = c.exchange else { return };
        if c.body.is_done() || c.input.is_empty() || self.hear_body(conn, key) {
            return;
        }
        let Some(c) = self.conns.get_mut(conn) else { return };
        let Some(x) = self.exchanges.get(key) else { return };
        let Some(upstream) = x.upstream else { return };
        let route = x.route();
        let input = std::mem::take(&mut c.input);
        let mut body = std::mem::replace(&mut c.body, BodyDecoder::new(BodyLength::None));
        let result = match self.conns.get(upstream) {
            Some(u) if u.is_established() && u.out.len() < HIGH_WATER => {
                self.pass_heard(key, upstream, &mut body, &input)
            }
            _ => Ok(0),
        };
        let done = body.is_done();
        let Some(c) = self.conns.get_mut(conn) else { return };
        c.body = body;
        match result {
            Ok(0) => c.input = input,
            Ok(used) => {
                c.input = input[used..].to_vec();
                if let Some(x) = self.exchanges.get_mut(key)
                    && !x.is_stream_request()
                {
                    // Upstream's time for an answer runs from the last of what it was asked.
                    x.since = self.now;
                }
                self.flush(upstream);
                let deadline = if done { crate::base::Tick::NEVER } else { self.body_deadline(route) };
                self.set_deadline(conn, deadline);
                self.resume(conn);
            }
            Err(why) => self.refuse_body(conn, key, 400, &why),
        }
    }

    /// Ends a request whose body is of no use: with a status, or with a reset where an answer has begun.
    fn refuse_body(&mut self, conn: ConnKey, key: ExchangeKey, status: u16, why: &str) {
        match self.exchanges.get(key).is_some_and(|x| x.head_sent) {
            true => self.cut_readers(key),
            false => {
                self.drop_exchange(key);
                self.refuse(conn, status, why);
            }
        }
    }

    /// Upstream takes more of a request's body: the client goes on, and has its time anew.
    pub(super) fn resume_body(&mut self, conn: ConnKey) {
        let Some(c) = self.conns.get(conn) else { return };
        if c.paused
            && !c.body.is_done()
            && let Some(x) = c.exchange.and_then(|k| self.exchanges.get(k))
        {
            self.set_deadline(conn, self.body_deadline(x.route()));
        }
        self.resume(conn);
    }

    /// More of a body that is held back has come: the client has its time anew.
    pub(super) fn extend_body(&mut self, conn: ConnKey, key: ExchangeKey) {
        if let Some(x) = self.exchanges.get(key) {
            self.set_deadline(conn, self.body_deadline(x.route()));
        }
    }

    pub(super) fn on_body_timeout(&mut self, conn: ConnKey) {
        let Some(c) = self.conns.get(conn) else { return };
        let Some(key) = c.exchange.filter(|_| !c.body.is_done()) else { return };
        let Some(x) = self.exchanges.get(key) else { return };
        if x.repeat.is_none() && (!c.input.is_empty() || !self.upstream_takes(c.exchange)) {
            // Not the client is slow: it is not read.
            return self.set_deadline(conn, self.body_deadline(x.route()));
        }
        self.refuse_body(conn, key, 408, "the request's body did not arrive in time");
    }

    /// The client has closed or lost its connection: nobody reads any more.
    pub(super) fn on_client_gone(&mut self, conn: ConnKey) {
        if let Some((key, seat)) = self.conns.get(conn).and_then(Conn::seated) {
            self.on_reader_left(key, seat);
        }
        self.close(conn, Close::Finish);
    }

    /// Refuses a request that upstream has not seen.
    pub(super) fn refuse(&mut self, conn: ConnKey, status: u16, why: &str) {
        self.counts.one(Count::RequestsRefused);
        self.notice(Notice::RequestRefused { status, why: why.into() });
        self.answer_and_close(conn, status, why, &[]);
    }

    /// Answers a request that upstream need not see.
    pub(super) fn answer_in_place(&mut self, conn: ConnKey, status: u16, text: &str, extra: &[(&str, &str)]) {
        self.answer_and_close(conn, status, text, extra);
    }

    /// Sends an answer of segno's own, the last one on this connection.
    fn answer_and_close(&mut self, conn: ConnKey, status: u16, text: &str, extra: &[(&str, &str)]) {
        let body_timeout = self.config.routes.iter().map(|r| r.body_timeout).max().unwrap_or_default();
        let Some(c) = self.conns.get_mut(conn) else { return };
        http::write_answer(status, text, extra, true, false, c.out.end());
        c.set_client_state(ClientState::Closing);
        c.exchange = None;
        c.input = Vec::new();
        self.set_deadline(conn, self.now + body_timeout);
        self.flush(conn);
        self.resume(conn);
    }

    /// Everything for a closing client is sent: shuts our side, and reads on for a while, since a close with unread
    /// input would reset the connection before the client has read the answer (RFC 9112, 9.6).
    pub(super) fn on_closing_flushed(&mut self, conn: ConnKey) {
        if let Some(c) = self.conns.get_mut(conn) {
            c.set_client_state(ClientState::Lingering);
            c.out.release();
            self.outputs.push_back(Output::ShutdownWrite { conn });
            self.set_deadline(conn, self.now + LINGER_FOR);
            self.resume(conn);
        }
    }

    /// The answer has been sent as a whole: the connection serves the next request, or closes.
    pub(super) fn on_answered(&mut self, conn: ConnKey, keep_alive: bool) {
        let draining = self.draining;
        let keep_alive_for = self.keep_alive;
        let Some(c) = self.conns.get_mut(conn) else { return };
        c.exchange = None;
        c.out.release();
        if !keep_alive || draining || !c.body.is_done() {
            return self.on_closing_flushed(conn);
        }
        c.set_client_state(ClientState::Head);
        let waiting = !c.input.is_empty();
        let wait = if waiting { self.head_timeout } else { keep_alive_for };
        self.set_deadline(conn, self.now + wait);
        self.resume(conn);
        if waiting {
            self.read_head(conn);
        }
    }

    /// Shutting down: idle clients are closed, streams are cut so that their clients come back elsewhere, answers that
    /// are under way may end.
    pub(super) fn on_drain(&mut self) {
        self.draining = true;
        let clients: Vec<ConnKey> = self.conns.iter().map(|(k, _)| k).collect();
        for conn in clients {
            let Some(c) = self.conns.get(conn) else { continue };
            match (&c.peer, c.exchange) {
                (Peer::Client(client), None) if client.state == ClientState::Head => self.close(conn, Close::Finish),
                (Peer::Client(_), Some(key)) => self.drain_exchange(key),
                (Peer::Upstream(_), None) => self.drop_idle(conn),
                _ => {}
            }
        }
        // Nobody can come back here to what nobody reads.
        let unread: Vec<ExchangeKey> =
            self.exchanges.iter().filter(|(_, x)| x.is_detached()).map(|(key, _)| key).collect();
        unread.into_iter().for_each(|key| self.drop_exchange(key));
    }

    fn drain_exchange(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get(key) else { return };
        if matches!(x.phase, Phase::Passing | Phase::Ending(_)) {
            // What ends already, ends as upstream meant it to.
            return;
        }
        if x.is_open_stream() {
            self.say_retry(key);
            self.end_stream(key, Ending::Cut);
        } else if x.is_stream_request() {
            self.cut_readers(key);
        }
    }
}

/// What is kept of a request's head.
fn request(
    head: &RequestHead,
    route: &crate::config::Route,
    client: IpAddr,
    cursor: Option<Box<[u8]>>,
    identity: Identity,
) -> Request {
    let accepts_stream = http::accepts_event_stream(&head.headers);
    let mut bytes = Vec::with_capacity(512);
    let to = http::Forwarded {
        client,
        scheme: "http",
        upstream_host: &route.upstream.authority,
        base_path: &route.upstream.base_path,
    };
    let options =
        http::RequestOptions { drop_accept_encoding: accepts_stream, drop_last_event_id: true, ..Default::default() };
    http::write_request(head, &to, options, &mut bytes);
    let era = Era::of(&head.headers, route);
    let era_open = !Era::is_told(&head.headers) && head.method == Method::Post && http::is_json(&head.headers);
    let resumes = (era.is_resumable_mcp() || era_open) && head.method == Method::Post && accepts_stream;
    let resume_head = resumes.then(|| {
        let mut bytes = Vec::with_capacity(512);
        let options = http::RequestOptions { drop_body: true, method: Some("GET"), ..options };
        http::write_request(head, &to, options, &mut bytes);
        bytes.into()
    });
    Request {
        head: bytes.into(),
        cursor,
        method: head.method.clone(),
        accepts_stream,
        has_body: !matches!(head.body, BodyLength::None | BodyLength::Length(0)),
        chunked_body: head.body == BodyLength::Chunked,
        identity,
        era,
        era_open,
        asked: None,
        gap: None,
        resume_head,
    }
}

/// Re-frames a part of a request's body; returns how many bytes of input were used.
pub(super) fn pass_body(
    body: &mut BodyDecoder,
    input: &[u8],
    chunked: bool,
    mut heard: Option<&mut HeardBody>,
    out: &mut Vec<u8>,
) -> Result<usize, String> {
    let mut used = 0;
    while !body.is_done() {
        let (n, piece) = body.next(&input[used..]).map_err(|e| e.to_string())?;
        used += n;
        match piece {
            Piece::Data(data) => {
                if let Some(heard) = &mut heard {
                    heard.add(data);
                }
                http::write_piece(data, chunked, out);
            }
            Piece::End => {
                if chunked {
                    out.extend_from_slice(http::LAST_CHUNK);
                }
                break;
            }
            Piece::More => break,
        }
    }
    Ok(used)
}
