//! One real fault for each alert of `segno alerts`: Prometheus itself says that it fires, before the fault that nothing
//! does, and that the alert ends once the fault has.
//!
//! In: proxies, each with a fault of its own: a full disk, a Redis that is killed or stopped, upstreams that restart,
//! refuse, die or fail their checks, clients that leave, a processor that is taken away, a certificate that ends, a
//! collector that refuses spans. Out: what fires where, and what ends.
//! Laws: the rules are those that users get, with one change: each duration, a range in `[ ]` or a `for:`, is one
//! [`FASTER`]th of what it is, and so is the usual time between two scrapes. No threshold is changed. A rule without a
//! fault is a failure. Where Prometheus or Redis is missing, that is said, and with `SEGNO_REQUIRE_PROMETHEUS=1` it is a
//! failure.
#![cfg(all(feature = "cli", feature = "redis", feature = "tls", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

#[path = "support/prometheus.rs"]
mod prometheus;
mod support;
#[path = "support/workshop.rs"]
mod workshop;

use prometheus::{Alert, Prometheus};
use rcgen::{CertificateParams, date_time_ymd};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use support::process::{Process, metric};
use support::redis::Server;
use support::store::Store;
use support::tls::Authority;
use support::{Client, rest, until};
use workshop::{find, missing};

/// By how much time runs faster for the rules than it does for users: a scrape each 15 s is one each 0.25 s.
const FASTER: u64 = 60;
const INTERVAL: &str = "250ms";

/// By when all alerts must fire, counted from the faults, and by when they must have ended, counted from their ends.
const SOON: Duration = Duration::from_secs(30);

/// For how long the streams linger that nearly fill a table: the alert must fire before they go.
const LINGER: &str = "14s";

/// The rules, and which instance has the fault that makes each fire. A fault may have consequences: rules that may fire
/// there as well.
const FAULTS: &[(&str, &str, &[&str])] = &[
    ("SegnoStoreFailing", "full-disk", &["SegnoStoreLagGrowing"]),
    ("SegnoStoreFailing", "redis-killed", &["SegnoStoreLagGrowing"]),
    ("SegnoStoreLagGrowing", "redis-stopped", &[]),
    ("SegnoGapsStated", "upstream-restarted", &[]),
    ("SegnoHealsFailing", "upstream-refuses", &[]),
    ("SegnoUpstreamAway", "upstream-killed", &["SegnoGapsStated"]),
    ("SegnoBudgetNearlyUsed", "clients-left", &[]),
    ("SegnoEvictions", "many-sessions", &["SegnoBudgetNearlyUsed"]),
    ("SegnoTurnsTooLong", "no-processor", &[]),
    ("SegnoCertificateNearItsEnd", "certificate", &[]),
    ("SegnoUpstreamOut", "checks-fail", &[]),
    ("SegnoSpansLost", "collector-refuses", &[]),
];

/// The rules as they are printed, and with shorter durations.
fn rules() -> (Vec<String>, String) {
    let printed = Command::new(env!("CARGO_BIN_EXE_segno")).arg("alerts").output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let names = printed.lines().filter_map(|line| line.trim().strip_prefix("- alert: ").map(str::to_owned)).collect();
    // Before that there are comments.
    let mut rest = &printed[printed.find("groups:").unwrap()..];
    let mut scaled = String::new();
    let begins = |text: &str| [text.find('['), text.find(" for: ").map(|at| at + 5)].into_iter().flatten().min();
    while let Some(at) = begins(rest) {
        let (before, number) = rest.split_at(at + 1);
        let end = number.find(|c: char| !c.is_ascii_digit()).unwrap();
        let minutes: u64 = number[..end].parse().unwrap_or_else(|e| panic!("{e}: no duration at {number:.20}"));
        assert!(number[end..].starts_with('m'), "a duration that is not in minutes: {number:.20}");
        scaled.push_str(&format!("{before}{}ms", minutes * 60_000 / FASTER));
        rest = &number[end + 1..];
    }
    (names, scaled + rest)
}

