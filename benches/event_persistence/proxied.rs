//! What the store costs a proxy: CPU of the `segno` program with a file and with memory, side by side; and the longest
//! turn of the reactor while the store hangs, beside one that works.

use super::process::Scratch;
use segno::Engine;
use segno::base::Span;
use segno::config::{Config, Route, Upstream};
use segno::metrics::Gauge;
use segno::store::memory::Shared;
use segno::store::scripted::Switch;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

const STREAMS: usize = 100;
const PERIOD: Duration = Duration::from_millis(10);
const SECONDS: u64 = 8;
/// Clock ticks a second in `/proc`: 100 on every Linux that matters.
const TICKS: f64 = 100.0;

pub(crate) fn run() {
    let upstream = upstream();
    println!("{STREAMS} streams of {} events a second, CPU of the proxy for an event:", 1_000 / PERIOD.as_millis());
    let (mut memory, mut file) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        memory.push(proxied(upstream, "memory"));
        let scratch = Scratch::new("proxied");
        file.push(proxied(upstream, &format!("redb:{}", scratch.0.display())));
    }
    let show =
        |name, all: &[f64]| println!("  {name:<7}{}", all.iter().map(|x| format!("{x:>8.1} us")).collect::<String>());
    show("memory", &memory);
    show("redb", &file);
    println!("  redb / memory, medians: {:.3}", median(&mut file) / median(&mut memory));
    println!("longest turn of the reactor over {SECONDS} s of the same, in this process:");
    println!("  the store works: {:>8} us", turn(upstream, false));
    println!("  the store hangs: {:>8} us", turn(upstream, true));
}

fn median(all: &mut [f64]) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    (all[(all.len() - 1) / 2] + all[all.len() / 2]) / 2.0
}

/// Microseconds of CPU an event.
fn proxied(upstream: SocketAddr, store: &str) -> f64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_segno"))
        .args(["proxy", "--listen", "127.0.0.1:0", "--upstream", &format!("http://{upstream}"), "--store", store])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut first).unwrap();
    let address = first.split("http://").nth(1).and_then(|rest| rest.split([',', ';', ' ']).next()).unwrap();
    let address: SocketAddr = address.trim().parse().unwrap();
    let clients = read_streams(address);
    thread::sleep(Duration::from_secs(1));
    let before = (ticks(&child), clients.iter().map(Client::seen).sum::<u64>());
    thread::sleep(Duration::from_secs(SECONDS));
    let after = (ticks(&child), clients.iter().map(Client::seen).sum::<u64>());
    child.kill().unwrap();
    child.wait().unwrap();
    clients.into_iter().for_each(Client::join);
    (after.0 - before.0) as f64 / TICKS * 1e6 / (after.1 - before.1) as f64
}

/// CPU of a process, user and system, in clock ticks.
fn ticks(child: &Child) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// The longest turn, in microseconds.
fn turn(upstream: SocketAddr, hangs: bool) -> u64 {
    let mut config = Config { listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))], ..Config::default() };
    config.routes = vec![Route::new(Upstream::parse(&format!("http://{upstream}")).unwrap())].into();
    let (store, switch) = (Shared::new(10_000), Switch::default());
    let switched = switch.clone();
    let engine =
        Engine::builder().config(config).store(Box::new(move || Ok(switched.wrap(store.open())))).start().unwrap();
    switch.hang(hangs);
    let clients = read_streams(engine.addresses()[0]);
    thread::sleep(Duration::from_secs(SECONDS));
    let longest = engine.metrics().gauge(Gauge::LongestTurn);
    let left = engine.shutdown(Span::from_millis(500)).unwrap();
    assert_eq!(left.hung, hangs);
    switch.hang(false);
    clients.into_iter().for_each(Client::join);
    longest
}

/// A client that counts events.
struct Client {
    thread: thread::JoinHandle<()>,
    seen: std::sync::Arc<segno::sync::Counter>,
}

impl Client {
    fn seen(&self) -> u64 {
        self.seen.get()
    }

    fn join(self) {
        self.thread.join().unwrap();
    }
}

fn read_streams(address: SocketAddr) -> Vec<Client> {
    let read = |n: usize| {
        let seen = std::sync::Arc::<segno::sync::Counter>::default();
        let counter = std::sync::Arc::clone(&seen);
        let thread = thread::spawn(move || {
            let mut socket = TcpStream::connect(address).unwrap();
            let request = format!("GET /s/{n} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n");
            socket.write_all(request.as_bytes()).unwrap();
            let mut buffer = [0; 4_096];
            while let Ok(bytes @ 1..) = socket.read(&mut buffer) {
                counter.add(buffer[..bytes].windows(4).filter(|four| *four == b"id: ").count() as u64);
            }
        });
        Client { thread, seen }
    };
    (0..STREAMS).map(read).collect()
}

/// A server whose every answer is a stream of one event a period, until its client leaves.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(|socket| drop(thread::spawn(move || serve(socket)))));
    address
}

fn serve(mut socket: TcpStream) -> Option<()> {
    let _ = socket.read(&mut [0; 4_096]).ok()?;
    socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").ok()?;
    for n in 1u64.. {
        socket.write_all(format!("id: {n:036}\ndata: {:0>200}\n\n", n).as_bytes()).ok()?;
        thread::sleep(PERIOD);
    }
    None
}
