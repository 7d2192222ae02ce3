//! What a whole file comes to, and what is said of its mistakes.

mod beside;

use super::*;
use crate::base::{Random, Span};
use crate::config::{Dedup, Limits, Scheme, StoreConfig};

const FULL: &str = r#"
listen = ["127.0.0.1:8080", "[::1]:8080"]
admin = "127.0.0.1:9090"
admin_hosts = ["segno.internal"]
admin_token_file = "token"
store = "redb:/var/lib/segno.redb"

[limits]
streams = 1_000
connections = 0x1000
header_bytes = "32KiB"
log_budget = "64MiB"

[defaults]
heartbeat = "20s"
dedup = "off"

[[route]]
host = "Feed.Example"
path = "/live/"
upstream = "https://feed.internal/v1"
heartbeat = "5s"
heal_for = "2m"
upstream_idle = "40s"
replay_bytes = 2097152
upstream_ca = "ca.pem"

[[route]]
upstream = "http://127.0.0.1:9000"
"#;

fn fine(text: &str) -> Config {
    read(text, &Flags::default()).unwrap()
}

/// Each problem as `LINE:COLUMN: what`.
fn problems(text: &str) -> Vec<String> {
    let problems = read(text, &Flags::default()).unwrap_err();
    problems.iter().map(|problem| problem.show(Some("f"))).collect()
}

#[test]
fn a_whole_file_is_read() {
    let config = fine(FULL);
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.admin, Some("127.0.0.1:9090".parse().unwrap()));
    assert_eq!(
        (&*config.admin_hosts, &config.admin_token_file),
        (&["segno.internal".to_owned()][..], &Some("token".into()))
    );
    assert_eq!(config.store, StoreConfig::Redb { path: "/var/lib/segno.redb".into() });
    let (header_bytes, log_budget) = (32 << 10, 64 << 20);
    let limits = Limits { streams: 1_000, connections: 4_096, header_bytes, log_budget, ..Limits::default() };
    assert_eq!(config.limits, limits);

    let feed = &config.routes[0];
    assert_eq!((feed.name.as_str(), feed.path.as_str()), ("feed.example/live", "/live"));
    assert_eq!((feed.upstream.scheme, feed.upstream.base_path.as_str()), (Scheme::Https, "/v1"));
    assert_eq!((feed.heartbeat, feed.heal_for), (Span::from_secs(5), Span::from_secs(120)));
    assert_eq!(feed.upstream_idle, Some(Span::from_secs(40)));
    assert_eq!((feed.replay_bytes, feed.upstream_ca.as_deref()), (2 << 20, Some("ca.pem".as_ref())));

    let rest = config.routes.find(Some("x"), "/live").unwrap();
    assert_eq!((rest.name.as_str(), rest.heartbeat, rest.dedup), ("/", Span::from_secs(20), Dedup::Off));
}

#[test]
fn trusted_proxies_are_addresses_and_blocks() {
    let config = fine("trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\nroute = [{ upstream = \"http://h\" }]\n");
    let trusted = |address: &str| config.trusted_proxies.contains(address.parse().unwrap());
    assert!(trusted("10.9.9.9") && trusted("::1") && !trusted("192.0.2.1"));
    let found = problems("trusted_proxies = [\"10.1.0.0/8\"]\nroute = [{ upstream = \"http://h\" }]\n");
    assert!(found[0].contains("write `10.0.0.0/8`"), "{found:?}");
}

#[test]
fn a_file_that_says_little_leaves_the_defaults() {
    let config = fine("[[route]]\nupstream = \"http://h:1\"\n");
    let expected = Route::new(Upstream::parse("http://h:1").unwrap());
    assert_eq!(config, Config { routes: vec![expected].into(), ..Config::default() });
}

#[test]
fn a_routes_key_beats_a_flag_and_a_flag_beats_the_defaults() {
    let text = r#"
        defaults.heartbeat = "1s"
        defaults.linger = "1s"
        defaults.heal_for = "1s"
        route = [{ upstream = "http://h", heartbeat = "3s" }]
    "#;
    let flags = Flags::default().with("heartbeat", "2s").with("linger", "2s");
    let route = &read(text, &flags).unwrap().routes[0];
    let secs = [3, 2, 1, 3].map(Span::from_secs);
    assert_eq!([route.heartbeat, route.linger, route.heal_for, route.hold_head], secs);
}

#[test]
fn flags_alone_make_one_route_for_everything() {
    let flags = Flags::default().with("upstream", "http://h:1").with("listen", "0.0.0.0:1");
    let config = read("", &flags).unwrap();
    assert_eq!(config.routes[0].upstream.authority, "h:1");
    assert_eq!(config.listen[0].port(), 1);
}

#[test]
fn the_flags_upstream_serves_routes_that_name_none() {
    let flags = Flags::default().with("upstream", "http://flag");
    let text =
        "[defaults]\nupstream = \"http://file\"\n[[route]]\npath = \"/a\"\n[[route]]\nupstream = \"http://own\"\n";
    let config = read(text, &flags).unwrap();
    let hosts: Vec<_> = config.routes.iter().map(|route| route.upstream.host.as_str()).collect();
    assert_eq!(hosts, ["flag", "own"]);
}

