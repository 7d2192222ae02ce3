//! The house rules that a program can check, held by plain `cargo test`.
//!
//! In: every source file of the tree. Out: one line per breach, `file:line: what is wrong`, and the fix below it.
//! Laws: [`LAYERS`] is the import table of the design, and the two change together. Each rule is a function from a
//! [`Source`] to findings, and has a bad example in `tidy/bites.rs`, so that it is known to bite.
//! Names are compared as tokens: what stands in comments and strings does not count, except for the rules on text.

#![allow(clippy::expect_used, clippy::panic, reason = "a test may panic: that is a failed test")]

#[path = "tidy/bites.rs"]
mod bites;
#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/layout.rs"]
mod layout;
#[path = "tidy/reader.rs"]
mod reader;
#[path = "tidy/source.rs"]
mod source;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use circles::no_circle_of_files;
use layout::{long_tests_have_a_file, no_paths_beside_the_code, test_modules_are_called_tests};
use reader::tokens;
use source::{Finding, Include, Source, settle, words};

/// Stands in a row of [`LAYERS`] for the whole public interface.
const PUBLIC_API: &str = "*";

/// The layer that nothing but tests and `fuzzing` may use, and that the plain library does not compile.
const TEST_ONLY: &str = "testing";

/// Each layer with what it may use inside the crate. A layer uses rows above its own only.
const LAYERS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("sync", &[]),
    ("clock", &["base"]),
    ("sse", &["base"]),
    ("timer", &["base"]),
    ("http", &["base"]),
    ("store", &["base", "clock"]),
    ("config", &["base"]),
    ("metrics", &["base", "sync"]),
    ("journal", &["base", "sync", "metrics"]),
    ("otlp", &["base", "sync", "clock", "timer", "config", "metrics", "journal"]),
    ("slot", &["base", "sync"]),
    ("track", &["base", "sse"]),
    ("machine", &["base", "sse", "timer", "http", "track", "config"]),
    ("reactor", &["base", "sync", "clock", "metrics", "journal", "http", "machine", "slot", "config"]),
    ("persist", &["base", "sync", "clock", "metrics", "journal", "timer", "slot", "store"]),
    (
        "engine",
        &[
            "base", "sync", "clock", "sse", "timer", "http", "store", "config", "metrics", "journal", "otlp", "slot",
            "track", "machine", "reactor", "persist",
        ],
    ),
    ("admin", &[PUBLIC_API]),
    ("cli", &[PUBLIC_API, "admin"]),
    // Pages, no code.
    ("docs", &[]),
    // The simulated world, for tests and for the bodies of the fuzz targets: see `TEST_ONLY`.
    (
        TEST_ONLY,
        &[
            "base", "sync", "clock", "sse", "timer", "http", "store", "config", "metrics", "journal", "slot", "track",
            "machine", "reactor", "persist", "engine",
        ],
    ),
    // The bodies of the fuzz targets: what they look into stands below them.
    ("fuzzing", &["base", "sse", "http", "store", "config", "track", "machine", TEST_ONLY]),
];

/// Layers that take bytes and a tick and give actions: no socket, file, thread or lock.
const SANS_IO: &[&str] = &["base", "sse", "timer", "http", "track", "machine"];
/// Layers that run on the reactor's thread, which never waits.
const NEVER_WAITS: &[&str] = &["base", "sse", "timer", "http", "track", "machine", "metrics", "slot", "reactor"];

const CLOCK_FILE: &str = "src/clock.rs";
/// The façade: what both sides of it share, and each side.
const SYNC_FILES: &[&str] = &["src/sync.rs", "src/sync/edge.rs", "src/sync/real.rs", "src/sync/model.rs"];
/// Files that may sleep, each with its reason beside it.
const SLEEPERS: &[&str] = &[
    // The demo's upstream sends so many events a second: it is a real-time program.
    "src/cli/demo/world.rs",
    "src/cli/demo/tests/toy.rs",
    // These offer load by the clock, and count what a store does in some seconds.
    "benches/event_persistence/load.rs",
    "benches/event_persistence/proxied.rs",
    "benches/event_persistence/table.rs",
    // It waits for what Prometheus scrapes by its own clock.
    "tests/prometheus.rs",
];

