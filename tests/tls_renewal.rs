//! Certificates that are replaced under load, on both sides of the proxy.
//!
//! In: a real proxy with TLS towards clients and towards its upstream, streams that run, clients that come all the
//! while; files that are replaced as certbot, a configuration manager and a careless hand do it, and signals. Out: which
//! certificates were shown, log lines, every event of every stream.
//! Laws: no stream is cut or loses an event; who comes is shown the newest certificate that was whole when its file was
//! read; files that do not belong together change nothing, and the log says which.
#![cfg(all(feature = "cli", feature = "tls", unix))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use rcgen::CertificateParams;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use support::process::{Process, metric};
use support::rest;
use support::tls::{Authority, Pair, tls_client, tls_wire};

/// Streams that run all the while.
const STREAMS: usize = 200;

/// The time between two events of a stream, and between two renewals.
const EVENTS: Duration = Duration::from_millis(25);
const PAUSE: Duration = Duration::from_millis(50);

/// How often the certificates are replaced.
const RENEWALS: u64 = 20;

/// A certificate of this generation for `localhost` and 127.0.0.1, which says in a name which one it is.
fn generation(authority: &Authority, file: &str, n: u64) -> Pair {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), format!("gen-{n}.example")];
    authority.sign_with(&format!("{file}-{n}"), CertificateParams::new(names.to_vec()).unwrap())
}

/// The generation of a certificate.
fn generation_of(der: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(der);
    let rest = text.split("gen-").nth(1).expect("its name says which one it is");
    rest.split(".example").next().and_then(|n| n.parse().ok()).expect("a number")
}

/// An upstream that wants certificates of clients, and sends numbered events.
struct Upstream {
    address: SocketAddr,
    /// How it speaks TLS with who comes from now on.
    config: Arc<Mutex<Arc<ServerConfig>>>,
    /// The generation of the certificate that it was shown last.
    shown: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Upstream {
    fn start(config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::new(Mutex::new(config));
        let (shown, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let upstream =
            Self { address, config: Arc::clone(&config), shown: Arc::clone(&shown), is_over: Arc::clone(&is_over) };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                stream.set_nodelay(true).unwrap();
                let session = ServerConnection::new(Arc::clone(&config.lock().unwrap())).unwrap();
                let (shown, is_over) = (Arc::clone(&shown), Arc::clone(&is_over));
                thread::spawn(move || serve(StreamOwned::new(session, stream), &shown, &is_over));
            }
        });
        upstream
    }
}

fn serve(stream: StreamOwned<ServerConnection, TcpStream>, shown: &AtomicU64, is_over: &AtomicBool) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if !matches!(stream.read_line(&mut head), Ok(1..)) {
            return;
        }
    }
    let mut stream = stream.into_inner();
    let chain = stream.conn.peer_certificates().expect("clients must show one");
    let mine = generation_of(&chain[0]);
    let mut send = |bytes: &[u8]| stream.write_all(bytes).and_then(|()| stream.flush()).is_ok();
    if !head.starts_with("GET /events ") {
        shown.store(mine, Ordering::SeqCst);
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        return;
    }
    send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    for n in 1_u64.. {
        let event = format!("id: {n}\ndata: {n}\n\n");
        if !send(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()) {
            return;
        }
        if is_over.load(Ordering::Relaxed) {
            send(b"0\r\n\r\n");
            return;
        }
        rest(EVENTS);
    }
}

/// Clients that come all the while, and which certificates they may be shown.
struct Comers {
    /// The generation that a reload has taken over.
    taken: AtomicU64,
    /// The newest generation whose files are whole.
    whole: AtomicU64,
    came: AtomicU64,
    is_over: AtomicBool,
}

impl Comers {
    /// Files of this generation are in their place from now on, whole or nearly so.
    fn may_see(&self, n: u64) {
        self.whole.store(n, Ordering::SeqCst);
    }

    /// Who comes from now on must be shown this generation or a newer one.
    fn must_see(&self, n: u64) {
        self.taken.store(n, Ordering::SeqCst);
    }

