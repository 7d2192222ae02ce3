//! The store on Redis, against servers that the test starts: one, a master with Sentinels, a Cluster of three masters.
//!
//! In: `redis-server` or `valkey-server`, which `SEGNO_REQUIRE_REDIS=1` demands. Out: cursors, errors, the server's own
//! counts of commands.
//! Laws: what was acknowledged is there after a failure; a cursor never moves back, whoever writes; no message has a
//! password.
#![cfg(all(unix, feature = "redis", feature = "net"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use segno::base::{EventId, StreamName};
use segno::store::redis::{Address, open, open_shared};
use segno::store::{Claim, LogBlock, LogBounds, LogOutcome, LogWrite};
use segno::store::{Opened, Outcome, Record, ServerFault, StoreError, Write, conformance};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use support::redis::{Server, cluster};
use support::until;

const HOUR: Option<Duration> = Some(Duration::from_secs(3_600));

fn try_open(url: &str) -> Result<Opened, StoreError> {
    open(&Address::parse(url).unwrap(), HOUR)
}

fn opened(url: &str) -> Opened {
    try_open(url).unwrap_or_else(|e| panic!("{e}"))
}

fn name(session: &[u8], stream: u64) -> Arc<StreamName> {
    Arc::new(StreamName { session: session.into(), stream })
}

fn cursor(epoch: u64, sequence: u64) -> Record {
    let id = EventId::from_bytes(format!("{epoch}-{sequence}").as_bytes()).unwrap();
    Record { epoch, sequence, id, last_seen_ms: sequence }
}

fn put(store: &mut Opened, name: &Arc<StreamName>, record: Record) -> Result<Outcome, StoreError> {
    store.sessions.store_event_ids_batch(&[(Arc::clone(name), Write::Cursor(record))])?.pop().unwrap()
}

/// The kind and the words of an error of the server.
fn fault<T>(result: Result<T, StoreError>) -> (ServerFault, String) {
    match result.map(drop) {
        Err(StoreError::Server { fault, server, why }) => {
            (fault, StoreError::Server { fault, server, why }.to_string())
        }
        other => panic!("no fault of the server: {other:?}"),
    }
}

/// A store that shares logs.
fn shared(url: &str) -> Opened {
    open_shared(&Address::parse(url).unwrap(), HOUR).unwrap_or_else(|e| panic!("{e}"))
}

/// Lets time pass for a server.
fn pass(time: Duration) {
    let (_sender, nothing) = std::sync::mpsc::channel::<()>();
    assert!(nothing.recv_timeout(time).is_err());
}

#[test]
fn one_server_keeps_the_promises_of_shared_logs_and_lets_them_expire() {
    let Some(server) = Server::start(&[]) else { return };
    conformance::check(&mut || shared(&server.url()));
    conformance::check_shared(&mut || shared(&server.url()), &mut pass);
    let (mut store, name) = (shared(&server.url()), name(b"log", 1));
    let block = LogBlock { first: 1, at_ms: 1, bytes: b"data: 1\n\n"[..].into(), ends: [9].into(), hole: false };
    let bounds = LogBounds { events: 9, bytes: 99, age_ms: 60_000 };
    let claim = Some(Claim { owner: 1, seen: Some(0), lease_ms: 1_000 });
    let item = LogWrite::Append { name, block: Arc::new(block), meta: Arc::from(&b"m"[..]), bounds, claim };
    let written = store.logs.as_mut().unwrap().write_logs(&[item]).unwrap();
    assert_eq!(written, [Ok(LogOutcome::Written { followed: false })]);
    for key in server.cli(&["KEYS", "segno:{??}:*:*"]).lines() {
        let left: u64 = server.cli(&["PTTL", key]).parse().unwrap();
        assert!((1_000..=60_000).contains(&left), "{key}: {left}");
    }
}

#[test]
fn one_server_keeps_the_promises() {
    let Some(server) = Server::start(&[]) else { return };
    conformance::check(&mut || opened(&server.url()));
    assert_eq!(server.cli(&["ZCARD", "segno:{1b}:names"]), "0", "names go with their records");
    let other = format!("{}/3?prefix=app:one", server.url());
    conformance::check(&mut || opened(&other));
    let keys = server.cli(&["-n", "3", "KEYS", "*"]);
    assert!(keys.lines().all(|key| key.starts_with("app:one:{")) && keys.contains("{meta}:epoch"), "{keys}");
}

