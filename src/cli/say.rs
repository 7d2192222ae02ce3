//! Lines for people on standard error, which may be a pipe that nobody reads, and whole texts on standard output.
//!
//! In: whole lines. Out: the same on standard error, or on standard output.
//! Laws: who says something waits for a moment at most. What has not been taken by then is left to a thread, and lost when
//! the process ends. A closed standard output is no failure.

use super::Stop;
use crossbeam_channel::bounded;
use std::io::{self, Write};
use std::thread;
use std::time::Duration;

/// How long the caller waits.
const MOMENT: Duration = Duration::from_secs(1);

/// Writes lines to standard error. Where it is closed or full, or the system gives no thread, nobody sees them.
pub(super) fn say(lines: String) {
    for_a_moment(move || drop(io::stderr().write_all(lines.as_bytes())));
}

/// Prints what a command is for.
pub(super) fn print(text: &str, mut out: impl Write) -> Result<(), Stop> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Stop::failed("cannot write to standard output", e)),
        _ => Ok(()),
    }
}

/// Does something that may take for ever, and waits for it for a moment.
pub(super) fn for_a_moment(act: impl FnOnce() + Send + 'static) {
    let (done, wait) = bounded::<()>(1);
    let thread = thread::Builder::new().name("segno-say".to_owned()).spawn(move || {
        act();
        drop(done);
    });
    if thread.is_ok() {
        // Ends when the other end is dropped, or with the moment.
        let _ = wait.recv_timeout(MOMENT);
    }
}
