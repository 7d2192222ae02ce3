//! A client's connection: heads in, request bodies passed on, one request after the other.
//!
//! In: what the client's socket says. Out: exchanges, and bytes for upstream.
//! Laws: a refused request gets a status and a reason, and never reaches upstream; a client that ends its sending behind
//! a whole request gets its answer, but for an event stream: there it is gone, as browsers and proxies are that close
//! one, and upstream is told; input is held back while upstream does not take it.

use crate::base::{Count, Rare, Tick};
use crate::config::{AcceptEncoding, Route, Share};
use crate::http::{self, BodyDecoder, BodyLength, HeadError, HeadLimits, Method, Piece, RequestHead};
use crate::machine::Machine;
use crate::machine::book::unread::Holders;
use crate::machine::conn::{ClientState, Conn, Peer};
use crate::machine::cx::Cx;
use crate::machine::exchange::{Exchange, Request};
use crate::machine::find::Found;
use crate::machine::find::body::{HeardBody, HeldRequest};
use crate::machine::find::cursor::{Cursor, take_parameter};
use crate::machine::find::era::Era;
use crate::machine::find::identity::{Identity, Token};
use crate::machine::io::Close;
use crate::machine::keys::{ConnKey, ExchangeKey};
use crate::machine::notice::Notice;
use crate::machine::room::upstream_takes;
use crate::machine::stream::readers::{Reader, Words};
use crate::machine::visits::given_id;
use std::net::IpAddr;

/// Heads.
impl Machine {
    pub(in crate::machine) fn on_client_data(&mut self, conn: ConnKey, bytes: &[u8]) {
        let Self { cx, conns, .. } = self;
        let Some(c) = conns.get_mut(conn) else { return };
        match c.client_state() {
            Some(ClientState::Closing | ClientState::HalfClosed) => {}
            Some(ClientState::Tunnel) => self.pass_through(conn, bytes),
            Some(ClientState::Head) => {
                let first = c.input.is_empty();
                c.input.push(bytes);
                if first {
                    let until = cx.now + cx.head_timeout;
                    conns.set_deadline(cx, conn, until);
                }
                self.read_head(conn);
            }
            _ => {
                c.input.push(bytes);
                self.pump_request(conn);
            }
        }
    }

    /// Takes a head off the input, if it is whole.
    pub(in crate::machine) fn read_head(&mut self, conn: ConnKey) {
        let limits = HeadLimits { bytes: self.cx.config.limits.header_bytes, ..HeadLimits::default() };
        let Some(c) = self.conns.get_mut(conn) else { return };
        let Some(found) = c.find_head() else {
            if let Err(e) = limits.check_unfinished(&c.input) {
                self.conns.refuse(&mut self.cx, conn, e.status(), &e.to_string());
            } else if c.ended {
                self.conns.close(&mut self.cx, conn, Close::Finish);
            }
            return;
        };
        match http::parse_request(&c.input[found.clone()], limits) {
            // Who has closed reads no event stream.
            Ok(head) if c.ended && http::accepts_event_stream(&head.headers) => {
                self.conns.close(&mut self.cx, conn, Close::Finish);
            }
            Ok(head) => {
                c.consume_input(found.end);
                self.on_request(conn, head);
            }
            Err(e) => self.conns.refuse(&mut self.cx, conn, e.status(), &e.to_string()),
        }
    }