#[test]
fn a_server_at_a_socket_keeps_the_promises() {
    let path = std::env::temp_dir().join(format!("segno-redis-{}.sock", std::process::id()));
    let Some(server) = Server::start(&["--unixsocket", path.to_str().unwrap()]) else { return };
    until("the socket is there", || path.exists());
    conformance::check(&mut || opened(&format!("redis+unix://{}", path.display())));
    drop(server);
    let (fault, told) = fault(try_open(&format!("redis+unix://{}", path.display())));
    assert!(fault == ServerFault::Away && told.contains("segno-redis-"), "{told}");
}

#[test]
fn a_cluster_keeps_the_promises_and_spreads_the_sessions() {
    let Some(nodes) = cluster() else { return };
    let [a, b, c] = [nodes[0].port, nodes[1].port, nodes[2].port];
    // The first seed is away.
    let url = format!("redis+cluster://127.0.0.1:1,127.0.0.1:{a},127.0.0.1:{b},127.0.0.1:{c}");
    conformance::check(&mut || opened(&url));
    conformance::check_shared(&mut || shared(&url), &mut pass);
    let mut store = opened(&url);
    let items: Vec<_> = (0..300).map(|n: u64| (name(&n.to_le_bytes(), n), Write::Cursor(cursor(1, n + 1)))).collect();
    let results = store.sessions.store_event_ids_batch(&items).unwrap();
    assert!(results.iter().all(|result| *result == Ok(Outcome::Written)), "{results:?}");
    let found = store.lookup.scan(None, 1_000).unwrap();
    assert_eq!(found.len(), 300);
    for node in &nodes {
        let keys: usize = node.cli(&["DBSIZE"]).parse().unwrap();
        assert!((50..250).contains(&keys), "{keys} keys on one of three masters");
        assert_eq!(node.cli(&["SCRIPT", "FLUSH"]), "OK");
    }
    // A node has forgotten the scripts.
    assert_eq!(put(&mut store, &items[0].0, cursor(2, 1)), Ok(Outcome::Written));
    let (fault, told) = fault(try_open(&nodes[0].url()));
    assert!(fault == ServerFault::Misnamed && told.contains("write `redis+cluster://`"), "{told}");
}

#[test]
fn a_failover_of_sentinels_loses_nothing_that_the_replica_has() {
    let Some(mut master) = Server::start(&[]) else { return };
    let port = master.port.to_string();
    let replica = Server::start(&["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"]).unwrap();
    let sentinels: Vec<Server> = (0..3).map(|_| Server::sentinel(master.port, 2).unwrap()).collect();
    let list: Vec<String> = sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
    let url = format!("redis+sentinel://127.0.0.1:1,{}/main", list.join(","));
    conformance::check(&mut || opened(&url));
    until("the replica is linked", || replica.cli(&["INFO", "replication"]).contains("master_link_status:up"));
    for sentinel in &sentinels {
        until("Sentinels know each other and the replica", || {
            let told = sentinel.cli(&["SENTINEL", "MASTER", "main"]);
            told.contains("num-other-sentinels\n2") && told.contains("num-slaves\n1")
        });
    }
    let (mut store, n) = (opened(&url), name(b"s", 1));
    let (key, epoch) = (store.sessions.secret(7).unwrap(), store.sessions.next_epoch().unwrap());
    assert_eq!(put(&mut store, &n, cursor(epoch, 5)), Ok(Outcome::Written));
    assert_ne!(master.cli(&["WAIT", "1", "5000"]), "0");
    until("the replica has it", || replica.cli(&["DBSIZE"]) == master.cli(&["DBSIZE"]));
    master.kill();
    let error = put(&mut store, &n, cursor(epoch, 6)).unwrap_err();
    assert!(error.ends_the_opening() && error.is_transient(), "{error}");
    let mut after = None;
    until("the replica is the master", || {
        after = try_open(&url).ok();
        after.is_some()
    });
    let mut after = after.unwrap();
    assert_eq!(after.sessions.secret(8), Ok(key));
    assert!(after.sessions.next_epoch().unwrap() > epoch);
    assert_eq!(after.lookup.get_last_event_id(&n), Ok(Some(cursor(epoch, 5))));
    assert_eq!(put(&mut after, &n, cursor(epoch, 6)), Ok(Outcome::Written));
    let (found, told) = fault(try_open(&format!("redis+sentinel://{}/other", list[0])));
    assert!(found == ServerFault::Misnamed && told.contains("knows no master `other`"), "{told}");
}

