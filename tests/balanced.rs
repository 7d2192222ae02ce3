//! Two instances over one Redis behind nginx and behind HAProxy, with the recipes that `docs/many.md` shows.
//!
//! In: the page's blocks, on other addresses; `redis-server`, `nginx`, `haproxy`, which `SEGNO_REQUIRE_REDIS=1` and
//! `SEGNO_REQUIRE_FRONTS=1` demand. Out: what clients got that are cut again and again, drained and killed; which
//! instance asked the upstream.
//! Laws: nothing is lost, nothing comes twice; a draining instance gets no new client; a GET is asked again elsewhere,
//! and a POST that an instance has is not.
#![cfg(all(target_os = "linux", feature = "cli", feature = "redis"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use socket2::{Domain, Socket, Type};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use support::client::read_chunk;
use support::front::{Front, installed};
use support::process::Process;
use support::redis::{Server, free_port};
use support::{PATIENCE, rest, until};

/// The time between two events of a stream.
const PACE: Duration = Duration::from_millis(10);

/// Events of an answer to a POST.
const LENGTH: u64 = 150;

/// The block of the page in this language whose text has these words.
fn block(language: &str, words: &str) -> String {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/many.md")).unwrap();
    let fence = format!("```{language}\n");
    let blocks = page.split(&fence).skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let found: Vec<&str> = blocks.filter(|block| block.contains(words)).collect();
    assert_eq!(found.len(), 1, "one block of {language} has `{words}`");
    found[0].to_owned()
}

/// The text with other words in place of some that it has.
fn with(text: &str, others: &[(&str, String)]) -> String {
    others.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "`{from}` stands in {text}");
        text.replace(from, to)
    })
}

/// One upstream with an address for each instance, so that it knows which of them asks.
#[derive(Default)]
struct Upstream {
    /// Requests of each instance.
    asked: [AtomicU64; 2],
    /// POSTs.
    orders: AtomicU64,
    /// Requests for `/slow`.
    slow: AtomicU64,
}

impl Upstream {
    fn start() -> ([SocketAddr; 2], Arc<Self>) {
        let upstream = Arc::new(Self::default());
        let addresses = [0, 1].map(|instance| {
            let (listener, serving) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::clone(&upstream));
            let address = listener.local_addr().unwrap();
            thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let upstream = Arc::clone(&serving);
                    thread::spawn(move || drop(upstream.serve(instance, stream)));
                }
            });
            address
        });
        (addresses, upstream)
    }

    fn asked(&self) -> [u64; 2] {
        [0, 1].map(|n: usize| self.asked[n].load(Ordering::SeqCst))
    }

    /// `/feed/N` has ids and goes on behind one, `/answer/N` is an answer without ids, and the first request for `/slow`
    /// is never answered.
    fn serve(&self, instance: usize, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut line, mut after) = (String::new(), 0);
        reader.read_line(&mut line)?;
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 {
                return Ok(());
            }
            if let Some(id) = header.strip_prefix("Last-Event-ID: ") {
                after = id.trim_end().parse().expect("an id of upstream's own");
            }
            if header == "\r\n" {
                break;
            }
        }
        let is_order = method == "POST";
        self.asked[instance].fetch_add(1, Ordering::SeqCst);
        self.orders.fetch_add(u64::from(is_order), Ordering::SeqCst);
        if path == "/slow" && self.slow.fetch_add(1, Ordering::SeqCst) == 0 {
            let mut rest = Vec::new();
            return std::io::Read::read_to_end(&mut reader, &mut rest).map(drop);
        }
        let has_ids = !is_order;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes())?;
        for n in after + 1.. {
            if is_order && n > LENGTH {
                break;
            }
            let id = if has_ids { format!("id: {n}\n") } else { String::new() };
            let event = format!("{id}data: {n}\n\n");
            stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
            rest(PACE);
        }
        stream.write_all(b"0\r\n\r\n")
    }
}

/// How a response ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// The client has left by itself.
    Left,
    Whole,
    Cut,
    Status(u16),
}

/// A client that comes back with its last id, and counts.
struct Reader {
    method: &'static str,
    path: String,
    /// Where it comes from: a client that moves has several addresses.
    from: u8,
    last_id: Option<String>,
    last: u64,
    what: Vec<String>,
}