    fn on_request(&mut self, conn: ConnKey, mut head: RequestHead) {
        let Self { cx, conns, .. } = self;
        cx.counts.one(Count::Requests);
        let made = cx.visits.make_id();
        let peer = conns.get(conn).and_then(Conn::address);
        let trusted = |address| cx.config.trusted_proxies.contains(address);
        let address = peer.map(|peer| http::client_address(&head.headers, peer, trusted));
        if let Some(address) = address {
            let id = given_id(&head.headers).unwrap_or(made.as_str());
            cx.visits.begin(conn, address, &head, id, cx.now);
        }
        if http::max_forwards(&head) == Some(0) {
            return self.answer_for_good(conn, &head);
        }
        let Some(route) = cx.config.routes.position(head.host.as_deref(), asks_for(&head)) else {
            return self.conns.refuse(
                &mut self.cx,
                conn,
                404,
                "no route for this host and path; see `[[route]]` in the configuration",
            );
        };
        let settings = &cx.config.routes[route];
        if http::leads_out(&head.target, &settings.path) {
            let why = HeadError::climbs(&head.target);
            return self.conns.refuse(&mut self.cx, conn, why.status(), &why.to_string());
        }
        if http::came_through(&head.headers, &cx.name) {
            cx.counts.one(Count::Loops);
            let why = "the request has come through this process before: its upstream leads back to it";
            return self.conns.refuse(&mut self.cx, conn, 508, why);
        }
        let offers_tunnel = offers_tunnel(&head, cx);
        if offers_tunnel && cx.tunnels >= cx.config.limits.tunnels {
            cx.counts.one(Count::TunnelsRefused);
            cx.notice(Notice::Full { what: "tunnel" });
            return self.refuse_for_now(conn, "all tunnels are taken; try again later");
        }
        let parameter = take_parameter(&mut head.target, settings.last_event_id_param.as_deref());
        let cursor = Cursor::of(&head.headers, parameter.as_deref(), settings.max_id_bytes);
        cx.counts.add(Count::CursorsUntracked, u64::from(cursor.verbatim));
        let Some(c) = conns.get_mut(conn) else { return };
        let Peer::Client(client) = &mut c.peer else { return };
        client.state = ClientState::Busy;
        client.seat = 0;
        let address = address.unwrap_or(client.address);
        let who = cx.secret.principal(&head, settings, address);
        let mut identity = cx.secret.identity(&who, &head, &head.target, settings);
        if is_for_everybody(&head, settings) {
            identity = cx.secret.public(settings, identity);
        }
        let holders = cx.secret.holders(&who, address);
        let mut request =
            Request { holders, ..request(&head, cx, settings, client.address, cursor, identity, made.as_str()) };
        c.body = BodyDecoder::new(head.body);
        // What follows an offer that upstream refuses may be of either protocol, so it is nobody's request.
        let mut reader = Reader::new(conn, head.version, head.keep_alive && !offers_tunnel, cx.now);
        // The socket may be full of an answer of segno's own to the request before.
        reader.blocked = !c.out.is_empty();
        reader.words = if request.is_by_name() { Words::Own } else { Words::None };
        let found = self.finder().find(&request, route);
        let found = match self.fresh(&request, found, |finder| finder.find(&request, route)) {
            Found::New => self.in_session(&request, route, true),
            found => found,
        };
        self.count_others(&request, &found);
        match found {
            Found::New => self.open_exchange(conn, route, request, reader),
            Found::Anew => {
                let asked = request.cursor.take();
                self.open_exchange(conn, route, Request { asked, ..request }, reader);
            }
            Found::NewAfter(reason) => {
                let asked = request.cursor.take().filter(|_| request.era != Era::Stateless);
                let gap = (asked.is_some() && is_told(&request)).then_some(reason);
                self.open_exchange(conn, route, Request { gap, asked, ..request }, reader);
            }
            Found::Repeats(token, seq) => {
                let asked = request.cursor.take();
                let held = self.conns.get(conn).map(|c| c.body.clone());
                let held = held.map(|decoder| HeldRequest::new(token, seq, decoder, &self.cx.secret));
                self.open_held(conn, route, Request { asked, ..request }, reader, held);
            }
            Found::Joins(join) if self.is_overdue(&join) => {
                self.cx.counts.one(Count::Reauthorizations);
                self.open_exchange(conn, route, request.reauthorizing(), reader);
            }
            found => self.resume_at(conn, request, reader, found),
        }
    }

    /// Answers a request that must not be passed on, as its last recipient (RFC 9110 section 7.6.2). What came is not
    /// sent back to `TRACE`, since it may hold credentials of others.
    fn answer_for_good(&mut self, conn: ConnKey, head: &RequestHead) {
        let (status, why) = match head.method {
            Method::Trace => (405, "`Max-Forwards` is used up, and requests are not traced here"),
            _ => (204, ""),
        };
        let allow = [("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")];
        self.conns.answer_and_close(&mut self.cx, conn, status, why, &allow);
    }

