//! Reloads the configuration of a running proxy: at a signal, at a request to the admin address, or when its file has
//! changed.
//!
//! In: what makes the configuration, and who asks. Out: one log line for each attempt, counters, and an answer for who
//! asked by the admin address.
//! Laws: one thread reloads, one attempt after the other; a configuration with a problem is not taken over, and the
//! line says where the problem is; nothing is passed over in silence: what takes a restart is named each time.

use super::load::Sources;
use super::{Stop, service, token};
use crate::admin::{Answerer, Reloaded};
use crate::clock::Clock;
use crate::config::file::Problem;
use crate::config::{Config, Reload};
use crate::engine::{Engine, NotReloaded, Reloader};
use crate::journal::{Journal, Level};
use crate::metrics::Metrics;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Attempts that may wait.
const WAITING: usize = 64;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Somebody wants a reload.
pub(super) struct Ask {
    /// Who, as the log line says it.
    pub(super) by: &'static str,
    /// Who waits for the answer.
    pub(super) answer: Option<Answerer>,
}

/// Why a configuration is not taken over, as far as is known.
enum NotTaken {
    Refused(Vec<Problem>),
    /// The reactor has it and has not answered.
    Late(NotReloaded),
}

/// What reloads.
struct Reloading {
    sources: Sources,
    reloader: Reloader,
    metrics: Arc<Metrics>,
    journal: Journal,
    clock: Clock,
    /// What the file was when it was last read.
    read: Option<Identity>,
    /// What it was at the last look. A file that is being written is left alone until it stays as it is.
    seen: Option<Identity>,
}

/// Starts the thread that reloads. Whoever wants a reload leaves word here.
pub(super) fn start(sources: Sources, engine: &Engine) -> io::Result<Sender<Ask>> {
    let (sender, asks) = bounded(WAITING);
    let clock = engine.clock();
    let metrics = Arc::clone(engine.metrics());
    metrics.reloads().read_at.set(clock.calendar_secs());
    let identity = identity(&sources);
    let reloading = Reloading {
        sources,
        reloader: engine.reloader(),
        metrics,
        journal: engine.journal(),
        clock,
        read: identity.clone(),
        seen: identity,
    };
    thread::Builder::new().name("segno-reload".to_owned()).spawn(move || reloading.run(&asks))?;
    Ok(sender)
}

