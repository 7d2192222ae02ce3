//! What a request to the admin address gets: one table of pages, and what each does.
//!
//! In: a request's head, the engine's numbers, the time. Out: a whole answer, or the word that a list or the live stream
//! is wanted.
//! Laws: no page but those of health answers a request that [`Access`](super::Access) does not let in; what changes
//! something is for those alone who have the token, or come from this machine, and for no page of another site.

use super::access::Shut;
use super::dashboard;
use super::health::{healthz, readyz};
use super::page::{PageFormat, metrics_page};
use super::paging::{Paging, StreamList};
use super::reload::Reloaded;
use super::respond::respond;
use super::source::Source;
use crate::base::{Count, Span, Tick};
use crate::http::{HeadError, Method, RequestHead, write_answer};
use crate::journal::Level;
use crate::reactor::Command;
use std::net::IpAddr;

/// What a request gets.
pub(super) enum Answer {
    /// These bytes.
    Whole(Vec<u8>),
    /// The stored cursors; for HEAD the head alone.
    List { head_only: bool, paging: Option<Paging> },
    /// The dashboard's event stream, after the event with this id; for HEAD the head alone.
    Live { last: Option<Box<[u8]>>, head_only: bool },
    /// What comes of reloading the configuration.
    Reload,
}

/// A request, and what there is to answer it with.
pub(super) struct Ask<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) source: &'a Source,
    /// The client's address.
    pub(super) peer: IpAddr,
    pub(super) now: Tick,
}

/// How a page may be asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Read, by everybody.
    Open,
    /// Read, by those who name this address as its owner does. It holds no number, and a browser cannot send a token
    /// with a link.
    Named,
    /// Read, by those who are let in.
    Guarded,
    /// A POST that changes something.
    Order,
}

impl Kind {
    /// The methods, as `Allow` names them.
    const fn allowed(self) -> &'static str {
        match self {
            Self::Open | Self::Named | Self::Guarded => "GET, HEAD",
            Self::Order => "POST",
        }
    }
}

/// A page: its path, who may ask for it and how, and what it does.
type Page = (&'static str, Kind, fn(&Ask<'_>) -> Answer);

/// All pages.
const PAGES: &[Page] = &[
    ("/healthz", Kind::Open, |ask| ask.json(healthz(&ask.source.metrics, ask.now))),
    ("/health", Kind::Open, |ask| ask.json(healthz(&ask.source.metrics, ask.now))),
    ("/readyz", Kind::Open, |ask| ask.json(readyz(&ask.source.metrics, ask.now, ask.store_patience()))),
    ("/", Kind::Named, |ask| Answer::Whole(dashboard::page(ask.head_only()))),
    ("/events", Kind::Guarded, events),
    ("/metrics", Kind::Guarded, metrics),
    ("/streams", Kind::Guarded, streams),
    ("/sessions", Kind::Guarded, sessions),
    ("/reload", Kind::Order, |_| Answer::Reload),
    ("/drain", Kind::Order, drain),
];

/// Answers a request.
pub(super) fn answer(head: &Result<RequestHead, HeadError>, source: &Source, peer: IpAddr, now: Tick) -> Answer {
    let head = match head {
        Ok(head) => head,
        Err(e) => return refusal(e.status(), &e.to_string(), &[], false),
    };
    let ask = Ask { head, source, peer, now };
    let page = PAGES.iter().find(|(path, ..)| *path == ask.path());
    let kind = page.map_or(Kind::Guarded, |(_, kind, _)| *kind);
    let is_asked_right = match kind {
        Kind::Open | Kind::Named | Kind::Guarded => matches!(head.method, Method::Get | Method::Head),
        Kind::Order => head.method == Method::Post,
    };
    if !is_asked_right {
        let why = format!("only {} is known here", kind.allowed());
        return refusal(405, &why, &[("Allow", kind.allowed())], ask.head_only());
    }
    if kind != Kind::Open
        && let Err(shut) = ask.check(kind)
    {
        source.metrics.add(Count::AdminRequestsRefused, 1);
        return ask.shut_out(shut);
    }
    match page {
        Some((.., answer)) => answer(&ask),
        None => {
            let known: Vec<&str> = PAGES.iter().map(|(path, ..)| *path).collect();
            refusal(404, &format!("known here: {}", known.join(", ")), &[], ask.head_only())
        }
    }
}

