//! The subcommands and their arguments.
//!
//! In: the words of the command line. Out: [`Args`], with every value parsed.
//! Law: users' scripts depend on these names, so they do not change.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use clap::{ArgGroup, Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::base::Span;
use crate::config::file::{Flags, Setting};
use crate::config::{Dedup, Ids, LogFormat, Route, Share, StoreConfig, Upstream, parse_size, parse_span};

/// Server-Sent Events that resume.
#[derive(Parser, Debug)]
#[command(name = "segno", version, about, max_term_width = 100)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Run the reverse proxy: heal the cuts of event streams and state their gaps
    Proxy(Box<ProxyArgs>),
    /// Run a flaky upstream, the proxy and clients in one process, and count lost and repeated events with segno and
    /// without
    Demo(DemoArgs),
    /// Follow an event stream across cuts and restarts, until stopped
    Tail(TailArgs),
    /// List the stored cursors
    Sessions(SessionsArgs),
    /// Read an event stream on standard input and write its events as JSON lines
    Parse(ParseArgs),
    /// Check a configuration file and what it names, and say what is wrong and where
    Check(CheckArgs),
}

#[derive(ClapArgs, Debug)]
#[command(group = ArgGroup::new("routes").args(["upstream", "config"]).required(true).multiple(true))]
pub(crate) struct ProxyArgs {
    /// The upstream's URL, for every route that does not name an upstream of its own
    #[arg(long, value_name = "URL", value_parser = Upstream::parse)]
    pub(crate) upstream: Option<Upstream>,
    /// The address where clients connect; may be given several times [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) listen: Vec<SocketAddr>,
    /// Where cursors are kept: `redb:PATH` is a file and survives a restart, `memory` does not [default:
    /// redb:segno.redb]
    #[arg(long, value_name = "STORE", value_parser = StoreConfig::parse)]
    pub(crate) store: Option<StoreConfig>,
    /// Start also if the store's path is wrong or something else is there: streams flow, and nothing is stored
    #[arg(long)]
    pub(crate) store_optional: bool,
    /// Store recent events too: replay then survives a restart, at the price of more disk writes
    #[arg(long)]
    pub(crate) durable: bool,
    /// The address that serves metrics, health and stored cursors [default: none]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) admin: Option<SocketAddr>,
    /// A name by which --admin may be called, beside `localhost` and addresses; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) admin_host: Vec<String>,
    /// A file with a token that requests to --admin must send, but for /health [default: the variable
    /// SEGNO_ADMIN_TOKEN, else none]
    #[arg(long, value_name = "FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// Write a log line for each request once it is over
    #[arg(long)]
    pub(crate) access_log: bool,
    /// How log lines are written [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormatArg>,
    /// A configuration file. A flag overrides the file, except for keys that a route sets itself
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) knobs: KnobArgs,
}