/// Where methods of the machine may stand.
const MACHINE_FILES: &[&str] = &["src/machine/mod.rs", "src/machine/flow.rs", "src/machine/flow/"];

/// A file has fewer lines than this, tests included.
const MAX_LINES: usize = 600;

/// Folders with sources, and single files whose text is checked too.
const FOLDERS: &[&str] = &["src", "tests", "benches", "examples", "loom-tests", "fuzz", "capi"];
const TEXT_FILES: &[&str] = &[
    "README.md",
    "CHANGELOG.md",
    "Cargo.toml",
    "clippy.toml",
    "rustfmt.toml",
    ".ci/coverage",
    ".ci/run",
    "docs/ARCHITECTURE.md",
    "docs/CONTRIBUTING.md",
    "docs/behaviour.md",
    "docs/comparison.md",
    "docs/configuration.md",
    "docs/coverage.md",
    "docs/glossary.md",
    "docs/library.md",
    "docs/operating.md",
    "docs/promises.md",
    "docs/quick-start.md",
];

/// Marks of unfinished work, written in two halves so that this file does not find itself.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];
/// Where the folders of one person or one machine begin.
const PRIVATE_FOLDERS: &[&str] =
    &[concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];

#[test]
fn the_tree_keeps_the_house_rules() {
    let mut sources = read_tree();
    settle(&mut sources);
    assert!(sources.iter().any(|source| source.file == "src/lib.rs"), "src/lib.rs was not found");
    let findings = check(&sources);
    let list: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(findings.is_empty(), "{} breaches of the house rules:\n\n{}\n", findings.len(), list.join("\n"));
}

/// Everything that is wrong with `sources`, in the order of the files.
fn check(sources: &[Source]) -> Vec<Finding> {
    let rules: &[fn(&Source) -> Vec<Finding>] = &[
        imports_go_down,
        main_uses_the_public_crate,
        one_clock,
        one_layer_names_atomics,
        nothing_unsafe,
        no_io_in_the_core,
        the_reactor_takes_no_lock,
        nothing_sleeps,
        no_placeholder_macros,
        a_header_opens_the_file,
        the_machine_has_its_files,
        test_worlds_stay_out_of_the_library,
        not_too_long,
        no_paths_beside_the_code,
        test_modules_are_called_tests,
        long_tests_have_a_file,
        text_is_clean,
    ];
    let mut findings: Vec<Finding> = sources.iter().flat_map(|s| rules.iter().flat_map(|rule| rule(s))).collect();
    findings.extend(every_file_is_included(sources));
    findings.extend(no_circle_of_files(sources));
    findings.sort();
    findings.dedup();
    findings
}

// The rules.

/// The import table. `super::super::…` counts as what it reaches.
fn imports_go_down(source: &Source) -> Vec<Finding> {
    let Some(layer) = source.layer() else { return Vec::new() };
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
        let fix = "give it a row in LAYERS (tests/tidy.rs) and in the design's import table, or move it into a layer";
        return vec![source.finding(1, format!("`{layer}` is no layer of the import table"), fix)];
    };
    let mut findings = Vec::new();
    for (name, reached) in source.names.iter().filter_map(|name| Some((name, source.reached_by(name)?))) {
        let Some(target) = reached.first() else { continue };
        let is_layer = LAYERS.iter().any(|(row, _)| row == target);
        let own = *target == layer || (name.in_tests && ["base", TEST_ONLY].contains(&target.as_str()));
        let public = allowed.contains(&PUBLIC_API)
            && (!is_layer || !["admin", "cli", "fuzzing", TEST_ONLY].contains(&target.as_str()));
        if own || public || allowed.contains(&target.as_str()) {
            continue;
        }
        findings.push(if is_layer {
            let may = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
            let fix = format!(
                "`{layer}` may use: {may}. Pass the value in, or move the shared word down to `base`, or this code up"
            );
            source.finding(name.line, format!("`{layer}` may not use `{target}`"), &fix)
        } else {
            let fix = "name the layer where it lives: `crate::base::Tick`, not `crate::Tick`";
            source.finding(name.line, format!("`{layer}` reaches `{target}` through the crate root"), fix)
        });
    }
    findings
}

