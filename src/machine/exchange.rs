//! One request, the upstream's answer to it, and the clients that read the answer.
//!
//! In: a request. Out: how far its answer has come, as a [`Phase`]; each phase holds the values that mean something in
//! it.
//! Laws: the exchange of an ordinary request never outlives its client. The exchange of an event stream outlives its
//! upstream connection, since it asks again, and outlives its readers for as long as it lingers.

use super::book::account::Account;
use super::book::unread::Holders;
use super::cx::{After, Cx};
use super::find::body::{HeardBody, HeldRequest};
use super::find::era::Era;
use super::find::identity::{Identity, Token};
use super::find::vary::{names_of_request, without_names_of_request};
use super::keys::{Alarm, ConnKey, ExchangeKey, ExchangeMark, Seat};
use super::notice::Subject;
use super::pool::Conns;
use super::stream::audience::Audience;
use super::stream::readers::{Reader, Readers};
use super::stream::{Greeting, Stream};
use super::traces::at_another_place;
use super::wait::{Search, Wait};
use crate::base::{Count, Rare, Table, Tick, TraceContext};
use crate::http::{Method, ResponseHead};
use crate::track::{GapReason, write_gap};

mod kept;
mod said;

/// All exchanges of one reactor.
pub(super) type Exchanges = Table<Exchange, ExchangeMark>;

/// A request, its answer, and who reads it.
pub(super) struct Exchange {
    pub(super) request: Request,
    pub(super) phase: Phase,
    answer: Answer,
    pub(super) alarm: Alarm,
    /// What was learnt from the body of a POST: whether a later POST is the same, and its protocol revision.
    pub(super) heard_body: Option<Box<HeardBody>>,
}

/// What the answer is, and with it its readers.
enum Answer {
    /// There is no event stream, or none yet.
    Plain(Box<Plain>),
    Stream(Box<Stream>),
}

/// What an exchange has while its answer is not an event stream.
struct Plain {
    readers: Readers,
    /// The request, held back until its body shows which stream it belongs to.
    held: Option<Box<HeldRequest>>,
    /// The search in the store that the request waits for, if it does.
    search: Option<Search>,
    /// When the last reader of an order left, while its answer had no head.
    detached: Option<Tick>,
    /// The head of an ordinary answer has come for nobody. It waits, unread, for the next try.
    answer_waits: bool,
    /// Of several tries of an order, the seat of the one that came last.
    newest: Seat,
}

impl Plain {
    fn of(readers: Readers) -> Box<Self> {
        Box::new(Self { readers, held: None, search: None, detached: None, answer_waits: false, newest: 0 })
    }
}

/// What is needed to ask upstream, also again.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The place of its route, and so of the upstream that it goes to.
    pub(super) route: u32,
    /// The head for upstream, without `Last-Event-ID` and without the blank line that ends it.
    pub(super) head: Box<[u8]>,
    /// The client's own `Last-Event-ID`; where no log can hold it, the header lines for upstream.
    pub(super) cursor: Rare,
    /// The cursor is header lines, which go upstream as they came until the stream has an id.
    pub(super) verbatim: bool,
    pub(super) method: Method,
    /// The client takes `text/event-stream`.
    pub(super) accepts_stream: bool,
    pub(super) has_body: bool,
    pub(super) identity: Identity,
    /// Whom its stream counts against while nobody reads it.
    pub(super) holders: Holders,
    pub(super) era: Era,
    /// No header gives the era. The body may still give it, until upstream answers.
    pub(super) era_open: bool,
    /// The client's cursor, if it is one of segno's own and so does not go upstream. Without a gap, a client that has all
    /// of that stream begins another.
    pub(super) asked: Rare,
    /// Upstream is asked whether the client may still read the stream that it named.
    pub(super) reauthorizes: bool,
    /// Why events before the first one are gone. The client is told with the head, and by an event if it has asked for
    /// what follows one of segno's own ids.
    pub(super) gap: Option<GapReason>,
    /// The head of the GET that asks for the rest after a cut of this POST, if the protocol has one.
    pub(super) resume_head: Rare,
    /// No head of segno's own suits the client: it waits for upstream's.
    pub(super) waits_for_head: bool,
    /// It was led to the upstream whose place its route is.
    pub(super) placed: bool,
    /// It has spans here.
    pub(super) is_recorded: bool,
    /// Its exchange has a place in its session in case it becomes a stream.
    pub(super) reserves: bool,
    /// The body is sent on in chunks, since its length is not known.
    pub(super) chunked_body: bool,
}

