//! A store in a file that goes with the test, read as a user reads it.
//!
//! In: a name. Out: the flag for it, and what `segno sessions` says is in it.

use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// The file. It is not there before somebody opens it.
pub struct Store(PathBuf);

impl Store {
    pub fn new(name: &str) -> Self {
        let store = Self(std::env::temp_dir().join(format!("segno-{name}-{}.redb", std::process::id())));
        // One of an earlier process with this number.
        let _ = std::fs::remove_file(&store.0);
        store
    }

    /// What `--store` is to be given.
    pub fn flag(&self) -> String {
        format!("redb:{}", self.0.display())
    }

    /// The id that is stored, of the one stream there is; a number. The proxy must have ended.
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
        let _ = std::fs::remove_file(&self.0);
    }
}