/// What an upstream does, once it has gone wrong, with a stream that is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The same as before.
    GoesOn,
    /// It has begun to count anew.
    Restarts,
    /// It lets nobody read.
    Refuses,
    /// It is gone.
    Dies,
}

/// An upstream of endless streams with numbered events, one each 20 ms.
struct Upstream {
    address: SocketAddr,
    then: Then,
    is_wrong: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Upstream {
    fn start(then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = Self { address, then, is_wrong: Arc::default(), open: Arc::default() };
        upstream.run(listener);
        upstream
    }

    fn run(&self, listener: TcpListener) {
        let (then, wrong, streams) = (self.then, Arc::clone(&self.is_wrong), Arc::clone(&self.open));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if then == Then::Dies && wrong.load(Ordering::Relaxed) {
                    return;
                }
                streams.lock().unwrap().push(stream.try_clone().unwrap());
                let wrong = Arc::clone(&wrong);
                thread::spawn(move || serve(stream, then, &wrong));
            }
        });
    }

    /// All is as it was.
    fn go_right(&self) {
        self.is_wrong.store(false, Ordering::Relaxed);
        if self.then == Then::Dies {
            let mut listener = None;
            until("its address is free again", || {
                listener = TcpListener::bind(self.address).ok();
                listener.is_some()
            });
            self.run(listener.unwrap());
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Goes wrong: all streams are cut, and what comes then is another thing.
    fn go_wrong(&self) {
        self.is_wrong.store(true, Ordering::Relaxed);
        if self.then == Then::Dies {
            // So that its listener is closed.
            let _ = TcpStream::connect(self.address);
        }
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn serve(mut stream: TcpStream, then: Then, is_wrong: &AtomicBool) {
    let wrong = is_wrong.load(Ordering::Relaxed);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if !matches!(reader.read_line(&mut head), Ok(1..)) {
            return;
        }
    }
    if wrong && then == Then::Refuses {
        let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    let begin = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let _ = stream.write_all(begin.as_bytes());
    let data = if wrong { "of another life" } else { "x" };
    for n in 1_u64.. {
        let event = format!("id: {n}\ndata: {data} {n}\n\n");
        if stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).is_err() {
            return;
        }
        rest(Duration::from_millis(20));
    }
}

/// A collector of traces, which refuses all that it is sent while it is wrong.
fn collector(is_wrong: &Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, is_wrong) = (format!("http://{}", listener.local_addr().unwrap()), Arc::clone(is_wrong));
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while line != "\r\n" {
                line.clear();
                if !matches!(reader.read_line(&mut line), Ok(1..)) {
                    break;
                }
                if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap();
                }
            }
            let _ = reader.read_exact(&mut vec![0; length]);
            let status = if is_wrong.load(Ordering::Relaxed) { "400 Bad Request" } else { "200 OK" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    url
}

/// A proxy with a fault to come.
struct Instance {
    name: &'static str,
    proxy: Process,
    admin: SocketAddr,
}

impl Instance {
    fn start(name: &'static str, upstream: &Upstream, flags: &[&str]) -> Self {
        let url = upstream.url();
        let own = ["--upstream", &url, "--admin", "127.0.0.1:0"];
        let store: &[&str] = if flags.contains(&"--store") { &[] } else { &["--store", "memory"] };
        let mut proxy = Process::with_args(&[&own, store, flags].concat());
        let admin = proxy.admin();
        Self { name, proxy, admin }
    }

    /// A client that reads on for as long as it can. Returns once it has its first event.
    fn read(&self) -> thread::JoinHandle<()> {
        let mut client = self.proxy.client();
        client.open_events("/feed");
        client.until("id: 1\n");
        thread::spawn(move || {
            client.read_chunks(|_| ());
        })
    }

    /// Asks for a page, whatever comes of it.
    fn ask(&self) {
        Client::connect(self.proxy.address()).get("/");
    }

    fn count(&self, name: &str) -> u64 {
        metric(self.admin, name)
    }
}

/// Takes the processor away from a process again and again, for longer than a turn may take, until it is dropped.
struct Starved(Arc<AtomicBool>, Option<thread::JoinHandle<()>>);

impl Starved {
    fn begin(proxy: &Process) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, id) = (Arc::clone(&is_over), proxy.id().to_string());
        let send = move |name: &str| assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                send("STOP");
                rest(Duration::from_millis(200));
                send("CONT");
                rest(Duration::from_millis(250));
            }
        });
        Self(is_over, Some(thread))
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        let _ = self.1.take().map(thread::JoinHandle::join);
    }
}