/// How far an exchange has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// No connection carries the request; the next attempt is due at this time. [`Tick::NEVER`]: it is due, and waits
    /// for its turn in the queue of the upstream.
    Waiting { wait: Wait, at: Tick },
    /// The answer cannot be shared. The clients that wait for it are given exchanges of their own, some at a time; the
    /// next of them at this time.
    Parting { at: Tick },
    /// A connection is being opened, or an idle one is looked at.
    Connecting { wait: Wait, conn: ConnKey },
    /// The request is on its way; its answer has no head yet.
    Asked { wait: Wait, conn: ConnKey },
    /// An ordinary answer passes through.
    Passing(ConnKey),
    /// An event stream flows. Its wait goes on if the body is cut before it brought an event, and its backoff
    /// if the body is cut before it lasted for `STEADY`.
    Streaming { wait: Wait, conn: ConnKey },
    /// The events of a stream whose upstream another instance has come through the store. `away`: since when the store
    /// cannot be asked; [`Tick::NEVER`] while it can.
    Following { away: Tick },
    /// Both connections carry another protocol, whose bytes pass through as they are.
    Tunnel { conn: ConnKey, shut: Shut },
    /// Upstream has done its part. The rest goes to the client, and then the answer ends like this.
    Ending(Ending),
}

/// Which sides of a tunnel were told that nothing more comes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Shut {
    pub(super) client: bool,
    pub(super) upstream: bool,
}

/// How an answer ends for the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// As a whole answer: with a last chunk, and the connection stays open if it may.
    Clean,
    /// As a cut: without a last chunk, or with a reset where there are no chunks.
    Cut,
}

impl Phase {
    /// The connection to upstream.
    pub(super) fn upstream(&self) -> Option<ConnKey> {
        match *self {
            Self::Waiting { .. } | Self::Parting { .. } | Self::Following { .. } | Self::Ending(_) => None,
            Self::Connecting { conn, .. }
            | Self::Asked { conn, .. }
            | Self::Passing(conn)
            | Self::Tunnel { conn, .. }
            | Self::Streaming { conn, .. } => Some(conn),
        }
    }

    /// The wait for upstream, if there is one.
    pub(super) fn wait(&self) -> Option<Wait> {
        match *self {
            Self::Waiting { wait, .. }
            | Self::Connecting { wait, .. }
            | Self::Asked { wait, .. }
            | Self::Streaming { wait, .. } => Some(wait),
            Self::Parting { .. }
            | Self::Passing(_)
            | Self::Following { .. }
            | Self::Tunnel { .. }
            | Self::Ending(_) => None,
        }
    }

    /// The wait for upstream, to be changed.
    pub(super) fn wait_mut(&mut self) -> Option<&mut Wait> {
        match self {
            Self::Waiting { wait, .. }
            | Self::Connecting { wait, .. }
            | Self::Asked { wait, .. }
            | Self::Streaming { wait, .. } => Some(wait),
            Self::Parting { .. }
            | Self::Passing(_)
            | Self::Following { .. }
            | Self::Tunnel { .. }
            | Self::Ending(_) => None,
        }
    }

    /// Whether the head of an answer is still to come.
    pub(super) fn awaits_head(&self) -> bool {
        matches!(self, Self::Waiting { .. } | Self::Connecting { .. } | Self::Asked { .. })
    }
}

