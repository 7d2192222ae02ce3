//! `segno tail`: follows an event stream across cuts and restarts, until it is stopped.
//!
//! In: a URL, headers, a body. Out: each event once, on standard output.
//!
//! Laws: a cursor is stored only after standard output has taken its event. If a signal ends the command and a user
//! starts it again with the same `--cursor`, every event is printed exactly once. If the process is killed, no event is
//! missing, and the events of one flush window may come again. A POST that reached the upstream is not repeated, unless
//! the user allows it or the upstream says that it did nothing with the POST (425, 429, 503); whoever allows it sends
//! the POST at most [`REPEATS`] times again from its start. The answer to a POST that has ended is whole, and so is the
//! command. An argument that cannot be used is shown, and ends the command with exit code 2.
//! Source: WHATWG HTML, section 9.2.3, for which answers end a stream and which lead to a reconnect.

mod connection;
mod output;
mod pause;
mod url;

use super::Stop;
use super::args::{TailArgs, default_tail_store};
use super::proxy::not_started;
use crate::base::{NAMED_CURSOR, Span};
use crate::config::{Config, LogFormat, Persist, StoreConfig};
use crate::engine::{Engine, InlineTracker};
use crate::http::{self, Method, ResponseHead};
use crate::sync::park;
use crate::track::CutKind;
use connection::{Connection, POLL, Progress, Request};
use output::{Events, Status};
use pause::Pause;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, ErrorKind};
use url::Url;

/// Redirects that are followed in a row.
const MAX_REDIRECTS: u32 = 20;

/// How often a POST whose answer cannot be resumed is sent again in a row, where the user allows it. Before each of
/// these the wait is at least twice the one before, from [`FIRST_REPEAT`] on.
const REPEATS: u32 = 5;
const FIRST_REPEAT: Span = Span::from_secs(1);

/// How long the store may take to read the cursor at the start, and to write the last one at the end.
const STORE_TIMEOUT: Span = Span::from_secs(5);

/// Follows the stream until a signal, the stream's end or a failure.
pub(super) fn run(args: &TailArgs) -> Result<(), Stop> {
    super::logging::start(LogFormat::Text)?;
    let url = Url::parse(&args.url).map_err(Stop::Usage)?;
    let request = request(args)?;
    let signals = Signals::new([SIGTERM, SIGINT]).map_err(|e| Stop::failed("cannot catch signals", e))?;
    let engine = Engine::builder().config(config(args)).start().map_err(|why| not_started(why, ""))?;
    let key = [NAMED_CURSOR, args.cursor.as_deref().unwrap_or_default().as_bytes()].concat();
    let tracker = engine.tracker(&key, STORE_TIMEOUT).map_err(|e| Stop::Failed(e.to_string()))?;
    if let Some(why) = tracker.not_restored() {
        // To begin anew would show everything again, and lose the stored cursor.
        return Err(Stop::Failed(why.to_string()));
    }
    let (clock, now) = (engine.clock(), engine.clock().now());
    let mut tail = Tail {
        args,
        url,
        request,
        signals,
        tracker,
        clock,
        events: Events::new(args.json),
        status: Status::new(now),
        random: crate::base::Random::new(crate::base::entropy() as u64),
        pause: Pause::default(),
        may_have_acted: false,
        repeats: 0,
    };
    let followed = tail.follow();
    tail.status.end();
    let Tail { tracker, mut signals, .. } = tail;
    drop(tracker);
    // A second signal ends the process at once.
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            std::process::exit(1);
        }
    });
    let left = engine.shutdown(STORE_TIMEOUT).map_err(|e| Stop::failed("the engine failed", e))?;
    followed?;
    match left.cursors.is_empty() {
        true => Ok(()),
        false => Err(Stop::Failed("the cursor could not be stored; the last events will come again".to_owned())),
    }
}

fn config(args: &TailArgs) -> Config {
    let store = match args.cursor {
        Some(_) => args.store.clone().unwrap_or_else(default_tail_store),
        None => StoreConfig::Memory,
    };
    // A named cursor does not expire, however rarely its stream is followed.
    let persist = Persist { session_idle: Span::MAX, ..Persist::default() };
    Config { listen: Vec::new(), store, persist, ..Config::default() }
}

