//! A client's request, from its whole head to its place: what is refused, whose log it reads, who asks upstream for it.
//!
//! In: heads of requests. Out: exchanges, readers of streams that are here, and refusals.
//! Laws: a refused request gets a status and a reason, and never reaches upstream; what a request says is taken down
//! once, before it is known where the request belongs; where it belongs is decided by `find` alone.

use crate::base::{Count, Rare, Tick};
use crate::config::{AcceptEncoding, Ids, Route, Share};
use crate::http::{self, BodyDecoder, BodyLength, HeadError, Method, RequestHead};
use crate::machine::Machine;
use crate::machine::book::unread::Holders;
use crate::machine::conn::{ClientState, Peer};
use crate::machine::cx::Cx;
use crate::machine::exchange::{Exchange, Request};
use crate::machine::find::Found;
use crate::machine::find::body::{HeardBody, Held, HeldRequest};
use crate::machine::find::cursor::{Cursor, take_own_id, take_parameter};
use crate::machine::find::era::Era;
use crate::machine::find::identity::{Identity, Token};
use crate::machine::io::Origin;
use crate::machine::keys::{ConnKey, ExchangeKey};
use crate::machine::notice::{self, Notice};
use crate::machine::stream::readers::{Reader, Words};
use crate::machine::traces::{CameFrom, Part, Recorded};
use crate::machine::visits::{MadeId, given_id};
use std::net::IpAddr;

/// Who makes a request.
pub(super) struct Caller {
    /// At the other end of the connection.
    peer: Origin,
    /// Where the request comes from: the peer, or whom trusted proxies name.
    address: IpAddr,
    /// The connection is TLS.
    is_secure: bool,
    /// Who the peer is by its certificate, if it has sent one.
    certificate: Option<[u8; 16]>,
    /// The id that the request gets if it has none.
    made_id: MadeId,
    /// How the request takes part in a trace. `None`: its headers for that go upstream as they came.
    part: Option<Part>,
}

/// From a head to a place.
impl Machine {
    pub(super) fn on_request(&mut self, conn: ConnKey, mut head: RequestHead) {
        let Some(caller) = self.begin_visit(conn, &head) else { return };
        let Some(route) = self.route_of(conn, &head) else { return };
        let Some((request, reader)) = self.take_down(conn, route, &mut head, &caller) else { return };
        let found = self.whose_log(&request, route);
        self.count_others(&request, &found);
        self.lead_to(conn, route, request, reader, found);
    }

    /// A request has come: counts it, and notes it for the access log.
    pub(super) fn begin_visit(&mut self, conn: ConnKey, head: &RequestHead) -> Option<Caller> {
        let Self { cx, conns, .. } = self;
        cx.counts.one(Count::Requests);
        let made_id = cx.visits.make_id();
        let c = conns.get(conn)?;
        let (peer, is_secure) = (c.origin()?, c.is_secure());
        let address = peer.client(&head.headers, &cx.config.trusted_proxies);
        let id = given_id(&head.headers).unwrap_or(made_id.as_str());
        let part = cx.traces.take_part(&head.headers, cx.now);
        cx.counts.add(Count::TracesOverRate, u64::from(part.as_ref().is_some_and(|part| part.is_over_rate)));
        let recorded = part.as_ref().filter(|part| part.is_recorded);
        let from = CameFrom { peer: peer.address, client: address, is_secure };
        let path = || notice::target(head.target.split(['?', ';']).next().unwrap_or_default());
        let recorded = recorded.map(|part| Recorded::new(part, head, &path(), from, cx.now));
        let is_noted = cx.visits.begin(conn, address, head, id, recorded, cx.now);
        if let Some(Peer::Client(client)) = conns.beside_buffers(conn).map(|c| &mut c.peer) {
            client.is_noted = is_noted;
        }
        Some(Caller { peer, address, is_secure, certificate: conns.certificate(conn), made_id, part })
    }

