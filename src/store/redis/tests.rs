//! What needs no server: addresses, names, and what errors mean.

use super::address::{Address, Kind};
use super::fault;
use super::names::{Names, bucket, member, name};
use crate::base::StreamName;
use crate::store::StoreError;
use crate::store::error::ServerFault;
use std::time::Duration;

fn parse(url: &str) -> Address {
    Address::parse(url).unwrap_or_else(|e| panic!("{url}: {e}"))
}

#[test]
fn each_form_of_a_url_is_read() {
    let one = parse("redis://cache.example");
    assert_eq!((one.kind, one.hosts), (Kind::Single, vec![("cache.example".to_owned(), 6379)]));
    assert_eq!((one.database, one.tls, &*one.prefix, one.timeout), (0, false, "segno", Duration::from_secs(1)));
    let one = parse("rediss://me:p%40ss@h:1/2?prefix=a:b&timeout=250ms&ca=/ca.pem");
    assert_eq!(one.credentials.user.as_deref(), Some("me"));
    assert_eq!(one.credentials.password.as_deref(), Some("p@ss"));
    assert_eq!((one.database, one.tls, &*one.prefix, one.timeout), (2, true, "a:b", Duration::from_millis(250)));
    let alone = parse("redis://:secret@[::1]:7000");
    assert_eq!((alone.credentials.user, alone.hosts), (None, vec![("::1".to_owned(), 7000)]));
    assert_eq!(alone.credentials.password.as_deref(), Some("secret"));
    let unix = parse("redis+unix:///run/redis%20a.sock?db=3&user=me&password_file=/p");
    assert_eq!((unix.kind, unix.database), (Kind::Unix { path: "/run/redis a.sock".into() }, 3));
    let sentinels = parse("redis+sentinel://a,b:5000/main/4?sentinel_password=x");
    assert_eq!(sentinels.kind, Kind::Sentinel { master: "main".into() });
    assert_eq!((sentinels.database, sentinels.hosts[0].1, sentinels.hosts[1].1), (4, 26379, 5000));
    let cluster = parse("rediss+cluster://u:p@a:1,b:2,c:3");
    assert_eq!((cluster.kind, cluster.hosts.len(), cluster.tls), (Kind::Cluster, 3, true));
}

#[test]
fn what_is_wrong_with_a_url_is_said_without_its_password() {
    let wrong = [
        ("redis:h", "it is no URL"),
        ("http://h", "is none of its forms"),
        ("redis://", "a host is missing"),
        ("redis://h:0", "behind `h:` is no port"),
        ("redis://me:hush@h:port", "behind `h:` is no port"),
        ("redis://me:hush@h/x", "`x` is no number of a database"),
        ("redis://me:hush@a,b", "names several hosts"),
        ("redis://me:hush@h?prefix={a}", "no braces"),
        ("redis://me:hush@h?timeout=5", "`10ms` to `60s`"),
        ("redis://me:hush@h?ca=/x", "needs TLS"),
        ("rediss://me:hush@h?cert=/x", "go together"),
        ("redis://h?password=hush", "stands before the host"),
        ("redis://me:hush@h?colour=red", "`colour` is no setting"),
        ("redis://me:hush@h?prefix", "has no value"),
        ("redis://me:hu%zzsh@h", "in the password is not followed"),
        ("redis://me:hush@h?password_file=/x", "and `password_file` besides"),
        ("redis://me:hush/@h", "write `%2F`"),
        ("redis://me:hush#@h", "write `%23`"),
        ("redis://[::1", "has no `]`"),
        ("redis+unix://run/x", "is absolute"),
        ("redis+sentinel://h", "the name that Sentinels know"),
        ("redis+cluster://h/1", "no database but 0"),
        ("redis://h?sentinel_user=x", "is no setting"),
    ];
    for (url, what) in wrong {
        let error = Address::parse(url).expect_err(url);
        let told = error.to_string();
        assert!(told.contains(what), "{url}: {told}");
        assert!(!told.contains("hush") && error.is_misconfigured() && !error.is_transient(), "{url}: {told}");
    }
}

#[test]
fn no_text_that_is_made_of_an_address_has_the_password() {
    for url in
        ["redis://me:hush@h", "rediss+cluster://me:hush@a,b", "redis+sentinel://me:hush@a/m?sentinel_password=hush"]
    {
        let address = parse(url);
        let shown = format!("{address} {address:?}");
        assert!(!shown.contains("hush") && !shown.contains("me"), "{shown}");
        let told = fault::denied(&address, "no").to_string();
        assert!(told.contains("`me`") && !told.contains("hush"), "{told}");
    }
    assert_eq!(parse("redis://me:x@[::1]:5").to_string(), "redis://[::1]:5");
    assert_eq!(parse("redis+sentinel://a,b:9/main").to_string(), "redis+sentinel://a:26379,b:9/main");
}