/// Knobs for all routes.
#[derive(ClapArgs, Debug)]
#[command(next_help_heading = "For all routes")]
pub(crate) struct KnobArgs {
    /// How long to keep reading upstream after the last client left; 0s stops at once. Longer lets clients come back to
    /// an unbroken stream, but upstream keeps working, which may cost money [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    linger: Option<Span>,
    /// Send clients a comment after this much silence; 0s sends none. Shorter finds dead clients sooner, longer saves
    /// packets [default: 15s]
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    heartbeat: Option<Span>,
    /// How many recent events to keep per stream. More replays further back and takes more memory [default: 256]
    #[arg(long, value_name = "N")]
    replay_events: Option<usize>,
    /// How many bytes of recent events to keep per stream. More replays further back and takes more memory [default:
    /// 1MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    replay_bytes: Option<usize>,
    /// How long to try to heal a cut stream; 0s heals none. Longer rides out longer outages, shorter tells clients
    /// sooner [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    heal_for: Option<Span>,
    /// How long to hold back the head of an answer while upstream is away. Longer keeps an error status possible,
    /// shorter shows clients an open stream sooner [default: 3s]
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    hold_head: Option<Span>,
    /// Treat this much silence from upstream as a cut; 0s never does. Set it above the interval of upstream's pings
    /// [default: 0s]
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    upstream_idle: Option<Span>,
    /// The largest event to keep whole, at most half of --replay-bytes. A cut inside a larger event cannot be healed
    /// [default: 512KiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_event_bytes: Option<usize>,
    /// A file of certificates (PEM) to trust for upstreams instead of the system's
    #[arg(long, value_name = "FILE")]
    upstream_ca: Option<PathBuf>,
    /// When to add ids to events. Streams without ids cannot be resumed [default: auto]
    #[arg(long, value_name = "WHEN")]
    ids: Option<IdsArg>,
    /// Make one upstream request for all clients with the same target and credentials. Saves upstream connections
    #[arg(long)]
    share: bool,
    /// When to drop a repeated event [default: resume]
    #[arg(long, value_name = "WHEN")]
    dedup: Option<DedupArg>,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
pub(crate) enum LogFormatArg {
    /// For people
    Text,
    /// One JSON object on each line
    Json,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum IdsArg {
    /// If the first event of a stream has no id
    Auto,
    /// Never
    Off,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum DedupArg {
    /// While catching up after a cut: a legal stream may repeat an id at other times
    Resume,
    /// Always: for an upstream that repeats itself and whose ids are unique
    Always,
    /// Never
    Off,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct DemoArgs {
    /// How long to run, from 1s to 1h; with --listen any time, and without end by default [default: 20s]
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub(crate) duration: Option<Span>,
    /// Write the counts as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
    /// Serve only the flaky upstream, at this address, to try things by hand: GET /feed, /restart and /no-ids, POST
    /// /answer
    #[arg(long, value_name = "ADDR", value_parser = address, conflicts_with = "json")]
    pub(crate) listen: Option<SocketAddr>,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct ParseArgs {
    /// Bytes to read at a time, from 1 to 64MiB
    #[arg(long, value_name = "N", default_value = "64KiB", value_parser = read_size)]
    pub(crate) read_size: usize,
    /// The largest event to hold in memory. Larger events are reported on standard error and skipped
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size)]
    pub(crate) max_event_bytes: usize,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct TailArgs {
    /// The stream's URL
    pub(crate) url: String,
    /// Remember under this name how far the stream was printed, and go on from there next time
    #[arg(long, value_name = "NAME", value_parser = cursor_name)]
    pub(crate) cursor: Option<String>,
    /// Where to keep the cursor: `redb:PATH` or `memory` [default: redb:segno-tail.redb]
    #[arg(long, value_name = "STORE", value_parser = StoreConfig::parse, requires = "cursor")]
    pub(crate) store: Option<StoreConfig>,
    /// A header to send with the request; may be given several times
    #[arg(short = 'H', long, value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) header: Vec<(String, String)>,
    /// The request's method [default: GET, or POST with --data]
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// The request's body; @FILE reads the body from a file
    #[arg(long, value_name = "BODY")]
    pub(crate) data: Option<String>,
    /// After a cut, send a POST again that upstream may have acted on and charged for: up to 5 times from the start
    #[arg(long)]
    pub(crate) repeat_post: bool,
    /// Write one JSON line per event instead of the event's own bytes
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct SessionsArgs {
    /// The store to read [default: redb:segno.redb]
    #[arg(long, value_name = "STORE", value_parser = StoreConfig::parse, conflicts_with = "admin")]
    pub(crate) store: Option<StoreConfig>,
    /// The admin address of a running proxy; ask it while it has the store open
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) admin: Option<SocketAddr>,
    /// A file with the admin token of that proxy [default: the variable SEGNO_ADMIN_TOKEN, else none]
    #[arg(long, value_name = "FILE", requires = "admin")]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// Write the list as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct CheckArgs {
    /// The configuration file; `-` reads standard input
    pub(crate) file: PathBuf,
}

impl ProxyArgs {
    /// The settings that the flags make.
    pub(crate) fn flags(&self) -> Flags {
        Flags {
            listen: self.listen.clone(),
            admin: self.admin,
            admin_hosts: self.admin_host.clone(),
            admin_token_file: self.admin_token_file.clone(),
            store: self.store.clone(),
            default_store: Some(default_store()),
            store_optional: self.store_optional,
            durable: self.durable,
            access_log: self.access_log,
            log_format: self.log_format.map(LogFormat::from),
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

impl From<LogFormatArg> for LogFormat {
    fn from(arg: LogFormatArg) -> Self {
        match arg {
            LogFormatArg::Text => Self::Text,
            LogFormatArg::Json => Self::Json,
        }
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

/// The store of `proxy` and `sessions` without `--store`.
pub(crate) fn default_store() -> StoreConfig {
    StoreConfig::Redb { path: PathBuf::from("segno.redb") }
}

/// The store of `tail` without `--store`. It is not the proxy's, because one process at a time may open a file.
pub(crate) fn default_tail_store() -> StoreConfig {
    StoreConfig::Redb { path: PathBuf::from("segno-tail.redb") }
}

/// The setting that a flag makes; `None` if the flag was not given.
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

/// The longest name of a cursor, in bytes. A store's key holds it, with what goes before it.
const CURSOR_NAME: usize = 200;

fn cursor_name(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("a cursor needs a name, such as `orders`".to_owned()),
        len if len > CURSOR_NAME => Err(format!("{len} bytes are more than the {CURSOR_NAME} that a name may have")),
        _ => Ok(text.to_owned()),
    }
}

fn read_size(text: &str) -> Result<usize, String> {
    match parse_size(text).map_err(|error| error.to_string())? {
        size if (1..=64 << 20).contains(&size) => Ok(size),
        _ => Err("write a size from 1 to 64MiB".to_owned()),
    }
}

#[cfg(test)]
mod tests;
