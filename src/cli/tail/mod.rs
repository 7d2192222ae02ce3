//! `segno tail`: follows an event stream for ever, over cuts and restarts.
//!
//! In: a URL, headers, a body. Out: each event once, on standard output.
//!
//! Laws: an event counts as seen once standard output has taken it, and only then is its cursor stored; ended by a
//! signal and started again with the same `--cursor`, every event comes exactly once; killed, none is missing and what
//! one flush window held may come again. A POST that reached upstream is not repeated unless told to, or unless upstream
//! says that it did nothing with it (425, 429, 503).
//! Source: WHATWG HTML, section 9.2.3, for what ends a stream and what is tried again.

mod connection;
mod output;
mod pause;
mod url;

use super::Stop;
use super::args::{TailArgs, default_store};
use crate::base::Span;
use crate::config::{Config, Persist, StoreConfig};
use crate::engine::{Engine, InlineTracker};
use crate::http::{self, Method, ResponseHead};
use crate::sync::park;
use connection::{Ask, Connection, Got, LOOK};
use output::{Events, Status};
use pause::Pause;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, ErrorKind};
use url::Url;

/// Redirects followed in a row.
const HOPS: u32 = 20;

/// How long the store may take, to tell the cursor and to take the last one.
const STORE: Span = Span::from_secs(5);

/// Follows until told to end.
pub(super) fn run(args: &TailArgs) -> Result<(), Stop> {
    let _logs = super::logging::start();
    let url = Url::parse(&args.url).map_err(Stop::Failed)?;
    let ask = ask(args)?;
    let signals = Signals::new([SIGTERM, SIGINT]).map_err(|e| Stop::failed("cannot catch signals", e))?;
    let engine = Engine::builder().config(config(args)).start().map_err(|e| Stop::Failed(e.to_string()))?;
    let key = format!("tail {}", args.cursor.as_deref().unwrap_or_default());
    let tracker = engine.tracker(key.as_bytes(), STORE).map_err(|e| Stop::Failed(e.to_string()))?;
    let (clock, now) = (engine.clock(), engine.clock().now());
    let mut tail = Tail {
        args,
        url,
        ask,
        signals,
        tracker,
        clock,
        events: Events::new(args.json),
        status: Status::new(now),
        random: crate::base::Random::new(super::proxy::random_seed()),
        pause: Pause::default(),
        sent: false,
    };
    let ended = tail.follow();
    tail.status.end();
    let Tail { tracker, mut signals, .. } = tail;
    drop(tracker);
    // A second signal ends at once.
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            std::process::exit(1);
        }
    });
    let left = engine.shutdown(STORE).map_err(|e| Stop::failed("the engine failed", e))?;
    ended?;
    match left.cursors.is_empty() {
        true => Ok(()),
        false => Err(Stop::Failed("the cursor could not be stored; what came last will come again".to_owned())),
    }
}

fn config(args: &TailArgs) -> Config {
    let store = match args.cursor {
        Some(_) => args.store.clone().unwrap_or_else(default_store),
        None => StoreConfig::Memory,
    };
    // A cursor with a name is kept until somebody takes the file away, however rarely it is followed.
    let persist = Persist { session_idle: Span::MAX, ..Persist::default() };
    Config { listen: Vec::new(), store, persist, ..Config::default() }
}

fn ask(args: &TailArgs) -> Result<Ask, Stop> {
    let body = match args.data.as_deref().map(|data| data.strip_prefix('@').ok_or(data)) {
        None => None,
        Some(Err(text)) => Some(text.as_bytes().to_vec()),
        Some(Ok(file)) => Some(std::fs::read(file).map_err(|e| Stop::failed(&format!("cannot read {file}"), e))?),
    };
    let name = args.method.as_deref().unwrap_or(if body.is_some() { "POST" } else { "GET" });
    let method = Method::from_token(name.as_bytes())
        .ok_or_else(|| Stop::Failed(format!("`{}` is no method; write GET or POST", name.escape_debug())))?;
    Ok(Ask { method, headers: args.header.clone(), body })
}

struct Tail<'a> {
    args: &'a TailArgs,
    url: Url,
    ask: Ask,
    signals: Signals,
    tracker: InlineTracker,
    clock: crate::clock::Clock,
    events: Events,
    status: Status,
    random: crate::base::Random,
    pause: Pause,
    /// A request that must not be repeated has gone out, and upstream may have acted on it.
    sent: bool,
}

/// How one connection ended.
enum Ended {
    /// The stream was cut or ended, or could not be had now: it is asked for again.
    Again { why: String, wait: Option<Span> },
    /// It is over: upstream said so, or we were told to end, or nobody reads.
    Over,
}