impl Exchange {
    pub(super) fn new(route: usize, request: Request, reader: Reader, now: Tick) -> Self {
        Self {
            request: Request { route: route as u32, reserves: false, ..request },
            phase: Phase::Waiting { wait: Wait::new(now), at: now },
            answer: Answer::Plain(Plain::of(Readers::one(reader, now))),
            alarm: Alarm::default(),
            heard_body: None,
        }
    }

    /// The place of its route in the configuration.
    pub(super) fn route(&self) -> usize {
        self.request.route as usize
    }

    #[inline]
    pub(super) fn stream(&self) -> Option<&Stream> {
        match &self.answer {
            Answer::Stream(stream) => Some(stream),
            Answer::Plain(_) => None,
        }
    }

    #[inline]
    pub(super) fn stream_mut(&mut self) -> Option<&mut Stream> {
        match &mut self.answer {
            Answer::Stream(stream) => Some(stream),
            Answer::Plain(_) => None,
        }
    }

    #[inline]
    pub(super) fn readers(&self) -> &Readers {
        match &self.answer {
            Answer::Stream(stream) => &stream.readers,
            Answer::Plain(plain) => &plain.readers,
        }
    }

    #[inline]
    pub(super) fn readers_mut(&mut self) -> &mut Readers {
        match &mut self.answer {
            Answer::Stream(stream) => &mut stream.readers,
            Answer::Plain(plain) => &mut plain.readers,
        }
    }

    /// Who reads the event stream, if it is one.
    #[inline]
    pub(super) fn audience(&self) -> Audience {
        self.stream().map_or(Audience::default(), |stream| stream.readers.audience())
    }

    /// The answer is an event stream from now on, which takes the readers over.
    pub(super) fn become_stream(&mut self, cx: &mut Cx, account: Account) {
        let route = self.route();
        if let Answer::Plain(plain) = &mut self.answer {
            let readers = std::mem::replace(&mut plain.readers, Readers::none(cx.now));
            let detached = plain.detached.map(|since| Box::new((since, 0)));
            let mut stream = Stream::new(cx, route, account, self.request.known_cursor(), readers);
            stream.detached = detached;
            cx.audience.settle(Audience::default(), stream.readers.audience());
            self.answer = Answer::Stream(Box::new(stream));
        }
    }

    /// The answer stops being an event stream and keeps its readers. Hands the stream over.
    pub(super) fn end_stream(&mut self, now: Tick) -> Option<Box<Stream>> {
        let plain = Answer::Plain(Plain::of(Readers::none(now)));
        match std::mem::replace(&mut self.answer, plain) {
            Answer::Stream(mut stream) => {
                *self.readers_mut() = std::mem::replace(&mut stream.readers, Readers::none(now));
                Some(stream)
            }
            plain => {
                self.answer = plain;
                None
            }
        }
    }

    /// The search in the store that the request waits for.
    pub(super) fn search(&self) -> Option<Search> {
        match &self.answer {
            Answer::Plain(plain) => plain.search,
            Answer::Stream(_) => None,
        }
    }

    /// The request waits for this search in the store, or for none any more.
    pub(super) fn set_search(&mut self, search: Option<Search>) {
        if let Answer::Plain(plain) = &mut self.answer {
            plain.search = search;
        }
    }

    /// Whether its client may read an answer although it sends nothing more. Who closes the connection of an event
    /// stream, of a request that a disconnect cancels, or of a try after which others may come, is taken at its word,
    /// since a close looks no different.
    pub(super) fn may_outlive_fin(&self, cx: &Cx) -> bool {
        let cancels = cx.route(self.route()).cancel_on_disconnect || self.request.era == Era::Stateless;
        let is_taken_at_its_word = self.is_held() || self.order().is_some() || self.request.accepts_stream;
        !cancels && !is_taken_at_its_word && self.stream().is_none()
    }

    /// Whether the request is held back until its body shows which stream it belongs to.
    pub(super) fn is_held(&self) -> bool {
        matches!(&self.answer, Answer::Plain(plain) if plain.held.is_some())
    }

