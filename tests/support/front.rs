//! Proxies and load balancers in front of segno, as processes with a configuration and a folder of their own.
//!
//! In: nginx, Caddy, HAProxy on the PATH or where Debian puts them; a configuration for a port. Out: processes that are
//! killed when they are dropped.
//! Law: a program that is not installed is said to be skipped, and `SEGNO_REQUIRE_FRONTS=1` makes that a failure.

use super::until;
use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A proxy in front, and its files.
pub struct Front {
    child: Child,
    pub address: SocketAddr,
    folder: PathBuf,
}

impl Drop for Front {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Says that a test is skipped, or fails where it may not be.
pub fn skip(why: &str) {
    let required = std::env::var("SEGNO_REQUIRE_FRONTS").is_ok_and(|value| value == "1");
    assert!(!required, "{why}, and SEGNO_REQUIRE_FRONTS is set");
    let _ = writeln!(io::stderr(), "SKIPPED: {why}");
}

/// Where a program is installed. `None`: nowhere, which was said.
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/usr/local/sbin", "/usr/bin"]);
    let found = folders.map(|folder| Path::new(folder).join(name)).find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("{name} is not installed"));
    }
    found
}

impl Front {
    /// Starts a program with a file that `whole` makes for a port and a folder.
    pub fn start(
        program: &Path,
        whole: impl FnOnce(u16, &str) -> String,
        args: impl FnOnce(&str) -> Vec<String>,
    ) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let name = program.file_name().unwrap().display();
        let folder = std::env::temp_dir().join(format!("segno-{name}-{port}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("configuration");
        fs::write(&file, whole(port, &folder.display().to_string())).unwrap();
        let args = args(&file.display().to_string());
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut command = Command::new(program);
        command.args(args).env("HOME", &folder).env("XDG_DATA_HOME", &folder).env("XDG_CONFIG_HOME", &folder);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut front = Self { child: command.spawn().unwrap(), address, folder };
        until("the front listens", || {
            let ended = front.child.try_wait().unwrap();
            assert!(ended.is_none(), "{}", front.log());
            TcpStream::connect(address).is_ok()
        });
        front
    }

    /// nginx, with what stands in its `http` block.
    pub fn nginx(program: &Path, block: impl FnOnce(u16) -> String) -> Self {
        let whole = |port, folder: &str| {
            let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let temporary: String = kinds.map(|kind| format!("{kind}_temp_path {folder}/{kind};\n")).concat();
            format!(
                "daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n\
                 http {{\naccess_log off;\n{temporary}{}}}\n",
                block(port)
            )
        };
        Self::start(program, whole, |file| ["-e", "stderr", "-c", file].map(str::to_owned).into())
    }

    /// HAProxy, with a whole configuration.
    pub fn haproxy(program: &Path, block: impl FnOnce(u16) -> String) -> Self {
        Self::start(program, |port, _| block(port), |file| ["-db", "-f", file].map(str::to_owned).into())
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}