impl Reloading {
    fn run(mut self, asks: &Receiver<Ask>) {
        loop {
            match asks.recv_timeout(LOOK) {
                Ok(Ask { by, answer }) => {
                    let outcome = self.reload(by);
                    if let Some(answer) = answer {
                        answer(outcome);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.settle();
                    self.look();
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Reloads if the file has changed and then stayed as it is, where the configuration asks for it.
    fn look(&mut self) {
        if !self.reloader.running().watch {
            return;
        }
        let now = identity(&self.sources);
        let is_calm = now == self.seen;
        self.seen.clone_from(&now);
        if is_calm && now != self.read {
            self.reload("its file has changed");
        }
    }

    fn reload(&mut self, by: &str) -> Reloaded {
        service::reloading();
        let outcome = self.try_to_reload(by);
        service::reloaded();
        outcome
    }

    /// Tells of a configuration that was late, once it is known what has come of it.
    fn settle(&mut self) {
        match self.reloader.settled() {
            None => {}
            Some(Ok(found)) => {
                self.metrics.reloads().on_taken(self.clock.calendar_secs());
                let what = format!("reloaded the configuration that had to wait: {}", in_words(&found));
                self.journal.say(Level::Info, what);
            }
            Some(Err(why)) => {
                self.metrics.reloads().on_refused();
                let what = format!("did not reload the configuration that had to wait, the one before goes on: {why}");
                self.journal.say(Level::Error, what);
            }
        }
    }

    fn try_to_reload(&mut self, by: &str) -> Reloaded {
        self.settle();
        self.read = identity(&self.sources);
        self.seen.clone_from(&self.read);
        match self.taken_over() {
            Ok(found) => {
                self.metrics.reloads().on_taken(self.clock.calendar_secs());
                self.journal.say(Level::Info, format!("reloaded the configuration ({by}): {}", in_words(&found)));
                let Reload { changed, needs_restart, .. } = found;
                answer(200, &json!({ "outcome": "reloaded", "changed": changed, "needs_restart": needs_restart }))
            }
            Err(NotTaken::Late(why)) => {
                self.metrics.reloads().on_unknown();
                let what = format!("it is not known yet whether the configuration is reloaded ({by}): {why}");
                self.journal.say(Level::Warn, what);
                Reloaded::unknown(&why.to_string())
            }
            Err(NotTaken::Refused(problems)) => {
                self.metrics.reloads().on_refused();
                let file = self.sources.file();
                let told: Vec<String> = problems.iter().map(|problem| problem.show(file.as_deref())).collect();
                let what = format!("did not reload ({by}), the configuration before goes on: {}", told.join("; "));
                self.journal.say(Level::Error, what);
                let list: Vec<Value> = problems.iter().map(|problem| in_json(problem, file.as_deref())).collect();
                answer(422, &json!({ "outcome": "refused", "problems": list }))
            }
        }
    }

    fn taken_over(&self) -> Result<Reload, NotTaken> {
        if self.sources.path.as_deref() == Some(Path::new("-")) {
            let what = "the configuration came from standard input, which cannot be read again";
            return Err(NotTaken::Refused(vec![Problem::beside(what.to_owned())]));
        }
        let config: Config = match self.sources.read() {
            Ok(effective) => effective.config,
            Err(Stop::Problems { list, .. }) => return Err(NotTaken::Refused(list)),
            Err(other) => {
                return Err(NotTaken::Refused(vec![Problem::beside(other.to_string().trim_end().to_owned())]));
            }
        };
        self.reloader.reload(&config).map_err(|why| match why {
            NotReloaded::Late => NotTaken::Late(why),
            why => NotTaken::Refused(vec![Problem::beside(why.to_string())]),
        })
    }
}

fn answer(status: u16, body: &Value) -> Reloaded {
    Reloaded { status, json: format!("{body}\n") }
}

/// What has changed, for a log line.
fn in_words(found: &Reload) -> String {
    let changed = match found.changed.is_empty() {
        true => "nothing has changed".to_owned(),
        false => format!("changed: {}", found.changed.join(", ")),
    };
    match found.needs_restart.is_empty() {
        true => changed,
        false => format!("{changed}; these take a restart: {}", found.needs_restart.join(", ")),
    }
}

fn in_json(problem: &Problem, file: Option<&str>) -> Value {
    let (line, column) = problem.at.map_or((None, None), |(line, column)| (Some(line), Some(column)));
    let file = file.filter(|_| !problem.is_beside);
    json!({ "file": file, "line": line, "column": column, "what": problem.what })
}

/// By what a changed file is known: its time, its size, and which file it is. A link that leads to another file is a
/// change.
type Identity = (Option<Box<str>>, u64, u64);

fn identity(sources: &Sources) -> Option<Identity> {
    let found = fs::metadata(sources.path.as_deref()?).ok()?;
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&found);
    #[cfg(not(unix))]
    let number = 0;
    // Two times are told apart by how they are shown: nothing here asks for the time.
    let written = found.modified().ok().map(|at| format!("{at:?}").into());
    Some((written, found.len(), number))
}

/// `segno reload`: asks a running proxy to reload its configuration.
pub(super) mod command {
    use super::token;
    use crate::cli::Stop;
    use crate::cli::args::ReloadArgs;
    use crate::config::file::Flags;
    use std::env;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::time::Duration;

    /// How long the proxy may take.
    const TIMEOUT: Duration = Duration::from_secs(15);

    const UNKNOWN: &str =
        "it is not known whether the proxy takes the configuration over: ask again, or look at its log";

    /// The largest answer that is read.
    const MOST: u64 = 1 << 20;

    /// Asks, and prints the answer.
    pub(in crate::cli) fn run(args: &ReloadArgs, mut out: impl Write) -> Result<(), Stop> {
        let address = address(args)?;
        let token = token::token(args.admin_token_file.as_deref()).map_err(Stop::Usage)?;
        let (status, body) = ask(address, token.as_deref()).map_err(Stop::Failed)?;
        // If standard output is closed, the exit code still shows the result.
        let _ = out.write_all(body.as_bytes());
        match status {
            200 => Ok(()),
            504 => Err(Stop::Failed(UNKNOWN.to_owned())),
            422 => Err(Stop::Usage("the proxy did not take the configuration over; the one before goes on".to_owned())),
            status => Err(Stop::Failed(format!("{address} answered {status}"))),
        }
    }

    /// The flag, else the variable of the proxy's own flag.
    fn address(args: &ReloadArgs) -> Result<SocketAddr, Stop> {
        if let Some(address) = args.admin {
            return Ok(address);
        }
        let mut flags = Flags::default();
        flags.variables(env::vars_os());
        let wrong = || Stop::Usage("name the admin address of the proxy: `--admin ADDR`, or SEGNO_ADMIN".to_owned());
        flags.text("admin").and_then(|text| text.parse().ok()).ok_or_else(wrong)
    }

    fn ask(address: SocketAddr, token: Option<&str>) -> Result<(u16, String), String> {
        let failed = |e: std::io::Error| format!("asking {address}: {e}; is it the `--admin` address of a proxy?");
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(failed)?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
        let token = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        let request = format!(
            "POST /reload HTTP/1.1\r\nHost: {address}\r\n{token}Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).map_err(failed)?;
        let mut bytes = Vec::new();
        stream.take(MOST).read_to_end(&mut bytes).map_err(|e| match e.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => UNKNOWN.to_owned(),
            _ => failed(e),
        })?;
        let text = String::from_utf8_lossy(&bytes);
        let answer = text.split_once("\r\n\r\n").and_then(|(head, body)| {
            let status = head.split(' ').nth(1)?.parse().ok()?;
            Some((status, body.to_owned()))
        });
        answer.ok_or_else(|| failed(ErrorKind::UnexpectedEof.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_with_its_place_and_one_beside_the_file_without() {
        let at = Problem { at: Some((3, 1)), ..Problem::anywhere("x".to_owned()) };
        let told = in_json(&at, Some("s.toml"));
        assert_eq!(told, json!({ "file": "s.toml", "line": 3, "column": 1, "what": "x" }));
        let beside = in_json(&Problem::beside("y".to_owned()), Some("s.toml"));
        assert_eq!(beside["file"], Value::Null);
    }
}