    /// Holds the request back.
    pub(super) fn hold(&mut self, request: Box<HeldRequest>) {
        if let Answer::Plain(plain) = &mut self.answer {
            plain.held = Some(request);
        }
    }

    /// Lets the request go on, if it was held back, and hands over what was learnt of its body.
    pub(super) fn take_held(&mut self) -> Option<Box<HeldRequest>> {
        match &mut self.answer {
            Answer::Plain(plain) => plain.held.take(),
            Answer::Stream(_) => None,
        }
    }

    /// The client of an ordinary answer, which has one reader.
    pub(super) fn client(&self) -> Option<ConnKey> {
        self.readers().only().map(|reader| reader.client)
    }

    /// A GET that accepts event streams, or was answered with one: the first can be held and opened early, both can
    /// be healed. One with a body cannot be asked again, since the body is not kept.
    pub(super) fn is_stream_request(&self) -> bool {
        let is_stream = self.request.accepts_stream || self.stream().is_some();
        is_stream && self.request.method == Method::Get && !self.request.has_body
    }

    /// Whether a POST began the stream, in this process or in one before.
    pub(super) fn is_by_post(&self, cx: &Cx) -> bool {
        let token = self.stream().map(|stream| cx.secret.token(stream.account.number));
        self.request.method == Method::Post || token.is_some_and(Token::is_by_post)
    }

    /// Whether a reader's socket has taken all that there is.
    pub(super) fn is_delivered(&self) -> bool {
        self.stream().is_none_or(Stream::is_delivered)
    }

    /// Whether the client is in the middle of an event stream, or was told that one begins.
    pub(super) fn is_open_stream(&self) -> bool {
        self.stream().is_some_and(|stream| stream.readers.head_sent)
    }

    /// Whether an event stream has come from upstream.
    pub(super) fn has_begun(&self) -> bool {
        self.stream().is_some_and(|stream| stream.begun)
    }

    /// Whether a GET's stream has ended, and in the middle of an event. In this body, nothing may follow what readers may
    /// have of that event; upstream can be asked for all of it.
    pub(super) fn ends_inside_event(&self) -> bool {
        let is_over = self.request.method == Method::Get && self.phase == Phase::Ending(Ending::Clean);
        is_over && self.stream().is_some_and(Stream::is_inside_event)
    }

    /// Whether upstream can be asked to go on after a cut: a GET of an event stream, or a POST whose protocol has a
    /// GET for it.
    pub(super) fn can_heal(&self) -> bool {
        self.is_stream_request() || self.stream().is_some() && self.request.resume_head.is_some()
    }

    /// Whether another client may wait for the same answer.
    pub(super) fn is_joinable(&self) -> bool {
        self.phase.awaits_head() && !self.readers().head_sent
    }

    /// The request, for log lines.
    pub(super) fn target(&self) -> Subject {
        self.request.subject(self.stream().map(|stream| stream.account.number))
    }

    /// A reader leaves, and its connection carries nothing any more. True: it was the last one.
    #[must_use]
    pub(super) fn leave(&mut self, cx: &mut Cx, conns: &mut Conns, seat: Seat) -> bool {
        let before = self.audience();
        let Some(reader) = self.readers_mut().leave(seat) else { return false };
        cx.audience.settle(before, self.audience());
        conns.leave(reader.client);
        match &mut self.answer {
            Answer::Stream(stream) => stream.on_left(),
            Answer::Plain(plain) => plain.readers.is_empty(),
        }
    }