#[test]
fn a_fault_in_a_flag_names_the_flag_and_no_file() {
    let flags = Flags::default().with("upstream", "http://h").with("window", "0");
    let problems = read("", &flags).unwrap_err();
    assert_eq!((problems.len(), problems[0].at), (1, None));
    assert!(problems[0].show(Some("f")).starts_with("`--window`: `window` is 0"), "{problems:?}");
}

#[test]
fn a_misspelt_key_is_told_with_its_place_and_the_nearest_right_one() {
    let text = "[[route]]\nupstream = \"http://h\"\n  heartbeet = \"5s\"\n";
    assert_eq!(problems(text), ["f:3:3: unknown key `heartbeet`: did you mean `heartbeat`?"]);
    let found = problems("lisen = 1\n");
    assert!(found.len() == 2 && found[0].starts_with("f: no routes"), "{found:?}");
    assert_eq!(found[1], "f:1:1: unknown key `lisen`: did you mean `listen`?");
}

#[test]
fn a_key_in_the_wrong_table_is_sent_home() {
    let route = "[[route]]\nupstream = \"http://h\"\n";
    let found =
        problems(&format!("heartbeat = \"5s\"\n[limits]\nhold_head = \"1s\"\n[defaults]\nstreams = 1\n{route}"));
    assert_eq!(
        found,
        [
            "f:1:1: unknown key `heartbeat` here: it belongs under `[defaults]` or `[[route]]`",
            "f:3:1: unknown key `hold_head` here: it belongs under `[defaults]` or `[[route]]`",
            "f:5:1: unknown key `streams` here: it belongs under `[limits]`",
        ]
    );
}

#[test]
fn all_problems_are_told_at_once_and_in_order() {
    let text = r#"listen = "localhost:8080"
store = "sqlite:x"
[limits]
streams = "many"
log_budget = true
[[route]]
upstream = "localhost:9000"
heartbeat = 15
heal_for = "1 minute"
replay_bytes = "1MB"
dedup = "alway"
[[route]]
path = "/b"
"#;
    let found = problems(text);
    let places: Vec<_> = found.iter().map(|p| p.splitn(4, ':').take(3).collect::<Vec<_>>().join(":")).collect();
    let lines = ["f:1:10", "f:2:9", "f:4:11", "f:5:14", "f:7:12", "f:8:13", "f:9:12", "f:10:16", "f:11:9", "f:12:1"];
    assert_eq!(places, lines, "{found:#?}");
    assert!(found[5].contains("`heartbeat`: a duration needs its unit, in quotes: write \"15s\""), "{}", found[5]);
    assert!(found[8].contains("did you mean `always`?"), "{}", found[8]);
    assert!(found[9].contains("no `upstream`"), "{}", found[9]);
}

#[test]
fn a_value_that_cannot_be_read_hides_no_other_mistake() {
    let text = r#"lisen = "127.0.0.1:80"
peer_timeout = "1s"
[defaults]
replay_bytes = "1MB"
window = 0
[[route]]
upstream = 7
max_event_bytes = "64MiB"
[[route]]
path = "a"
upstream = "http://h"
[[route]]
path = "/c"
heal_rate = 0
"#;
    let found = problems(text);
    let places: Vec<_> = found.iter().map(|p| p.splitn(4, ':').take(3).collect::<Vec<_>>().join(":")).collect();
    assert_eq!(
        places,
        ["f:1:1", "f:2:16", "f:4:16", "f:5:10", "f:7:12", "f:10:8", "f:12:1", "f:14:13"],
        "what `replay_bytes` and the default `upstream` would lead to is not told: {found:#?}"
    );
}

#[test]
fn what_cannot_be_read_leads_to_no_second_problem() {
    for text in [
        "[defaults]\nupstream = 1\n[[route]]\n",
        "[defaults]\nupstream = 1\n",
        "route = [1]\n",
        "route = [1, { upstream = \"http://h\" }]\n",
        "route = 3\n",
        "listen = 3\nroute = [{ upstream = \"http://h\" }]\n",
        "[limits]\nlog_budget = true\n[[route]]\nupstream = \"http://h\"\nreplay_bytes = \"512MiB\"\n",
    ] {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
    }
}

#[test]
fn what_lies_outside_is_told_at_the_key_that_leads_there() {
    let text = "[[route]]\nupstream = \"http://h\"\nupstream_ca = \"gone.pem\"\nwindow = 0\n";
    let outside = |_: &Config| {
        let what = "gone.pem is not there".to_owned();
        vec![Fault { section: Section::Route(0), key: "upstream_ca", other: None, what }]
    };
    let found = read_with(text, &Flags::default(), outside).unwrap_err();
    let places: Vec<_> = found.iter().map(|problem| problem.at).collect();
    assert_eq!(places, [Some((3, 15)), Some((4, 10))], "{found:?}");
}

