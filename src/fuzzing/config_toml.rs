//! Configuration files: any text is read without a panic, and each problem has its place.
//!
//! In: bytes, which are read as UTF-8 with invalid parts replaced. Out: a panic if a property does not hold.
//! Laws: nothing panics; a problem is one line, and its place lies in the text; an accepted configuration has no
//! faults; the same text gives the same configuration again; each upstream is read back from its printed form.

use crate::config::Upstream;
use crate::config::file::{Flags, Problem, read};

/// The target's body.
pub fn config_toml(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let found = read(&text, &Flags::default());
    match found {
        Ok(config) => {
            assert_eq!(read(&text, &Flags::default()).as_ref(), Ok(&config), "the same text twice");
            assert_eq!(config.faults(), [], "a configuration with faults was accepted");
            for route in config.routes.iter() {
                assert_eq!(Upstream::parse(&route.upstream.to_string()).as_ref(), Ok(&route.upstream));
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "an error that says nothing");
            problems.iter().for_each(|problem| check(problem, &text));
            assert!(problems.is_sorted_by_key(|problem| problem.at), "out of order: {problems:?}");
        }
    }
}

fn check(problem: &Problem, text: &str) {
    assert!(!problem.what.is_empty() && !problem.what.contains(['\n', '\r']), "not one line: {problem:?}");
    match problem.at {
        Some((line, column)) => {
            let there = text.split('\n').nth(line - 1);
            let there = there.unwrap_or_else(|| panic!("the text has no line {line}: {problem:?}"));
            assert!(column >= 1 && column <= there.chars().count() + 1, "no column {column}: {problem:?}");
        }
        // Only something that is missing has no place.
        None => assert!(problem.what.contains("no routes"), "no place: {problem:?}"),
    }
}