/// `src/main.rs` stands outside of the crate, as any user does.
fn main_uses_the_public_crate(source: &Source) -> Vec<Finding> {
    if !source.is_binary() {
        return Vec::new();
    }
    let fix = "import from `segno::…`; what the binary needs is public there or belongs in `cli`";
    let inside = source.each(|name| name.path.len() > 1 && name.path[0] == "crate");
    let mut findings = source.report(inside, |name| format!("the binary reaches into `{name}`"), fix);
    for include in &source.includes {
        let wrong = format!("the binary has a module of its own, `{}`", include.module.join("::"));
        findings.push(source.finding(include.line, wrong, fix));
    }
    findings
}

/// Time is passed in, so that one seed replays a whole run.
fn one_clock(source: &Source) -> Vec<Finding> {
    if !source.in_src() || source.file == CLOCK_FILE {
        return Vec::new();
    }
    let reads = source.each(|name| {
        let clock = |word: &String| ["Instant", "SystemTime", "UnixTime"].contains(&word.as_str());
        name.path.iter().any(clock) || name.path.starts_with(&words("std::time::*"))
    });
    let fix = format!("take a `base::Tick` as an argument; only {CLOCK_FILE} reads the clock");
    source.report(reads, |name| format!("`{name}` names a clock"), &fix)
}

/// So that loom sees every atomic there is.
fn one_layer_names_atomics(source: &Source) -> Vec<Finding> {
    const CRATES: &[&str] = &["arc_swap", "loom", "parking", "parking_lot", "portable_atomic", "atomic_waker"];
    const PATHS: &[&str] = &["std::sync::atomic", "core::sync::atomic", "crossbeam_utils::atomic"];
    if !source.in_src() || SYNC_FILES.contains(&source.file.as_str()) {
        return Vec::new();
    }
    let atomics = source.each(|name| {
        let whole = ["std::sync", "std::sync::self", "std::sync::*", "core::sync"].map(words);
        CRATES.contains(&name.path[0].as_str())
            || PATHS.iter().any(|path| name.path.starts_with(&words(path)))
            || whole.contains(&name.path)
            || name.has("thread::park")
            || name.has("thread::park_timeout")
            || name.has("unpark")
    });
    let fix = "use `crate::sync`, which is std or loom; it alone names atomics, arc-swap or parking";
    source.report(atomics, |name| format!("`{name}` is named outside of the façade"), fix)
}

fn nothing_unsafe(source: &Source) -> Vec<Finding> {
    let found = if source.in_src() { source.each(|name| name.has("unsafe")) } else { Vec::new() };
    let fix = "write it safely; where that is impossible it belongs in a package of its own, as the C interface does";
    source.report(found, |_| "unsafe code".to_owned(), fix)
}

/// Tests inside these layers may read files.
fn no_io_in_the_core(source: &Source) -> Vec<Finding> {
    const OUTSIDE: &[&str] = &[
        "std::fs",
        "std::thread",
        "std::process",
        "std::env",
        "std::os",
        "std::net::TcpStream",
        "std::net::TcpListener",
        "std::net::UdpSocket",
        "mio",
        "socket2",
        "rustls",
        "crossbeam_channel",
    ];
    if !source.layer().is_some_and(|layer| SANS_IO.contains(&layer)) {
        return Vec::new();
    }
    let found = source.each(|name| !name.in_tests && OUTSIDE.iter().any(|path| name.path.starts_with(&words(path))));
    let fix = "give it out as an action and let the reactor or the persister carry it out";
    source.report(found, |name| format!("`{name}` in a layer without sockets, files and threads"), fix)
}