impl Ask<'_> {
    fn path(&self) -> &str {
        self.head.target.split('?').next().unwrap_or_default()
    }

    /// The value of a parameter of the query. Those that are known here need no decoding.
    fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.head.target.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// How long the store may be away before clients should go elsewhere.
    fn store_patience(&self) -> Span {
        self.source.running.with(|config| config.ready_without_store)
    }

    fn head_only(&self) -> bool {
        self.head.method == Method::Head
    }

    fn check(&self, kind: Kind) -> Result<(), Shut> {
        match kind {
            Kind::Named => return self.source.access.check_host(self.head),
            _ => self.source.access.check(self.head)?,
        }
        match kind {
            Kind::Order => self.source.access.check_order(self.head, self.peer),
            _ => Ok(()),
        }
    }

    fn shut_out(&self, shut: Shut) -> Answer {
        let head_only = self.head_only();
        match shut {
            Shut::Foreign => {
                let why = "`Host` names neither `localhost` nor an address nor a name given by `--admin-host`";
                refusal(421, why, &[], head_only)
            }
            Shut::NoToken => {
                let why = "send the admin token: `Authorization: Bearer TOKEN`";
                refusal(401, why, &[("WWW-Authenticate", "Bearer realm=\"segno\"")], head_only)
            }
            Shut::Remote => refusal(403, "without an admin token this is for this machine alone", &[], head_only),
            Shut::OtherSite => refusal(403, "this is not for pages of other sites", &[], head_only),
        }
    }

    fn json(&self, (status, body): (u16, String)) -> Answer {
        self.whole(status, &body, "application/json")
    }

    fn whole(&self, status: u16, body: &str, content_type: &str) -> Answer {
        Answer::Whole(respond(status, body, content_type, self.head_only()))
    }
}

fn events(ask: &Ask<'_>) -> Answer {
    let last = ask.head.headers.get("Last-Event-ID").map(Into::into);
    Answer::Live { last, head_only: ask.head_only() }
}

fn metrics(ask: &Ask<'_>) -> Answer {
    let accept: Vec<&[u8]> = ask.head.headers.get_all("Accept").collect();
    let format = PageFormat::of(&accept.join(&b','));
    ask.whole(200, &metrics_page(&ask.source.metrics, ask.now, format), format.content_type())
}

fn streams(ask: &Ask<'_>) -> Answer {
    match StreamList::of(ask.parameter("after"), ask.parameter("limit")) {
        Ok(list) => ask.json((200, list.json(&ask.source.streams))),
        Err(why) => refusal(400, why, &[], ask.head_only()),
    }
}

fn sessions(ask: &Ask<'_>) -> Answer {
    match Paging::of(ask.parameter("after"), ask.parameter("limit")) {
        Ok(paging) => Answer::List { head_only: ask.head_only(), paging },
        Err(why) => refusal(400, why, &[], ask.head_only()),
    }
}

fn drain(ask: &Ask<'_>) -> Answer {
    let within = ask.source.running.with(|config| config.drain_timeout);
    if !ask.source.remote.send(Command::Drain(within)) {
        return refusal(503, "the reactor takes no orders: it has ended, or has too many", &[], false);
    }
    let said = format!("POST /drain by {}: stopping; answers have {} to end", ask.peer, within.rough());
    ask.source.journal.clone().say(Level::Info, said);
    ask.json((202, format!("{{\"draining\":true,\"seconds\":{}}}\n", within.micros() / 1_000_000)))
}

fn refusal(status: u16, why: &str, extra: &[(&str, &str)], head_only: bool) -> Answer {
    let mut out = Vec::new();
    write_answer(status, why, extra, true, head_only, &mut out);
    Answer::Whole(out)
}

/// The answer to a request for a reload.
pub(super) fn reloaded(outcome: &Reloaded) -> Vec<u8> {
    respond(outcome.status, &outcome.json, "application/json", false)
}
