//! What the system knows of this process, and a place for a file.

use std::fs;
use std::path::{Path, PathBuf};

/// A number of `/proc/self/FILE`, by the word in front of it; 0 where there is none.
pub(crate) fn number(file: &str, word: &str) -> u64 {
    let text = fs::read_to_string(Path::new("/proc/self").join(file)).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Threads of this process.
pub(crate) fn threads() -> u64 {
    number("status", "Threads")
}

/// Memory of this process that is in RAM, in MB.
pub(crate) fn resident_mb() -> u64 {
    number("status", "VmRSS") / 1_000
}

/// Bytes that this process has given to the system to be written to files.
pub(crate) fn written() -> u64 {
    number("io", "write_bytes")
}

/// A file's path that is removed at the end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("segno-bench-{}-{name}.redb", std::process::id()));
        // One of an earlier process with this number.
        let _ = fs::remove_file(&path);
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
