//! An upstream and clients that vanish without a word: their packets are dropped on the way, as a broken link drops
//! them.
//!
//! In: the proxy in a network of its own, behind one router towards its upstream and one towards its clients; each of
//! them stops forwarding for a while. Out: the events that the clients got, and when the proxy noticed.
//! Laws: a vanished upstream is healed and its clients see nothing of it; a vanished client comes back to what it
//! missed; nothing is lost and nothing comes twice.
//!
//! This needs Linux, root and `ip`. Where they are missing the test says that it skipped; with `SEGNO_REQUIRE_VANISH=1`,
//! which `.ci/run` sets where it runs as root, it fails. `SEGNO_VANISH=long` lets the packets vanish for longer than a
//! minute, with the default settings, instead of some seconds.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use support::process::metric;
use support::rest;

const STREAMS: u64 = 100;

/// Time between two events of a stream.
const PERIOD: Duration = Duration::from_millis(100);

/// How long things take.
struct Times {
    settings: &'static str,
    /// After this time a peer counts as vanished.
    timeout: Duration,
    /// How long packets vanish.
    away: Duration,
    /// After this much silence a client takes its connection for dead.
    watchdog: Duration,
}

const SHORT: Times = Times {
    settings: "peer_timeout = \"6s\"\n[defaults]\nbody_timeout = \"6s\"\nheartbeat = \"500ms\"\n",
    timeout: Duration::from_secs(6),
    away: Duration::from_secs(9),
    watchdog: Duration::from_secs(2),
};

const LONG: Times = Times {
    settings: "[defaults]\nlinger = \"60s\"\n",
    timeout: Duration::from_secs(60),
    away: Duration::from_secs(75),
    watchdog: Duration::from_secs(20),
};

/// The proxy's network, two routers, and the proxy.
struct Networks {
    id: u32,
    proxy: Option<Child>,
    file: PathBuf,
}

const UPSTREAM: [u8; 4] = [10, 98, 3, 2];
const FOR_CLIENTS: [u8; 4] = [10, 98, 2, 2];
const FOR_ADMIN: [u8; 4] = [10, 98, 1, 2];

impl Networks {
    /// `None`: this machine does not let us.
    fn new() -> Option<Self> {
        let id = std::process::id();
        let networks = Self { id, proxy: None, file: std::env::temp_dir().join(format!("segno-vanish-{id}.toml")) };
        let commands = [
            "netns add ID-p",
            "netns add ID-u",
            "netns add ID-c",
            "link add u0 netns ID-p type veth peer name p0 netns ID-u",
            "link add c0 netns ID-p type veth peer name p0 netns ID-c",
            "link add ID-u netns ID-u type veth peer name ID-u0",
            "link add ID-c netns ID-c type veth peer name ID-c0",
            "-n ID-p addr add 10.98.1.2/24 dev u0",
            "-n ID-u addr add 10.98.1.1/24 dev p0",
            "-n ID-p addr add 10.98.2.2/24 dev c0",
            "-n ID-c addr add 10.98.2.1/24 dev p0",
            "-n ID-u addr add 10.98.3.1/24 dev ID-u",
            "addr add 10.98.3.2/24 dev ID-u0",
            "-n ID-c addr add 10.98.4.1/24 dev ID-c",
            "addr add 10.98.4.2/24 dev ID-c0",
            "-n ID-p link set lo up",
            "-n ID-p link set u0 up",
            "-n ID-p link set c0 up",
            "-n ID-u link set p0 up",
            "-n ID-u link set ID-u up",
            "link set ID-u0 up",
            "-n ID-c link set p0 up",
            "-n ID-c link set ID-c up",
            "link set ID-c0 up",
            "-n ID-p route add 10.98.3.0/24 via 10.98.1.1",
            "-n ID-p route add 10.98.4.0/24 via 10.98.2.1",
            "route add 10.98.1.0/24 via 10.98.3.1",
            "route add 10.98.2.0/24 via 10.98.4.1",
        ];
        let made = commands.iter().all(|command| ip(&command.replace("ID", &format!("sv{id}"))));
        let ready = made && networks.forward('u', true) && networks.forward('c', true);
        ready.then_some(networks)
    }

    /// Whether the router towards the upstream (`u`) or the clients (`c`) forwards packets. If not, it drops them.
    fn forward(&self, router: char, on: bool) -> bool {
        let write = format!("echo {} > /proc/sys/net/ipv4/ip_forward", u8::from(on));
        let name = format!("sv{}-{router}", self.id);
        quiet(Command::new("ip").args(["netns", "exec", &name, "sh", "-c", &write]))
    }