#[test]
fn a_failover_of_sentinels_keeps_owners_and_logs_that_the_replica_has() {
    let Some(mut master) = Server::start(&[]) else { return };
    let port = master.port.to_string();
    let replica = Server::start(&["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"]).unwrap();
    let sentinel = Server::sentinel(master.port, 1).unwrap();
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port);
    until("the replica is linked", || replica.cli(&["INFO", "replication"]).contains("master_link_status:up"));
    until("the Sentinel knows the replica", || sentinel.cli(&["SENTINEL", "MASTER", "main"]).contains("num-slaves\n1"));
    let (mut store, n) = (shared(&url), name(b"log", 1));
    let write = |store: &mut Opened, owner, seen, first| {
        let block = LogBlock { first, at_ms: 1, bytes: b"data: 1\n\n"[..].into(), ends: [9].into(), hole: false };
        let bounds = LogBounds { events: 9, bytes: 99, age_ms: 60_000 };
        let claim = Some(Claim { owner, seen, lease_ms: 60_000 });
        let name = Arc::clone(&n);
        let item = LogWrite::Append { name, block: Arc::new(block), meta: Arc::from(&b"m"[..]), bounds, claim };
        store.logs.as_mut().unwrap().write_logs(&[item])
    };
    let written = Ok(vec![Ok(LogOutcome::Written { followed: false })]);
    assert_eq!(write(&mut store, 1, Some(0), 1), written);
    assert_ne!(master.cli(&["WAIT", "1", "5000"]), "0");
    until("the replica has it", || replica.cli(&["DBSIZE"]) == master.cli(&["DBSIZE"]));
    master.kill();
    let error = write(&mut store, 1, None, 2).unwrap_err();
    assert!(error.ends_the_opening() && error.is_transient(), "{error}");
    let mut after = None;
    until("the replica is the master", || {
        after = open_shared(&Address::parse(&url).unwrap(), HOUR).ok();
        after.is_some()
    });
    let mut after = after.unwrap();
    assert_eq!(write(&mut after, 2, Some(0), 2), Ok(vec![Ok(LogOutcome::Fenced)]), "the owner's lease came over");
    assert_eq!(write(&mut after, 1, None, 2), written);
    let log = after.log_lookup.as_mut().unwrap().read_log(&n, 99).unwrap().unwrap();
    assert_eq!((log.fence, log.owner.map(|owner| owner.epoch), log.blocks.len()), (1, Some(1), 2));
}

/// What a window of events costs the server, by its own count of commands.
#[test]
fn events_of_one_window_are_one_entry_and_a_few_commands() {
    let Some(server) = Server::start(&[]) else { return };
    let mut store = shared(&server.url());
    let calls = |command: &str| -> u64 {
        let stats = server.cli(&["INFO", "commandstats"]);
        let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:calls="))).unwrap_or("=0,");
        line.split(['=', ',']).nth(1).unwrap().trim().parse().unwrap()
    };
    let all = |server: &Server| -> (u64, u64) {
        let stats = server.cli(&["INFO", "stats"]);
        let of = |name: &str| stats.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap();
        (of("total_commands_processed:"), of("total_net_input_bytes:"))
    };
    let (streams, windows, events) = (100u64, 20u64, 20u64);
    let mut window = |first: u64| {
        let items: Vec<LogWrite> = (0..streams)
            .map(|stream| {
                let bytes: Vec<u8> = (0..events).flat_map(|_| [b'x'; 256]).collect();
                let ends: Vec<u32> = (1..=events as u32).map(|n| n * 256).collect();
                let block = LogBlock { first, at_ms: first, bytes: bytes.into(), ends: ends.into(), hole: false };
                let bounds = LogBounds { events: 256, bytes: 1 << 20, age_ms: 300_000 };
                let claim = Some(Claim { owner: 1, seen: (first == 1).then_some(0), lease_ms: 3_000 });
                let (name, block) = (name(&stream.to_le_bytes(), stream), Arc::new(block));
                LogWrite::Append { name, block, meta: Arc::from(&[0; 113][..]), bounds, claim }
            })
            .collect();
        let results = store.logs.as_mut().unwrap().write_logs(&items).unwrap();
        assert!(results.iter().all(|result| *result == Ok(LogOutcome::Written { followed: false })), "{results:?}");
    };
    window(1);
    assert_eq!(server.cli(&["CONFIG", "RESETSTAT"]), "OK");
    (1..=windows).for_each(|n| window(1 + n * events));
    let ((commands, input), items) = (all(&server), streams * windows);
    let per_item = commands as f64 / items as f64;
    println!("{commands} commands, {input} bytes in, for {items} entries of {events} events; {per_item:.2} an entry");
    println!("{}", server.cli(&["INFO", "commandstats"]));
    assert_eq!((calls("xadd"), calls("hmget"), calls("hset"), calls("pexpire")), (items, items, items, 2 * items));
    assert!(calls("evalsha") <= windows * streams.div_ceil(32), "{}", calls("evalsha"));
    // What is trimmed is read once more, and looked at beside what stays.
    assert!(per_item < 10.0, "{per_item}");
    assert!(input < items * (events * 256 + 900), "{input}");
}

