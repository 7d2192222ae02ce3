//! What `docs/many.md` shows a reader: the example of local processes, the commands for Redis, and what shared logs cost.
//!
//! In: the page; `redis-server` (`SEGNO_REQUIRE_REDIS=1`), `haproxy` and `curl` (`SEGNO_REQUIRE_FRONTS=1`). Out: what the
//! page's own lines print, on other ports; what Redis counts, and a failure where that is more than the page says.
//! Law: every line of these blocks is run as it stands on the page.
#![cfg(all(unix, feature = "cli", feature = "redis"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]
#![allow(clippy::print_stdout, reason = "the figures of a run are shown")]

mod support;

#[path = "many/cost.rs"]
mod cost;
#[path = "many/upstream.rs"]
mod upstream;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::front::installed;
use support::process::{Process, page};
use support::redis::{self, Server, free_port};
use support::until;
use upstream::Upstream;

/// The blocks of shell of a part of the page, one after the other.
fn shell(part: &str) -> String {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/many.md")).unwrap();
    let (_, rest) = page.split_once(&format!("\n# {part}\n")).expect("the page has this part");
    let part = rest.split("\n# ").next().unwrap();
    part.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect()
}

/// What bash prints for a script, which must succeed.
fn bash(script: &str, folder: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_segno")).parent().unwrap();
    let path = format!("{}:/usr/sbin:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let mut bash = Command::new("bash");
    bash.args(["-e", "-u", "-o", "pipefail", "-c", script]).current_dir(folder).env("PATH", path).stdin(Stdio::null());
    // What runs on in the background must not hold the pipe open.
    let (out, errors) =
        (fs::File::create(folder.join("out")).unwrap(), fs::File::create(folder.join("errors")).unwrap());
    let done = bash.stdout(out).stderr(errors).status().unwrap();
    // What Redis keeps is not all text.
    let read = |name| String::from_utf8_lossy(&fs::read(folder.join(name)).unwrap()).into_owned();
    assert!(done.success(), "{script}\n{}{}", read("out"), read("errors"));
    read("out")
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("segno-many-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_example_on_one_machine_loses_and_repeats_nothing() {
    if redis::installed().is_none() || installed("haproxy").is_none() || installed("curl").is_none() {
        return;
    }
    let mut script = shell("Try it on one machine");
    for port in ["6390", "3000", "8080", "8081", "8082", "9091", "9092"] {
        assert!(script.contains(port), "{port}");
        script = script.replace(port, &format!("PORT{port}"));
    }
    for port in ["6390", "3000", "8080", "8081", "8082", "9091", "9092"] {
        script = script.replace(&format!("PORT{port}"), &free_port().to_string());
    }
    let folder = Folder::new("example");
    // What fails halfway leaves nothing running.
    let out = bash(&format!("trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}"), &folder.0);
    let numbers: Vec<u32> =
        out.lines().filter_map(|line| line.strip_prefix("data: fleet")?.rsplit_once(' ')?.1.parse().ok()).collect();
    assert_eq!(numbers, (0..numbers.len() as u32).collect::<Vec<_>>(), "none is missing, and none comes twice");
    assert!(numbers.len() > 50, "{out}");
    for file in ["1.txt", "2.txt", "3.txt"] {
        let text = fs::read_to_string(folder.0.join(file)).unwrap();
        assert!(text.contains("\ndata: fleet"), "{file}: {text}");
    }
}

#[test]
fn the_commands_of_the_page_find_what_segno_has_stored() {
    let Some(store) = Server::start(&[]) else { return };
    let (upstream, _ticks) = Upstream::start(100);
    let url = format!("http://{upstream}");
    let mut proxy =
        Process::with_args(&["--upstream", &url, "--store", &store.url(), "--replay-shared", "--admin", "127.0.0.1:0"]);
    let admin = proxy.admin();
    let mut client = proxy.client();
    client.open_events("/feed");
    client.until("id: 5\n");
    let facts = || page(admin, "/sessions");
    until("the cursor and the log are stored", || {
        facts().contains("\"stream\"") && !store.cli(&["KEYS", "segno:{*}:log:*"]).is_empty()
    });
    let fact = |name: &str| {
        let text = facts();
        let rest = text.split(&format!("\"{name}\":")).nth(1).expect("it is told").trim_start_matches('"').to_owned();
        rest.split(['"', ',', '}']).next().unwrap().to_owned()
    };
    let (session, stream, epoch) = (fact("session"), fact("stream"), fact("epoch"));
    let mut script = shell("Look into Redis");
    for (from, to) in [("/feed e1679b116c392dec07690ea9e858ba4e", &*session), ("be46cdb4391c501d", &*stream)] {
        assert!(script.contains(from), "{from}");
        script = script.replace(from, to);
    }
    script = script.replace("redis-cli ", &format!("redis-cli -p {} ", store.port));
    let script: String = script.lines().map(|line| format!("{line}\necho @@\n")).collect();
    // The stream has ended by the last part, so that nobody writes it again.
    let script = script.replace(
        &format!("redis-cli -p {} DEL", store.port),
        &format!("kill -9 {}; redis-cli -p {} DEL", proxy.id(), store.port),
    );
    let folder = Folder::new("commands");
    let out = bash(&script, &folder.0);
    let said: Vec<&str> = out.split("@@\n").map(|said| said.trim_end_matches(['\n', ' '])).collect();
    assert_eq!(said[0], "1", "the layout: {said:#?}\n{script}");
    assert_eq!(said[3].lines().count(), 3, "the cursor, the log, its owner: {}", said[3]);
    assert!(said[5].chars().next_back().is_some_and(|last| last.is_ascii_digit()), "an id at the end: {}", said[5]);
    assert!(said[6].parse::<i64>().unwrap() > 80_000_000, "`session_idle` is a day: {}", said[6]);
    assert!(said[8].parse::<u32>().unwrap() > 0 && said[9].contains("data: "), "{said:?}");
    assert_eq!(said[11], epoch, "the owner is the instance");
    for bytes in [said[12], said[13]] {
        assert!(bytes.parse::<u32>().unwrap() > 50, "{said:?}");
    }
    assert_eq!(
        (said[14], said[15], said[16]),
        ("1", "3", "1"),
        "one cursor; three keys and one name are gone: {said:?}"
    );
    assert_eq!(store.cli(&["KEYS", "segno:{??}:*"]), "");
}
