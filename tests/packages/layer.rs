//! A layer over this machine's files: what is written there lies in a folder of its own.
//!
//! In: root's right to mount. Out: a root folder that looks as this machine's does.
//! Law: the layer is taken away when it is dropped, whatever happened in it.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The layer, mounted.
pub(crate) struct Layer {
    scratch: PathBuf,
    root: PathBuf,
}

impl Layer {
    /// Lays an empty folder over `/`.
    pub(crate) fn over_this_machine() -> io::Result<Self> {
        let made = Command::new("mktemp").args(["-d", "-p"]).arg(env::temp_dir()).arg("segno-layer.XXXXXX").output()?;
        let scratch = PathBuf::from(String::from_utf8_lossy(&made.stdout).trim());
        let [upper, work, root] = ["upper", "work", "root"].map(|name| scratch.join(name));
        for folder in [&upper, &work, &root] {
            fs::create_dir(folder)?;
        }
        let options = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
        let mounted = Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&root).output()?;
        if !mounted.status.success() {
            fs::remove_dir_all(&scratch)?;
            let why = String::from_utf8_lossy(&mounted.stderr).trim().to_owned();
            return Err(io::Error::other(format!("no layer can be laid over this machine's files: {why}")));
        }
        Ok(Self { scratch, root })
    }

    /// The root folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        // A panic here would hide the one that ended the test. What stays mounted lies in a folder of its own.
        let unmounted = Command::new("umount").args(["--recursive", "--lazy"]).arg(&self.root).status();
        if unmounted.is_ok_and(|status| status.success()) {
            let _ = fs::remove_dir_all(&self.scratch);
        }
    }
}
