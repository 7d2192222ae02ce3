//! What is given to others, tried as they would: the Debian package under a systemd that boots, and the steps of the
//! Dockerfile.
//!
//! In: `packaging/`, `Dockerfile`, and root's right to lay a folder over this machine's files. Out: what the package
//! did in a container of systemd's, and what the image answers.
//! Laws: this machine's own files stay as they are: all is written to a layer of its own, and thrown away; what cannot
//! be tried here is said, and with `SEGNO_REQUIRE_PACKAGES=1` it is a failure.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

#[path = "packages/dockerfile.rs"]
mod dockerfile;
#[path = "packages/layer.rs"]
mod layer;

use dockerfile::{Image, Step, stages};
use layer::Layer;
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// What the steps in the container print last.
const DONE: &str = "all steps passed";

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A layer over this machine, where it has the programs; else says what is missing.
fn layer(programs: &[&str]) -> Option<Layer> {
    let missing = programs.iter().find(|program| {
        let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
        !found.is_ok_and(|status| status.success())
    });
    let layer = match missing {
        Some(program) => Err(io::Error::other(format!("{program} is missing"))),
        None => Layer::over_this_machine(),
    };
    match layer {
        Ok(layer) => Some(layer),
        Err(why) => {
            let required = env::var_os("SEGNO_REQUIRE_PACKAGES").is_some_and(|value| value == "1");
            assert!(!required, "{why}");
            // Not by `eprintln!`, which the test harness captures.
            let _ = writeln!(io::stderr(), "SKIPPED: {why}");
            None
        }
    }
}

fn told(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
#[ignore = "boots systemd, needs root: cargo test --test packages -- --ignored"]
fn the_debian_package_runs_under_systemd() {
    let Some(layer) = layer(&["systemd-nspawn", "dpkg", "curl", "man"]) else { return };
    // Whoever has a package at hand can have that one tried.
    let deb = env::var("DEB").unwrap_or_else(|_| {
        let built = Command::new(top().join("packaging/build")).arg("deb").env("PROFILE", "dev").output().unwrap();
        assert!(built.status.success(), "{}", told(&built));
        String::from_utf8(built.stdout).unwrap()
    });
    fs::copy(top().join(deb.trim()), layer.root().join("segno.deb")).unwrap();
    for file in ["steps.sh", "segno-try.service", "segno-try.target"] {
        let to = if file == "steps.sh" { file.to_owned() } else { format!("etc/systemd/system/{file}") };
        fs::copy(top().join("tests/packages").join(file), layer.root().join(to)).unwrap();
    }
    // What keeps services from being started, where there is no init.
    let _ = fs::remove_file(layer.root().join("usr/sbin/policy-rc.d"));
    // The machine's number is its own; the container makes another.
    fs::write(layer.root().join("etc/machine-id"), "").unwrap();

    let mut nspawn = Command::new("timeout");
    nspawn.args(["120", "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--private-network"]);
    nspawn.args(["--machine=segno-try", "--console=pipe", "--link-journal=no"]).arg("--directory").arg(layer.root());
    let output = nspawn.args(["--", "--unit=segno-try.target"]).stdin(Stdio::null()).output().unwrap();
    let steps = fs::read_to_string(layer.root().join("steps.log")).unwrap_or_default();
    assert!(steps.trim_end().ends_with(DONE), "{}\n{steps}", told(&output));
}

#[test]
#[ignore = "builds for another target, needs root: cargo test --test packages -- --ignored"]
fn each_step_of_the_dockerfile_works_and_the_image_serves() {
    let Some(layer) = layer(&["rustup", "unshare", "chroot"]) else { return };
    let text = fs::read_to_string(top().join("Dockerfile")).unwrap();
    let stages = stages(&text);
    let [build, image] = &stages[..] else { panic!("{} stages", stages.len()) };
    let rust = env!("CARGO_PKG_RUST_VERSION");
    assert_eq!(build.from, format!("rust:{rust}-bookworm"), "the oldest Rust that segno is built with");
    assert_eq!(image.from, "scratch");

    let outer = layer.root().to_owned();
    let mut built = Image::at(&outer).with_argument("PROFILE", "dev");
    for step in &build.steps {
        built.take(step, &|_| top());
    }
    // The image lies in the layer, too: it goes with it.
    let root = outer.join("image.d");
    fs::create_dir(&root).unwrap();
    let mut image_made = Image::at(&root);
    for step in &image.steps {
        assert!(!matches!(step, Step::Run(_)), "nothing runs in an empty image");
        image_made.take(step, &|from| if from == build.name { outer.clone() } else { panic!("no stage {from}") });
    }

    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = upstream.local_addr().unwrap();
    let mut program = image_made.command();
    program.env("SEGNO_LISTEN", format!("127.0.0.1:{port}")).env("SEGNO_UPSTREAM", format!("http://{address}"));
    let mut child = program.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut lines = String::new();
    while !lines.contains("listening on") {
        assert_ne!(said.read_line(&mut lines).unwrap(), 0, "it ended: {:?}: {lines}", child.wait());
    }
    let got = fetch(port, &upstream);
    // Docker stops a container by this signal.
    Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status().unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    let status = child.wait().unwrap();
    assert!(got.contains("data: from upstream"), "{got}");
    assert!(status.success(), "{status}: {rest}");
    let store = root.join("var/lib/segno/segno.redb");
    assert!(store.is_file(), "no store at {}", store.display());
}

/// One event through the image's proxy.
fn fetch(port: u16, upstream: &TcpListener) -> String {
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write_all(b"GET /feed HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n").unwrap();
    let (mut peer, _) = upstream.accept().unwrap();
    peer.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 27\r\n\r\nid: 1\ndata: from upstream\n\n",
    )
    .unwrap();
    let mut got = Vec::new();
    let mut chunk = [0; 4096];
    while !String::from_utf8_lossy(&got).contains("from upstream") {
        let n = client.read(&mut chunk).unwrap();
        assert_ne!(n, 0, "{}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&chunk[..n]);
    }
    String::from_utf8(got).unwrap()
}

#[test]
fn what_the_build_context_leaves_out_is_not_copied() {
    let text = fs::read_to_string(top().join("Dockerfile")).unwrap();
    let ignored = fs::read_to_string(top().join(".dockerignore")).unwrap();
    for stage in stages(&text) {
        for step in stage.steps {
            let Step::Copy { from: None, sources, .. } = step else { continue };
            for source in sources {
                assert!(top().join(&source).exists(), "COPY {source}: no such file");
                assert!(!ignored.lines().any(|line| Path::new(&source).starts_with(line)), "COPY {source} is ignored");
            }
        }
    }
}
