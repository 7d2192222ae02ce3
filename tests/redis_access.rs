//! Who is let in to a store on Redis: TLS, sockets and names of servers, users and what they may do.
//!
//! In: `redis-server` or `valkey-server`, which `SEGNO_REQUIRE_REDIS=1` demands; the commands that `docs/many.md` gives a
//! user. Out: cursors, or an error that says what is wrong.
//! Laws: a server that proves nothing is sent nothing; what the page says is enough, and no word of it is too much; no
//! message has a password.
#![cfg(all(unix, feature = "redis", feature = "net", feature = "tls"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

mod support;

use segno::base::{EventId, StreamName};
use segno::store::redis::{Address, open};
use segno::store::{Opened, Record, ServerFault, StoreError, Write, conformance};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use support::redis::{Server, cluster, free_port};
use support::tls::Authority;
use support::until;

fn try_open(url: &str) -> Result<Opened, StoreError> {
    open(&Address::parse(url)?, Some(Duration::from_secs(3_600)))
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

/// A server that speaks TLS at a port of its own, with this certificate, and asks clients for theirs if it `asks`.
fn tls_server(authority: &Authority, names: &[&str], asks: bool) -> Option<(Server, u16)> {
    let (pair, port) = (authority.sign(&format!("redis-{}", names[0]), names), free_port());
    let files = [&pair.cert, &pair.key, &authority.file].map(|file| file.to_str().unwrap().to_owned());
    let settings = [
        ["--tls-port", &port.to_string()],
        ["--tls-cert-file", &files[0]],
        ["--tls-key-file", &files[1]],
        ["--tls-ca-cert-file", &files[2]],
        ["--tls-auth-clients", if asks { "yes" } else { "no" }],
    ];
    let server = Server::start(&settings.concat())?;
    until("it speaks TLS", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some((server, port))
}

#[test]
fn a_server_with_tls_is_spoken_to_only_where_it_proves_its_name() {
    let (ours, other) = (Authority::new(), Authority::new());
    let Some((server, port)) = tls_server(&ours, &["localhost", "127.0.0.1"], false) else { return };
    server.cli(&["ACL", "SETUSER", "default", ">hush"]);
    let url = |host: &str, ca: &Authority| format!("rediss://:hush@{host}:{port}?ca={}", ca.file.display());
    conformance::check(&mut || try_open(&url("localhost", &ours)).unwrap_or_else(|e| panic!("{e}")));
    drop(try_open(&url("127.0.0.1", &ours)).unwrap_or_else(|e| panic!("{e}")));
    let (wrong_name, wrong_port) = tls_server(&ours, &["elsewhere.example"], false).unwrap();
    let refused = [
        (url("localhost", &other), ServerFault::Untrusted, "UnknownIssuer"),
        (format!("rediss://:hush@localhost:{port}"), ServerFault::Untrusted, "UnknownIssuer"),
        (
            format!("rediss://:hush@localhost:{wrong_port}?ca={}", ours.file.display()),
            ServerFault::Untrusted,
            "elsewhere.example",
        ),
        (format!("rediss://:hush@localhost:{}", server.port), ServerFault::Away, "no TLS, write `redis`"),
        (format!("redis://:hush@localhost:{port}"), ServerFault::Away, "TLS, write `rediss`"),
        (format!("rediss://:hush@localhost:{port}?ca=/no/such/file"), ServerFault::Misnamed, "/no/such/file"),
        (
            format!("rediss://:hush@localhost:{port}?ca={}", ours.path("redis-localhost.key").display()),
            ServerFault::Misnamed,
            "redis-localhost.key",
        ),
    ];
    for (url, kind, words) in refused {
        let (found, told) = fault(try_open(&url));
        assert!(found == kind && told.contains(words), "{url}: {found:?} {told}");
        assert!(!told.contains("hush"), "{told}");
    }
    // Nothing was asked of the server that could not prove its name.
    let stats = wrong_name.cli(&["INFO", "commandstats"]);
    assert!(!stats.contains("cmdstat_auth") && !stats.contains("cmdstat_hello"), "{stats}");
    // There is no way to look away.
    for url in ["rediss://localhost/#insecure", "rediss://localhost?insecure=true"] {
        assert!(matches!(Address::parse(url), Err(StoreError::BadAddress { .. })), "{url}");
    }
}

#[test]
fn a_server_that_asks_for_certificates_gets_the_one_that_is_named() {
    let (ours, other) = (Authority::new(), Authority::new());
    let Some((_server, port)) = tls_server(&ours, &["localhost"], true) else { return };
    let (mine, foreign) = (ours.sign("mine", &["segno"]), other.sign("foreign", &["segno"]));
    let plain = format!("rediss://localhost:{port}?ca={}", ours.file.display());
    let with = |pair: &support::tls::Pair| format!("{plain}&cert={}&key={}", pair.cert.display(), pair.key.display());
    drop(try_open(&with(&mine)).unwrap_or_else(|e| panic!("{e}")));
    for url in [plain.clone(), with(&foreign)] {
        let (found, told) = fault(try_open(&url));
        assert!(found == ServerFault::Denied && told.contains("certificate"), "{found:?} {told}");
    }
}

/// The commands that the page gives a user behind these words.
fn commands(words: &str) -> Vec<String> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/many.md")).unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(words)).unwrap_or_else(|| panic!("no line `{words}`"));
    line.split_whitespace().map(str::to_owned).collect()
}

fn write(store: &mut Opened, items: Vec<(Arc<StreamName>, Write)>) -> Result<(), StoreError> {
    let results = store.sessions.store_event_ids_batch(&items)?;
    results.into_iter().try_for_each(|result| result.map(drop))
}

/// Everything that segno asks of a store of cursors. `vanish` takes a record away behind its back.
fn use_all(url: &str, vanish: &dyn Fn()) -> Result<(), StoreError> {
    let mut store = try_open(url)?;
    store.sessions.secret(7)?;
    let epoch = store.sessions.next_epoch()?;
    let names: Vec<_> = (1..=5).map(|stream| Arc::new(StreamName { session: b"s"[..].into(), stream })).collect();
    let cursors = |sequence| {
        let id = EventId::from_bytes(b"x").unwrap();
        let record = Record { epoch, sequence, id, last_seen_ms: sequence };
        names.iter().map(|name| (Arc::clone(name), Write::Cursor(record.clone()))).collect::<Vec<_>>()
    };
    (1..=3).try_for_each(|sequence| write(&mut store, cursors(sequence)))?;
    write(&mut store, cursors(4)[..1].to_vec())?;
    store.sessions.settle(true)?;
    let absent = Arc::new(StreamName { session: b"absent"[..].into(), stream: 1 });
    let remove = |name: &Arc<StreamName>| (Arc::clone(name), Write::Remove { epoch, sequence: u64::MAX });
    write(&mut store, vec![remove(&names[0]), remove(&absent)])?;
    vanish();
    store.lookup.get_last_event_id(&names[2])?;
    store.lookup.session(b"s", 10)?;
    store.sessions.scan(None, 10)?;
    names.iter().try_for_each(|name| store.sessions.remove(name))
}

/// Gives `segno` these rights on servers.
fn set_user(servers: &[Server], rights: &[String]) {
    for server in servers {
        let fixed = ["ACL", "SETUSER", "segno", "reset"].map(str::to_owned);
        let words: Vec<String> = fixed.into_iter().chain(rights.iter().cloned()).collect();
        let told = server.cli(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(told, "OK", "{words:?}");
    }
}

/// Tries everything with these rights, and without each of those from the place `from` on.
fn try_rights(servers: &[Server], url: &str, rights: &[String], from: usize) {
    let vanish = || servers.iter().for_each(|server| _ = server.cli(&["DEL", "segno:{0b}:73.0000000000000002"]));
    set_user(servers, rights);
    use_all(url, &vanish).unwrap_or_else(|e| panic!("what the page says is not enough: {e}"));
    for at in from..rights.len() {
        let mut fewer = rights.to_vec();
        let right = fewer.remove(at);
        set_user(servers, &fewer);
        for server in servers {
            assert_eq!([server.cli(&["SCRIPT", "FLUSH"]), server.cli(&["FLUSHALL"])], ["OK", "OK"]);
        }
        let result = use_all(url, &vanish);
        assert!(result.is_err(), "nothing needs {right}");
        let (found, told) = fault(result);
        // Without this one the library sees a Cluster that lacks slots.
        let is_told = found == ServerFault::Denied || right == "+cluster|slots";
        assert!(is_told && told.contains("user `segno`"), "without {right}: {found:?} {told}");
        assert!(!told.contains("PASSWORD"), "{told}");
        assert!(told.contains(right.trim_start_matches('+')) || right.starts_with(['>', '~', 'o']), "{right}: {told}");
    }
}

#[test]
fn a_user_with_the_commands_of_the_page_can_do_all_and_without_one_of_them_is_told() {
    let Some(server) = Server::start(&[]) else { return };
    let rights = commands("ACL SETUSER segno on ");
    let rights = [vec!["on".to_owned()], rights].concat();
    let url = format!("redis://segno:PASSWORD@127.0.0.1:{}", server.port);
    try_rights(&[server], &url, &rights, 0);
}

#[test]
fn on_a_cluster_a_user_needs_the_commands_of_the_page_for_that_besides() {
    let Some(nodes) = cluster() else { return };
    let rights = [vec!["on".to_owned()], commands("ACL SETUSER segno on ")].concat();
    let url = format!("redis+cluster://segno:PASSWORD@127.0.0.1:{}", nodes[0].port);
    let more = commands("ACL SETUSER segno +cluster");
    let all = [rights.clone(), vec![format!("+cluster{}", more[0])], more[1..].to_vec()].concat();
    try_rights(&nodes, &url, &all, rights.len());
}

#[test]
fn with_sentinels_a_user_needs_the_command_of_the_page_for_that_besides() {
    let Some(master) = Server::start(&[]) else { return };
    let sentinel = Server::sentinel(master.port, 1).unwrap();
    let rights = [vec!["on".to_owned()], commands("ACL SETUSER segno on ")].concat();
    let url = format!("redis+sentinel://segno:PASSWORD@127.0.0.1:{}/main", sentinel.port);
    let all = [rights.clone(), vec!["+role".to_owned()]].concat();
    assert!(commands("ACL SETUSER segno +role").is_empty());
    try_rights(&[master], &url, &all, rights.len());
}