/// A certificate for the listener that ends so many days from now.
fn certificate(authority: &Authority, file: &str, days: u64) -> support::tls::Pair {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now - Duration::from_secs(24 * 3_600);
    params.not_after = epoch + now + Duration::from_secs(days * 24 * 3_600);
    authority.sign_with(file, params)
}

/// Fails if something fires where it has no reason to.
fn nothing_without_a_reason(alerts: &[Alert]) {
    for alert in alerts.iter().filter(|alert| alert.is_firing) {
        let has_reason = FAULTS.iter().any(|(name, instance, also)| {
            alert.instance == *instance && (alert.name == *name || also.contains(&alert.name.as_str()))
        });
        assert!(has_reason, "{alert:?} has no fault");
    }
}

#[test]
fn every_rule_has_its_fault() {
    let (names, scaled) = rules();
    let known: BTreeSet<&str> = FAULTS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names.iter().map(String::as_str).collect::<BTreeSet<_>>(), known);
    assert!(scaled.contains("[5000ms]") && scaled.contains("for: 1000ms") && !scaled.contains("m]\n"), "{scaled}");
}

#[test]
#[ignore = "half a minute, and it needs Prometheus and Redis: a step of `.ci/run` of its own"]
fn each_alert_fires_by_a_real_fault_and_ends_with_it_and_nothing_fires_before() {
    if find(&["prometheus"], &["--version"]).is_none() {
        return missing("there is no Prometheus", "SEGNO_REQUIRE_PROMETHEUS");
    }
    if find(&["redis-server", "valkey-server"], &["--version"]).is_none() {
        return missing("there is no Redis", "SEGNO_REQUIRE_PROMETHEUS");
    }
    let steady = Upstream::start(Then::GoesOn);
    let [restarts, refuses, dies, ails] =
        [Then::Restarts, Then::Refuses, Then::Dies, Then::Refuses].map(Upstream::start);

    let disk = Store::new("alerts");
    let full_disk = Instance::start("full-disk", &steady, &["--store", &disk.flag()]);
    let (mut killed, stopped) = (Server::start(&[]).unwrap(), Server::start(&[]).unwrap());
    let redis_killed = Instance::start("redis-killed", &steady, &["--store", &killed.url()]);
    let patient = format!("{}?timeout=60s", stopped.url());
    let redis_stopped = Instance::start("redis-stopped", &steady, &["--store", &patient]);
    let restarted = Instance::start("upstream-restarted", &restarts, &[]);
    let refused = Instance::start("upstream-refuses", &refuses, &[]);
    let away = Instance::start("upstream-killed", &dies, &[]);
    let left = Instance::start("clients-left", &steady, &["--streams", "20", "--linger", LINGER]);
    let crowded = Instance::start("many-sessions", &steady, &["--sessions", "10"]);
    let starved = Instance::start("no-processor", &steady, &[]);
    let authority = Authority::new();
    let pair = certificate(&authority, "own", 90);
    let (cert, key) = (pair.cert.to_str().unwrap(), pair.key.to_str().unwrap());
    let ending = Instance::start("certificate", &steady, &["--tls-cert", cert, "--tls-key", key]);
    let checked = Instance::start("checks-fail", &ails, &["--health", "/health", "--health-every", "100ms"]);

    let refuses_spans = Arc::new(AtomicBool::new(false));
    let traced = Instance::start("collector-refuses", &steady, &["--otlp", &collector(&refuses_spans)]);

    let others = [&left, &crowded, &starved, &ending, &checked, &traced];
    let all: Vec<_> =
        [&full_disk, &redis_killed, &redis_stopped, &restarted, &refused, &away].into_iter().chain(others).collect();
    assert!(all.iter().map(|instance| instance.name).eq(FAULTS.iter().map(|(_, instance, _)| *instance)));
    let mut readers: Vec<_> = all.iter().take(7).map(|instance| instance.read()).collect();
    readers.extend((0..5).map(|_| refused.read()));
    readers.extend((0..100).map(|_| starved.read()));

    traced.ask();
    until("the collector takes spans", || traced.count("trace_spans_sent_total") > 0);

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("alerts-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let targets: Vec<(&str, SocketAddr)> = all.iter().map(|instance| (instance.name, instance.admin)).collect();
    let prometheus = Prometheus::start(&folder, INTERVAL, &targets, &rules().1);
    until("each has been scraped eight times", || prometheus.query("sum_over_time(up[1m]) >= 8").len() == all.len());
    let before = prometheus.alerts();
    assert!(before.iter().all(|alert| !alert.is_firing), "without a fault: {before:?}");
    let health = prometheus.get("/api/v1/rules");
    let rules = health["data"]["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.iter().all(|rule| rule["health"] == "ok"), "{health}");

    let begun = Instant::now();
    full_disk.proxy.limit("--fsize=4096:unlimited");
    killed.kill();
    stopped.signal("STOP");
    [&restarts, &refuses, &dies, &ails].iter().for_each(|upstream| upstream.go_wrong());
    refuses_spans.store(true, Ordering::Relaxed);
    traced.ask();
    for _ in 0..19 {
        let mut client = left.proxy.client();
        client.get_events("/feed");
        client.head();
        client.close();
    }
    for n in 0..15 {
        let mut client = crowded.proxy.client();
        client.send(format!(
            "GET /feed HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nAuthorization: Bearer {n}\r\n\r\n"
        ));
        client.head();
        client.close();
    }
    let starving = Starved::begin(&starved.proxy);
    pair.replace_by(&certificate(&authority, "next", 3));
    ending.proxy.signal("HUP");

    let mut seen: BTreeSet<Alert> = BTreeSet::new();
    let wanted = |seen: &BTreeSet<Alert>| -> Vec<(&str, &str)> {
        let fires = |name: &str, instance: &str| {
            seen.iter().any(|alert| alert.is_firing && alert.name == name && alert.instance == instance)
        };
        let all = FAULTS.iter().filter(|(name, instance, _)| !fires(name, instance));
        all.map(|(name, instance, _)| (*name, *instance)).collect()
    };
    while !wanted(&seen).is_empty() {
        // Clients come all the while.
        away.ask();
        rest(Duration::from_millis(200));
        let now = prometheus.alerts();
        nothing_without_a_reason(&now);
        seen.extend(now);
        assert!(begun.elapsed() < SOON, "these do not fire: {:?}; {:#?}", wanted(&seen), folder);
    }

    drop(starving);
    full_disk.proxy.limit("--fsize=unlimited:unlimited");
    killed.again();
    stopped.signal("CONT");
    [&dies, &ails].iter().for_each(|upstream| upstream.go_right());
    pair.replace_by(&certificate(&authority, "last", 90));
    ending.proxy.signal("HUP");
    refuses_spans.store(false, Ordering::Relaxed);
    let ended = Instant::now();
    loop {
        away.ask();
        traced.ask();
        let now = prometheus.alerts();
        nothing_without_a_reason(&now);
        let is_of = |alert: &&Alert| FAULTS.iter().any(|(name, at, _)| alert.name == *name && alert.instance == *at);
        let left: Vec<&Alert> = now.iter().filter(|alert| alert.is_firing).filter(is_of).collect();
        if left.is_empty() {
            break;
        }
        assert!(ended.elapsed() < SOON, "these do not end: {left:?}; {folder:#?}");
        rest(Duration::from_millis(200));
    }
    let _ = fs::remove_dir_all(&folder);
    assert_eq!(restarted.count("gaps_total"), 1);
    assert_eq!(refused.count("heals_total"), 6);
    drop(readers);
}