fn request(args: &TailArgs) -> Result<Request, Stop> {
    let body = match args.data.as_deref().map(|data| data.strip_prefix('@').ok_or(data)) {
        None => None,
        Some(Err(text)) => Some(text.as_bytes().to_vec()),
        Some(Ok(file)) => {
            let wrong = |e| Stop::Usage(format!("`--data @{file}`: this file cannot be read: {e}"));
            Some(std::fs::read(file).map_err(wrong)?)
        }
    };
    let name = args.method.as_deref().unwrap_or(if body.is_some() { "POST" } else { "GET" });
    let method = Method::from_token(name.as_bytes()).ok_or_else(|| {
        Stop::Usage(format!("`--method {}`: this is not a method: write GET or POST", name.escape_debug()))
    })?;
    Ok(Request { method, headers: args.header.clone(), body })
}

struct Tail<'a> {
    args: &'a TailArgs,
    url: Url,
    request: Request,
    signals: Signals,
    tracker: InlineTracker,
    clock: crate::clock::Clock,
    events: Events,
    status: Status,
    random: crate::base::Random,
    pause: Pause,
    /// Whether the last connection sent a request that must not be repeated, so that the upstream may have acted on it.
    may_have_acted: bool,
    /// How often in a row such a request was sent again from its start.
    repeats: u32,
}

/// What to do after a connection.
enum Next {
    /// Reconnect: the stream was cut or ended, or was not available. `wait` is how long the upstream asks to wait.
    Reconnect { why: String, wait: Option<Span> },
    /// End: the upstream says that the stream is over, a signal came, or standard output is closed.
    End,
}

