//! A store in a file that is removed after the test.
//!
//! In: a name. Out: the value of `--store`, and the cursor that `segno sessions` shows.
//! Law: the store is read only as a user reads it, through `segno sessions`.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file. It does not exist before a proxy opens the store.
pub struct Store(PathBuf);

impl Store {
    pub fn new(name: &str) -> Self {
        let store = Self(std::env::temp_dir().join(format!("segno-{name}-{}.redb", std::process::id())));
        // An earlier process with the same process id may have left one.
        store.remove();
        store
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file with the store's key.
    pub fn key(&self) -> PathBuf {
        format!("{}.key", self.0.display()).into()
    }

    /// Removes both files.
    fn remove(&self) {
        for path in [&self.0, &self.key()] {
            let _ = std::fs::remove_file(path);
        }
    }

    /// The value for `--store`.
    pub fn flag(&self) -> String {
        format!("redb:{}", self.0.display())
    }

    /// The stored id of the only stream, as a number. The proxy must have ended.
    pub fn cursor(&self) -> Option<usize> {
        let out = Command::new(env!("CARGO_BIN_EXE_segno"))
            .args(["sessions", "--json", "--store", &self.flag()])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let json: Value = serde_json::from_slice(&out.stdout).unwrap();
        let ids = json["sessions"].as_array().unwrap().iter().map(|record| record["last_event_id"].as_str().unwrap());
        ids.map(|id| id.parse().unwrap()).max()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.remove();
    }
}