#[test]
fn who_is_not_let_in_is_told_by_user_and_host_and_never_by_password() {
    let Some(mut server) = Server::start(&["--requirepass", "open sesame"]) else { return };
    server.password = Some("open sesame".to_owned());
    let port = server.port;
    assert_eq!(server.cli(&["ACL", "SETUSER", "me", "on", ">hush", "~segno:*", "+get", "+client"]), "OK");
    let wrong = [
        (format!("redis://127.0.0.1:{port}"), "user `default`: the server asks for a password"),
        (format!("redis://:nonsense@127.0.0.1:{port}"), "user `default`: the server does not accept it"),
        (format!("redis://me:nonsense@127.0.0.1:{port}"), "user `me`: the server does not accept it"),
        (format!("redis://nobody:hush@127.0.0.1:{port}"), "user `nobody`: the server does not accept it"),
        (format!("redis://me:hush@127.0.0.1:{port}?prefix=other"), "user `me`: it may not do this"),
        (format!("redis://me@127.0.0.1:{port}?password_file=/no/such/file"), "user `me`: the password cannot be read"),
    ];
    for (url, what) in wrong {
        let (found, told) = fault(try_open(&url));
        assert_eq!(found, ServerFault::Denied, "{told}");
        assert!(told.contains(what) && told.contains(&format!("127.0.0.1:{port}")), "{told}");
        assert!(!["hush", "nonsense", "sesame"].iter().any(|word| told.contains(word)), "{told}");
    }
    let mut mine = opened(&format!("redis://me:hush@127.0.0.1:{port}"));
    let (found, told) = fault(mine.sessions.next_epoch());
    assert!(found == ServerFault::Denied && told.contains("user `me`: it may not do this"), "{told}");
    assert_eq!(
        put(&mut opened(&format!("redis://:open%20sesame@127.0.0.1:{port}")), &name(b"s", 1), cursor(1, 1)),
        Ok(Outcome::Written)
    );
    let file = std::env::temp_dir().join(format!("segno-redis-{}.password", std::process::id()));
    std::fs::write(&file, "open sesame\n").unwrap();
    opened(&format!("redis://127.0.0.1:{port}?password_file={}", file.display()));
    std::fs::remove_file(file).unwrap();
}