    /// Counts requests for what is another's: a stream of another principal, an id that another segno made.
    fn count_others(&mut self, request: &Request, found: &Found) {
        let goes_upstream = matches!(found, Found::New | Found::NewAfter(_));
        if goes_upstream && self.finder().is_anothers(request) {
            self.cx.counts.one(Count::ResumesRefused);
        }
        let token = request.cursor.as_deref().and_then(Token::parse);
        if token.is_some_and(|(token, _)| !self.cx.secret.made(token)) {
            self.cx.counts.one(Count::IdsForeign);
        }
    }

    /// Begins to serve a request by asking the store or upstream.
    fn open_exchange(&mut self, conn: ConnKey, route: usize, request: Request, reader: Reader) {
        let may_share = self.cx.route(route).share != Share::Off && request.may_share();
        if may_share && let Some(key) = self.finder().waiting(&request) {
            let Self { cx, conns, exchanges, .. } = self;
            if let Some(x) = exchanges.get_mut(key) {
                x.wait_beside(cx, conns, conn, key, reader, request.id().unwrap_or_default());
            }
            return;
        }
        if !self.has_place_in_session(conn, &request) {
            return;
        }
        let hears = request.method == Method::Post;
        let mut exchange = Exchange::new(route, request, reader, self.cx.now);
        exchange.request.reserves = exchange.request.accepts_stream;
        exchange.heard_body = hears.then(|| Box::new(HeardBody::new(&self.cx.secret)));
        let Some(key) = self.admit(conn, exchange) else { return };
        let Self { cx, conns, exchanges, index, .. } = self;
        if may_share && let Some(x) = exchanges.get(key) {
            index.know_waiting(key, &x.request);
        }
        let whole = conns.get(conn).is_none_or(|c| c.body.is_done());
        let deadline = if whole { Tick::NEVER } else { cx.body_deadline(route) };
        conns.set_deadline(cx, conn, deadline);
        if let Some(x) = exchanges.get_mut(key)
            && !x.look_up(cx, key)
        {
            self.ask(key);
            self.arm(key);
        }
    }

    /// Begins to serve a POST that may be one that came before.
    fn open_held(
        &mut self,
        conn: ConnKey,
        route: usize,
        mut request: Request,
        reader: Reader,
        held: Option<HeldRequest>,
    ) {
        if !self.has_place_in_session(conn, &request) {
            return;
        }
        let expects = request.take_expectation();
        let mut exchange = Exchange::new(route, request, reader, self.cx.now);
        exchange.request.reserves = exchange.request.accepts_stream;
        exchange.heard_body = Some(Box::new(HeardBody::new(&self.cx.secret)));
        if let Some(held) = held {
            exchange.hold(Box::new(held));
        }
        let Some(key) = self.admit(conn, exchange) else { return };
        let until = self.cx.body_deadline(route);
        self.conns.set_deadline(&mut self.cx, conn, until);
        if expects && let Some(c) = self.conns.get_mut(conn) {
            // Upstream is asked only once the body is here, so the client is told to send it.
            c.out.push(http::CONTINUE);
            self.conns.flush(&mut self.cx, conn);
        }
        self.arm(key);
        self.hear_body(conn, key);
    }

    /// Gives an exchange its place, and the client the seat in it. `None`: all places are taken, and the client was
    /// told.
    pub(super) fn admit(&mut self, conn: ConnKey, exchange: Exchange) -> Option<ExchangeKey> {
        let key = self.insert_exchange(exchange);
        match key {
            Some(key) => {
                if let Some(c) = self.conns.get_mut(conn) {
                    c.sit(key, 0);
                }
            }
            None => {
                self.cx.counts.one(Count::StreamsRefused);
                self.cx.notice(Notice::Full { what: "stream" });
                self.refuse_for_now(conn, "all streams are taken; try again later");
            }
        }
        key
    }

    /// Sets an exchange's timer to its nearest deadline.
    pub(in crate::machine) fn arm(&mut self, key: ExchangeKey) {
        if let Some(x) = self.exchanges.get_mut(key) {
            x.arm(&mut self.cx, key);
        }
    }
}

