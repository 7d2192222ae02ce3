//! Checks what segno depends on.
//!
//! In: `cargo metadata` with every feature and the dev-dependencies, `cargo tree` with none, and `Cargo.lock`. Out: a
//! failure that names the package and what is wrong with it.
//! Laws: no async runtime anywhere in the graph; known licences only; no package from git or a folder; one version of
//! each package that is costly or shares types; the library without features stays small. The test downloads nothing if
//! the packages of this machine's platform are there, as they are after a build.

#![allow(clippy::expect_used, clippy::panic, reason = "a test may panic: that is a failed test")]

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Async runtimes and executors. A package of futures without an executor is not one.
const RUNTIMES: &[&str] = &[
    "actix-rt",
    "async-executor",
    "async-global-executor",
    "async-io",
    "async-std",
    "compio",
    "embassy-executor",
    "executor-trait",
    "futures-executor",
    "glommio",
    "monoio",
    "pollster",
    "smol",
    "tokio",
    "tokio-executor",
    "tokio-reactor",
    "tokio-rustls",
    "tokio-util",
    "tokio-uring",
];

/// SPDX identifiers that suit a crate under MIT or Apache-2.0. A new one is a decision, not a formality.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
/// Exceptions to licences that are accepted. An exception only permits more than the licence alone.
const EXCEPTIONS: &[&str] = &["LLVM-exception"];

/// Packages of which two versions would cost much or not fit together. (`hashbrown` may come twice.)
const SINGLE: &[&str] = &[
    "arc-swap",
    "clap_builder",
    "crossbeam-channel",
    "crossbeam-queue",
    "crossbeam-utils",
    "httparse",
    "libc",
    "loom",
    "memchr",
    "mio",
    "parking_lot",
    "redb",
    "ring",
    "rustls",
    "rustls-pki-types",
    "rustls-webpki",
    "segno",
    "serde_core",
    "socket2",
    "toml",
    "tracing-core",
    "tracing-subscriber",
];

/// All packages that the library without features may need, on any platform.
const BARE: &[&str] = &["foldhash", "hashbrown", "memchr", "segno"];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// One package of the graph.
#[derive(Clone, Debug)]
struct Package {
    name: String,
    version: String,
    licence: String,
    /// Where it comes from; empty for a folder.
    source: String,
}

#[test]
fn no_async_runtime_is_in_the_graph() {
    let found = runtimes(&graph());
    assert!(found.is_empty(), "{found:?} in the graph with all features: see `cargo tree --all-features -i NAME`");
}

#[test]
fn no_async_runtime_is_in_the_lock_file() {
    let found = runtimes(&locked());
    assert!(found.is_empty(), "{found:?} in Cargo.lock, for some platform: see `cargo tree --target all -i NAME`");
}

#[test]
fn every_licence_is_known_and_suits() {
    let bad: Vec<Package> = graph().into_iter().filter(|package| !suits(&package.licence)).collect();
    assert!(bad.is_empty(), "licences that are not in LICENCES: {bad:#?}");
}

#[test]
fn nothing_comes_from_git_or_a_folder() {
    let bad = strangers(&[graph(), locked()].concat());
    assert!(bad.is_empty(), "not from crates.io: {bad:#?}");
}

#[test]
fn the_named_packages_come_in_one_version() {
    let found = doubles(&graph());
    assert!(found.is_empty(), "more than one version of {found:?}: see `cargo tree --all-features -d`");
}

