//! TLS with the programs that people have: `openssl s_client`, curl, Chromium.
//!
//! In: a proxy whose listener speaks TLS, upstreams with TLS and without. Out: what each program says.
//! Laws: a program that is missing is said, and with `SEGNO_REQUIRE_TLS_CLIENTS=1` it is a failure; none is given more
//! than a minute.

#![cfg(feature = "tls")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use segno::base::{Count, Span};
use segno::config::{Config, Route, Upstream};
use std::io::{self, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use support::tls::{Authority, Pair, TlsPeer, tls_client};
use support::{Client, Proxy, Script, events, signal};

/// Whether a program runs. If it does not, says so where nobody can overlook it.
fn has(program: &str) -> bool {
    let mut command = Command::new(program);
    let version = if program == "openssl" { "version" } else { "--version" };
    if command.arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return true;
    }
    let required = std::env::var_os("SEGNO_REQUIRE_TLS_CLIENTS").is_some_and(|value| value == "1");
    assert!(!required, "{program} is missing");
    // Not by `eprintln!`, which the test harness captures.
    let _ = writeln!(io::stderr(), "SKIPPED: {program} is missing");
    false
}

/// Runs a program with this input, and gives it up after a minute.
fn run(program: &str, args: &[&str], input: &str) -> Output {
    let mut command = Command::new("timeout");
    command.arg("60").arg(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn told(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}\n{err}")
}

/// An upstream that answers each of so many requests with `ok`.
fn answering(times: usize) -> Script {
    Script::run(move |door| {
        for _ in 0..times {
            let mut peer = door.accept();
            peer.head();
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        }
    })
}

fn route_to(script: &Script) -> Route {
    Route::new(Upstream::parse(&format!("http://{}", script.address())).unwrap())
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn openssl_agrees_on_versions_names_and_protocols() {
    if !has("openssl") {
        return;
    }
    let authority = Authority::new();
    let script = answering(0);
    let [first, wild] = [("first", "other.example"), ("wild", "*.example.org")].map(|(f, n)| authority.sign(f, &[n]));
    let mut config = first.config(route_to(&script));
    (config.tls_cert, config.tls_key) = (vec![first.cert, wild.cert], vec![first.key, wild.key]);
    let proxy = Proxy::of_config(config);
    let address = proxy.address().to_string();
    let ask = |more: &[&str]| {
        let args = ["s_client", "-connect", &address, "-CAfile", text(&authority.file), "-verify_return_error"];
        told(&run("openssl", &[&args, more].concat(), ""))
    };
    let by_name = ["-servername", "a.example.org", "-verify_hostname", "a.example.org"];
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = ask(&[&by_name[..], &["-alpn", "h2,http/1.1", version]].concat());
        for part in ["Verify return code: 0 (ok)", "ALPN protocol: http/1.1", name] {
            assert!(said.contains(part), "{version}: no {part}: {said}");
        }
    }
    let said = ask(&[&by_name[..], &["-tls1_1"]].concat());
    assert!(!said.contains("Cipher is ECDHE") && said.contains("error:"), "a version before 1.2 is spoken: {said}");
    assert!(ask(&[&by_name[..], &["-alpn", "h2"]].concat()).contains("no application protocol"));
    // Who asks for no name gets the first.
    let said = ask(&["-noservername", "-verify_hostname", "other.example"]);
    assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    let said = ask(&[&by_name[..], &["-tls1_2", "-reconnect"]].concat());
    assert!(said.matches("Reused, TLSv1.2").count() == 5, "sessions are not resumed: {said}");
    script.end();
}

#[test]
fn openssl_shows_a_certificate_and_is_served() {
    if !has("openssl") {
        return;
    }
    let authority = Authority::new();
    let script = answering(1);
    let config = authority.sign("a", &["localhost"]).config(route_to(&script));
    let proxy = Proxy::of_config(Config { client_ca: Some(authority.file.clone()), ..config });
    let address = proxy.address().to_string();
    let ask = |own: Option<&Pair>| {
        let args = ["s_client", "-connect", &address, "-CAfile", text(&authority.file), "-quiet", "-ign_eof"];
        let own = own.map(|own| ["-cert", text(&own.cert), "-key", text(&own.key)]);
        let args = [&args[..], own.as_ref().map_or(&[], |own| &own[..])].concat();
        told(&run("openssl", &args, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
    };
    let said = ask(Some(&authority.sign("ada", &["ada"])));
    assert!(said.contains("200 OK") && said.contains("\r\n\r\nok"), "{said}");
    let said = ask(None);
    assert!(said.contains("certificate required") && !said.contains("200 OK"), "{said}");
    script.end();
}

#[test]
fn curl_reads_a_stream_and_tells_a_cut_from_an_end() {
    if !has("curl") {
        return;
    }
    let authority = Authority::new();
    let script = Script::run(|door| {
        for n in 0..2 {
            let mut peer = door.accept();
            peer.head();
            peer.begin_stream();
            peer.send_chunk(events(1..=100));
            if n == 0 {
                peer.send_last_chunk();
            }
        }
        // Without chunks, only the connection says where an answer ends.
        for _ in 0..2 {
            let mut peer = door.accept();
            peer.head();
            peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it");
        }
    });
    let mut route = route_to(&script);
    (route.heal_for, route.linger, route.ids) = (Span::ZERO, Span::ZERO, segno::config::Ids::Off);
    let proxy = Proxy::of_config(authority.sign("a", &["localhost"]).config(route));
    let url = format!("https://localhost:{}/", proxy.address().port());
    let ask = |more: &[&str]| {
        let args = ["-sS", "-N", "--ipv4", "--cacert", text(&authority.file)];
        run("curl", &[&args, more, &[&url]].concat(), "")
    };
    let stream = ["-H", "Accept: text/event-stream"];
    let whole = ask(&stream);
    assert!(whole.status.success() && whole.stdout == events(1..=100).as_bytes(), "{}", told(&whole));
    let cut = ask(&stream);
    assert!(!cut.status.success() && cut.stdout == events(1..=100).as_bytes(), "{}", told(&cut));
    for version in ["--http1.0", "--http1.1"] {
        let whole = ask(&[version]);
        assert!(whole.status.success() && whole.stdout == b"all of it", "{version}: {}", told(&whole));
    }
    let plain = run("curl", &["-sS", &format!("http://{}/", proxy.address())], "");
    assert!(told(&plain).contains("https://"), "{}", told(&plain));
    script.end();
}

/// A running browser, ended with its folder.
struct Browser(Child, std::path::PathBuf);

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

const PAGE: &str = "<script>const ids = [], source = new EventSource('/feed'); let opens = 0; \
    source.onopen = () => opens++; source.addEventListener('tick', e => { ids.push(e.lastEventId); \
    if (e.lastEventId === '6') { source.close(); fetch('/done/' + ids.join('-') + '/' + opens) } })</script>";

/// Serves the page and the feed by TLS. The first feed is truncated inside an event.
fn site(config: &Arc<ServerConfig>) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::channel();
    let (config, feeds) = (Arc::clone(config), Arc::new(AtomicUsize::new(0)));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (config, tell, feeds) = (Arc::clone(&config), tell.clone(), Arc::clone(&feeds));
            thread::spawn(move || {
                let session = ServerConnection::new(config).unwrap();
                let mut peer = TlsPeer(BufReader::new(StreamOwned::new(session, stream)));
                let head = peer.head();
                let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                match target.as_str() {
                    "/feed" if feeds.fetch_add(1, Ordering::Relaxed) == 0 => {
                        peer.begin_stream();
                        peer.send_chunk(events(1..=3));
                        return peer.send_chunk("id: 4\ndata: ha");
                    }
                    "/feed" => {
                        let from = if head.contains("\r\nLast-Event-ID: 3\r\n") { 4 } else { 1 };
                        peer.begin_stream();
                        peer.send_chunk(events(from..=6));
                    }
                    "/" => {
                        let length = PAGE.len();
                        peer.send(format!(
                            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\
                             Connection: close\r\n\r\n{PAGE}"
                        ));
                    }
                    _ => peer.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"),
                }
                let _ = tell.send(target);
                // Until the proxy has closed.
                let _ = io::copy(&mut peer.0, &mut io::sink());
            });
        }
    });
    (port, told)
}