/// Bodies.
impl Machine {
    /// Passes on as much of the request's body as upstream takes. What follows the body waits for its turn.
    pub(super) fn pump_request(&mut self, conn: ConnKey) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(c) = conns.get_mut(conn) else { return };
        let Some(key) = c.exchange.filter(|_| !c.body.is_done() && !c.input.is_empty()) else { return };
        let Some(x) = exchanges.get_mut(key) else { return };
        if x.is_held() {
            return self.hear_body(conn, key);
        }
        let Some(upstream) = x.phase.upstream() else { return };
        let input = c.input.take();
        let mut body = std::mem::replace(&mut c.body, BodyDecoder::new(BodyLength::None));
        let passed = match conns.get_mut(upstream).filter(|u| u.takes_more()) {
            Some(u) => {
                let (chunked, heard) = (x.request.chunked_body, x.heard_body.as_deref_mut());
                pass_body(&mut body, &input, chunked, heard, u.out.end())
            }
            None => Ok(0),
        };
        let done = body.is_done();
        let Some(c) = conns.get_mut(conn) else { return };
        c.body = body;
        match passed {
            Ok(0) => c.input = input.into(),
            Ok(used) => {
                c.input = input[used..].to_vec().into();
                if !x.is_stream_request()
                    && let Some(wait) = x.phase.wait_mut()
                {
                    // Upstream's time for an answer runs from the last of what it was asked.
                    wait.restart_clock(cx.now);
                }
                conns.flush(cx, upstream);
                let until = if done { Tick::NEVER } else { cx.body_deadline(x.route()) };
                conns.set_deadline(cx, conn, until);
                conns.read_again(cx, conn);
            }
            Err(why) => self.refuse_body(conn, key, 400, &why),
        }
    }

    /// Ends a request whose body is of no use: with a status, or with a reset where an answer has begun.
    fn refuse_body(&mut self, conn: ConnKey, key: ExchangeKey, status: u16, why: &str) {
        match self.exchanges.get(key).is_some_and(|x| x.readers().head_sent) {
            true => self.cut_readers(key),
            false => {
                self.drop_exchange(key);
                self.conns.refuse(&mut self.cx, conn, status, why);
            }
        }
    }

    /// Upstream takes more of a request's body: the client's connection is read again, and its time limit starts again.
    pub(super) fn read_body_again(&mut self, conn: ConnKey) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(c) = conns.get(conn) else { return };
        if c.paused
            && !c.body.is_done()
            && let Some(x) = c.exchange.and_then(|k| exchanges.get(k))
        {
            let until = cx.body_deadline(x.route());
            conns.set_deadline(cx, conn, until);
        }
        conns.read_again(cx, conn);
    }

    pub(super) fn on_body_timeout(&mut self, conn: ConnKey) {
        let Some(c) = self.conns.get(conn) else { return };
        let Some(key) = c.exchange.filter(|_| !c.body.is_done()) else { return };
        let Some(x) = self.exchanges.get(key) else { return };
        if !x.is_held() && (!c.input.is_empty() || !upstream_takes(&self.conns, Some(x))) {
            // The client is not slow: segno is not reading it.
            let until = self.cx.body_deadline(x.route());
            return self.conns.set_deadline(&mut self.cx, conn, until);
        }
        self.refuse_body(conn, key, 408, "the request's body did not arrive in time");
    }
}

/// Ends of requests.
impl Machine {
    /// The client sends nothing more. Behind a whole request it may still read.
    pub(in crate::machine) fn on_client_end(&mut self, conn: ConnKey) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(c) = conns.get_mut(conn) else { return };
        let x = c.exchange.and_then(|key| exchanges.get(key));
        match c.client_state() {
            Some(ClientState::Tunnel) => self.on_tunnel_end(conn, false),
            Some(ClientState::Busy) if c.body.is_done() && x.is_some_and(|x| x.may_outlive_fin(cx)) => c.ended = true,
            _ => self.on_client_gone(conn),
        }
    }

    /// An event stream comes. The readers that have ended their side count as gone, since nothing but a write would
    /// show that they are, and they would keep others from the stream until then.
    pub(super) fn see_off_ended(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get(key) else { return };
        let ended = |client: &ConnKey| self.conns.get(*client).is_some_and(|c| c.ended);
        let gone: Vec<ConnKey> = x.readers().iter().map(|(_, reader)| reader.client).filter(ended).collect();
        gone.into_iter().for_each(|client| self.on_client_gone(client));
    }

    /// The client has closed or lost its connection: nobody reads any more.
    pub(in crate::machine) fn on_client_gone(&mut self, conn: ConnKey) {
        if self.conns.get(conn).and_then(Conn::client_state) == Some(ClientState::Tunnel) {
            return self.on_tunnel_end(conn, true);
        }
        if let Some((key, seat)) = self.conns.get(conn).and_then(Conn::seated) {
            self.on_reader_left(key, seat);
        }
        self.conns.close(&mut self.cx, conn, Close::Finish);
    }
}