#[test]
fn the_bare_library_stays_small() {
    let tree =
        cargo(&["tree", "--no-default-features", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let text = tree.expect("cargo tree runs");
    let names: BTreeSet<&str> =
        text.lines().filter_map(|line| line.split(' ').next()).filter(|n| !n.is_empty()).collect();
    assert!(names.contains("segno"), "cargo tree printed no graph:\n{text}");
    let extra: Vec<&&str> = names.iter().filter(|name| !BARE.contains(name)).collect();
    assert!(
        extra.is_empty(),
        "without features segno brings {extra:?}: put them behind a feature, or list them in BARE"
    );
}

fn runtimes(packages: &[Package]) -> Vec<String> {
    packages.iter().filter(|p| RUNTIMES.contains(&p.name.as_str())).map(|p| p.name.clone()).collect()
}

/// The packages that are neither this one nor from crates.io.
fn strangers(packages: &[Package]) -> Vec<Package> {
    let own = |package: &Package| package.name == "segno" && package.source.is_empty();
    packages.iter().filter(|package| !own(package) && package.source != REGISTRY).cloned().collect()
}

fn doubles(packages: &[Package]) -> BTreeSet<String> {
    let versions = |name: &str| {
        packages
            .iter()
            .filter(|package| package.name == name)
            .map(|p| p.version.as_str())
            .collect::<BTreeSet<_>>()
            .len()
    };
    SINGLE.iter().filter(|name| versions(name) > 1).map(|name| (*name).to_owned()).collect()
}

// Licences.

/// Whether `expression` offers a choice whose licences are all in [`LICENCES`]. `AND` binds tighter than `OR`; the old
/// form `MIT/Apache-2.0` means `OR`.
fn suits(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any_of(&words, &mut at) == Some(true) && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize) -> Option<bool> {
    let mut value = all_of(words, at)?;
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        value |= all_of(words, at)?;
    }
    Some(value)
}

fn all_of(words: &[&str], at: &mut usize) -> Option<bool> {
    let mut value = one(words, at)?;
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        value &= one(words, at)?;
    }
    Some(value)
}

/// A name, a name with its exception, or a group in brackets. `None` if the expression is malformed.
fn one(words: &[&str], at: &mut usize) -> Option<bool> {
    let word = *words.get(*at)?;
    *at += 1;
    if word == "(" {
        let value = any_of(words, at)?;
        *at += 1;
        return (words.get(*at - 1) == Some(&")")).then_some(value);
    }
    if ["OR", "AND", "WITH", ")"].contains(&word) {
        return None;
    }
    let mut value = LICENCES.contains(&word);
    if words.get(*at) == Some(&"WITH") {
        value &= EXCEPTIONS.contains(words.get(*at + 1)?);
        *at += 2;
    }
    Some(value)
}

// Asking cargo.

/// All packages with all features, with those for tests and builds: for every platform if their manifests are on this
/// machine, else for this platform.
fn graph() -> Vec<Package> {
    let host = host();
    let all = ["metadata", "--format-version", "1", "--all-features"];
    let here = [&all[..], &["--filter-platform", &host]].concat();
    let answer = cargo(&[&all[..], &["--offline"]].concat())
        .or_else(|_| cargo(&[&here[..], &["--offline"]].concat()))
        .or_else(|_| cargo(&here));
    let text = answer.unwrap_or_else(|why| panic!("cargo metadata failed: {why}"));
    let packages = packages(&text);
    assert!(packages.iter().any(|package| package.name == "memchr"), "cargo metadata gave no graph");
    packages
}

/// The packages in the answer of `cargo metadata` that its `resolve` part names.
fn packages(metadata: &str) -> Vec<Package> {
    let value: Value = serde_json::from_str(metadata).expect("cargo metadata prints JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let used: BTreeSet<String> = list(&value["resolve"]["nodes"]).iter().map(|node| node["id"].to_string()).collect();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let package = |value: &Value| Package {
        name: text(&value["name"]),
        version: text(&value["version"]),
        licence: text(&value["license"]),
        source: text(&value["source"]),
    };
    list(&value["packages"]).iter().filter(|p| used.contains(&p["id"].to_string())).map(package).collect()
}

/// The packages of `Cargo.lock`: every platform, every feature, and no licences.
fn locked() -> Vec<Package> {
    let packages = lock_entries(include_str!("../Cargo.lock"));
    assert!(packages.iter().any(|package| package.name == "memchr"), "Cargo.lock was not understood");
    packages
}

fn lock_entries(lock: &str) -> Vec<Package> {
    let field = |entry: &str, key: &str| {
        let value = entry.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        value.unwrap_or_default().trim_matches('"').to_owned()
    };
    let entry = |text: &str| Package {
        name: field(text, "name"),
        version: field(text, "version"),
        licence: String::new(),
        source: field(text, "source"),
    };
    lock.split("[[package]]").skip(1).map(entry).collect()
}

