//! The proxy as a separate process, so that its memory can be measured apart from the test's.
//!
//! In: an upstream, flags. Out: the proxy's address, its log lines, memory, processor time and metrics.
//! Law: dropping the handle kills the process.

use super::{Client, PATIENCE};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// The flags of most tests: nothing on disk, no added ids, and no lingering.
const PLAIN: [&str; 6] = ["--store", "memory", "--linger", "0s", "--ids", "off"];

/// A running `segno proxy`, killed when it is dropped.
pub struct Process {
    child: Child,
    address: SocketAddr,
    /// The line with the address.
    listening: String,
    /// Lines that came before the line with the address.
    before: Vec<String>,
    lines: Receiver<String>,
    at_start: u64,
}

impl Process {
    /// Starts the proxy and waits until it listens.
    pub fn start(upstream: SocketAddr) -> Self {
        Self::with_flags(&["--upstream", &format!("http://{upstream}")])
    }

    /// Starts the proxy with these flags, on a port that the system chooses.
    pub fn with_flags(flags: &[&str]) -> Self {
        Self::with_args(&[&PLAIN, flags].concat())
    }

    /// Starts the proxy with at most `most` descriptors.
    pub fn with_descriptors(upstream: SocketAddr, most: u64) -> Self {
        let upstream = format!("http://{upstream}");
        Self::limited(&format!("-n {most}"), &[&PLAIN[..], &["--upstream", &upstream]].concat())
    }

    /// Starts the program with these arguments alone.
    pub fn with_args(args: &[&str]) -> Self {
        Self::of(Command::new(env!("CARGO_BIN_EXE_segno")).arg("proxy").args(args))
    }

    /// The same with variables of the environment.
    pub fn with_env(args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segno"));
        Self::of(command.arg("proxy").args(args).envs(variables.iter().copied()))
    }

