//! One run of the demo, from the start of the upstream to the report.
//!
//! In: [`Options`], the clock, and a function that starts the proxy. Out: a [`Report`], written as a table or as JSON.
//! Laws: the run is bounded in time; a client that hangs is reported by name; the run waits for every thread that it
//! started, or names the thread in the report.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::client::{GRACE, Job};
use super::kind::Rule;
use super::report::{self, Report};
use super::stream::Streams;
use super::upstream::{LOOPBACK, Upstream};
use super::world::{Now, World};
use crate::base::Span;

/// The shortest and the longest run.
pub(super) const DURATIONS: (Span, Span) = (Span::from_secs(1), Span::from_secs(3_600));
/// The seed of all scripts.
pub(super) const SEED: u64 = 0x5e9_0001;
/// How often the live line changes.
const REFRESH: Span = Span::from_millis(200);
/// How long the run waits for the clients' threads after their own deadline.
const LAST_WAIT: Span = Span::from_secs(5);

/// Stops the proxy and waits until it has stopped.
pub(super) type EndProxy = Box<dyn FnOnce()>;

/// What the user asked for.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// How long the upstream sends, from 1 s to 1 h.
    pub(super) duration: Span,
    /// Whether to write one JSON object instead of a table.
    pub(super) json: bool,
    /// Whether clients leave and come back, too.
    pub(super) both_sides: bool,
    /// Decides all events, cuts and ends.
    pub(super) seed: u64,
    /// Whether to show a live line during the run.
    pub(super) live: bool,
    /// Whether that line has colours.
    pub(super) colour: bool,
}

impl Options {
    /// Options for this process: a live line if standard error is a terminal, with colours unless `NO_COLOR` is set.
    pub(super) fn new(duration: Span, json: bool) -> Self {
        let live = io::stderr().is_terminal();
        let colour = live && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { duration, json, both_sides: true, seed: SEED, live, colour }
    }
}