#[test]
fn what_a_server_refuses_is_sorted_by_what_helps() {
    let Some(server) = Server::start(&[]) else { return };
    let port = server.port.to_string();
    let (mut store, n) = (opened(&server.url()), name(b"s", 1));
    assert_eq!(put(&mut store, &n, cursor(1, 1)), Ok(Outcome::Written));
    // No room: nothing is lost, and it goes on where there is room.
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let (found, told) = fault(put(&mut store, &n, cursor(1, 2)));
    assert!(found == ServerFault::Full && told.contains("OOM") && told.contains("give it room"), "{told}");
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(put(&mut store, &n, cursor(1, 2)), Ok(Outcome::Written));
    // A replica: the opening ends, so that Sentinels are asked again.
    let replica = Server::start(&["--replicaof", "127.0.0.1", &port]).unwrap();
    until("the replica is linked", || replica.cli(&["INFO", "replication"]).contains("master_link_status:up"));
    let mut second = opened(&replica.url());
    let result = put(&mut second, &n, cursor(1, 3));
    assert!(result.as_ref().unwrap_err().ends_the_opening());
    let (found, told) = fault(result);
    assert!(found == ServerFault::Replaced && told.contains("name the master"), "{told}");
    // Keys of another program: one item fails and others do not, and nothing is overwritten.
    assert_eq!(server.cli(&["SADD", "segno:{0b}:73.0000000000000002", "x"]), "1", "the key of `s` and 2");
    let items = [(name(b"s", 2), Write::Cursor(cursor(1, 1))), (name(b"s", 3), Write::Cursor(cursor(1, 1)))];
    let mut results = store.sessions.store_event_ids_batch(&items).unwrap();
    assert_eq!(results.pop(), Some(Ok(Outcome::Written)));
    let (found, told) = fault(results.pop().unwrap());
    assert!(found == ServerFault::Foreign && told.contains("WRONGTYPE"), "{told}");
    let others = (4..=6).map(|stream| (name(b"s", stream), Write::Cursor(cursor(1, 1))));
    let remove = (name(b"s", 2), Write::Remove { epoch: 9, sequence: 9 });
    for first in [(name(b"s", 2), Write::Cursor(cursor(1, 1))), remove] {
        let items: Vec<_> = [first].into_iter().chain(others.clone()).collect();
        let mut results = store.sessions.store_event_ids_batch(&items).unwrap().into_iter();
        let (found, told) = fault(results.next().unwrap());
        assert!(found == ServerFault::Foreign && told.contains("WRONGTYPE"), "{told}");
        assert!(results.all(|result| result.is_ok()));
    }
    assert_eq!(server.cli(&["SCARD", "segno:{0b}:73.0000000000000002"]), "1");
    assert!(!server.cli(&["ZRANGE", "segno:{0b}:names", "0", "-1"]).contains("73.0000000000000002"));
    server.cli(&["SET", "segno:{meta}:format", "9"]);
    let (found, told) = fault(try_open(&server.url()));
    assert!(found == ServerFault::Foreign && told.contains("layout 9, and this version knows 1"), "{told}");
    let (found, told) = fault(try_open(&format!("{}/99", server.url())));
    assert!(found == ServerFault::Misnamed && told.contains("correct the address"), "{told}");
    let (found, _) = fault(try_open("redis://127.0.0.1:1"));
    assert_eq!(found, ServerFault::Away);
}

#[test]
fn a_call_that_is_not_answered_ends_in_time() {
    let Some(server) = Server::start(&[]) else { return };
    let mut store = opened(&format!("{}?timeout=200ms", server.url()));
    server.signal("STOP");
    let result = put(&mut store, &name(b"s", 1), cursor(1, 1));
    let opening = try_open(&format!("{}?timeout=200ms", server.url()));
    server.signal("CONT");
    assert!(result.as_ref().unwrap_err().ends_the_opening());
    let (found, told) = fault(result);
    assert!(found == ServerFault::Away && told.contains("did not answer in time"), "{told}");
    assert_eq!(fault(opening).0, ServerFault::Away);
}

#[test]
fn a_connection_that_was_closed_is_made_again_but_not_to_another_store() {
    let Some(server) = Server::start(&[]) else { return };
    let (mut store, n) = (opened(&server.url()), name(b"s", 1));
    let key = store.sessions.secret(7).unwrap();
    assert_eq!(put(&mut store, &n, cursor(1, 1)), Ok(Outcome::Written));
    server.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    assert_eq!(put(&mut store, &n, cursor(1, 2)), Ok(Outcome::Written));
    assert_eq!(store.lookup.get_last_event_id(&n), Ok(Some(cursor(1, 2))));
    server.cli(&["SCRIPT", "FLUSH"]);
    assert_eq!(put(&mut store, &n, cursor(1, 3)), Ok(Outcome::Written));
    // It comes back empty: the next opening offers the key again.
    server.cli(&["FLUSHALL"]);
    server.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    let error = put(&mut store, &n, cursor(1, 4)).unwrap_err();
    assert!(error.ends_the_opening() && error.to_string().contains("without the key"), "{error}");
    let mut again = opened(&server.url());
    assert_eq!(again.sessions.secret(key), Ok(key));
    assert_eq!(put(&mut again, &n, cursor(1, 4)), Ok(Outcome::Written));
}

