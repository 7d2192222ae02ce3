//! Every file and function that the pages of promises, of threats, of coverage and of several instances name exists.
//!
//! In: `docs/promises.md`, `docs/threats.md`, `docs/coverage.md`, `docs/many.md`. Out: a failure for each promise, and
//! each failure that the last page tells the cost of, without a test that holds it, and for each file or function that
//! does not exist.
//! Law: a function belongs to the file that the page names before it.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

use std::fs;
use std::path::Path;

/// The names between backticks.
fn names(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The files and functions that a text names and that do not exist.
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

/// The last cell of each row of a table.
fn holders(page: &str) -> Vec<&str> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promise |"));
    rows.map(|row| row.trim_end_matches('|').rsplit('|').next().unwrap()).collect()
}

#[test]
fn every_promise_has_a_holder_and_every_holder_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in ["docs/promises.md", "docs/threats.md"] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        let holders = holders(&text);
        assert!(holders.len() > 20, "{} rows were read in {page}", holders.len());
        for holder in &holders {
            assert!(!names(holder).is_empty(), "nothing holds it: {holder}");
            assert_eq!(missing(root, holder), [""; 0], "{page}");
        }
    }
}

/// Of several instances: each row of the tables of failures is named again in the table of what holds it.
#[test]
fn every_failure_of_several_instances_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/many.md")).unwrap();
    let (mut failures, mut held, mut table) = (Vec::new(), Vec::new(), "");
    for line in page.lines() {
        match line {
            "| what fails | what clients see | what is lost at worst |" => table = "failures",
            "| what fails | held by |" => table = "held",
            _ if !line.starts_with("| ") => table = if line.starts_with("|--") { table } else { "" },
            _ => {
                let (what, rest) = line[2..].split_once(" | ").unwrap();
                match table {
                    "failures" => failures.push(what),
                    "held" => held.push((what, rest.trim_end_matches(" |"))),
                    _ => {}
                }
            }
        }
    }
    assert!(failures.len() > 10 && held.len() > 10, "{failures:?} {held:?}");
    for what in &failures {
        let row = format!("| {what} | `FILE` `test` |");
        assert!(held.iter().any(|(name, _)| name == what), "docs/many.md, what holds each row: add {row}");
    }
    for (what, holder) in held {
        assert!(failures.contains(&what), "docs/many.md: no table of failures has a row `{what}`");
        assert!(!names(holder).is_empty(), "nothing holds it: {what}");
        assert_eq!(missing(root, holder), [""; 0], "{what}");
    }
}

#[test]
fn every_function_on_the_page_of_coverage_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/coverage.md")).unwrap();
    let entries: Vec<&str> = page.lines().filter(|line| line.starts_with("- `src/")).collect();
    assert!(entries.len() > 20, "{} entries were read", entries.len());
    for entry in entries {
        // The text after the colon is the reason.
        assert_eq!(missing(root, entry.split(": ").next().unwrap()), [""; 0]);
    }
}

#[test]
fn a_missing_name_is_reported() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(missing(root, "`tests/promises.rs` `a_missing_name_is_reported`"), [""; 0]);
    assert_eq!(missing(root, "`tests/promises.rs` `what_is_nowhere`").len(), 1);
    assert_eq!(missing(root, "`tests/nowhere.rs`").len(), 1);
}