/// Why the demo could not run.
#[derive(Debug)]
#[non_exhaustive]
pub(super) enum Error {
    /// The upstream could not be started.
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

/// Runs the demo. Writes the result to `out` and the progress to `err`. Once `is_interrupted` says so, the run ends and
/// the result has the counts so far.
///
/// `start_proxy` gets the upstream's address. It returns the proxy's address and a function that stops the proxy.
///
/// # Errors
/// A part could not be started, or the result could not be written. Broken promises are not errors: the report has
/// them.
pub(super) fn run(
    options: &Options,
    now: Now,
    start_proxy: impl FnOnce(SocketAddr) -> Result<(SocketAddr, EndProxy), Error>,
    is_interrupted: &mut dyn FnMut() -> bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Report, Error> {
    let duration = options.duration;
    // Progress is a courtesy: the demo runs even if this cannot be written.
    let _ = writeln!(err, "segno demo: {} clients for {duration}, seed {:#x}", jobs(options).count(), options.seed);
    let side = Side::start(&now, options)?;
    let without = match Side::start(&now, options) {
        Ok(without) => without,
        Err(error) => {
            side.end();
            return Err(error);
        }
    };
    let played = play(options, (&side, &without), start_proxy, is_interrupted, err);
    let (world, plain) = (side.end(), without.end());
    let report = played?.unwrap_or_else(|| Report::new(duration, &mut world.tally(), &plain));
    let written = if options.json { report.write_json(out) } else { report.write_table(out) };
    written.and_then(|()| out.flush()).map_err(Error::Write)?;
    Ok(report)
}

/// An upstream, the streams that it plays, and the world of both. There is one with segno before it and one without,
/// and both play the same scripts.
struct Side {
    world: Arc<World>,
    streams: Arc<Streams>,
    upstream: Upstream,
}

impl Side {
    fn start(now: &Now, options: &Options) -> Result<Self, Error> {
        let world = Arc::new(World::new(Arc::clone(now), options.duration, options.seed));
        let streams = Arc::new(Streams::default());
        let known = Arc::clone(&streams);
        let find = Arc::new(move |name: &str, _: Option<&str>| known.find(name));
        let upstream = Upstream::start(LOOPBACK, Arc::clone(&world), find).map_err(Error::Upstream)?;
        Ok(Self { world, streams, upstream })
    }

    /// Starts the thread of a client.
    fn client(&self, job: Job, run: impl FnOnce(Job, &World, &Streams) + Send + 'static) -> io::Result<Client> {
        let name = format!("{}-{}", job.rule.name(), job.client);
        let (world, streams) = (Arc::clone(&self.world), Arc::clone(&self.streams));
        let thread = thread::Builder::new().name(name.clone()).spawn(move || run(job, &world, &streams))?;
        Ok((name, thread))
    }

    /// Ends all threads of the upstream.
    fn end(self) -> Arc<World> {
        self.world.stop();
        self.upstream.join();
        self.world
    }
}

/// Starts the proxy and the clients, waits for the clients, and stops the proxy. Returns a report if the run was
/// interrupted.
fn play(
    options: &Options,
    (side, without): (&Side, &Side),
    start_proxy: impl FnOnce(SocketAddr) -> Result<(SocketAddr, EndProxy), Error>,
    is_interrupted: &mut dyn FnMut() -> bool,
    err: &mut dyn Write,
) -> Result<Option<Report>, Error> {
    let upstream = side.upstream.addr;
    let (proxy, stop) = start_proxy(upstream)?;
    let start = |job: Job| {
        let addr = if job.rule.is_direct() { upstream } else { proxy };
        side.client(job, move |job, world, streams| job.run(world, streams, addr))
    };
    let plain = without.upstream.addr;
    let start_plain = |job: Job| without.client(job, move |job, world, streams| job.run_without(world, streams, plain));
    let clients: Result<Vec<_>, _> = jobs(options).map(start).collect();
    let others: Result<Vec<_>, _> = jobs(options).filter(|job| job.rule != Rule::Direct).map(start_plain).collect();
    let watched = clients.and_then(|clients| {
        let report = watch(options, (&side.world, &without.world), (&clients, &others?), is_interrupted, err);
        judge(&side.world, clients);
        Ok(report)
    });
    side.world.stop();
    without.world.stop();
    stop();
    watched.map_err(Error::Client)
}

/// The jobs of the clients that take part.
fn jobs(options: &Options) -> impl Iterator<Item = Job> {
    let both_sides = options.both_sides;
    Job::all().filter(move |job| both_sides || !job.rule.client_leaves())
}

/// A client's thread, and the name that reports give it.
type Client = (String, JoinHandle<()>);

/// Waits until all clients are done, or until it is too late for them. Returns the counts so far if the run was
/// interrupted, and ends it.
fn watch(
    options: &Options,
    (world, plain): (&World, &World),
    (clients, others): (&[Client], &[Client]),
    is_interrupted: &mut dyn FnMut() -> bool,
    err: &mut dyn Write,
) -> Option<Report> {
    let deadline = world.end + GRACE + LAST_WAIT;
    let mut report = None;
    while clients.iter().chain(others).any(|(_, thread)| !thread.is_finished()) && world.now() < deadline {
        if is_interrupted() {
            let so_far = world.now().since(world.start);
            let counts = Report::new(so_far, &mut world.tally(), plain);
            report = Some(Report { interrupted: true, ..counts });
            // What happens from now on is in no report.
            world.stop();
            plain.stop();
            break;
        }
        if options.live {
            let _ = report::write_live(err, world.now().since(world.start), &world.tally(), options.colour);
        }
        let next = world.now() + REFRESH;
        while !world.doze(next) {}
    }
    if options.live {
        let _ = writeln!(err);
    }
    report
}

/// Reports the clients that are not done, and those that panicked.
fn judge(world: &World, clients: Vec<Client>) {
    for (name, thread) in clients {
        if !thread.is_finished() {
            world.fail(format!("{name}: hangs"));
        } else if thread.join().is_err() {
            world.fail(format!("{name}: its thread died"));
        }
    }
}
