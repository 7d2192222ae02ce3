//! The pages of promises and of coverage name nothing that is not there.
//!
//! In: `docs/promises.md`, `docs/coverage.md`. Out: a failure for each promise without a holder, and for each file or
//! function that is not in the tree.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

use std::fs;
use std::path::Path;

/// The names between backticks.
fn names(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Files and functions that do not exist, among the names of a text.
fn missing(root: &Path, text: &str) -> Vec<String> {
    let (mut missing, mut file) = (Vec::new(), String::new());
    for name in names(text) {
        if name.contains('/') {
            match fs::read_to_string(root.join(name)) {
                Ok(source) => file = source,
                Err(e) => missing.push(format!("{name}: {e}")),
            }
        } else if !["(", "<"].iter().any(|open| file.contains(&format!("fn {name}{open}"))) {
            missing.push(format!("no function {name} in the file named before it"));
        }
    }
    missing
}

/// The second cell of each row of a table.
fn holders(page: &str) -> Vec<&str> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promise |"));
    rows.map(|row| row.trim_end_matches('|').rsplit('|').next().unwrap()).collect()
}

#[test]
fn every_promise_has_a_holder_and_every_holder_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/promises.md")).unwrap();
    let holders = holders(&page);
    assert!(holders.len() > 20, "{} rows were read", holders.len());
    for holder in &holders {
        assert!(!names(holder).is_empty(), "nothing holds it: {holder}");
        assert_eq!(missing(root, holder), [""; 0]);
    }
}

#[test]
fn what_is_said_to_be_uncovered_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/coverage.md")).unwrap();
    let entries: Vec<&str> = page.lines().filter(|line| line.starts_with("- `src/")).collect();
    assert!(entries.len() > 20, "{} entries were read", entries.len());
    for entry in entries {
        // What stands behind the colon is the reason.
        assert_eq!(missing(root, entry.split(": ").next().unwrap()), [""; 0]);
    }
}

#[test]
fn what_is_not_there_is_told() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(missing(root, "`tests/promises.rs` `what_is_not_there_is_told`"), [""; 0]);
    assert_eq!(missing(root, "`tests/promises.rs` `what_is_nowhere`").len(), 1);
    assert_eq!(missing(root, "`tests/nowhere.rs`").len(), 1);
}