    /// The route on which a request goes upstream. `None`: it must not go there, and the client was told.
    fn route_of(&mut self, conn: ConnKey, head: &RequestHead) -> Option<usize> {
        let Self { cx, conns, .. } = self;
        if http::max_forwards(head) == Some(0) {
            self.answer_for_good(conn, head);
            return None;
        }
        let Some(route) = cx.routing.find(&cx.config.routes, head.host.as_deref(), asks_for(head)) else {
            let why = "no route for this host and path; see `[[route]]` in the configuration";
            conns.refuse(cx, conn, 404, why);
            return None;
        };
        if http::leads_out(&head.target, &cx.route(route).path) {
            conns.refuse_head(cx, conn, &HeadError::climbs(&head.target));
            return None;
        }
        if http::came_through(&head.headers, &cx.name) {
            cx.counts.one(Count::Loops);
            let why = "the request has come through this process before: its upstream leads back to it";
            conns.refuse(cx, conn, 508, why);
            return None;
        }
        if offers_tunnel(head, cx) && cx.tunnels >= cx.config.limits.tunnels {
            cx.counts.one(Count::TunnelsRefused);
            cx.counts.one(Count::OverTunnels);
            cx.notice(Notice::Full { what: "tunnel" });
            self.refuse_for_now(conn, "all tunnels are taken; try again later");
            return None;
        }
        if let Some(recorded) = cx.visits.recorded(conn) {
            recorded.say("http.route", &*cx.routing.at(route).path);
        }
        Some(route)
    }

    /// Takes down what a request says and who reads its answer. The connection is busy with it from now on.
    fn take_down(
        &mut self,
        conn: ConnKey,
        route: usize,
        head: &mut RequestHead,
        caller: &Caller,
    ) -> Option<(Request, Reader)> {
        let Self { cx, conns, .. } = self;
        let settings = cx.routing.at(route);
        let own = take_own_id(&mut head.target);
        let parameter = take_parameter(&mut head.target, settings.last_event_id_param.as_deref()).or(own);
        if settings.ids == Ids::Auto {
            ask_without_cursor(head);
        }
        let cursor = Cursor::of(&head.headers, parameter.as_deref(), settings.max_id_bytes);
        cx.counts.add(Count::CursorsUntracked, u64::from(cursor.verbatim));
        let c = conns.get_mut(conn)?;
        let Peer::Client(client) = &mut c.peer else { return None };
        client.state = ClientState::Busy;
        client.seat = 0;
        c.body = BodyDecoder::new(head.body);
        let request = Request { route: route as u32, ..request(head, cx, cx.route(route), caller, cursor) };
        // What follows an offer that upstream refuses may be of either protocol, so it is nobody's request.
        let keep_alive = head.keep_alive && !offers_tunnel(head, cx);
        let mut reader = Reader::new(conn, head.version, keep_alive, cx.now);
        // The socket may be full of an answer of segno's own to the request before.
        reader.blocked = !c.out.is_empty();
        reader.words = if request.is_by_name() { Words::Own } else { Words::None };
        Some((request, reader))
    }

    /// Where a request belongs, by its own id or by its session.
    fn whose_log(&mut self, request: &Request, route: usize) -> Found {
        let found = self.finder().find(request, route);
        match self.fresh(request, found, |finder| finder.find(request, route)) {
            Found::New => self.in_session(request, route, true),
            found => found,
        }
    }

