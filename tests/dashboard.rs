//! The dashboard: who gets it, its event stream over real sockets, and the page in a real browser.
//!
//! In: requests to the admin address; Chromium, and what npm installs into the target folder. Out: the page, events;
//! pictures of the page in the target folder, to be looked at by eye.
//! Laws: a viewer that reads nothing holds up nobody; nobody gets a number without the token; what the browser needs and
//! is not there is said, and with `SEGNO_REQUIRE_CHROMIUM=1` it is a failure.
#![cfg(all(feature = "cli", unix))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;
#[path = "support/workshop.rs"]
mod workshop;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use support::client::Answer;
use support::process::{Process, metric};
use support::{Client, PATIENCE, until};
use workshop::{Workshop, chromium, missing};

const REQUIRED: &str = "SEGNO_REQUIRE_CHROMIUM";

fn start(admin: &str) -> (Process, SocketAddr) {
    let mut proxy = Process::with_flags(&["--upstream", "http://127.0.0.1:9", "--admin", admin]);
    let admin = proxy.admin();
    (proxy, admin)
}

fn ask(admin: SocketAddr, path: &str, lines: &str) -> Answer {
    let mut client = Client::connect(admin);
    client.send(format!("GET {path} HTTP/1.1\r\n{lines}\r\n"));
    client.answer()
}

/// A viewer of the live stream.
struct Viewer(BufReader<TcpStream>);

impl Viewer {
    fn enter(admin: SocketAddr, lines: &str) -> Self {
        let mut stream = TcpStream::connect(admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("GET /events HTTP/1.1\r\nHost: {admin}\r\n{lines}\r\n").as_bytes()).unwrap();
        Self(BufReader::new(stream))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the stream goes on");
        line.trim_end().to_owned()
    }

    /// Reads on to the first line that begins so, and gives the rest of it.
    fn until(&mut self, start: &str) -> String {
        loop {
            if let Some(rest) = self.line().strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }
}

#[test]
fn the_page_is_for_who_names_the_address_and_the_numbers_are_for_who_has_the_token() {
    let args = ["--upstream", "http://127.0.0.1:9", "--store", "memory", "--admin", "127.0.0.1:0"];
    let mut proxy = Process::with_env(&args, &[("SEGNO_ADMIN_TOKEN", "hush-hush")]);
    let admin = proxy.admin();
    let host = format!("Host: {admin}\r\n");
    let page = ask(admin, "/", &host);
    assert_eq!(page.status, 200);
    for policy in ["default-src 'none'", "script-src 'sha256-", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(page.head.contains(policy), "{policy}: {}", page.head);
    }
    assert!(page.text().starts_with("<!doctype html>") && !page.text().contains(&admin.to_string()));
    for path in ["/", "/events"] {
        assert_eq!(ask(admin, path, "Host: evil.example\r\n").status, 421, "{path}");
    }
    assert_eq!(ask(admin, "/events", &host).status, 401);
    let mut viewer = Viewer::enter(admin, "Authorization: Bearer hush-hush\r\n");
    assert_eq!(viewer.line(), "HTTP/1.1 200 OK");
    assert_eq!(viewer.until("Content-Type: "), "text/event-stream");
    assert!(viewer.until("data: ").contains("\"upstreams\":[\"127.0.0.1:9\"]"));
    let first = viewer.until("id: ");
    assert_eq!(viewer.until("event: "), "snapshot");
    assert!(first < viewer.until("id: "));
}

#[test]
fn a_viewer_goes_on_where_it_was_and_hears_of_a_restart() {
    let (proxy, admin) = start("127.0.0.1:0");
    let mut viewer = Viewer::enter(admin, "");
    let first = viewer.until("id: ");
    let second = viewer.until("id: ");
    let mut again = Viewer::enter(admin, &format!("Last-Event-ID: {first}\r\n"));
    assert_eq!(again.until("event: "), "start");
    assert_eq!(again.until("id: "), second);
    drop(proxy);
    let (_proxy, admin) = start(&admin.to_string());
    let mut viewer = Viewer::enter(admin, &format!("Last-Event-ID: {second}\r\n"));
    assert_eq!(viewer.until("event: "), "segno.gap");
    let gap = viewer.until("data: ");
    assert!(gap.contains(&format!("\"after\":\"{second}\"")) && gap.contains("\"reason\":\"restarted\""), "{gap}");
    let next = viewer.until("id: ");
    assert!(gap.contains(&format!("\"resumed_at\":\"{next}\"")), "{gap} is not about {next}");
}

#[test]
fn viewers_that_read_nothing_hold_up_nobody_and_there_is_a_bound_on_them() {
    let (_proxy, admin) = start("127.0.0.1:0");
    let mut viewers: Vec<_> = (0..32).map(|_| Viewer::enter(admin, "")).collect();
    viewers.iter_mut().for_each(|viewer| assert_eq!(viewer.line(), "HTTP/1.1 200 OK"));
    let host = format!("Host: {admin}\r\n");
    let refused = ask(admin, "/events", &host);
    assert!(refused.status == 503 && refused.head.contains("Retry-After: "), "{}", refused.head);
    assert_eq!(metric(admin, "admin_viewers_refused_total"), 1);
    assert_eq!(ask(admin, "/health", &host).status, 200);
    // A flood of idle connections takes no viewer's place.
    let idle: Vec<_> = (0..300).map(|_| TcpStream::connect(admin).unwrap()).collect();
    assert_eq!(ask(admin, "/health", &host).status, 200);
    drop(idle);
    viewers.iter_mut().for_each(|viewer| {
        viewer.until("id: ");
        viewer.until("id: ");
    });
    viewers.clear();
    until("there is a place again", || Viewer::enter(admin, "").line() == "HTTP/1.1 200 OK");
}

#[test]
#[ignore = "installs packages: cargo test --test dashboard -- --ignored"]
fn the_page_shows_in_a_browser_what_happens() {
    let Some(chromium) = chromium() else {
        return missing("there is no Chromium: SEGNO_CHROMIUM may say where it is", REQUIRED);
    };
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dashboard");
    let folder = concat!(env!("CARGO_TARGET_TMPDIR"), "/dashboard");
    let workshop = match Workshop::fill(Path::new(sources), Path::new(folder)) {
        Ok(workshop) => workshop,
        Err(e) => return missing(&format!("what drives the browser could not be installed: {e}"), REQUIRED),
    };
    let mut driver = workshop.node();
    driver.args(["main.mjs", "--segno", env!("CARGO_BIN_EXE_segno"), "--chromium", &chromium]);
    driver.args(["--shots", concat!(env!("CARGO_TARGET_TMPDIR"), "/dashboard/shots")]);
    let status = driver.status().unwrap_or_else(|error| panic!("{driver:?}: {error}"));
    assert!(status.success(), "the page does not keep what it promises: {status}");
}