fn the_reactor_takes_no_lock(source: &Source) -> Vec<Finding> {
    const LOCKS: &[&str] = &["Mutex", "RwLock", "Condvar", "Barrier", "ReentrantLock", "LazyLock", "OnceLock"];
    if !source.layer().is_some_and(|layer| NEVER_WAITS.contains(&layer)) {
        return Vec::new();
    }
    let found = source.each(|name| !name.in_tests && LOCKS.iter().any(|lock| name.has(lock)));
    let fix = "the reactor never waits: pass the value over a slot or a bounded queue";
    source.report(found, |name| format!("`{name}` is a lock on the reactor's thread"), fix)
}

fn nothing_sleeps(source: &Source) -> Vec<Finding> {
    if SLEEPERS.contains(&source.file.as_str()) {
        return Vec::new();
    }
    let found = source.each(|name| ["thread::sleep", "thread::sleep_until", "thread::*"].iter().any(|s| name.has(s)));
    let fix = "wait for the event itself, with a deadline, or move the tick by hand; else list the file in SLEEPERS";
    source.report(found, |name| format!("`{name}` sleeps"), fix)
}

fn no_placeholder_macros(source: &Source) -> Vec<Finding> {
    let found = source.each(|name| name.bang && ["todo", "unimplemented", "dbg"].iter().any(|word| name.has(word)));
    source.report(found, |name| format!("`{name}!` was left behind"), "finish it, or return an error that says so")
}

fn a_header_opens_the_file(source: &Source) -> Vec<Finding> {
    if !source.is_rust() || source.text.starts_with("//! ") {
        return Vec::new();
    }
    let fix = "open with `//! `: what it is, what comes in and goes out, its laws, its source";
    vec![source.finding(1, "the file has no header".to_owned(), fix)]
}

fn not_too_long(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    if !source.is_rust() || lines < MAX_LINES {
        return Vec::new();
    }
    let wrong = format!("{lines} lines, and fewer than {MAX_LINES} is the rule");
    vec![source.finding(lines, wrong, "split it by what its parts know; tests can go to a file of their own")]
}

/// The state of the whole machine is changed in one place, so that its parts can be read one at a time.
fn the_machine_has_its_files(source: &Source) -> Vec<Finding> {
    if !source.in_src() || MACHINE_FILES.iter().any(|place| source.file.starts_with(place)) {
        return Vec::new();
    }
    let in_tests = |line: usize| source.names.iter().all(|name| name.line != line || name.in_tests);
    let lines = inherent_impls(&source.text, "Machine").into_iter().filter(|line| !in_tests(*line));
    let fix = "give the part a type of its own, or move the method into `src/machine/flow/`";
    lines.map(|line| source.finding(line, "`impl Machine` outside of the conductors".to_owned(), fix)).collect()
}

/// The lines on which `text` begins an `impl` of the type called `wanted`, traits aside.
fn inherent_impls(text: &str, wanted: &str) -> Vec<usize> {
    let tokens = tokens(text);
    let mut lines = Vec::new();
    for (at, (_, line)) in tokens.iter().enumerate().filter(|(_, (token, _))| *token == "impl") {
        let mut depth = 0;
        let mut header = tokens[at + 1..].iter().map(|(token, _)| *token).take_while(|t| !["{", ";"].contains(t));
        let outside = header.by_ref().filter(|token| {
            depth += i32::from(*token == "<");
            let counts = depth == 0;
            depth -= i32::from(*token == ">");
            counts
        });
        let path: Vec<&str> = outside.take_while(|token| *token != "where").collect();
        if path.last() == Some(&wanted) && !path.contains(&"for") {
            lines.push(*line);
        }
    }
    lines
}

