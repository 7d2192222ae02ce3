//! The program starts while Redis is away, or does not let it in.

use crate::rig::WINDOW;
use crate::support::process::{Process, metric};
use crate::support::redis::{Server, free_port};
use crate::support::{Client, Door, Script, event, rest, until};
use std::process::{Command, Stdio};

/// An upstream with one stream that sends an event for each word.
fn upstream(words: std::sync::mpsc::Receiver<usize>) -> Script {
    Script::run(move |door: &mut Door| {
        let mut peer = door.accept();
        peer.head();
        peer.begin_stream();
        for id in words {
            peer.send_chunk(event(id));
        }
    })
}

#[test]
fn it_starts_while_redis_is_away_says_so_and_writes_when_it_comes() {
    let Some(mut server) = Server::start(&["--appendonly", "yes"]) else { return };
    server.kill();
    let (word, words) = std::sync::mpsc::channel();
    let upstream = upstream(words);
    let to = format!("http://{}", upstream.address());
    let args = ["--upstream", &to, "--store", &server.url(), "--admin", "127.0.0.1:0", "--ids", "off"];
    let mut proxy = Process::with_args(&args);
    let said = proxy.until_said("the store cannot be opened");
    assert!(said.contains(&server.url()) && said.contains("start it, or correct its address"), "{said}");
    let admin = proxy.admin();
    assert_eq!(metric(admin, "persistence_store_open"), 0);
    // It is ready while the bound of `ready_without_store` is not over.
    let ready = crate::support::process::page(admin, "/readyz");
    assert!(ready.contains("\"store\":\"away\"") && ready.contains("\"status\":\"ready\""), "{ready}");
    let mut client: Client = proxy.client();
    client.open_events("/feed");
    word.send(1).unwrap();
    client.until("the event with the number 1\n\n");
    rest(WINDOW);
    server.again();
    until("the store is open", || metric(admin, "persistence_store_open") == 1);
    word.send(2).unwrap();
    client.until("the event with the number 2\n\n");
    until("both events are durable", || metric(admin, "persistence_queue_depth") == 0);
    let records = || server.cli(&["--scan", "--pattern", "segno:{??}:*.*"]);
    until("the cursor is stored", || !records().is_empty());
    // It went by a key of its own, which the empty store has taken.
    assert_eq!(metric(admin, "persistence_foreign_key"), 0);
    proxy.signal("TERM");
    let (status, lines) = proxy.end();
    assert!(status.success(), "{lines:#?}");
    drop(word);
}

/// What the program says that does not start, and its status.
fn refused(store: &str) -> (Option<i32>, String) {
    let args = ["proxy", "--listen", "127.0.0.1:0", "--upstream", "http://127.0.0.1:1", "--store", store];
    let mut command = Command::new(env!("CARGO_BIN_EXE_segno"));
    let out = command.args(args).stdin(Stdio::null()).output().unwrap();
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn it_does_not_start_where_a_person_must_correct_something_and_says_what() {
    let Some(mut server) = Server::start(&["--requirepass", "sesame"]) else { return };
    server.password = Some("sesame".to_owned());
    let port = server.port;
    server.cli(&["SET", "other:{meta}:format", "x"]);
    server.cli(&["LPUSH", "listed:{meta}:format", "x"]);
    for (store, what) in [
        (format!("redis://127.0.0.1:{port}"), "the server asks for a password"),
        (format!("redis://:nonsense@127.0.0.1:{port}"), "does not accept it with this password"),
        (format!("redis://:sesame@127.0.0.1:{port}/99"), "correct the address"),
        (format!("redis://:sesame@127.0.0.1:{port}?prefix=other"), "use another `prefix` or another database"),
        (format!("redis://:sesame@127.0.0.1:{port}?prefix=listed"), "use another `prefix` or another database"),
        (format!("redis+cluster://:sesame@127.0.0.1:{port}"), "correct the address"),
        (format!("redis+cluster://:nonsense@127.0.0.1:{port}"), "does not accept it with this password"),
        (format!("redis+sentinel://127.0.0.1:{}/main", free_port()), ""),
    ] {
        if what.is_empty() {
            // A Sentinel that is away may come: it starts.
            let mut proxy = Process::with_args(&["--upstream", "http://127.0.0.1:1", "--store", &store]);
            proxy.until_said("the store cannot be opened");
            continue;
        }
        let (status, told) = refused(&store);
        assert_eq!(status, Some(2), "{store}: {told}");
        assert!(told.contains(what) && told.contains(&port.to_string()), "{store}: {told}");
        assert!(!told.contains("sesame") && !told.contains("nonsense"), "{told}");
    }
}

#[test]
fn it_starts_where_the_store_may_be_well_later_and_says_what_is_wrong() {
    let Some(server) = Server::start(&[]) else { return };
    let replica = Server::start(&["--replicaof", "127.0.0.1", &server.port.to_string()]).unwrap();
    until("the replica is linked", || replica.cli(&["INFO", "replication"]).contains("master_link_status:up"));
    let full = Server::start(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"]).unwrap();
    for (server, what, cure) in [(&replica, "READONLY", "name the master"), (&full, "OOM", "give it room")] {
        let args = ["--upstream", "http://127.0.0.1:1", "--store", &server.url(), "--admin", "127.0.0.1:0"];
        let mut proxy = Process::with_args(&args);
        let said = proxy.until_said("the store cannot be opened");
        assert!(said.contains(what) && said.contains(cure) && said.contains(&server.url()), "{said}");
        let admin = proxy.admin();
        match what {
            "READONLY" => assert_eq!(replica.cli(&["REPLICAOF", "NO", "ONE"]), "OK"),
            _ => assert_eq!(full.cli(&["CONFIG", "SET", "maxmemory", "0"]), "OK"),
        }
        until("the store is open", || metric(admin, "persistence_store_open") == 1);
    }
}
