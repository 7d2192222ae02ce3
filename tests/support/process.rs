//! The proxy as a process of its own, whose memory can be told from that of the test.
//!
//! In: an upstream, flags. Out: its address, how much its memory has grown at its peak.

use super::{Client, PATIENCE};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

/// A running `segno proxy`, killed when it is dropped.
pub struct Process {
    child: Child,
    address: SocketAddr,
    lines: Receiver<String>,
    at_start: u64,
}

impl Process {
    /// Starts it and waits until it listens.
    pub fn start(upstream: SocketAddr) -> Self {
        Self::with_flags(&["--upstream", &format!("http://{upstream}")])
    }

    /// Starts it with these flags, on a port of the system's choice.
    pub fn with_flags(flags: &[&str]) -> Self {
        Self::of(
            Command::new(env!("CARGO_BIN_EXE_segno"))
                .args(["proxy", "--store", "memory", "--linger", "0s", "--ids", "off"])
                .args(flags),
        )
    }

    /// Starts it with so many descriptors at most.
    pub fn with_descriptors(upstream: SocketAddr, most: u32) -> Self {
        let script = format!("ulimit -n {most}; exec \"$0\" \"$@\"");
        let proxy = [
            env!("CARGO_BIN_EXE_segno"),
            "proxy",
            "--store",
            "memory",
            "--linger",
            "0s",
            "--ids",
            "off",
            "--upstream",
            &format!("http://{upstream}"),
        ];
        Self::of(Command::new("sh").args(["-c", &script]).args(proxy))
    }

    fn of(command: &mut Command) -> Self {
        let command = command.args(["--listen", "127.0.0.1:0"]);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // All of it is read, so that the process never waits for us.
        thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| {
                let _ = sender.send(line);
            });
        });
        let first = lines.recv_timeout(PATIENCE).expect("it says where it listens");
        let address = address_in(&first).unwrap_or_else(|| panic!("no address in {first:?}"));
        let mut started = Self { child, address, lines, at_start: 0 };
        started.at_start = started.memory("VmRSS:");
        started
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// By how many bytes its resident memory has been above that at the start, at the most.
    pub fn grown(&self) -> u64 {
        self.memory("VmHWM:").saturating_sub(self.at_start)
    }

    /// Fails if it has ever taken more than `mib` MiB above what it started with.
    pub fn assert_grown_below(&self, mib: u64) {
        let grown = self.grown() >> 20;
        assert!(grown < mib, "its memory grew by {grown} MiB");
    }

    fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the kernel tells");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits until it has ended; returns how, and the lines it wrote after the first.
    pub fn end(mut self) -> (ExitStatus, Vec<String>) {
        let mut ended = None;
        super::until("the process has ended", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        (ended.expect("it has ended"), self.lines.iter().collect())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let rest = line.split("http://").nth(1)?;
    rest.split([';', ',', ' ']).next()?.parse().ok()
}