    /// The same under a limit of the system, given as arguments of the shell's `ulimit`.
    pub fn limited(limit: &str, args: &[&str]) -> Self {
        let script = format!("ulimit {limit} && exec \"$0\" proxy \"$@\"");
        Self::of(Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_segno")]).args(args))
    }

    /// Starts the program with these arguments, to listen at this address.
    pub fn at(address: SocketAddr, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segno"));
        Self::listening_at(address, command.arg("proxy").args(args))
    }

    fn of(command: &mut Command) -> Self {
        Self::listening_at(SocketAddr::from(([127, 0, 0, 1], 0)), command)
    }

    fn listening_at(address: SocketAddr, command: &mut Command) -> Self {
        let command = command.args(["--listen", &address.to_string()]).env("NO_COLOR", "1");
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // A thread reads all of standard error, so that the process never waits for the test.
        thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| {
                let _ = sender.send(line);
            });
        });
        let mut before = Vec::new();
        let (address, listening) = loop {
            let Ok(line) = lines.recv_timeout(PATIENCE) else { panic!("it does not say where it listens: {before:?}") };
            if line.contains("listening on http") {
                break (address_in(&line).unwrap_or_else(|| panic!("no address in {line:?}")), line);
            }
            before.push(line);
        };
        let mut started = Self { child, address, listening, before, lines, at_start: 0 };
        started.at_start = started.memory("VmRSS:");
        started
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The line that says where it listens.
    pub fn listening(&self) -> &str {
        &self.listening
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// By how many bytes the peak of the resident memory is above the memory at the start.
    pub fn grown(&self) -> u64 {
        self.memory("VmHWM:").saturating_sub(self.at_start)
    }

    /// Fails if the memory has ever grown by `mib` MiB or more.
    pub fn assert_grown_below(&self, mib: u64) {
        let grown = self.grown() >> 20;
        assert!(grown < mib, "its memory grew by {grown} MiB");
    }

    /// The present resident memory, in bytes.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The processor time that the process has used.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the process lives");
        // After the name, which may hold anything: the 14th and 15th field of the line, in hundredths of a second.
        let fields = stat.rsplit_once(") ").expect("a name in brackets").1.split(' ');
        let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// The processor time that one thread of the process has used, by its name.
    pub fn cpu_of(&self, thread: &str) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("the process lives");
        let is_it =
            |task: &std::path::Path| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == thread);
        let task = tasks.flatten().map(|task| task.path()).find(|task| is_it(task)).expect("there is such a thread");
        // In nanoseconds, as the scheduler counts them.
        let schedule = fs::read_to_string(task.join("schedstat")).expect("the kernel tells");
        Duration::from_nanos(schedule.split(' ').next().unwrap().parse().unwrap())
    }

    /// How many descriptors the process has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the process lives").count()
    }

    /// Waits for a log line that contains `what`, and returns the line.
    pub fn until_said(&mut self, what: &str) -> String {
        if let Some(line) = self.before.iter().find(|line| line.contains(what)) {
            return line.clone();
        }
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(what) => return line,
                Ok(line) => self.before.push(line),
                Err(e) => panic!("{e}: it does not say {what:?}, but {:#?}", self.before),
            }
        }
    }

    /// The admin address of a proxy that was started with `--admin`.
    pub fn admin(&mut self) -> SocketAddr {
        address_in(&self.until_said("metrics, health and sessions at ")).expect("an address")
    }

    /// Changes a limit of the system while the process runs. `limit` is an argument of `prlimit`.
    pub fn limit(&self, limit: &str) {
        let done = Command::new("prlimit").args([limit, "--pid", &self.child.id().to_string()]).status().unwrap();
        assert!(done.success(), "prlimit {limit}");
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

    /// Whether the process has ended. It may still wait for its parent to collect the exit status.
    pub fn has_ended(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("its parent is there");
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
    }

    /// Waits until the process has ended. Returns its status, and the lines that it wrote besides the one with the
    /// address.
    pub fn end(mut self) -> (ExitStatus, Vec<String>) {
        let mut ended = None;
        super::until("the process has ended", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        (
            ended.expect("it has ended"),
            self.before.drain(..).collect::<Vec<_>>().into_iter().chain(self.lines.iter()).collect(),
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Fetches a page from the admin address.
pub fn page(admin: SocketAddr, path: &str) -> String {
    try_page(admin, path).unwrap_or_else(|status| panic!("{status} for {path}"))
}

/// Fetches a page from the admin address. An error is the status that came instead.
fn try_page(admin: SocketAddr, path: &str) -> Result<String, u16> {
    let mut client = Client::connect(admin);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
    let answer = client.answer();
    assert_eq!(answer.end, super::End::Whole, "{}", answer.head);
    if answer.status == 200 { Ok(answer.text().to_owned()) } else { Err(answer.status) }
}

/// A number on the metrics page, by its name behind `segno_`: all its labels together.
pub fn metric(admin: SocketAddr, name: &str) -> u64 {
    let page = page(admin, "/metrics");
    assert!(page.contains(&format!("# TYPE segno_{name} ")), "no {name} in {page}");
    let values = page.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix("segno_")?.strip_prefix(name)?.rsplit_once(' ')?;
        (labels.is_empty() || labels.starts_with('{')).then(|| value.parse::<u64>())
    });
    values.map(|value| value.unwrap_or_else(|e| panic!("{name} is no whole number ({e}) in {page}"))).sum()
}

/// The stored id of the only stream, as a number. `None` if there is none, or while the store is being reopened.
pub fn stored(admin: SocketAddr) -> Option<usize> {
    let page = match try_page(admin, "/sessions") {
        Err(503) => return None,
        page => page.unwrap_or_else(|status| panic!("{status} for the sessions")),
    };
    let ids =
        page.lines().filter_map(|line| line.split("\"last_event_id\":\"").nth(1)?.split('"').next()?.parse().ok());
    ids.max()
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let rest = line.split("://").nth(1)?;
    rest.split([';', ',', ' ']).next()?.parse().ok()
}