    fn start_proxy(&mut self, upstream: SocketAddr, times: &Times) {
        let listen = "listen = \"0.0.0.0:8080\"\nadmin = \"0.0.0.0:9090\"\nstore = \"memory\"\n";
        let text = format!("{listen}{}[[route]]\nupstream = \"http://{upstream}\"\n", times.settings);
        std::fs::write(&self.file, text).unwrap();
        let name = format!("sv{}-p", self.id);
        let mut proxy = Command::new("ip");
        proxy.args(["netns", "exec", &name, env!("CARGO_BIN_EXE_segno"), "proxy", "--config"]).arg(&self.file);
        self.proxy = Some(proxy.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        if let Some(proxy) = &mut self.proxy {
            let _ = proxy.kill();
            let _ = proxy.wait();
        }
        for router in ['p', 'u', 'c'] {
            ip(&format!("netns del sv{}-{router}", self.id));
        }
        let _ = std::fs::remove_file(&self.file);
    }
}

fn ip(arguments: &str) -> bool {
    quiet(Command::new("ip").args(arguments.split(' ')))
}

fn quiet(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// What the upstream and the clients share.
struct Shared {
    over: AtomicBool,
    /// Connections that clients have opened.
    connects: AtomicU64,
    /// The last event of each stream that exists, which grows with the time.
    began: Instant,
    /// The last event that each client has.
    got: Mutex<HashMap<u64, u64>>,
}

impl Shared {
    fn top(&self) -> u64 {
        (self.began.elapsed().as_millis() / PERIOD.as_millis()) as u64
    }

    fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    /// Waits until all clients have all events that exist by now.
    fn until_all_have_all(&self, within: Duration) -> Duration {
        let (top, began) = (self.top(), Instant::now());
        while began.elapsed() < within {
            let got = self.got.lock().unwrap();
            if got.len() as u64 == STREAMS && got.values().all(|last| *last >= top) {
                return began.elapsed();
            }
            drop(got);
            rest(PERIOD);
        }
        let got = self.got.lock().unwrap();
        let late = got.iter().filter(|(_, last)| **last < top).count();
        panic!("{late} of {} clients lack events after {within:?}", got.len());
    }
}

/// Serves one connection of the proxy: the events behind the one that it asks for, as they come to exist.
fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut last) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some(id) = line.strip_prefix("Last-Event-ID: ") {
            last = id.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut stream = stream;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    while !shared.is_over() {
        while last < shared.top() {
            last += 1;
            let event = format!("id: {last}\ndata: {last}\n\n");
            stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
        }
        rest(PERIOD);
    }
    Ok(())
}

/// One client, which comes back with its last id whenever its connection is cut or silent for too long. Fails at the
/// first event that is missing or comes twice.
fn follow(n: u64, to: SocketAddr, watchdog: Duration, shared: &Shared) {
    let mut last = 0;
    while !shared.is_over() {
        let Ok(mut stream) = TcpStream::connect_timeout(&to, Duration::from_secs(1)) else { continue };
        shared.connects.fetch_add(1, Relaxed);
        stream.set_read_timeout(Some(watchdog)).unwrap();
        let cursor = if last > 0 { format!("Last-Event-ID: {last}\r\n") } else { String::new() };
        let head = format!("GET /{n} HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n{cursor}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines();
        while let Some(Ok(line)) = lines.next()
            && !shared.is_over()
        {
            assert!(!line.contains("segno.gap"), "stream {n}: a gap behind {last}");
            // A block without data repeats the client's own id at the start of a resumed stream.
            if let Some(id) = line.strip_prefix("data: ") {
                let id: u64 = id.trim().parse().unwrap();
                assert_eq!(id, last + 1, "stream {n}: lost, or repeated");
                last = id;
                shared.got.lock().unwrap().insert(n, last);
            }
        }
    }
}

#[test]
fn vanished_upstreams_and_clients_are_noticed_and_nothing_is_lost() {
    let times = if std::env::var("SEGNO_VANISH").is_ok_and(|form| form == "long") { LONG } else { SHORT };
    let Some(mut networks) = Networks::new() else {
        let why = "this needs root, `ip` and network namespaces";
        assert!(std::env::var("SEGNO_REQUIRE_VANISH").is_err(), "{why}");
        return eprintln!("skipped: {why}");
    };
    let listener = TcpListener::bind(SocketAddr::from((UPSTREAM, 0))).unwrap();
    let upstream = listener.local_addr().unwrap();
    networks.start_proxy(upstream, &times);
    let (door, admin) = (SocketAddr::from((FOR_CLIENTS, 8080)), SocketAddr::from((FOR_ADMIN, 9090)));
    support::until("the proxy listens", || TcpStream::connect_timeout(&door, PERIOD).is_ok());
    let shared = Arc::new(Shared {
        over: AtomicBool::new(false),
        connects: AtomicU64::new(0),
        began: Instant::now(),
        got: Mutex::new(HashMap::new()),
    });
    let for_upstream = Arc::clone(&shared);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = Arc::clone(&for_upstream);
            thread::spawn(move || serve(stream, &shared));
        }
    });
    let clients: Vec<_> = (0..STREAMS)
        .map(|n| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || follow(n, door, times.watchdog, &shared))
        })
        .collect();
    shared.until_all_have_all(support::PATIENCE);
    let connects = || shared.connects.load(Relaxed);

    // The upstream vanishes. Its listener cannot be reached either.
    let (before, began) = (connects(), Instant::now());
    assert!(networks.forward('u', false));
    rest(times.away);
    assert!(networks.forward('u', true));
    let back = shared.until_all_have_all(times.away + support::PATIENCE);
    let vanished = metric(admin, "peers_vanished_total");
    eprintln!("upstream away for {:?}: {vanished} connections noticed, all events {back:?} after", times.away);
    assert_eq!((vanished, connects()), (STREAMS, before), "each is noticed, and no client sees anything");

    // The clients vanish.
    assert!(began.elapsed() > times.timeout && networks.forward('c', false));
    let gone = Instant::now();
    while metric(admin, "peers_vanished_total") < 2 * STREAMS && gone.elapsed() < times.away {
        rest(PERIOD);
    }
    let noticed = gone.elapsed();
    rest(times.away.saturating_sub(noticed));
    assert!(networks.forward('c', true));
    let back = shared.until_all_have_all(times.away + support::PATIENCE);
    let vanished = metric(admin, "peers_vanished_total") - STREAMS;
    eprintln!(
        "clients away for {:?}: {vanished} connections noticed after {noticed:?}, all events {back:?} after",
        times.away
    );
    assert_eq!(vanished, STREAMS);
    assert!(noticed < times.timeout + Duration::from_secs(3), "noticed after {noticed:?}");
    assert!(connects() >= before + STREAMS, "each client came back");
    shared.over.store(true, Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
}