impl Reader {
    fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), from: 2, last_id: None, last: 0, what: Vec::new() }
    }

    /// Asks, and reads up to the event with this number. The next request comes from the other address.
    fn read(&mut self, front: SocketAddr, up_to: u64) -> End {
        let end = self.try_read(front, up_to).unwrap_or(End::Cut);
        self.what.push(format!(
            "{} {}: from {} behind {:?} to {}: {end:?}",
            self.method, self.path, self.from, self.last_id, self.last
        ));
        self.from = 5 - self.from;
        end
    }

    fn try_read(&mut self, front: SocketAddr, up_to: u64) -> std::io::Result<End> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, self.from], 0)).into())?;
        socket.connect_timeout(&front.into(), PATIENCE)?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        let id = self.last_id.as_ref().map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let body = if self.method == "POST" { "Content-Length: 2\r\n\r\n{}" } else { "\r\n" };
        let name = self.path.replace('/', "-");
        stream.write_all(
            format!(
                "{} {} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nAuthorization: Bearer {name}\r\n\
                 X-Forwarded-For: 6.6.6.6\r\n{id}{body}",
                self.method, self.path
            )
            .as_bytes(),
        )?;
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(End::Cut);
            }
        }
        let status = head[9..12].parse().unwrap();
        if status != 200 {
            return Ok(End::Status(status));
        }
        assert!(!head.contains("Segno-Gap"), "{head}{:#?}", self.what);
        let mut text = Vec::new();
        while self.last < up_to {
            match read_chunk(&mut reader) {
                Ok(Some(chunk)) => text.extend_from_slice(&chunk),
                Ok(None) => return Ok(End::Whole),
                Err(_) => return Ok(End::Cut),
            }
            while let Some(end) = memchr::memmem::find(&text, b"\n\n") {
                let event: Vec<u8> = text.drain(..end + 2).collect();
                self.take(std::str::from_utf8(&event).unwrap());
            }
        }
        Ok(End::Left)
    }

    fn take(&mut self, event: &str) {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
        assert!(field("event: ").is_none(), "a gap: {event}{:#?}", self.what);
        if let Some(id) = field("id: ") {
            self.last_id = Some(id.to_owned());
        }
        let Some(n) = field("data: ") else { return };
        assert_eq!(
            n.parse(),
            Ok(self.last + 1),
            "{}: nothing is lost, and nothing is repeated\n{:#?}",
            self.path,
            self.what
        );
        self.last += 1;
    }
}

/// Two instances, one store, one upstream, and a load balancer.
struct World {
    instances: [Option<Process>; 2],
    at: [SocketAddr; 2],
    admins: [SocketAddr; 2],
    files: [PathBuf; 2],
    /// What the instances have said that have ended.
    said: [Vec<String>; 2],
    front: Front,
    upstream: Arc<Upstream>,
    _store: Server,
}

