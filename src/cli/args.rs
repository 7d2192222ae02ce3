//! The subcommands and their arguments.
//!
//! In: the words of the command line. Out: [`Args`], with every value parsed.
//! Law: users' scripts depend on these names, so they do not change.

mod examples;
mod keys;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, CommandFactory, Error, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use self::keys::KeyArgs;
use crate::base::Span;
use crate::config::file::Flags;
use crate::config::{StoreConfig, parse_size, parse_span};

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
    /// Print alerts on the metrics, as rules for Prometheus
    Alerts(AlertsArgs),
    /// Print a dashboard of the metrics, for import into Grafana
    Grafana,
    /// Print the configuration that `proxy` would run with the same flags, and where each value comes from
    Config(Box<ConfigArgs>),
    /// Have a running proxy read its configuration again, and print what has changed and what takes a restart
    Reload(ReloadArgs),
    /// Print a manual page, or write all of them to a folder
    Man(ManArgs),
    /// Print what lets a shell complete the arguments of `segno`
    Completions(CompletionsArgs),
}

/// The program's arguments, as `clap` knows them.
pub(super) fn command() -> clap::Command {
    examples::with_examples(Args::command())
}

/// The arguments of this process.
pub(super) fn parse() -> Result<Args, Error> {
    Args::from_arg_matches(&command().try_get_matches()?)
}

/// What `proxy` and `config` are given. Flags beat environment variables, those beat the file, and a key that a route
/// sets itself beats them all.
#[derive(ClapArgs, Default, Debug)]
pub(crate) struct ProxyArgs {
    /// A configuration file. A flag overrides the file, except for keys that a route sets itself [env: SEGNO_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Take over from the proxy that runs with the same --handover: its listeners, then its store. Where none runs, this is
    /// an ordinary start
    #[arg(long)]
    pub(crate) take_over: bool,
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
    /// Write one JSON object instead of TOML
    #[arg(long)]
    pub(crate) json: bool,
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
    /// Where the demo's proxy keeps its cursors, as for `proxy` [default: memory]
    #[arg(long, value_name = "STORE", value_parser = StoreConfig::parse, conflicts_with = "listen")]
    pub(crate) store: Option<StoreConfig>,
    /// The address that serves the metrics and health of the demo's proxy [default: none]
    #[arg(long, value_name = "ADDR", value_parser = address, conflicts_with = "listen")]
    pub(crate) admin: Option<SocketAddr>,
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
pub(crate) struct ReloadArgs {
    /// The admin address of the proxy [env: SEGNO_ADMIN]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) admin: Option<SocketAddr>,
    /// A file with the admin token of that proxy [default: the variable SEGNO_ADMIN_TOKEN, else none]
    #[arg(long, value_name = "FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct CheckArgs {
    /// The configuration file; `-` reads standard input
    pub(crate) file: PathBuf,
    /// Check the file together with the SEGNO_ variables of this environment, as `proxy` would read both. Without it the
    /// file is judged alone, and a note names the variables that were not looked at
    #[arg(long)]
    pub(crate) env: bool,
}

impl ProxyArgs {
    /// The settings that the flags make.
    pub(crate) fn flags(&self) -> Flags {
        self.keys.flags().or_store(default_store())
    }
}

#[derive(ClapArgs, Debug)]
pub(crate) struct AlertsArgs {
    /// Where this page is read: each alert links to its part of it
    #[arg(long, value_name = "URL", default_value = "docs/operating.md")]
    pub(crate) runbook: String,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct ManArgs {
    /// The command whose page to print [default: the page of `segno` itself]
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub(crate) command: Option<String>,
    /// Write the pages of all commands to this folder, such as /usr/local/share/man/man1
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// The store of `proxy` and `sessions` without `--store`.
pub(crate) fn default_store() -> StoreConfig {
    StoreConfig::Redb { path: PathBuf::from("segno.redb") }
}

/// The store of `tail` without `--store`. It is not the proxy's, because one process at a time may open a file.
pub(crate) fn default_tail_store() -> StoreConfig {
    StoreConfig::Redb { path: PathBuf::from("segno-tail.redb") }
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
