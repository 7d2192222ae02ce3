//! One run of the demo, from the start of the upstream to the report.
//!
//! In: [`Options`], the clock, and a function that starts the proxy. Out: a [`Report`], written as a table or as JSON.
//! Laws: the run is bounded in time, a client that hangs fails by its name; every thread that was started is waited for
//! or named in the report.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::client::{GRACE, Slot};
use super::lane::Lanes;
use super::report::{self, Report};
use super::upstream::{LOOPBACK, Upstream};
use super::world::{Now, World};
use crate::base::Span;

/// The shortest and the longest run; what is asked for is brought within.
const DURATIONS: (Span, Span) = (Span::from_secs(1), Span::from_secs(3_600));
/// What all scripts follow from.
pub(super) const SEED: u64 = 0x5e9_0001;
/// How often the live line changes.
const REFRESH: Span = Span::from_millis(200);
/// How long behind their own deadline the clients' threads are waited for.
const LAST_WAIT: Span = Span::from_secs(5);

/// Ends the proxy and waits until it has ended.
pub(super) type EndProxy = Box<dyn FnOnce()>;

/// What was asked for.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// How long upstream sends; between 1 s and 1 h.
    pub(super) duration: Span,
    /// One JSON object instead of a table.
    pub(super) json: bool,
    /// Clients are cut off, too, and come back.
    pub(super) both_sides: bool,
    /// All events, cuts and ends follow from it.
    pub(super) seed: u64,
    /// Show a line that changes while it runs.
    pub(super) live: bool,
    /// Colour in that line.
    pub(super) colour: bool,
}

impl Options {
    /// Options for this process: a live line if standard error is a terminal, colours in it unless `NO_COLOR` is set.
    pub(super) fn new(duration: Span, json: bool) -> Self {
        let live = io::stderr().is_terminal();
        let colour = live && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { duration, json, both_sides: true, seed: SEED, live, colour }
    }
}

/// Why the demo could not be run.
#[derive(Debug)]
#[non_exhaustive]
pub(super) enum Error {
    /// Upstream could not be started.
    Upstream(io::Error),
    /// The proxy could not be started.
    Proxy(Box<dyn std::error::Error + Send + Sync>),
    /// A client could not be started.
    Client(io::Error),
    /// The result could not be written.
    Write(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(error) => write!(f, "cannot start the demo's upstream: {error}"),
            Self::Proxy(error) => write!(f, "cannot start the proxy: {error}"),
            Self::Client(error) => write!(f, "cannot start a client: {error}"),
            Self::Write(error) => write!(f, "cannot write the result: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Upstream(error) | Self::Client(error) | Self::Write(error) => Some(error),
            Self::Proxy(error) => Some(error.as_ref()),
        }
    }
}

/// Runs the demo and writes its result to `out`, its progress to `err`. The exit code is 0 if [`Report::ok`], else 1.
///
/// `start_proxy` gets upstream's address and gives the proxy's, and the function that ends the proxy.
///
/// # Errors
/// Something could not be started, or the result not be written. Broken promises are no error: they are in the report.
pub(super) fn run(
    options: &Options,
    now: Now,
    start_proxy: impl FnOnce(SocketAddr) -> Result<(SocketAddr, EndProxy), Error>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Report, Error> {
    let duration = options.duration.clamp(DURATIONS.0, DURATIONS.1);
    // Progress is a courtesy: whether it can be written decides nothing.
    let _ = writeln!(err, "segno demo: {} clients for {duration}, seed {:#x}", slots(options).count(), options.seed);
    let world = Arc::new(World::new(now, duration, options.seed));
    let lanes = Arc::new(Lanes::default());
    let known = Arc::clone(&lanes);
    let find = Arc::new(move |name: &str, _: Option<&str>| known.find(name));
    let upstream = Upstream::start(LOOPBACK, Arc::clone(&world), find).map_err(Error::Upstream)?;
    let played = play(options, (&world, &lanes), upstream.addr, start_proxy, err);
    world.stop();
    upstream.join();
    played?;
    let report = Report::new(duration, &mut world.tally());
    let written = if options.json { report.write_json(out) } else { report.write_table(out) };
    written.and_then(|()| out.flush()).map_err(Error::Write)?;
    Ok(report)
}

/// Starts the proxy and the clients, waits for the clients, ends the proxy.
fn play(
    options: &Options,
    (world, lanes): (&Arc<World>, &Arc<Lanes>),
    upstream: SocketAddr,
    start_proxy: impl FnOnce(SocketAddr) -> Result<(SocketAddr, EndProxy), Error>,
    err: &mut dyn Write,
) -> Result<(), Error> {
    let (proxy, stop) = start_proxy(upstream)?;
    let start = |slot: Slot| {
        let addr = if slot.rule.is_direct() { upstream } else { proxy };
        client(world, lanes, slot, addr)
    };
    let clients: Result<Vec<_>, _> = slots(options).map(start).collect();
    let watched = clients.map(|clients| watch(options, world, clients, err));
    world.stop();
    stop();
    watched.map_err(Error::Client)
}

/// What each client does.
fn slots(options: &Options) -> impl Iterator<Item = Slot> {
    let both_sides = options.both_sides;
    Slot::all().filter(move |slot| both_sides || !slot.rule.leaves())
}

/// A client's thread, and the name it fails under.
type Client = (String, JoinHandle<()>);

fn client(world: &Arc<World>, lanes: &Arc<Lanes>, slot: Slot, addr: SocketAddr) -> io::Result<Client> {
    let name = format!("{}-{}", slot.rule.name(), slot.slot);
    let (world, lanes) = (Arc::clone(world), Arc::clone(lanes));
    let thread = thread::Builder::new().name(name.clone()).spawn(move || slot.run(&world, &lanes, addr))?;
    Ok((name, thread))
}

/// Waits until all clients are done, or until those that are not have failed.
fn watch(options: &Options, world: &World, clients: Vec<Client>, err: &mut dyn Write) {
    let deadline = world.end + GRACE + LAST_WAIT;
    while clients.iter().any(|(_, thread)| !thread.is_finished()) && world.now() < deadline {
        if options.live {
            let _ = report::write_live(err, world.now().since(world.start), &world.tally(), options.colour);
        }
        let next = world.now() + REFRESH;
        while !world.doze(next) {}
    }
    if options.live {
        let _ = writeln!(err);
    }
    for (name, thread) in clients {
        if !thread.is_finished() {
            world.fail(format!("{name}: hangs"));
        } else if thread.join().is_err() {
            world.fail(format!("{name}: its thread died"));
        }
    }
}