    /// Leads a request to where it belongs.
    fn lead_to(&mut self, conn: ConnKey, route: usize, mut request: Request, reader: Reader, found: Found) {
        match found {
            Found::New => match self.try_of(conn, route, &request) {
                Some(this) => self.open_held(conn, route, request, reader, Held::Tries(this)),
                None => self.open_exchange(conn, route, request, reader),
            },
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
                self.open_held(conn, route, Request { asked, ..request }, reader, Held::Repeats(token, seq));
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
            self.cx.counts.one_at(request.route as usize, Count::ResumesRefused);
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
                x.wait_beside(cx, conns, conn, key, reader, &request);
            }
            return;
        }
        if !self.has_place_in_flight(conn) || !self.has_place_in_session(conn, &request) {
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

    /// Begins to serve a POST that may be one that came before. It takes no place in its session as yet: that may be the
    /// place of the stream which it is for.
    fn open_held(&mut self, conn: ConnKey, route: usize, mut request: Request, reader: Reader, why: Held) {
        if !self.has_place_in_flight(conn) {
            return;
        }
        let expects = request.take_expectation();
        let mut exchange = Exchange::new(route, request, reader, self.cx.now);
        exchange.heard_body = Some(Box::new(HeardBody::new(&self.cx.secret)));
        if let Some(c) = self.conns.get(conn) {
            exchange.hold(Box::new(HeldRequest::new(why, c.body.clone(), &self.cx.secret)));
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
                self.cx.counts.one(Count::OverStreams);
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

/// A browser asks upstream first whether a page of another origin may send `Last-Event-ID`. Where upstream sends no ids it
/// has never seen that header, and would say no. So segno does not ask for it, and allows it in the answer.
fn ask_without_cursor(head: &mut RequestHead) {
    const ASKED: &str = "Access-Control-Request-Headers";
    if head.method != Method::Options || !head.headers.contains_token(ASKED, "Last-Event-ID") {
        return;
    }
    let others: Vec<&[u8]> = head.headers.tokens(ASKED).filter(|n| !n.eq_ignore_ascii_case(b"Last-Event-ID")).collect();
    let others = others.join(&b","[..]);
    head.headers.set(ASKED, (!others.is_empty()).then_some(&others));
}

/// The target by which a route is chosen. `OPTIONS *` asks the server as a whole, which is whoever has the root.
pub(super) fn asks_for(head: &RequestHead) -> &str {
    if head.target == "*" { "/" } else { &head.target }
}

/// Whether a request's offer of another protocol is passed on. One for an event stream is answered as such.
fn offers_tunnel(head: &RequestHead, cx: &Cx) -> bool {
    head.upgrade.is_some() && cx.config.limits.tunnels > 0 && !http::accepts_event_stream(&head.headers)
}

/// Whose the request is, and against whose bounds its stream counts.
fn identity_of(head: &RequestHead, cx: &Cx, route: &Route, caller: &Caller) -> (Identity, Holders) {
    let who = cx.secret.principal(head, route, caller.address, caller.certificate);
    let who = match caller.address.is_unspecified() {
        true => cx.secret.out_of_place(who, caller.made_id.as_str()),
        false => who,
    };
    let identity = cx.secret.identity(&who, head, &head.target, route);
    let identity = if is_for_everybody(head, route) { cx.secret.public(route, identity) } else { identity };
    (identity, cx.secret.holders(&who, caller.address))
}

/// Keeps what is needed of a request's head.
fn request(head: &RequestHead, cx: &Cx, route: &Route, caller: &Caller, cursor: Cursor) -> Request {
    let (identity, holders) = identity_of(head, cx, route, caller);
    let is_public = is_for_everybody(head, route);
    let accepts_stream = http::accepts_event_stream(&head.headers);
    let era = Era::of(&head.headers, route);
    // Clients of an LLM do not ask for its stream by name, but in the body.
    let may_be_stream = (accepts_stream || head.method == Method::Post) && era != Era::Stateless;
    let to = http::Forwarded {
        client: caller.peer.address,
        trusted: caller.peer.is_believed(&cx.config.trusted_proxies),
        scheme: if caller.is_secure { "https" } else { "http" },
        host: route.host_sent(head.host.as_deref()),
        name: &cx.name,
        base_path: &route.upstream.base_path,
    };
    let part = caller.part.as_ref();
    let place = part.map(|part| part.own.to_string());
    let options = http::RequestOptions {
        traceparent: place.as_deref(),
        drop_tracestate: part.is_some_and(|part| part.drops_state),
        drop_accept_encoding: route.accept_encoding == AcceptEncoding::Identity && may_be_stream,
        drop_last_event_id: true,
        upgrade: offers_tunnel(head, cx),
        only: is_public.then_some(&route.share_headers[..]),
        // What a client has chosen does not go upstream for others.
        request_id: Some(given_id(&head.headers).filter(|_| !is_public).unwrap_or(caller.made_id.as_str())),
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
        holders,
        era,
        era_open,
        asked: Rare::NONE,
        reauthorizes: false,
        gap: None,
        waits_for_head: false,
        placed: false,
        is_recorded: part.is_some_and(|part| part.is_recorded),
        reserves: false,
        route: 0,
        resume_head: resumes.then(|| write(resume)).into(),
    }
}
