//! The store's files under real processes: whose they are, the key that outlives whatever becomes of the store, files
//! that go or were never there.
//!
//! In: files, signals, limits of the system. Out: exit codes, log lines, stored cursors.
//! Laws: what a process stores is found after a restart; a store that cannot be the one that was meant stops the start;
//! nobody but the owner reads the files, and no log line shows the key.
#![cfg(all(feature = "cli", feature = "redb", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use support::process::{Process, metric, stored};
use support::store::Store;
use support::{Client, until};

/// An upstream of endless feeds, each from event 1. `/five` has five events without ids, and then stays open.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let first = lines.next().and_then(Result::ok).unwrap_or_default();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
                if first.starts_with("GET /five ") {
                    let _ = stream.write_all(b"data: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\ndata: 5\n\n");
                    // Until the proxy leaves.
                    let _ = lines.next();
                    return;
                }
                for n in 1.. {
                    if stream.write_all(format!("id: {n}\ndata: {n}\n\n").as_bytes()).is_err() {
                        return;
                    }
                    support::rest(std::time::Duration::from_millis(1));
                }
            });
        }
    });
    address
}

fn start(to: SocketAddr, store: &Store) -> Process {
    start_with(to, store, &[])
}

fn start_with(to: SocketAddr, store: &Store, more: &[&str]) -> Process {
    let (upstream, flag) = (format!("http://{to}"), store.flag());
    Process::with_args(&[&["--upstream", &upstream, "--store", &flag, "--admin", "127.0.0.1:0"][..], more].concat())
}

/// A client that reads until its end.
fn read(proxy: &Process) {
    let mut client: Client = proxy.client();
    client.open_events("/events");
    thread::spawn(move || client.read_chunks(|_| ()));
}

