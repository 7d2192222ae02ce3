//! The subcommands and their arguments.
//!
//! In: words. Out: [`Args`], every value already read as what it is.
//! Law: others script against these names; they are those of the design's section 7.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use clap::{ArgGroup, Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::base::Span;
use crate::config::file::{Flags, Setting};
use crate::config::{Dedup, Ids, Route, Share, StoreConfig, Upstream, parse_size, parse_span};

/// Server-Sent Events that resume.
#[derive(Parser, Debug)]
#[command(name = "segno", version, about, max_term_width = 100)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Stand before an event stream: heal its cuts, state its gaps
    Proxy(Box<ProxyArgs>),
    /// Run a flaky upstream, the proxy and clients in one process, and count what was lost and repeated
    Demo(DemoArgs),
    /// Follow an event stream for ever, over cuts and restarts
    Tail(TailArgs),
    /// List the stored cursors
    Sessions(SessionsArgs),
    /// Read an event stream on standard input, write its events as JSON lines
    Parse(ParseArgs),
    /// Read a configuration, say what is wrong and where
    Check(CheckArgs),
}

#[derive(ClapArgs, Debug)]
#[command(group = ArgGroup::new("routes").args(["upstream", "config"]).required(true).multiple(true))]
pub(crate) struct ProxyArgs {
    /// Where requests go, for every route that names no upstream of its own
    #[arg(long, value_name = "URL", value_parser = Upstream::parse)]
    pub(crate) upstream: Option<Upstream>,
    /// Where clients connect; may be given several times [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) listen: Vec<SocketAddr>,
    /// Where cursors are kept: redb:PATH or memory [default: redb:segno.redb]
    #[arg(long, value_name = "STORE", value_parser = StoreConfig::parse)]
    pub(crate) store: Option<StoreConfig>,
    /// Store recent events too, so that replay survives a restart
    #[arg(long)]
    pub(crate) durable: bool,
    /// Where metrics and health are served [default: nowhere]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) admin: Option<SocketAddr>,
    /// A configuration file; a route's own key beats a flag, a flag beats the rest of the file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) knobs: KnobArgs,
}