/// A simulated world is no part of what is shipped.
fn test_worlds_stay_out_of_the_library(source: &Source) -> Vec<Finding> {
    let worlds = source.includes.iter().filter(|i| source.in_src() && i.module == [TEST_ONLY] && !i.tests);
    let fix = "write `#[cfg(any(test, feature = \"fuzzing\"))]` above it";
    let wrong = || format!("`{TEST_ONLY}` is compiled into the plain library");
    worlds.map(|include| source.finding(include.line, wrong(), fix)).collect()
}

/// The rules on bare text: white space, unfinished work, folders of one machine.
fn text_is_clean(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, text) in (1..).zip(source.text.split('\n')) {
        if text != text.trim_end() {
            findings.push(source.finding(line, "white space ends the line".to_owned(), "take it away: `cargo fmt`"));
        }
        if source.is_rust() && text.contains('\t') {
            findings.push(source.finding(line, "a tab".to_owned(), "indent with spaces; in a string write `\\t`"));
        }
        if let Some(mark) = UNFINISHED.iter().find(|mark| has_word(text, mark)) {
            let fix = "do it now, or say in plain words what does not hold and why";
            findings.push(source.finding(line, format!("{mark} marks unfinished work"), fix));
        }
        if let Some(folder) = PRIVATE_FOLDERS.iter().find(|folder| has_folder(text, folder)) {
            let fix = "use a path relative to the tree, `CARGO_MANIFEST_DIR` or a temporary folder";
            findings.push(source.finding(line, format!("{folder} is a folder of one machine"), fix));
        }
    }
    if !source.text.is_empty() && !source.text.ends_with('\n') {
        let last = source.text.lines().count();
        findings.push(source.finding(last, "the last line does not end".to_owned(), "end it with a newline"));
    }
    findings
}

/// A file that no `mod` line includes is not compiled, and so neither checked nor tested.
fn every_file_is_included(sources: &[Source]) -> Vec<Finding> {
    let crate_files = || sources.iter().filter(|source| source.in_src() && source.is_rust());
    let includes: Vec<&Include> = crate_files().flat_map(|source| &source.includes).collect();
    let is_root = |source: &Source| source.file == "src/lib.rs" || source.is_binary();
    let dead = crate_files().filter(|source| !is_root(source) && !includes.iter().any(|i| source.is_meant_by(i)));
    dead.map(|source| {
        let name = source.module.last().map_or("", String::as_str);
        let fix = format!("write `mod {name};` in its parent, or take the file away");
        source.finding(1, "no `mod` line includes this file".to_owned(), &fix)
    })
    .collect()
}

fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part))
}

/// True where `folder` begins a path, and is not the middle of a longer one or of an address.
fn has_folder(text: &str, folder: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || "_-.~/}".contains(c);
    text.match_indices(folder).any(|(at, _)| !text[..at].ends_with(inside))
}

// Reading the tree.

fn read_tree() -> Vec<Source> {
    let top = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let top = Path::new(&top);
    let mut files: Vec<PathBuf> = TEXT_FILES.iter().map(|file| top.join(file)).filter(|path| path.is_file()).collect();
    for folder in FOLDERS.iter().map(|folder| top.join(folder)).filter(|path| path.is_dir()) {
        rust_files(&folder, &mut files);
    }
    files.sort();
    let name = |path: &Path| {
        let parts = path.strip_prefix(top).expect("the file lies in the tree").components();
        parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
    };
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    files.iter().map(|path| Source::new(&name(path), &read(path))).collect()
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display())) {
        let path = entry.expect("the entry can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            rust_files(&path, into);
        } else if name.ends_with(".rs") {
            into.push(path);
        }
    }
}