/// Stops the proxy and returns its log lines.
fn stop(proxy: Process) -> Vec<String> {
    proxy.signal("TERM");
    let (status, lines) = proxy.end();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
    lines
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A start that is refused, at once.
fn refused(flag: &str, more: &[&str]) -> Output {
    let args = ["proxy", "--upstream", "http://127.0.0.1:1", "--listen", "127.0.0.1:0", "--store", flag];
    let out = Command::new("timeout").args(["20", env!("CARGO_BIN_EXE_segno")]).args(args).args(more).output();
    out.unwrap()
}

/// The sessions that the store has records of. The proxy must have ended.
fn sessions(store: &Store) -> HashSet<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_segno"));
    let out = command.args(["sessions", "--json", "--store", &store.flag()]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let json: Value = serde_json::from_slice(&out.stdout).unwrap();
    let all = json["sessions"].as_array().unwrap().iter();
    all.map(|record| record["session"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_files_are_the_owners_alone_and_the_key_lies_apart_and_is_never_shown() {
    let (to, store) = (upstream(), Store::new("files-modes"));
    let mut proxy = start(to, &store);
    let admin = proxy.admin();
    read(&proxy);
    until("a cursor is stored", || stored(admin).is_some());
    let page = support::process::page(admin, "/metrics");
    let lines = stop(proxy).concat();
    assert_eq!((mode(store.path()), mode(&store.key())), (0o600, 0o600));
    let key = fs::read_to_string(store.key()).unwrap();
    let digits = key.trim_end().strip_prefix("segno-key-1 ").unwrap();
    assert_eq!(digits.len(), 32);
    let number = u128::from_str_radix(digits, 16).unwrap();
    let bytes = fs::read(store.path()).unwrap();
    for half in [(number as u64).to_le_bytes(), ((number >> 64) as u64).to_le_bytes()] {
        assert!(memchr::memmem::find(&bytes, &half).is_none(), "a half of the key lies in the store");
    }
    assert!(!lines.contains(digits) && !page.contains(digits));
}

#[test]
fn a_process_that_finds_the_store_locked_has_the_same_key_and_stores_where_it_is_found() {
    let (to, store) = (upstream(), Store::new("files-late"));
    let mut first = start(to, &store);
    let admin = first.admin();
    read(&first);
    until("a cursor is stored", || stored(admin).is_some());
    let mut second = start(to, &store);
    let admin = second.admin();
    read(&second);
    second.until_said("the store cannot be opened");
    // Far longer than a start waits for a store.
    support::rest(std::time::Duration::from_millis(1_500));
    stop(first);
    until("the second one stores", || metric(admin, "persistence_success_total") > 0);
    assert_eq!(metric(admin, "persistence_foreign_key"), 0);
    stop(second);
    // The same target and credentials: one session, whichever process stored it.
    assert_eq!(sessions(&store).len(), 1);
    let mut third = start(to, &store);
    let admin = third.admin();
    read(&third);
    until("the third one stores", || metric(admin, "persistence_success_total") > 0);
    stop(third);
    assert_eq!(sessions(&store).len(), 1);
}

#[test]
fn a_store_that_is_deleted_while_it_is_open_is_noticed_and_nothing_is_lost() {
    let (to, store) = (upstream(), Store::new("files-deleted"));
    let mut proxy = start(to, &store);
    let admin = proxy.admin();
    read(&proxy);
    until("a cursor is stored", || stored(admin).is_some());
    let key = fs::read(store.key()).unwrap();
    fs::remove_file(store.path()).unwrap();
    fs::remove_file(store.key()).unwrap();
    proxy.until_said("was deleted while it was open; it was written again");
    assert!(metric(admin, "persistence_store_files_lost_total") > 0);
    let before = metric(admin, "persistence_success_total");
    until("cursors are stored again", || metric(admin, "persistence_success_total") > before);
    stop(proxy);
    assert_eq!((sessions(&store).len(), fs::read(store.key()).unwrap()), (1, key));
    assert_eq!((mode(store.path()), mode(&store.key())), (0o600, 0o600));
}

#[test]
fn a_disk_that_is_full_at_the_first_start_leaves_nothing_that_is_refused_later() {
    let (to, store) = (upstream(), Store::new("files-full"));
    let flags = ["--upstream", &format!("http://{to}"), "--store", &store.flag(), "--admin", "127.0.0.1:0"];
    // In blocks of 512 bytes: room for a key, and none for a store.
    let mut proxy = Process::limited("-S -f 8", &flags);
    let admin = proxy.admin();
    read(&proxy);
    proxy.until_said("the store cannot be opened");
    assert!(!store.path().exists(), "what could not be finished has no name");
    proxy.limit("--fsize=unlimited");
    until("a cursor is stored", || stored(admin).is_some());
    assert_eq!(metric(admin, "persistence_foreign_key"), 0);
    stop(proxy);
    let folder = fs::read_dir(store.path().parent().unwrap()).unwrap().flatten();
    let name = store.path().file_name().unwrap().to_str().unwrap().to_owned();
    let left: Vec<_> = folder.map(|entry| entry.file_name().into_string().unwrap()).collect();
    let left: Vec<_> = left.iter().filter(|file| file.starts_with(&name)).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_store_that_cannot_be_the_one_that_was_meant_stops_the_start_unless_it_is_optional() {
    let foreign = Store::new("files-foreign");
    fs::write(foreign.path(), "my thesis").unwrap();
    let bad_key = Store::new("files-bad-key");
    fs::write(bad_key.key(), "segno-key-1 00\n").unwrap();
    let folder = std::env::temp_dir();
    let typo = format!("redb:{}/no-such-directory/segno.redb", folder.display());
    let directory = format!("redb:{}", folder.display());
    let cases = [
        (typo, "its directory does not exist"),
        (directory, "it is a directory"),
        (foreign.flag(), "is not a store of segno"),
        (bad_key.flag(), "cannot be used as the store's key"),
    ];
    for (flag, why) in &cases {
        let out = refused(flag, &[]);
        let told = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{flag}: {told}");
        assert!(told.contains(why) && told.contains("--store-optional"), "{flag}: {told}");
    }
    assert_eq!(fs::read_to_string(foreign.path()).unwrap(), "my thesis");
    assert!(!foreign.key().exists(), "no key is left beside what is no store");
    let to = upstream();
    for (flag, _) in &cases {
        let args =
            ["--upstream", &format!("http://{to}"), "--store", flag, "--store-optional", "--admin", "127.0.0.1:0"];
        let mut proxy = Process::with_args(&args);
        let mut client = proxy.client();
        client.open_events("/events");
        client.until("data: 3\n\n");
        proxy.until_said("the store cannot be opened");
    }
}

#[test]
fn an_own_id_waits_for_a_store_that_is_away_and_is_never_said_to_be_unknown() {
    let (to, store) = (upstream(), Store::new("files-away"));
    let mut first = start_with(to, &store, &["--durable"]);
    let admin = first.admin();
    let mut client = first.client();
    client.open_events("/five");
    client.until("data: 5\n\n");
    let second_id = client.text().lines().filter_map(|line| line.strip_prefix("id: ")).nth(1).unwrap().to_owned();
    assert!(second_id.starts_with("sg-"), "{second_id}");
    client.close();
    until("the events are stored", || metric(admin, "persistence_log_blocks_total") > 0);
    let mut second = start_with(to, &store, &["--durable"]);
    let admin = second.admin();
    let mut client = second.client();
    client.send(format!(
        "GET /five HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\nLast-Event-ID: {second_id}\r\n\r\n"
    ));
    until("it was asked in vain", || metric(admin, "lookups_failed_total") > 1);
    stop(first);
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200 ") && !head.contains("Segno-Gap"), "{head}");
    client.until("data: 5\n\n");
    let data: Vec<&str> = client.text().lines().filter(|line| line.starts_with("data: ")).collect();
    assert_eq!(data, ["data: 3", "data: 4", "data: 5"], "{}", client.text());
    assert_eq!(metric(admin, "gaps_total"), 0);
}