#[test]
fn records_expire_and_their_names_are_taken_out() {
    let Some(server) = Server::start(&[]) else { return };
    let address = Address::parse(&server.url()).unwrap();
    let mut store = open(&address, Some(Duration::from_millis(300))).unwrap();
    let (short, kept) = (name(b"s", 1), name(b"tail x", 0));
    put(&mut store, &short, cursor(1, 1)).unwrap();
    put(&mut store, &kept, cursor(1, 1)).unwrap();
    until("the record has expired", || store.lookup.get_last_event_id(&short).unwrap().is_none());
    let found = |store: &mut Opened| store.lookup.scan(None, 10).unwrap();
    assert_eq!(found(&mut store), vec![((*kept).clone(), cursor(1, 1))], "a named cursor stays");
    assert_eq!(server.cli(&["ZCARD", "segno:{0b}:names"]), "1", "a look-up changes nothing");
    assert_eq!(store.sessions.scan(None, 10).unwrap().len(), 1);
    assert_eq!(server.cli(&["ZCARD", "segno:{0b}:names"]), "0", "the sweep takes the name out");
}

/// How long a key is kept, in milliseconds. -1: for ever.
fn left(server: &Server, name: &StreamName) -> i64 {
    let keys = server.cli(&["KEYS", &format!("segno:{{??}}:*.{:016x}", name.stream)]);
    server.cli(&["PTTL", keys.lines().next().unwrap()]).parse().unwrap()
}

#[test]
fn records_that_are_written_again_and_again_get_their_expiry_when_that_is_over() {
    let Some(server) = Server::start(&[]) else { return };
    let mut store = opened(&server.url());
    let names: Vec<_> = (1..=5).map(|stream| name(format!("s{stream}").as_bytes(), stream)).collect();
    let kept = name(b"tail x", 0);
    let write = |store: &mut Opened, sequence, of: &[Arc<StreamName>]| {
        let items: Vec<_> = of.iter().map(|name| (Arc::clone(name), Write::Cursor(cursor(1, sequence)))).collect();
        let results = store.sessions.store_event_ids_batch(&items).unwrap();
        assert!(results.iter().all(|result| *result == Ok(Outcome::Written)), "{results:?}");
    };
    let all: Vec<_> = names.iter().chain([&kept]).cloned().collect();
    write(&mut store, 1, &all);
    let expires = |name: &StreamName| left(&server, name) > 3_590_000;
    assert!(names.iter().all(|name| expires(name)) && left(&server, &kept) == -1 && store.sessions.is_settled());
    server.cli(&["CONFIG", "RESETSTAT"]);
    for sequence in 2..=10 {
        write(&mut store, sequence, &all);
    }
    let stats = server.cli(&["INFO", "commandstats"]);
    for (command, calls) in [("evalsha", 9), ("mget", 9), ("mset", 9)] {
        assert!(stats.contains(&format!("cmdstat_{command}:calls={calls},")), "{stats}");
    }
    assert!(!stats.contains("cmdstat_set:") && !stats.contains("cmdstat_zadd:"), "{stats}");
    assert!(names.iter().all(|name| left(&server, name) == -1) && !store.sessions.is_settled());
    // One of them goes on, two are written alone, one is removed, one is quiet.
    store.sessions.settle(false).unwrap();
    assert_eq!(left(&server, &names[0]), -1, "it was written in this round");
    write(&mut store, 11, &names[..3]);
    write(&mut store, 12, &names[1..2]);
    write(&mut store, 12, &names[2..3]);
    let remove = (Arc::clone(&names[3]), Write::Remove { epoch: 1, sequence: 10 });
    assert_eq!(store.sessions.store_event_ids_batch(&[remove]), Ok(vec![Ok(Outcome::Written)]));
    store.sessions.settle(false).unwrap();
    assert_eq!(left(&server, &names[0]), -1);
    assert!([1, 2, 4].into_iter().all(|at| expires(&names[at])) && left(&server, &kept) == -1);
    assert!(!store.sessions.is_settled());
    store.sessions.settle(true).unwrap();
    assert!(expires(&names[0]) && left(&server, &kept) == -1 && store.sessions.is_settled());
    // Where the expiry is short, no record is without.
    let mut short = open(&Address::parse(&server.url()).unwrap(), Some(Duration::from_secs(300))).unwrap();
    (13..=15).for_each(|sequence| write(&mut short, sequence, &names[..3]));
    assert!(short.sessions.is_settled() && names[..3].iter().all(|name| left(&server, name) > 290_000));
}