impl Tail<'_> {
    fn follow(&mut self) -> Result<(), Stop> {
        loop {
            self.pause.begin(self.clock.now());
            let (why, wait) = match self.connect()? {
                Ended::Over => return Ok(()),
                Ended::Again { why, wait } => (why, wait),
            };
            if self.sent {
                return Err(Stop::Failed(format!(
                    "{why}; a POST that upstream has seen is not repeated: use `--repeat-post` if it may be"
                )));
            }
            let wait = self.pause.end(wait, self.random.next(), self.clock.now());
            self.status.say(&format!("{why}; asking again in {wait}"));
            let until = self.clock.now() + wait;
            while self.clock.now() < until {
                if self.is_told_to_end() {
                    return Ok(());
                }
                let state = format!("waiting (attempt {}): {why}", self.pause.tries());
                self.show(&state);
                park(Some(LOOK.min(until.since(self.clock.now()).into())));
            }
        }
    }

    /// One connection, redirects followed.
    fn connect(&mut self) -> Result<Ended, Stop> {
        let (mut url, mut ask) = (self.url.clone(), self.ask.clone());
        for _ in 0..HOPS {
            let again = |why: io::Error| Ended::Again { why: format!("{}: {why}", url.origin), wait: None };
            let mut connection = match Connection::open(&url) {
                Ok(connection) => connection,
                Err(e) => return Ok(again(e)),
            };
            let cursor = self.tracker.last_event_id();
            let counts = ask.method != Method::Get && !self.args.repeat_post;
            let sent = connection.send(&ask.write(&url, cursor.as_ref().map(|id| id.as_bytes())));
            self.sent |= counts && connection.is_established();
            if let Err(e) = sent {
                return Ok(again(e));
            }
            let head = loop {
                match connection.head(&ask.method) {
                    Ok(Some(head)) => break head,
                    Ok(None) if self.is_told_to_end() => return Ok(Ended::Over),
                    Ok(None) => self.show("waiting for an answer"),
                    Err(e) => return Ok(again(e)),
                }
            };
            match (head.status, head.headers.get("Location")) {
                (301..=303 | 307 | 308, Some(location)) => {
                    let location = String::from_utf8_lossy(location).into_owned();
                    let next = url.join(&location).map_err(|e| Stop::failed("a redirect leads astray", e))?;
                    if !url.is_same_origin(&next) {
                        let is_secret = |name: &str| {
                            ["authorization", "cookie", "proxy-authorization"].contains(&&*name.to_ascii_lowercase())
                        };
                        ask.headers.retain(|(name, _)| !is_secret(name));
                    }
                    match head.status {
                        301..=303 if ask.method != Method::Head => {
                            ask = Ask { method: Method::Get, body: None, ..ask };
                        }
                        // It sends the request elsewhere and does nothing with it.
                        _ if counts => self.sent = false,
                        _ => {}
                    }
                    url = next;
                }
                _ => {
                    if counts && matches!(head.status, 425 | 429 | 503) {
                        self.sent = false;
                    }
                    return self.answered(connection, &head, cursor.is_some());
                }
            }
        }
        Err(Stop::Failed(format!("{HOPS} redirects in a row lead nowhere")))
    }

    fn answered(&mut self, connection: Connection, head: &ResponseHead, had_cursor: bool) -> Result<Ended, Stop> {
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
                Err(Stop::Failed(format!("this is no plain event stream (content type: {found})")))
            }
            204 => {
                self.status.say("upstream says that the stream is over");
                Ok(Ended::Over)
            }
            408 | 425 | 429 | 500..=599 => {
                let wait = http::retry_after(&head.headers);
                Ok(Ended::Again { why: format!("upstream answered {status}"), wait })
            }
            400 | 404 | 410 | 412 | 416 if had_cursor => Err(Stop::Failed(format!(
                "upstream answered {status} to the last event id: it no longer has what follows, events are missing; \
                 begin anew with another `--cursor`"
            ))),
            _ => Err(Stop::Failed(format!("upstream answered {status}"))),
        }
    }

    /// Reads a stream to its end or cut.
    fn read(&mut self, mut connection: Connection) -> Result<Ended, Stop> {
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
            if matches!(got, Ok(Got::Bytes | Got::End)) {
                let (tracker, events) = (&mut self.tracker, &mut self.events);
                match tracker.forward(|bytes| events.write(bytes)) {
                    Ok(()) => {}
                    Err(e) if e.kind() == ErrorKind::BrokenPipe => return Ok(Ended::Over),
                    Err(e) => return Err(Stop::failed("writing standard output", e)),
                }
            }
            if self.is_told_to_end() {
                return Ok(Ended::Over);
            }
            self.show("connected");
            let why = match got {
                Ok(Got::Bytes | Got::Nothing) => continue,
                Ok(Got::End) => "the stream ended".to_owned(),
                Err(e) => format!("the stream was cut: {e}"),
            };
            return Ok(Ended::Again { why, wait: None });
        }
    }

    fn is_told_to_end(&mut self) -> bool {
        self.signals.pending().next().is_some()
    }

    fn show(&mut self, state: &str) {
        let id = self.tracker.last_event_id();
        self.status.show(self.events.count, id.as_ref().map(|id| id.as_bytes()), state, self.clock.now());
    }
}