impl Tail<'_> {
    fn follow(&mut self) -> Result<(), Stop> {
        loop {
            self.pause.begin(self.clock.now());
            self.may_have_acted = false;
            let (why, wait) = match self.connect()? {
                Next::End => return Ok(()),
                Next::Reconnect { why, wait } => (why, wait),
            };
            let wait = self.pause.end(wait, self.random.next(), self.clock.now()).max(self.wait_to_repeat(&why)?);
            self.status.say(&format!("{why}; asking again in {}", wait.rough()));
            let until = self.clock.now() + wait;
            while self.clock.now() < until {
                if self.has_signal() {
                    return Ok(());
                }
                let state = format!("waiting (attempt {}): {why}", self.pause.tries());
                self.show(&state);
                park(Some(POLL.min(until.since(self.clock.now()).into())));
            }
        }
    }

    /// How long a request waits at least that upstream may have acted on. Zero for others.
    ///
    /// # Errors
    /// It is not to be sent again.
    fn wait_to_repeat(&mut self, why: &str) -> Result<Span, Stop> {
        let method = self.request.method.as_str();
        match self.may_have_acted {
            false => return Ok(Span::ZERO),
            true if !self.args.repeat_post => {
                return Err(Stop::Failed(format!(
                    "{why}; the {method} is not sent again, because upstream may have acted on it and charged for it; \
                     if a repeat does no harm, `--repeat-post` allows {REPEATS}"
                )));
            }
            true => {}
        }
        // What can be resumed is not sent again from its start.
        self.repeats = if self.tracker.last_event_id().is_some() { 0 } else { self.repeats + 1 };
        match self.repeats {
            0 => Ok(Span::ZERO),
            n if n > REPEATS => Err(Stop::Failed(format!("{why}; giving up after {REPEATS} repeats of the {method}"))),
            n => Ok(FIRST_REPEAT.times(1 << n)),
        }
    }

    /// Makes one connection, follows redirects, and reads the stream.
    fn connect(&mut self) -> Result<Next, Stop> {
        let (mut url, mut request) = (self.url.clone(), self.request.clone());
        for _ in 0..MAX_REDIRECTS {
            let reconnect = |why: io::Error| Next::Reconnect { why: format!("{}: {why}", url.origin), wait: None };
            let mut connection = match Connection::open(&url) {
                Ok(connection) => connection,
                Err(e) => return Ok(reconnect(e)),
            };
            let cursor = self.tracker.last_event_id();
            let must_not_repeat = request.method != Method::Get;
            let sent = connection.send(&request.write(&url, cursor.as_ref().map(|id| id.as_bytes())));
            self.may_have_acted |= must_not_repeat && connection.is_established();
            if let Err(e) = sent {
                return Ok(reconnect(e));
            }
            let head = loop {
                match connection.head(&request.method) {
                    Ok(Some(head)) => break head,
                    Ok(None) if self.has_signal() => return Ok(Next::End),
                    Ok(None) => self.show("waiting for an answer"),
                    Err(e) => return Ok(reconnect(e)),
                }
            };
            match (head.status, head.headers.get("Location")) {
                (301..=303 | 307 | 308, Some(location)) => {
                    let location = String::from_utf8_lossy(location).into_owned();
                    let next = url
                        .join(&location)
                        .map_err(|e| Stop::failed("a redirect has a location that cannot be used", e))?;
                    if !url.is_same_origin(&next) {
                        let is_secret = |name: &str| {
                            ["authorization", "cookie", "proxy-authorization"].contains(&&*name.to_ascii_lowercase())
                        };
                        request.headers.retain(|(name, _)| !is_secret(name));
                    }
                    match head.status {
                        301..=303 if request.method != Method::Head => {
                            request = Request { method: Method::Get, body: None, ..request };
                        }
                        // This upstream sends the request elsewhere and has not acted on it.
                        _ if must_not_repeat => self.may_have_acted = false,
                        _ => {}
                    }
                    url = next;
                }
                _ => {
                    if must_not_repeat && matches!(head.status, 425 | 429 | 503) {
                        self.may_have_acted = false;
                    }
                    return self.handle_answer(connection, &head, cursor.is_some());
                }
            }
        }
        Err(Stop::Failed(format!("{MAX_REDIRECTS} redirects in a row, and no answer")))
    }

    fn handle_answer(&mut self, connection: Connection, head: &ResponseHead, had_cursor: bool) -> Result<Next, Stop> {
        let status = head.status;
        match status {
            200 if http::is_event_stream(&head.headers) && !http::is_encoded(&head.headers) => {
                if let Some(reason) = head.headers.get("Segno-Gap") {
                    self.status.say(&format!("events are missing: {}", reason.escape_ascii()));
                }
                self.read(connection)
            }
            200 => {
                let found = head.headers.get("Content-Type").unwrap_or(b"none").escape_ascii().to_string();
                Err(Stop::Failed(format!("this is not an uncompressed event stream (content type: {found})")))
            }
            204 => {
                self.status.say("upstream says that the stream is over");
                Ok(Next::End)
            }
            408 | 425 | 429 | 500..=599 => {
                let wait = http::retry_after(&head.headers);
                Ok(Next::Reconnect { why: format!("upstream answered {status}"), wait })
            }
            400 | 404 | 410 | 412 | 416 if had_cursor => Err(Stop::Failed(format!(
                "upstream answered {status} to the last event id: it no longer has the events after it, so events are \
                 missing; start again with another `--cursor`"
            ))),
            _ => Err(Stop::Failed(format!("upstream answered {status}"))),
        }
    }

    /// Reads and prints a stream until it ends or is cut.
    fn read(&mut self, mut connection: Connection) -> Result<Next, Stop> {
        self.tracker.connected();
        self.status.say("connected");
        loop {
            let (tracker, pause, events) = (&mut self.tracker, &mut self.pause, &mut self.events);
            let mut gap = None;
            let got = connection.read(|bytes| {
                let fed = tracker.feed(bytes);
                gap = fed.gap.or(gap);
                events.count += u64::from(fed.events);
                pause.note(&fed);
            });
            if let Some(reason) = gap {
                self.status.say(&format!("events are missing: {reason}"));
            }
            if matches!(got, Ok(Progress::Bytes | Progress::End | Progress::Closed)) {
                let (tracker, events) = (&mut self.tracker, &mut self.events);
                match tracker.forward(|bytes| events.write(bytes)) {
                    Ok(()) => {}
                    Err(e) if e.kind() == ErrorKind::BrokenPipe => return Ok(Next::End),
                    Err(e) => return Err(Stop::failed("writing standard output", e)),
                }
            }
            if self.has_signal() {
                return Ok(Next::End);
            }
            self.show("connected");
            let why = match got {
                Ok(Progress::Bytes | Progress::Nothing) => continue,
                // A body without a length and without chunks that ends inside an event was cut.
                Ok(Progress::Closed) if self.tracker.connected() != CutKind::Clean => {
                    "the stream was cut inside an event".to_owned()
                }
                Ok(Progress::End | Progress::Closed) if self.request.method != Method::Get => {
                    self.status.say("the answer has ended");
                    return Ok(Next::End);
                }
                Ok(Progress::End | Progress::Closed) => "the stream ended".to_owned(),
                Err(e) => format!("the stream was cut: {e}"),
            };
            return Ok(Next::Reconnect { why, wait: None });
        }
    }

    fn has_signal(&mut self) -> bool {
        self.signals.pending().next().is_some()
    }

    fn show(&mut self, state: &str) {
        let id = self.tracker.last_event_id();
        self.status.show(self.events.count, id.as_ref().map(|id| id.as_bytes()), state, self.clock.now());
    }
}