    /// Sends the stream's head to the readers that have none yet, and with it the gap before the first event, if there
    /// is one. Clients of MCP know no event for it, so there the head alone tells.
    pub(super) fn send_heads(&mut self, cx: &mut Cx, conns: &mut Conns, head: &ResponseHead) {
        let route = self.route();
        let Self { request, answer, .. } = self;
        if let Answer::Stream(stream) = answer {
            let gap = request.gap.take();
            let mut lead = Vec::new();
            // Who names no event behind which it wants to go on was sent the event for this gap before.
            if let Some(reason) = gap.filter(|_| !request.era.is_resumable_mcp() && request.asked.is_some()) {
                write_gap(&mut lead, reason, request.asked.as_deref(), None);
            }
            stream.send_heads(cx, conns, route, head, Greeting { gap, lead: &lead, id: request.id() });
            if let Some(reason) = gap {
                cx.state_gap(route, request.subject(Some(stream.account.number)), reason);
            }
        }
    }

    /// The log has changed: cuts the readers whose next bytes have left it, and flushes all others.
    #[inline]
    pub(super) fn show(&mut self, cx: &mut Cx, conns: &mut Conns, key: ExchangeKey) {
        self.cut_fallen(cx, conns, key);
        self.readers().flush(cx, conns);
    }

    /// Cuts the readers whose next bytes have left the log; see [`Stream::cut_fallen`].
    pub(super) fn cut_fallen(&mut self, cx: &mut Cx, conns: &mut Conns, key: ExchangeKey) {
        let route = self.route();
        let Self { request, answer, .. } = self;
        if let Answer::Stream(stream) = answer
            && stream.cut_fallen(cx, conns, route, |stream| request.subject(Some(stream)))
        {
            cx.after.push_back(After::Unread(key));
        }
    }

    /// Sends a heartbeat where clients have heard nothing for long, and looks after the log's age on the way.
    pub(super) fn heartbeat(&mut self, cx: &mut Cx, conns: &mut Conns, key: ExchangeKey) {
        let route = self.route();
        if let Some(stream) = self.stream_mut() {
            stream.tracker.expire(cx.track(route));
        }
        self.cut_fallen(cx, conns, key);
        if let Some(stream) = self.stream_mut() {
            stream.heartbeat(cx, conns, route);
        }
    }

    /// Another client waits for the same answer.
    pub(super) fn wait_beside(
        &mut self,
        cx: &mut Cx,
        conns: &mut Conns,
        conn: ConnKey,
        key: ExchangeKey,
        reader: Reader,
        request: &Request,
    ) {
        cx.counts.one_at(self.route(), Count::Resumes);
        let id = request.id().unwrap_or_default();
        cx.visits.wait_beside(conn, id, names_of_request(&request.head), cx.now);
        if let Some(recorded) = cx.visits.recorded(conn) {
            recorded.link(self.request.place());
        }
        let before = self.audience();
        let seat = self.readers_mut().take(Reader { asked: false, ..reader });
        cx.audience.settle(before, self.audience());
        if let Some(c) = conns.get_mut(conn) {
            c.sit(key, seat);
        }
        conns.set_deadline(cx, conn, Tick::NEVER);
    }

    /// Events that are lost if the exchange is dropped now: how many are in the log that no client has got. `None`:
    /// nothing is lost, since all that came was delivered, and upstream can be asked for more.
    pub(super) fn unread_events(&self) -> Option<usize> {
        let events = self.stream().map_or(0, |stream| stream.tracker.undelivered());
        let can_ask_again = self.request.method == Method::Get || matches!(self.phase, Phase::Ending(_));
        (events > 0 || !can_ask_again).then_some(events)
    }

    /// Ends the answer for its readers, once everything has been sent.
    pub(super) fn end(&mut self, cx: &mut Cx, conns: &mut Conns, ending: Ending) {
        self.phase = Phase::Ending(ending);
        self.readers_mut().last_sent = cx.now;
        self.readers().flush(cx, conns);
    }

    /// Whether the reader in this seat has not sent its whole request.
    pub(super) fn has_unfinished_request(&self, conns: &Conns, seat: Seat) -> bool {
        let client = self.readers().get(seat).and_then(|reader| conns.get(reader.client));
        client.is_some_and(|c| !c.body.is_done())
    }
}