/// Knobs for all routes.
#[derive(ClapArgs, Debug)]
#[command(next_help_heading = "For all routes")]
pub(crate) struct KnobArgs {
    /// How long upstream is read on after the last client left, 0s for not at all [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    linger: Option<Span>,
    /// Silence after which a comment is sent to clients, 0s for none [default: 15s]
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    heartbeat: Option<Span>,
    /// Recent events kept per stream [default: 256]
    #[arg(long, value_name = "N")]
    replay_events: Option<usize>,
    /// Bytes of recent events kept per stream [default: 1MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    replay_bytes: Option<usize>,
    /// How long a cut stream is asked for again, 0s for not at all [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    heal_for: Option<Span>,
    /// How long an answer's head waits for upstream [default: 3s]
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    hold_head: Option<Span>,
    /// Silence of upstream that counts as a cut, 0s for none [default: 0s]
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    upstream_idle: Option<Span>,
    /// The largest event held whole, at most half of --replay-bytes [default: 512KiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_event_bytes: Option<usize>,
    /// Certificates (PEM) to trust for upstreams instead of the system's
    #[arg(long, value_name = "FILE")]
    upstream_ca: Option<PathBuf>,
    /// Ids of segno's own for events without any [default: auto]
    #[arg(long, value_name = "WHEN")]
    ids: Option<IdsArg>,
    /// One upstream request for all clients of a target with the same credentials
    #[arg(long)]
    share: bool,
    /// When a repeated event is dropped [default: resume]
    #[arg(long, value_name = "WHEN")]
    dedup: Option<DedupArg>,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum IdsArg {
    /// Where the first event of a stream has none
    Auto,
    /// Never
    Off,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum DedupArg {
    /// While catching up after a reconnect
    Resume,
    /// Always
    Always,
    /// Never
    Off,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct DemoArgs {
    /// How long to run; with --listen the default is until it is stopped [default: 20s]
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub(crate) duration: Option<Span>,
    /// Write the counts as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
    /// Serve only the flaky upstream, at this address, to try things by hand: GET /feed, /restart and /no-ids, POST /answer
    #[arg(long, value_name = "ADDR", value_parser = address, conflicts_with = "json")]
    pub(crate) listen: Option<SocketAddr>,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct ParseArgs {
    /// Bytes read at a time
    #[arg(long, value_name = "N", default_value = "64KiB", value_parser = read_size)]
    pub(crate) read_size: usize,
    /// The largest event that is held; larger ones are reported and skipped
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size)]
    pub(crate) max_event_bytes: usize,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct TailArgs {
    /// The stream's URL
    pub(crate) url: String,
    /// Store how far the stream was printed under this name, and go on from there next time
    #[arg(long, value_name = "NAME")]
    pub(crate) cursor: Option<String>,
    /// Where the cursor is kept [default: redb:segno.redb]
    #[arg(long, value_name = "STORE", value_parser = StoreConfig::parse, requires = "cursor")]
    pub(crate) store: Option<StoreConfig>,
    /// A header of the request; may be given several times
    #[arg(short = 'H', long, value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) header: Vec<(String, String)>,
    /// The method [default: GET, with --data POST]
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// The request's body; @FILE reads it from a file
    #[arg(long, value_name = "BODY")]
    pub(crate) data: Option<String>,
    /// Ask again with a POST that upstream has seen
    #[arg(long)]
    pub(crate) repeat_post: bool,
    /// Write a JSON line an event instead of the event's own bytes
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct SessionsArgs {
    /// The store to read [default: redb:segno.redb]
    #[arg(long, value_name = "STORE", value_parser = StoreConfig::parse, conflicts_with = "admin")]
    pub(crate) store: Option<StoreConfig>,
    /// The admin address of a running proxy, which has its store open
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) admin: Option<SocketAddr>,
    /// Write one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct CheckArgs {
    /// The configuration file
    pub(crate) file: PathBuf,
}

impl ProxyArgs {
    /// What the flags add to a configuration.
    pub(crate) fn flags(&self) -> Flags {
        Flags {
            listen: self.listen.clone(),
            admin: self.admin,
            store: self.store.clone(),
            default_store: Some(default_store()),
            durable: self.durable,
            upstream: self.upstream.clone(),
            settings: self.knobs.settings(),
        }
    }
}

impl KnobArgs {
    fn settings(&self) -> Vec<Setting> {
        let ca = self.upstream_ca.clone();
        [
            given(self.linger, |route, span| route.linger = span),
            given(self.heartbeat, |route, span| route.heartbeat = span),
            given(self.replay_events, |route, count| route.replay_events = count),
            given(self.replay_bytes, |route, size| route.replay_bytes = size),
            given(self.heal_for, |route, span| route.heal_for = span),
            given(self.hold_head, |route, span| route.hold_head = span),
            given(self.upstream_idle, |route, span| route.upstream_idle = (!span.is_zero()).then_some(span)),
            given(self.max_event_bytes, |route, size| route.max_event_bytes = size),
            given(ca, |route, path| route.upstream_ca = Some(path)),
            given(self.ids, |route, ids| route.ids = ids.into()),
            given(self.share.then_some(Share::Principal), |route, share| route.share = share),
            given(self.dedup, |route, dedup| route.dedup = dedup.into()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl From<IdsArg> for Ids {
    fn from(arg: IdsArg) -> Self {
        match arg {
            IdsArg::Auto => Self::Auto,
            IdsArg::Off => Self::Off,
        }
    }
}

impl From<DedupArg> for Dedup {
    fn from(arg: DedupArg) -> Self {
        match arg {
            DedupArg::Resume => Self::Resume,
            DedupArg::Always => Self::Always,
            DedupArg::Off => Self::Off,
        }
    }
}

/// Where cursors are kept when nobody says anything else.
pub(crate) fn default_store() -> StoreConfig {
    StoreConfig::Redb { path: PathBuf::from("segno.redb") }
}

/// A setting for a flag that was given.
fn given<T: Clone + 'static>(value: Option<T>, set: fn(&mut Route, T)) -> Option<Setting> {
    let value = value?;
    Some(Rc::new(move |route: &mut Route| set(route, value.clone())))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "not an address: write an IP address and a port, such as `127.0.0.1:8080`".to_owned())
}

fn header(text: &str) -> Result<(String, String), String> {
    let wrong = || "not a header: write `NAME: VALUE`".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let (name, value) = (name.trim(), value.trim());
    let mut headers = crate::http::Headers::new();
    headers.push(name, value.as_bytes()).map_err(|e| e.to_string())?;
    Ok((name.to_owned(), value.to_owned()))
}

fn read_size(text: &str) -> Result<usize, String> {
    match parse_size(text).map_err(|error| error.to_string())? {
        size if (1..=64 << 20).contains(&size) => Ok(size),
        _ => Err("write a size from 1 to 64MiB".to_owned()),
    }
}

#[cfg(test)]
mod tests;