    fn come(&self, authority: &Authority, own: &Pair, proxy: SocketAddr) {
        while !self.is_over.load(Ordering::Relaxed) {
            let least = self.taken.load(Ordering::SeqCst);
            let mut wire = tls_wire(authority.client_config(Some(own)), proxy, "localhost");
            while wire.conn.is_handshaking() {
                wire.conn.complete_io(&mut wire.sock).expect("a handshake goes well whatever is being replaced");
            }
            let shown = generation_of(&wire.conn.peer_certificates().unwrap()[0]);
            let most = self.whole.load(Ordering::SeqCst);
            assert!((least..=most).contains(&shown), "shown {shown}, not {least} to {most}");
            self.came.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Puts a link in the place of another at once, as certbot does.
fn point(link: &Path, to: &Path) {
    let beside = link.with_extension("new");
    symlink(to, &beside).unwrap();
    fs::rename(&beside, link).unwrap();
}

/// Asks by a connection of its own, through the proxy and on to the upstream.
fn ask(authority: &Authority, own: &Pair, proxy: SocketAddr) -> u16 {
    let mut client = tls_client(authority.client_config(Some(own)), proxy, "localhost");
    client.get("/who");
    client.answer().status
}

#[test]
fn certificates_of_both_sides_are_replaced_under_load_and_no_stream_notices() {
    let [ours, theirs, next] = [(); 3].map(|()| Authority::new());
    let upstream = Upstream::start(theirs.strict_server_trusting("127.0.0.1", &ours));
    // Links, as certbot has them: towards clients, and towards the upstream.
    let link = |name: &str, to: &Path| -> PathBuf {
        let link = ours.path(name);
        symlink(to, &link).unwrap();
        link
    };
    let (front, back) = (generation(&ours, "front", 0), generation(&ours, "back", 0));
    let (cert, key) = (link("live.pem", &front.cert), link("live.key", &front.key));
    let (up_cert, up_key) = (link("up.pem", &back.cert), link("up.key", &back.key));
    let (up_ca, client_ca) = (link("up-ca.pem", &theirs.file), link("client-ca.pem", &ours.file));
    let url = format!("https://{}", upstream.address);
    let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let files = [&cert, &key, &client_ca, &up_ca, &up_cert, &up_key].map(path);
    let mut proxy = Process::with_flags(&[
        "--admin",
        "127.0.0.1:0",
        "--upstream",
        &url,
        "--tls-cert",
        &files[0],
        "--tls-key",
        &files[1],
        "--client-ca",
        &files[2],
        "--upstream-ca",
        &files[3],
        "--upstream-cert",
        &files[4],
        "--upstream-key",
        &files[5],
    ]);
    let (admin, address) = (proxy.admin(), proxy.address());
    let own = ours.sign("ada", &["ada"]);
    let connect = || tls_client(ours.client_config(Some(&own)), address, "localhost");
    let readers: Vec<_> = (0..STREAMS).map(|_| connect().read_numbered("/events")).collect();
    assert_eq!(ask(&ours, &own, address), 200);
    let descriptors = proxy.descriptors();

    let comers = Comers { taken: 0.into(), whole: 0.into(), came: 0.into(), is_over: false.into() };
    let mut reload = |said: &str| {
        proxy.signal("HUP");
        proxy.until_said(said);
    };
    let (taken, stays) =
        ("reloaded the configuration (SIGHUP)", "did not reload (SIGHUP), the configuration before goes on");
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| comers.come(&ours, &own, address));
        }
        for n in 1..=RENEWALS {
            let (front, back) = (generation(&ours, "front", n), generation(&ours, "back", n));
            match n % 3 {
                // One after the other, with a reload between the two.
                0 => {
                    point(&cert, &front.cert);
                    reload(&format!(
                        "`tls_cert`: cannot use the certificate in {} with the key in {}: the key belongs to another",
                        cert.display(),
                        key.display()
                    ));
                    comers.may_see(n);
                    point(&key, &front.key);
                    // The same towards the upstream, the key first.
                    point(&up_key, &back.key);
                    reload("`upstream_cert`: cannot use the certificate in ");
                    point(&up_cert, &back.cert);
                    reload(taken);
                }
                // Written in place, and read when half of it is there.
                1 => {
                    let half = fs::read_to_string(&front.cert).unwrap();
                    let torn = ours.path(&format!("torn-{n}.pem"));
                    fs::write(&torn, &half[..half.len() / 2]).unwrap();
                    point(&cert, &torn);
                    reload(stays);
                    comers.may_see(n);
                    fs::write(&torn, half).unwrap();
                    point(&key, &front.key);
                    point(&up_key, &back.key);
                    point(&up_cert, &back.cert);
                    reload(taken);
                }
                // At once. The upstream's own is by another authority from now on.
                _ => {
                    let authority = if n % 2 == 0 { &next } else { &theirs };
                    comers.may_see(n);
                    point(&key, &front.key);
                    point(&cert, &front.cert);
                    point(&up_key, &back.key);
                    point(&up_cert, &back.cert);
                    point(&up_ca, &authority.file);
                    *upstream.config.lock().unwrap() = authority.strict_server_trusting("127.0.0.1", &ours);
                    reload(taken);
                }
            }
            comers.must_see(n);
            assert_eq!((ask(&ours, &own, address), upstream.shown.load(Ordering::SeqCst)), (200, n));
            rest(PAUSE);
        }
        comers.is_over.store(true, Ordering::Relaxed);
    });
    let came = comers.came.load(Ordering::Relaxed);
    assert!(came > RENEWALS, "{came} clients came: the test shows nothing");

    // Whom clients are vouched for by is read again as well.
    let other = next.sign("eve", &["eve"]);
    let is_let_in = |own: &Pair| {
        let mut wire = tls_wire(ours.client_config(Some(own)), address, "localhost");
        let asked = wire.write_all(b"GET /who HTTP/1.1\r\nHost: h\r\n\r\n").and_then(|()| wire.flush());
        asked.is_ok() && matches!(wire.read(&mut [0; 64]), Ok(1..))
    };
    assert!(!is_let_in(&other) && is_let_in(&own));
    point(&client_ca, &next.file);
    reload(taken);
    assert!(is_let_in(&other) && !is_let_in(&own));

    upstream.is_over.store(true, Ordering::Relaxed);
    for reader in readers {
        let events = reader.join().expect("a stream without a fault");
        assert!(events > 20, "{events} events: the test shows nothing");
    }
    assert_eq!((metric(admin, "upstream_cuts_total"), metric(admin, "heals_total")), (0, 0));
    assert!(proxy.descriptors() <= descriptors + 10, "{} descriptors, {descriptors} before", proxy.descriptors());
}