/// The platform that this machine builds for, as cargo names it.
fn host() -> String {
    let text = cargo_with(&["-vV"]).expect("cargo says its version");
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("cargo names its host").to_owned()
}

/// The output of cargo for `arguments` in this package, with `Cargo.lock` unchanged.
fn cargo(arguments: &[&str]) -> Result<String, String> {
    cargo_with(
        &[arguments, &["--locked", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]].concat(),
    )
}

fn cargo_with(arguments: &[&str]) -> Result<String, String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program).args(arguments).env("CARGO_TERM_COLOR", "never").output();
    let output = output.map_err(|why| why.to_string())?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

// Each check finds what it is for.

fn package(name: &str, version: &str, source: &str) -> Package {
    Package { name: name.to_owned(), version: version.to_owned(), licence: String::new(), source: source.to_owned() }
}

#[test]
fn a_choice_of_licences_suits_if_one_of_them_does() {
    for good in [
        "MIT",
        "MIT OR GPL-3.0-only",
        "GPL-3.0-only OR MIT",
        "MIT/Apache-2.0",
        "(MIT OR GPL-2.0-only) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception",
        "GPL-3.0-only AND ISC OR MIT",
        "((MIT))",
    ] {
        assert!(suits(good), "{good}");
    }
}

#[test]
fn a_licence_that_is_not_listed_does_not_suit() {
    for bad in [
        "",
        "GPL-3.0-only",
        "MIT AND GPL-3.0-only",
        "GPL-3.0-only AND (MIT OR ISC)",
        "GPL-3.0-only AND (ISC OR MIT) OR LGPL-2.1-only",
        "MIT WITH Odd-exception",
        "mit",
    ] {
        assert!(!suits(bad), "{bad}");
    }
}

#[test]
fn a_malformed_expression_does_not_suit() {
    for bad in ["MIT OR", "OR MIT", "(MIT", "MIT)", "MIT ISC", "MIT AND OR ISC", "Apache-2.0 WITH", "()"] {
        assert!(!suits(bad), "{bad}");
    }
}

#[test]
fn a_runtime_deep_in_the_graph_is_found() {
    let metadata = r#"{"packages": [
        {"id": "a", "name": "memchr", "version": "1.0.0", "license": "MIT", "source": null},
        {"id": "b", "name": "tokio", "version": "1.0.0", "license": "MIT", "source": null},
        {"id": "c", "name": "smol", "version": "1.0.0", "license": "MIT", "source": null}
    ], "resolve": {"nodes": [{"id": "a"}, {"id": "b"}]}}"#;
    assert_eq!(runtimes(&packages(metadata)), ["tokio"]);
}

#[test]
fn a_package_from_git_or_a_folder_is_found() {
    let all = [
        package("segno", "0.1.0", ""),
        package("memchr", "2.8.3", REGISTRY),
        package("memchr", "2.8.3", "git+https://example.org/memchr"),
        package("local", "1.0.0", ""),
    ];
    let found: Vec<String> = strangers(&all).into_iter().map(|package| package.source + &package.name).collect();
    assert_eq!(found, ["git+https://example.org/memchrmemchr", "local"]);
}

#[test]
fn a_second_version_is_found() {
    let all = [
        package("mio", "1.0.0", ""),
        package("mio", "0.8.0", ""),
        package("syn", "1.0.0", ""),
        package("syn", "2.0.0", ""),
    ];
    assert_eq!(doubles(&all).into_iter().collect::<Vec<_>>(), ["mio"]);
}

#[test]
fn entries_of_a_lock_file_are_read() {
    let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.2.3\"\nsource = \"git+x\"\ndependencies = [\n \"b\",\n]\n\n\
                [[package]]\nname = \"b\"\nversion = \"0.1.0\"\n";
    let found: Vec<String> =
        lock_entries(lock).iter().map(|p| format!("{} {} {}", p.name, p.version, p.source)).collect();
    assert_eq!(found, ["a 1.2.3 git+x", "b 0.1.0 "]);
}
