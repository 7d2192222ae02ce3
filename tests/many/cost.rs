//! What shared logs cost, as Redis counts it, beside the scheme of `resumable-stream`, which lets the instance that has
//! a stream publish its events to whoever has come back elsewhere.
//!
//! In: `COST_STREAMS` and `COST_PACE`, lists of how many streams there are and how many milliseconds lie between two
//! of their events; without them, 100 streams and 100 ms. Out: a row for each run, and a failure where a run took more
//! than the page says.
//! Law: both schemes send the same events at the same pace to a server of their own, and what is counted is counted by
//! that server.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::process::Process;
use crate::support::redis::Server;
use crate::support::{PATIENCE, rest, until};
use crate::upstream::{EVENT, Upstream};

/// What one event costs.
struct Cost {
    commands: f64,
    reads: f64,
    bytes_in: f64,
    bytes_out: f64,
    cpu_us: f64,
}

/// Counters of a server.
struct Counters {
    commands: f64,
    reads: f64,
    bytes_in: f64,
    bytes_out: f64,
    cpu_us: f64,
}

fn counters(server: &Server) -> Counters {
    let info = server.cli(&["INFO", "everything"]);
    let number = |name: &str| -> f64 {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect(name);
        line.trim().parse().unwrap()
    };
    // What `redis-cli` itself asks is no part of it.
    let calls = info.lines().filter(|line| line.starts_with("cmdstat_") && !line.starts_with("cmdstat_info"));
    let calls = calls.map(|line| line.split("calls=").nth(1).unwrap().split(',').next().unwrap());
    Counters {
        commands: calls.map(|calls| calls.parse::<f64>().unwrap()).sum(),
        reads: number("total_reads_processed"),
        bytes_in: number("total_net_input_bytes"),
        bytes_out: number("total_net_output_bytes"),
        cpu_us: (number("used_cpu_user") + number("used_cpu_sys")) * 1e6,
    }
}

/// What a server counts for each event while so much time passes.
fn measure(server: &Server, events: &AtomicU64, time: Duration) -> Cost {
    let (before, from) = (counters(server), events.load(Ordering::SeqCst));
    rest(time);
    let (after, to) = (counters(server), events.load(Ordering::SeqCst));
    let n = (to - from) as f64;
    assert!(n > 10.0, "{n} events");
    Cost {
        commands: (after.commands - before.commands) / n,
        reads: (after.reads - before.reads) / n,
        bytes_in: (after.bytes_in - before.bytes_in) / n,
        bytes_out: (after.bytes_out - before.bytes_out) / n,
        cpu_us: (after.cpu_us - before.cpu_us) / n,
    }
}

/// Many connections that take whatever comes, from one thread. It ends when this is dropped.
struct Readers(Arc<AtomicBool>);

impl Drop for Readers {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn readers(mut sockets: Vec<TcpStream>) -> Readers {
    let over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&over);
    thread::spawn(move || {
        let mut bytes = vec![0; 64 << 10];
        sockets.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
        while !ended.load(Ordering::SeqCst) {
            for socket in &mut sockets {
                while socket.read(&mut bytes).is_ok_and(|n| n > 0) {}
            }
            rest(Duration::from_millis(20));
        }
    });
    Readers(over)
}

/// Asks for a stream of each number, behind the id if there is one, and reads each up to its first id. Returns these,
/// and the sockets.
fn open(proxy: SocketAddr, ids: &[Option<String>]) -> (Vec<Option<String>>, Vec<TcpStream>) {
    let ask = |(n, id): (usize, &Option<String>)| {
        let mut socket = TcpStream::connect(proxy).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let id = id.as_ref().map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let ask = format!("GET /bare/{n} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{id}\r\n");
        socket.write_all(ask.as_bytes()).unwrap();
        socket
    };
    let first = |socket: TcpStream| {
        let (mut reader, mut line) = (BufReader::new(socket), String::new());
        while !line.starts_with("id: ") {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0, "the stream ends");
        }
        (Some(line["id: ".len()..].trim_end().to_owned()), reader.into_inner())
    };
    let sockets: Vec<TcpStream> = ids.iter().enumerate().map(ask).collect();
    sockets.into_iter().map(first).unzip()
}

/// segno with shared logs; `followed`: each stream is read at another instance as well. The second value is the memory
/// of a log with its owner, in bytes, and the third the events in it.
fn segno(streams: u64, pace: u64, followed: bool, time: Duration) -> Option<(Cost, f64, f64)> {
    let store = Server::start(&[])?;
    let (upstream, ticks) = Upstream::start(pace);
    let (upstream, url) = (format!("http://{upstream}"), store.url());
    let start = || Process::with_args(&["--upstream", &upstream, "--store", &url, "--replay-shared"]);
    let (owner, other) = (start(), followed.then(start));
    let (ids, sockets) = open(owner.address(), &vec![None; streams as usize]);
    let _readers = readers(sockets);
    let _followers = readers(other.as_ref().map(|other| open(other.address(), &ids).1).unwrap_or_default());
    rest(Duration::from_secs(1));
    let cost = measure(&store, &ticks.events, time);
    let keys = store.cli(&["KEYS", "segno:{*}:log:*"]);
    let some: Vec<&str> = keys.lines().take(10).collect();
    let memory = |key: &str| store.cli(&["MEMORY", "USAGE", key, "SAMPLES", "0"]).parse::<f64>().unwrap();
    let own = |key: &str| key.replace(":log:", ":own:");
    let each = |of: &dyn Fn(&str) -> f64| some.iter().map(|key| of(key)).sum::<f64>() / some.len() as f64;
    let bytes = each(&|key| memory(key) + memory(&own(key)));
    let events = each(&|key| store.cli(&["HGET", &own(key), "e"]).parse::<f64>().unwrap());
    Some((cost, bytes, events))
}