#[test]
fn a_record_that_vanished_while_it_was_written_is_found_by_scans_again() {
    let Some(server) = Server::start(&[]) else { return };
    let mut store = opened(&server.url());
    let names: Vec<_> = (1..=4).map(|stream| name(b"s", stream)).collect();
    for sequence in 1..=3 {
        let items: Vec<_> = names.iter().map(|name| (Arc::clone(name), Write::Cursor(cursor(1, sequence)))).collect();
        store.sessions.store_event_ids_batch(&items).unwrap();
        server.cli(&["DEL", "segno:{0b}:73.0000000000000002", "segno:{0b}:names"]);
    }
    let items: Vec<_> = names.iter().map(|name| (Arc::clone(name), Write::Cursor(cursor(1, 4)))).collect();
    store.sessions.store_event_ids_batch(&items).unwrap();
    assert_eq!(store.lookup.scan(None, 10).unwrap(), vec![((*names[1]).clone(), cursor(1, 4))]);
    assert!(left(&server, &names[1]) > 0, "it begins anew, with an expiry");
}

/// `SEGNO_REDIS_RACE_SECONDS` makes it longer.
#[test]
fn two_writers_that_race_never_move_a_cursor_back() {
    let Some(server) = Server::start(&[]) else { return };
    let url = server.url();
    let names: Vec<_> = (1..=4).map(|stream| name(b"race", stream)).collect();
    let seconds = std::env::var("SEGNO_REDIS_RACE_SECONDS").ok().and_then(|value| value.parse().ok()).unwrap_or(2);
    let over = Arc::new(AtomicBool::new(false));
    let watcher = |name: &Arc<StreamName>| {
        let (mut store, name, over) = (opened(&url), Arc::clone(name), Arc::clone(&over));
        thread::spawn(move || {
            let (mut last, mut looks) = ((0, 0), 0u32);
            while !over.load(Ordering::Relaxed) {
                let now = store.lookup.get_last_event_id(&name).unwrap().map_or((0, 0), |r| (r.epoch, r.sequence));
                assert!(now >= last, "the cursor went from {last:?} to {now:?}");
                (last, looks) = (now, looks + 1);
            }
            looks
        })
    };
    let watchers: Vec<_> = names[..2].iter().map(watcher).collect();
    // Both take a new epoch now and then, as an owner does that was away, and write one stream alone or all at once.
    let writer = |_| {
        let (mut store, names, over) = (opened(&url), names.clone(), Arc::clone(&over));
        thread::spawn(move || {
            let (mut written, mut fenced) = (0, 0);
            while !over.load(Ordering::Relaxed) {
                let epoch = store.sessions.next_epoch().unwrap();
                for sequence in 1..=50 {
                    let of = if sequence % 3 == 0 { &names[..1] } else { &names[..] };
                    let item = |name: &Arc<StreamName>| (Arc::clone(name), Write::Cursor(cursor(epoch, sequence)));
                    let items: Vec<_> = of.iter().map(item).collect();
                    for result in store.sessions.store_event_ids_batch(&items).unwrap() {
                        match result.unwrap() {
                            Outcome::Written => written += 1,
                            Outcome::Stale => fenced += 1,
                        }
                    }
                }
            }
            (written, fenced)
        })
    };
    let writers: Vec<_> = (0..2).map(writer).collect();
    pass(Duration::from_secs(seconds));
    over.store(true, Ordering::Relaxed);
    let results: Vec<(u32, u32)> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    let looks: u32 = watchers.into_iter().map(|watcher| watcher.join().unwrap()).sum();
    let (written, fenced) = results.iter().fold((0, 0), |sum, result| (sum.0 + result.0, sum.1 + result.1));
    println!("{written} written, {fenced} refused, {looks} looks in {seconds} s");
    assert!(written > 0 && fenced > 0 && looks > 50, "{results:?}, {looks} looks");
}