/// Whether the client of a request that goes upstream is told of the gap before the answer. MCP has no way to say so on
/// a POST.
fn is_told(request: &Request) -> bool {
    match request.method {
        Method::Get => true,
        Method::Post => !request.era.is_resumable_mcp(),
        _ => false,
    }
}

/// Whether a request asks for what all clients of its target share: a GET of an event stream, on a route that says so.
/// What MCP sends belongs to one session.
fn is_for_everybody(head: &RequestHead, route: &Route) -> bool {
    let bare = head.method == Method::Get && matches!(head.body, BodyLength::None | BodyLength::Length(0));
    let reads = bare && http::accepts_event_stream(&head.headers);
    reads && route.share == Share::Public && Era::of(&head.headers, route) == Era::Plain
}

/// The target by which a route is chosen. `OPTIONS *` asks the server as a whole, which is whoever has the root.
fn asks_for(head: &RequestHead) -> &str {
    if head.target == "*" { "/" } else { &head.target }
}

/// Whether a request's offer of another protocol is passed on. One for an event stream is answered as such.
fn offers_tunnel(head: &RequestHead, cx: &Cx) -> bool {
    head.upgrade.is_some() && cx.config.limits.tunnels > 0 && !http::accepts_event_stream(&head.headers)
}

/// Keeps what is needed of a request's head.
fn request(
    head: &RequestHead,
    cx: &Cx,
    route: &Route,
    client: IpAddr,
    cursor: Cursor,
    identity: Identity,
    made_id: &str,
) -> Request {
    let is_public = is_for_everybody(head, route);
    let accepts_stream = http::accepts_event_stream(&head.headers);
    let era = Era::of(&head.headers, route);
    // Clients of an LLM do not ask for its stream by name, but in the body.
    let may_be_stream = (accepts_stream || head.method == Method::Post) && era != Era::Stateless;
    let to = http::Forwarded {
        client,
        trusted: cx.config.trusted_proxies.contains(client),
        scheme: "http",
        host: route.host_sent(head.host.as_deref()),
        name: &cx.name,
        base_path: &route.upstream.base_path,
    };
    let options = http::RequestOptions {
        drop_accept_encoding: route.accept_encoding == AcceptEncoding::Identity && may_be_stream,
        drop_last_event_id: true,
        upgrade: offers_tunnel(head, cx),
        only: is_public.then_some(&route.share_headers[..]),
        // What a client has chosen does not go upstream for others.
        request_id: Some(given_id(&head.headers).filter(|_| !is_public).unwrap_or(made_id)),
        ..Default::default()
    };
    let write = |options| {
        let mut bytes = Vec::with_capacity(512);
        http::write_request(head, &to, options, &mut bytes);
        bytes.into()
    };
    let era_open = !Era::is_told(&head.headers) && head.method == Method::Post && http::is_json(&head.headers);
    let resumes = (era.is_resumable_mcp() || era_open) && head.method == Method::Post && accepts_stream;
    let resume = http::RequestOptions { drop_body: true, method: Some("GET"), ..options };
    Request {
        head: write(options),
        cursor: cursor.bytes.into(),
        verbatim: cursor.verbatim,
        method: head.method.clone(),
        accepts_stream,
        has_body: !matches!(head.body, BodyLength::None | BodyLength::Length(0)),
        chunked_body: head.body == BodyLength::Chunked,
        identity,
        holders: Holders::default(),
        era,
        era_open,
        asked: Rare::NONE,
        reauthorizes: false,
        gap: None,
        waits_for_head: false,
        reserves: false,
        route: 0,
        resume_head: resumes.then(|| write(resume)).into(),
    }
}

/// Re-frames a part of a request's body, and feeds it to `heard` if a later POST may have to be compared with it.
/// Returns how many bytes of the input were used.
///
/// # Errors
/// What is wrong with the body, in words.
fn pass_body(
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