impl World {
    fn start(store: Server, recipe: &str, balance: impl FnOnce(&dyn Fn(u16) -> String) -> Front) -> Self {
        let (upstreams, upstream) = Upstream::start();
        let admins = [0, 1].map(|_| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let files = [0, 1].map(|n: usize| {
            let toml = with(
                &block("toml", "replay_shared"),
                &[
                    ("10.0.0.1:8080", "127.0.0.1:0".to_owned()),
                    ("10.0.0.1:9090", admins[n].to_string()),
                    ("redis://10.0.0.9:6379", store.url()),
                    ("10.0.0.8", "127.0.0.1".to_owned()),
                    ("10.0.0.20:3000", upstreams[n].to_string()),
                ],
            );
            let file = std::env::temp_dir().join(format!("segno-balanced-{}-{}.toml", store.port, n));
            fs::write(&file, toml).unwrap();
            file
        });
        let none = SocketAddr::from(([127, 0, 0, 1], 0));
        let instances = [0, 1].map(|n: usize| instance(none, &files[n]));
        let at = [0, 1].map(|n: usize| instances[n].address());
        let front = balance(&|port| {
            let mut others = vec![("8000", port.to_string())];
            for (from, n) in [("10.0.0.1:8080", 0), ("10.0.0.2:8080", 1)] {
                others.push((from, at[n].to_string()));
            }
            if recipe.contains("port 9090") {
                let checks = [0, 1].map(|n: usize| (at[n].to_string(), admins[n].port()));
                let text = with(recipe, &others);
                return checks.iter().fold(text, |text, (at, port)| {
                    text.replace(&format!("{at} port 9090"), &format!("{at} port {port}"))
                });
            }
            with(recipe, &others)
        });
        let instances = instances.map(Some);
        Self { instances, at, admins, files, said: [vec![], vec![]], front, upstream, _store: store }
    }

    /// A new stream of a client that nobody has seen, up to its first event. Which instance asked the upstream?
    fn lands(&self, path: &str) -> usize {
        let before = self.upstream.asked();
        let mut reader = Reader::new("GET", path);
        assert_eq!(reader.read(self.front.address, 1), End::Left, "{:?}\n{}", reader.what, self.front.log());
        let after = self.upstream.asked();
        (0..2).find(|n| after[*n] > before[*n]).expect("one of them asked")
    }

    /// Waits until new clients land at an instance.
    fn until_used(&self, n: usize) {
        let mut client = 0;
        until("new clients land at an instance that is back", || {
            client += 1;
            self.lands(&format!("/feed/back/{n}/{client}")) == n
        });
    }

    fn process(&self, n: usize) -> &Process {
        self.instances[n].as_ref().expect("it runs")
    }

    /// Waits for the end of an instance, and starts it again where it was.
    fn again(&mut self, n: usize) {
        let (_, said) = self.instances[n].take().expect("it runs").end();
        self.said[n].extend(said);
        self.instances[n] = Some(instance(self.at[n], &self.files[n]));
    }

    /// The lines of the access log of an instance, after it has ended.
    fn accesses(&mut self, n: usize) -> Vec<String> {
        if let Some(process) = self.instances[n].take() {
            process.signal("KILL");
            self.said[n].extend(process.end().1);
        }
        self.said[n].iter().filter(|line| line.contains(" access client=")).cloned().collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
    }
}

fn instance(at: SocketAddr, file: &std::path::Path) -> Process {
    Process::at(at, &["--config", file.to_str().unwrap(), "--access-log", "--drain-spread", "500ms"])
}

/// What must hold behind each load balancer.
fn holds_behind(mut world: World) {
    cut_clients_go_on_at_either_instance(&mut world);
    a_draining_instance_gets_no_new_client(&mut world);
    clients_of_a_killed_instance_go_on_at_the_other(&mut world);
    what_an_instance_had_when_it_was_killed(&mut world);
    let accesses = [0, 1].map(|n| world.accesses(n));
    for line in accesses.iter().flatten() {
        assert!(line.contains("client=127.0.0.2 ") || line.contains("client=127.0.0.3 "), "who the client is: {line}");
    }
    // The first part: most streams were read at both instances.
    let read_at = |n: usize, path: &str| accesses[n].iter().any(|line| line.contains(&format!("\"{path}\"")));
    let paths: BTreeSet<String> = (0..8).flat_map(|n| [format!("/feed/{n}"), format!("/answer/{n}")]).collect();
    let both = paths.iter().filter(|path| read_at(0, path) && read_at(1, path)).count();
    assert!(both >= 4, "{both} of 16 streams were read at both instances: {accesses:#?}");
}

/// Eight feeds and eight answers, each cut again and again, by clients that move from one address to another.
fn cut_clients_go_on_at_either_instance(world: &mut World) {
    let front = world.front.address;
    let clients = (0..16).map(|n| {
        thread::spawn(move || {
            let (method, path) = if n < 8 { ("GET", "feed") } else { ("POST", "answer") };
            let mut reader = Reader::new(method, format!("/{path}/{}", n % 8));
            for cut in 1..=10 {
                assert_eq!(reader.read(front, cut * LENGTH / 12), End::Left, "{:#?}", reader.what);
            }
            if method == "POST" {
                // Whoever has all of it already is told that there is no more.
                let (had_all, end) = (reader.last == LENGTH, reader.read(front, u64::MAX));
                assert_eq!(end, if had_all { End::Status(204) } else { End::Whole }, "{:#?}", reader.what);
                assert_eq!(reader.last, LENGTH, "{:#?}", reader.what);
            }
        })
    });
    clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().expect("a client met what must not be"));
    assert_eq!(world.upstream.orders.load(Ordering::SeqCst), 8, "each answer was ordered once");
}