#[test]
fn a_relation_is_told_at_the_key_that_broke_it() {
    let own = "[[route]]\nupstream = \"http://h\"\nmax_event_bytes = \"1MiB\"\n";
    assert!(
        problems(own)[0].starts_with("f:3:19: `max_event_bytes` (1MiB) is more than half of `replay_bytes` (1MiB)")
    );
    let inherited = "[defaults]\nmax_event_bytes = \"1MiB\"\n[[route]]\nupstream = \"http://h\"\n";
    assert!(problems(inherited)[0].starts_with("f:2:19: "));
    let other = "[[route]]\nupstream = \"http://h\"\nreplay_bytes = \"64KiB\"\n";
    let found = problems(other);
    assert!(found[0].starts_with("f:3:16: ") && found[0].contains("`max_event_bytes`"), "{found:?}");
}

#[test]
fn a_fault_in_what_one_route_for_everything_inherits_has_its_place() {
    let own = "[defaults]\nupstream = \"http://h\"\nmax_event_bytes = \"1MiB\"\n";
    assert!(problems(own)[0].starts_with("f:3:19: `max_event_bytes` (1MiB)"), "{:?}", problems(own));
    let bound = "[defaults]\nwindow = 0\nupstream = \"http://h\"\n";
    assert!(problems(bound)[0].starts_with("f:2:10: `window` is 0"), "{:?}", problems(bound));
}

#[test]
fn a_budget_below_what_routes_have_by_default_is_told_at_the_budget() {
    let budget = "[limits]\nlog_budget = \"512KiB\"\n";
    for routes in ["[defaults]\nupstream = \"http://h\"\n", "[[route]]\nupstream = \"http://h\"\n"] {
        let found = problems(&format!("{budget}{routes}"));
        assert!(found[0].starts_with("f:2:14: `replay_bytes` (1MiB) is more than `log_budget` (512KiB)"), "{found:?}");
    }
}

#[test]
fn a_password_in_the_wrong_place_is_not_shown() {
    let found = problems("store = \"redis:me:secret@h\"\n[[route]]\nupstream = \"http://me:secret@h\"\n");
    assert_eq!(found.len(), 2);
    assert!(!found.concat().contains("secret"), "{found:?}");
}

#[test]
fn equal_routes_and_no_routes_are_problems() {
    let twice =
        "[[route]]\npath = \"/a\"\nupstream = \"http://h\"\n[[route]]\npath = \"/a/\"\nupstream = \"http://i\"\n";
    let found = problems(twice);
    assert_eq!(found, ["f:5:8: route `/a` takes the same host and path as route 1: take one of them out"]);
    assert!(problems("")[0].contains("no routes"));
    assert!(problems("route = []\n")[0].contains("no routes"));
    assert!(problems("[route]\nupstream = \"http://h\"\n")[0].contains("write `[[route]]`"));
}

#[test]
fn mistakes_in_the_syntax_are_told_with_their_place() {
    let found = problems("listen = \"127.0.0.1:80\nadmin = \n[limits\n");
    assert!(found.len() >= 2, "{found:?}");
    assert!(found.iter().all(|p| p.starts_with("f:") && !p.contains('\n')), "{found:?}");
}

#[test]
fn what_is_nested_too_deeply_is_told_with_its_place() {
    let nested = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for line in [format!("admin = {nested}"), format!("a{} = 1", ".a".repeat(200))] {
        let found = problems(&format!("listen = [\"a\"]\n{line}\n"));
        assert!(found.iter().all(|problem| problem.starts_with("f:2:")), "{found:?}");
    }
}

#[test]
fn a_problem_is_one_line_whatever_it_quotes() {
    let text = r#"
        "a\nb" = 1
        [[route]]
        upstream = "http://h:80\n"
    "#;
    let host = "[[route]]\nhost = \"a b\\n\\u001B[31m\"\nupstream = \"http://h\"\n";
    let found = [problems(text), problems(host)].concat();
    assert!(found.len() == 3 && !found.concat().contains(char::is_control), "{found:?}");
    assert!(found[1].contains("`80\\n` is not a port"), "{found:?}");
}

#[test]
fn a_text_cut_or_garbled_anywhere_never_panics() {
    let mut r = Random::new(11);
    for end in 0..FULL.len() {
        let _ = read(&FULL[..end], &Flags::default());
    }
    for _ in 0..2_000 {
        let mut bytes = FULL.as_bytes().to_vec();
        for _ in 0..=r.below(4) {
            let at = r.below(bytes.len() as u64) as usize;
            bytes[at] = b"\"[]={}.,#\n x0\\\xc3"[r.below(15) as usize];
        }
        let _ = read(&String::from_utf8_lossy(&bytes), &Flags::default());
    }
}

#[test]
fn a_misspelt_key_in_the_wrong_table_names_the_right_one_and_its_table() {
    assert_eq!(
        problems("heartbeet = \"1s\"\n[[route]]\nupstream = \"http://h\"\n"),
        ["f:1:1: unknown key `heartbeet`: did you mean `heartbeat`? it belongs under `[defaults]` or `[[route]]`"]
    );
}