impl Request {
    /// Settles the era by the revision that the body has given, if it has given one by now.
    pub(super) fn settle_era(&mut self, revision: Option<&[u8]>) {
        if let Some(revision) = revision.filter(|_| self.era_open) {
            self.era = Era::of_body(revision);
        }
        self.era_open = false;
        if !self.era.is_resumable_mcp() {
            self.resume_head = Rare::NONE;
        }
    }

    /// The same request as another client made it that waited for its answer: with `names`, the lines that name that
    /// client's own. `place`: where that request is in its trace, if it is recorded.
    pub(super) fn for_another(&self, names: &[u8], place: Option<TraceContext>) -> Self {
        let head = [&without_names_of_request(&self.head), names].concat();
        let head = place.map_or(head.clone(), |place| at_another_place(&head, place));
        Self { head: head.into(), placed: false, is_recorded: place.is_some(), ..self.clone() }
    }

    /// Whether its answer may be another client's too: a GET of an event stream from where upstream begins.
    pub(super) fn may_share(&self) -> bool {
        let is_plain = self.method == Method::Get && !self.has_body && self.era != Era::Stateless;
        is_plain && !self.reauthorizes && self.accepts_stream && self.cursor.is_none() && self.gap.is_none()
    }

    /// The request that asks upstream whether its client may read the stream that it names. Upstream knows no id of
    /// segno's own.
    pub(super) fn reauthorizing(mut self) -> Self {
        let is_own = self.cursor.as_deref().is_some_and(|id| Token::parse(id).is_some());
        let asked = if is_own { self.cursor.take() } else { Rare::NONE };
        Self { asked, reauthorizes: true, ..self }
    }

    /// Whether the request may be sent once more although it may have reached upstream (RFC 9110, 9.2.2).
    pub(super) fn may_repeat(&self) -> bool {
        let idempotent = !matches!(self.method, Method::Post | Method::Patch | Method::Other(_));
        idempotent && !self.has_body
    }

    /// Whether the request is for the stream that a client of MCP begins by GET, as far as its id tells.
    pub(super) fn is_standalone(&self) -> bool {
        let by_post = self.wanted().and_then(Token::parse).is_some_and(|(token, _)| token.is_by_post());
        self.era.is_resumable_mcp() && self.method == Method::Get && !by_post
    }

    /// Whether the client asked for an event stream by name, and so can read what segno adds to one.
    pub(super) fn is_by_name(&self) -> bool {
        self.accepts_stream || self.era.is_resumable_mcp()
    }

    /// Whether the client asks by GET for the rest of what a POST began. Upstream knows no such GET.
    pub(super) fn asks_for_a_post(&self) -> bool {
        let token = self.asked.as_deref().and_then(Token::parse).map(|(token, _)| token);
        self.method == Method::Get && token.is_some_and(Token::is_by_post)
    }

    /// Whether the request names a session that nobody can guess.
    pub(super) fn is_secret(&self) -> bool {
        self.era.is_resumable_mcp() && self.identity.named
    }

    /// The id after which the client wants to go on, whether that id goes upstream or stays here.
    pub(super) fn wanted(&self) -> Option<&[u8]> {
        self.asked.as_deref().or(self.cursor.as_deref())
    }

    /// The client's own id, if a log can hold it.
    pub(super) fn known_cursor(&self) -> Option<&[u8]> {
        self.cursor.as_deref().filter(|_| !self.verbatim)
    }

    /// Takes `Expect` out of the head for upstream. True: the client waits for an interim answer.
    pub(super) fn take_expectation(&mut self) -> bool {
        let is_it = |line: &&[u8]| line.get(..7).is_some_and(|name| name.eq_ignore_ascii_case(b"expect:"));
        let expects = self.head.split_inclusive(|&b| b == b'\n').any(|line| is_it(&line));
        if expects {
            let kept: Vec<&[u8]> = self.head.split_inclusive(|&b| b == b'\n').filter(|line| !is_it(line)).collect();
            self.head = kept.concat().into();
        }
        expects
    }
}