#[test]
fn members_are_in_the_order_of_names_and_are_names_again() {
    let sessions = [&b""[..], b"\0", b"\0\0", b"/feed", b"a", b"a\0", b"aa", b"b", b"\xff"];
    let streams = [0, 1, 255, 256, u64::MAX];
    let all = sessions.iter().flat_map(|session| {
        streams.iter().map(move |stream| StreamName { session: (*session).into(), stream: *stream })
    });
    let mut all: Vec<StreamName> = all.collect();
    all.sort();
    let members: Vec<String> = all.iter().map(member).collect();
    assert!(members.is_sorted(), "{members:?}");
    assert_eq!(members.iter().map(|member| name(member.as_bytes()).unwrap()).collect::<Vec<_>>(), all);
    for foreign in [&b""[..], b"61", b"6.0000000000000001", b"61.1", b"zz.0000000000000001", b"\xff.0000000000000001"] {
        assert_eq!(name(foreign), None);
    }
}

#[test]
fn the_layout_is_the_one_that_is_documented() {
    let names = Names::new("segno");
    let of = StreamName { session: b"ab"[..].into(), stream: 10 };
    // A change here loses every record that is stored.
    assert_eq!(bucket(&of.session), 0x2a);
    assert_eq!(names.record(bucket(&of.session), &member(&of)), "segno:{2a}:6162.000000000000000a");
    let keys = [names.log(0x2a, "61.1"), names.log_state(0x2a, "61.1")];
    assert_eq!(keys, ["segno:{2a}:log:61.1", "segno:{2a}:own:61.1"]);
    assert_eq!((names.index(7), names.meta("epoch")), ("segno:{07}:names".into(), "segno:{meta}:epoch".into()));
    let mut used = [0u32; 64];
    for n in 0..64_000 {
        used[usize::from(bucket(format!("/feed {n:032x}").as_bytes()))] += 1;
    }
    assert!(used.iter().all(|used| (700..1_300).contains(used)), "{used:?}");
}

#[test]
fn errors_of_tls_are_told_from_servers_that_are_away() {
    let (plain, tls) = (parse("redis://h"), parse("rediss://me:hush@h"));
    let io = |text: &str| ::redis::RedisError::from(std::io::Error::other(text.to_owned()));
    let sorted = [
        (&tls, "invalid peer certificate: UnknownIssuer", ServerFault::Untrusted, "correct `ca`"),
        (&tls, "invalid peer certificate: Expired", ServerFault::Untrusted, "the server's certificate"),
        (&tls, "received corrupt message of type InvalidContentType", ServerFault::Misnamed, "write `redis`"),
        (&tls, "received fatal alert: CertificateRequired", ServerFault::Denied, "`cert` and `key`"),
        (&tls, "received fatal alert: UnknownCA", ServerFault::Denied, "`cert` and `key`"),
        (&tls, "received fatal alert: InternalError", ServerFault::Away, "InternalError"),
        (&plain, "invalid peer certificate: UnknownIssuer", ServerFault::Away, "start it"),
    ];
    for (address, text, fault, words) in sorted {
        let error = fault::of_opening(address, &io(text));
        let StoreError::Server { fault: found, .. } = &error else { panic!("{error}") };
        assert!(*found == fault && error.to_string().contains(words), "{text}: {error}");
        assert_eq!(error.is_misconfigured(), fault != ServerFault::Away, "{error}");
    }
}

#[test]
fn errors_are_sorted_by_what_helps() {
    use ServerFault::{Away, Busy, Denied, Foreign, Full, Misnamed, PartAway, Refused, Replaced};
    let (one, cluster) = (parse("redis://h"), parse("redis+cluster://h"));
    let sorted = [
        ("NOAUTH Authentication required.", Denied),
        ("WRONGPASS invalid username-password pair", Denied),
        ("NOPERM User u has no permissions", Denied),
        ("LOADING Redis is loading the dataset in memory", Busy),
        ("BUSY Redis is busy running a script", Busy),
        ("MASTERDOWN Link with MASTER is down", Busy),
        ("CLUSTERDOWN The cluster is down", PartAway),
        ("CLUSTERDOWN Hash slot not served", PartAway),
        ("TRYAGAIN Multiple keys request during rehashing of slot", PartAway),
        ("MOVED 1 h:2", Misnamed),
        ("READONLY You can't write against a read only replica.", Replaced),
        ("OOM command not allowed when used memory > 'maxmemory'.", Full),
        ("MISCONF Redis is configured to save RDB snapshots", Full),
        ("NOREPLICAS Not enough good replicas to write.", Full),
        ("WRONGTYPE Operation against a key", Foreign),
        ("ERR DB index is out of range", Misnamed),
        ("ERR max number of clients reached", Full),
        ("ERR unknown command", Refused),
        ("ERR The user executing the script can't run this command or subcommand", Denied),
    ];
    for (text, fault) in sorted {
        let error = fault::of_text(&one, text);
        let StoreError::Server { fault: found, .. } = &error else { panic!("{error}") };
        assert_eq!(*found, fault, "{text}");
        let must_be_mended = matches!(fault, Denied | Foreign | Misnamed);
        assert_eq!((error.is_misconfigured(), error.is_transient()), (must_be_mended, !must_be_mended), "{text}");
        assert_eq!(error.ends_the_opening(), matches!(fault, Away | Replaced), "{text}");
    }
    assert!(matches!(fault::of_text(&cluster, "MOVED 1 h:2"), StoreError::Server { fault: Replaced, .. }));
}