#[test]
fn chromium_through_tls_on_both_sides_does_not_notice_a_truncated_event() {
    let Some(chromium) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| has(name)) else {
        return;
    };
    if !has("openssl") {
        return;
    }
    let authority = Authority::new();
    let (port, told_by_page) = site(&authority.server("127.0.0.1"));
    let pair = authority.sign("a", &["localhost"]);
    let proxy = Proxy::of_config(pair.config(authority.route_to("127.0.0.1", port)));
    let hash = "openssl x509 -in \"$0\" -pubkey -noout | openssl pkey -pubin -outform der \
        | openssl dgst -sha256 -binary | openssl base64";
    let hash = Command::new("sh").args(["-c", hash, text(&pair.cert)]).output().unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap();
    let folder = authority.path("browser");
    let child = Command::new(chromium)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .arg(format!("--user-data-dir={}", text(&folder)))
        .arg(format!("--ignore-certificate-errors-spki-list={}", hash.trim()))
        .arg(format!("https://localhost:{}/", proxy.address().port()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let browser = Browser(child, folder);
    let until_done = || loop {
        let target = told_by_page.recv_timeout(Duration::from_secs(60)).expect("the page says what it got");
        if let Some(said) = target.strip_prefix("/done/") {
            return said.to_owned();
        }
    };
    assert_eq!(until_done(), "1-2-3-4-5-6/1", "every event once, over one connection");
    drop(browser);
    assert!(proxy.count(Count::TlsHandshakes) >= 1);
    proxy.until_count(Count::Heals, 1);
}

/// What an idle stream over TLS takes above a plain one, at most: the library's read buffer of 4 KiB, keys, and what the
/// allocator keeps of the handshake.
#[cfg(all(feature = "cli", target_os = "linux"))]
const BYTES: u64 = 16 << 10;

#[cfg(all(feature = "cli", target_os = "linux"))]
#[test]
fn an_idle_stream_over_tls_takes_little_more_than_a_plain_one() {
    const STREAMS: usize = 1_000;
    let authority = Authority::new();
    let pair = authority.sign("a", &["localhost"]);
    let files = [pair.cert.to_str().unwrap(), pair.key.to_str().unwrap()];
    let each = [false, true].map(|is_secure| {
        let (end, ended) = signal();
        let script = Script::run(move |door| {
            let mut peers = Vec::new();
            for _ in 0..STREAMS {
                let mut peer = door.accept();
                peer.head();
                peer.begin_stream();
                peer.send_chunk(events(1..=1));
                peers.push(peer);
            }
            ended.take();
        });
        let upstream = format!("http://{}", script.address());
        let secure = ["--upstream", &upstream, "--tls-cert", files[0], "--tls-key", files[1]];
        let process = support::process::Process::with_flags(if is_secure { &secure } else { &secure[..2] });
        let before = process.resident();
        let config = Arc::new(authority.client_config(None));
        let clients: Vec<Client> = (0..STREAMS)
            .map(|_| {
                let mut client = match is_secure {
                    true => tls_client(config.as_ref().clone(), process.address(), "localhost"),
                    false => process.client(),
                };
                client.open_events("/");
                client.until("id: 1\n");
                client
            })
            .collect();
        let each = (process.resident() - before) / STREAMS as u64;
        end.give();
        drop(clients);
        script.end();
        each
    });
    let more = each[1].saturating_sub(each[0]);
    eprintln!("an idle stream takes {} bytes over TLS and {} without", each[1], each[0]);
    assert!(more < BYTES, "an idle stream takes {more} bytes more over TLS");
}