/// A connection to a server that speaks its protocol, one command at a time.
struct Raw(BufReader<TcpStream>);

impl Raw {
    fn to(server: &Server) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self(BufReader::new(socket))
    }

    fn send(&mut self, words: &[&str]) -> io::Result<()> {
        let mut bytes = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| write!(bytes, "${}\r\n{word}\r\n", word.len()).unwrap());
        self.0.get_mut().write_all(bytes.as_bytes())
    }

    /// Reads one answer, of which nothing is kept.
    fn answer(&mut self) -> io::Result<()> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let count: i64 = line[1..].trim_end().parse().unwrap_or(0);
        match &line[..1] {
            "$" if count >= 0 => io::copy(&mut self.0.by_ref().take(count as u64 + 2), &mut io::sink()).map(drop),
            "*" => (0..count).try_for_each(|_| self.answer()),
            _ => Ok(()),
        }
    }
}

/// The same events by the other scheme, while each stream is read by a client that has come back elsewhere. What its
/// commands are at the start and the end of a stream stands on the page.
fn published(streams: u64, pace: u64, time: Duration) -> Option<Cost> {
    let server = Server::start(&[])?;
    let (mut publisher, mut subscriber) = (Raw::to(&server), Raw::to(&server));
    // The names of channels are as long as theirs.
    let channel = |n: u64| format!("resumable-stream:rs:chunk:00000000-0000-4000-8000-{n:012}");
    for n in 0..streams {
        publisher.send(&["INCR", &format!("resumable-stream:rs:sentinel:{n}")]).unwrap();
        publisher.answer().unwrap();
        subscriber.send(&["SUBSCRIBE", &channel(n)]).unwrap();
    }
    thread::spawn(move || while subscriber.answer().is_ok() {});
    let (events, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, ended) = (Arc::clone(&events), Arc::clone(&over));
    thread::spawn(move || {
        let event = "x".repeat(EVENT);
        while !ended.load(Ordering::SeqCst) {
            rest(Duration::from_millis(pace));
            let sent = (0..streams).try_for_each(|n| publisher.send(&["PUBLISH", &channel(n), &event]));
            if sent.and_then(|()| (0..streams).try_for_each(|_| publisher.answer())).is_err() {
                // The server has ended.
                return;
            }
            counted.fetch_add(streams, Ordering::SeqCst);
        }
    });
    until("events are published", || events.load(Ordering::SeqCst) > 0);
    let cost = measure(&server, &events, time);
    over.store(true, Ordering::SeqCst);
    Some(cost)
}

fn list(name: &str, default: u64) -> Vec<u64> {
    let given = std::env::var(name).ok();
    given.map_or(vec![default], |text| text.split(',').map(|n| n.parse().expect("a whole number")).collect())
}

/// The figures of the page for this run and scheme: commands, and bytes that Redis reads.
fn told(streams: u64, pace: u64, scheme: &str) -> Option<(f64, f64)> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/many.md")).unwrap();
    let row = format!("| {streams} × {}/s, {scheme} | ", 1_000 / pace);
    let cells = page.lines().find_map(|line| line.strip_prefix(&row))?.split(" | ");
    let mut cells = cells.map(|cell| cell.trim_end_matches(" |").replace(',', "").parse::<f64>().unwrap());
    let (commands, _, bytes) = (cells.next()?, cells.next()?, cells.next()?);
    Some((commands, bytes))
}

/// Shows a run, and holds it to the page. Another machine's figures are lower or a little higher.
fn show(streams: u64, pace: u64, scheme: &str, cost: &Cost, memory: &str) {
    let rate = 1_000 / pace;
    println!(
        "| {streams} × {rate}/s, {scheme} | {:.2} | {:.2} | {:.0} | {:.0} | {:.1} |{memory}",
        cost.commands, cost.reads, cost.bytes_in, cost.bytes_out, cost.cpu_us
    );
    let Some((commands, bytes)) = told(streams, pace, scheme) else { return };
    // How often a follower asks depends on how busy the machine is.
    let most = if scheme == "each followed" { 2.0 } else { 1.3 };
    assert!(cost.commands <= most * commands, "{scheme}: {:.2} commands an event, not {commands}", cost.commands);
    assert!(cost.bytes_in <= most * bytes, "{scheme}: {:.0} bytes an event, not {bytes}", cost.bytes_in);
}

#[test]
fn shared_logs_cost_no_more_than_the_page_says() {
    let time = if std::env::var_os("COST_STREAMS").is_some() { 5 } else { 2 };
    let time = Duration::from_secs(time);
    for streams in list("COST_STREAMS", 100) {
        for pace in list("COST_PACE", 100) {
            for (followed, scheme) in [(false, "nobody follows"), (true, "each followed")] {
                let Some((cost, bytes, events)) = segno(streams, pace, followed, time) else { return };
                let memory = format!(" {bytes:.0} B for a log of {events:.0} events");
                show(streams, pace, scheme, &cost, &memory);
            }
            let Some(cost) = published(streams, pace, time) else { return };
            show(streams, pace, "published", &cost, "");
        }
    }
    let told = [told(100, 100, "nobody follows"), told(100, 100, "each followed"), told(100, 100, "published")];
    assert!(told.iter().all(Option::is_some), "the page has the rows that this run holds: {told:?}");
}