/// While one drains, its streams go on or come back, and whoever is new goes to the other.
fn a_draining_instance_gets_no_new_client(world: &mut World) {
    let front = world.front.address;
    let drained = world.lands("/feed/drained");
    let kept = 1 - drained;
    let clients = (0..6).map(|n| {
        thread::spawn(move || {
            let mut reader = Reader::new("GET", format!("/feed/drain/{n}"));
            while reader.last < 200 {
                let end = reader.read(front, 200);
                assert!(matches!(end, End::Left | End::Cut), "{:#?}", reader.what);
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    world.process(drained).signal("TERM");
    until("it refuses connections", || TcpStream::connect(world.at[drained]).is_err());
    // A connection that the load balancer has kept open may bring one more request, for a second.
    rest(Duration::from_millis(1_500));
    for n in 0..30 {
        let landed = world.lands(&format!("/feed/while/{n}"));
        assert_eq!(landed, kept, "a new client landed at the instance that drains");
    }
    clients.into_iter().for_each(|client| client.join().expect("a client met what must not be"));
    world.again(drained);
    until("it is ready", || is_ready(world.admins[drained]));
    world.until_used(drained);
}

fn clients_of_a_killed_instance_go_on_at_the_other(world: &mut World) {
    let front = world.front.address;
    let killed = world.lands("/feed/killed");
    let clients = (0..8).map(|n| {
        thread::spawn(move || {
            let (mut reader, mut cuts) = (Reader::new("GET", format!("/feed/kill/{n}")), 0);
            while reader.last < 120 {
                let end = reader.read(front, 120);
                assert!(matches!(end, End::Left | End::Cut), "{:#?}", reader.what);
                cuts += u32::from(end == End::Cut);
            }
            cuts
        })
    });
    let clients: Vec<_> = clients.collect();
    rest(40 * PACE);
    world.process(killed).signal("KILL");
    let cuts: u32 = clients.into_iter().map(|client| client.join().expect("a client met what must not be")).sum();
    assert!(cuts > 0, "somebody was read at the instance that was killed");
    world.again(killed);
    world.until_used(killed);
}

/// A GET whose instance dies before it answers is asked again at the other one. A POST is not.
fn what_an_instance_had_when_it_was_killed(world: &mut World) {
    for (method, asked) in [("GET", 2), ("POST", 1)] {
        world.upstream.slow.store(0, Ordering::SeqCst);
        let (before, front) = (world.upstream.asked(), world.front.address);
        let client = thread::spawn(move || {
            let mut reader = Reader::new(method, "/slow");
            (reader.read(front, 1), reader.what)
        });
        until("it is asked for", || world.upstream.slow.load(Ordering::SeqCst) == 1);
        let after = world.upstream.asked();
        let has_it = (0..2).find(|n| after[*n] > before[*n]).unwrap();
        world.process(has_it).signal("KILL");
        let (end, what) = client.join().unwrap();
        match method {
            "GET" => assert_eq!(end, End::Left, "{what:?}\n{}", world.front.log()),
            _ => assert!(matches!(end, End::Status(502..=504) | End::Cut), "{end:?} {what:?}"),
        }
        assert_eq!(world.upstream.slow.load(Ordering::SeqCst), asked, "{method}");
        world.again(has_it);
        world.until_used(has_it);
    }
}

#[test]
fn behind_nginx_clients_go_on_at_either_instance() {
    let (Some(program), Some(store)) = (installed("nginx"), Server::start(&[])) else { return };
    // For how long nginx leaves an instance out is waited for, each time that one is back.
    let recipe = with(&block("nginx", "hash $segno_client"), &[("fail_timeout=5s", "fail_timeout=1s".to_owned())]);
    holds_behind(World::start(store, &recipe, |block| Front::nginx(&program, block)));
}

#[test]
fn behind_haproxy_clients_go_on_at_either_instance() {
    let (Some(program), Some(store)) = (installed("haproxy"), Server::start(&[])) else { return };
    let recipe = block("haproxy", "balance hash");
    holds_behind(World::start(store, &recipe, |block| Front::haproxy(&program, block)));
}

/// HAProxy asks `/readyz`: an instance that serves and is not ready gets no new client. One that was told to be ready
/// without a store, as in the recipe, is ready without one.
#[test]
fn haproxy_sends_nobody_to_an_instance_that_is_not_ready_and_the_recipe_is_ready_without_a_store() {
    let (Some(program), Some(store)) = (installed("haproxy"), Server::start(&[])) else { return };
    let recipe = block("haproxy", "balance hash");
    let mut world = World::start(store, &recipe, |block| Front::haproxy(&program, block));
    let usual = fs::read_to_string(&world.files[1]).unwrap();
    fs::write(&world.files[1], with(&usual, &[("\"8760h\"", "\"1s\"".to_owned())])).unwrap();
    world.process(1).signal("TERM");
    world.again(1);
    world.until_used(1);
    world._store.kill();
    until("the instance with the short time is not ready", || !is_ready(world.admins[1]));
    // HAProxy asks once a second, and believes the second answer.
    rest(Duration::from_secs(4));
    assert!(is_ready(world.admins[0]), "the recipe's is");
    for n in 0..30 {
        assert_eq!(
            world.lands(&format!("/feed/unready/{n}")),
            0,
            "a new client landed at the instance that is not ready"
        );
    }
    assert!(TcpStream::connect(world.at[1]).is_ok(), "it serves all the same");
}

fn is_ready(admin: SocketAddr) -> bool {
    let mut client = support::Client::connect(admin);
    client.send(format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
    client.answer().status == 200
}
