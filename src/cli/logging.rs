//! Log lines on standard error, written by their own thread.
//!
//! In: events of `tracing`. Out: log lines. The variable `SEGNO_LOG` chooses the level (`warn`, `info`, `debug`); the
//! default is `info`.
//! Law: logging never waits. Lines go through a bounded queue, and a line that does not fit is dropped.

use std::io::{self, IsTerminal};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// How many log lines may wait to be written.
const QUEUE: usize = 4_096;

/// Starts logging. Dropping the guard writes the log lines that still wait.
pub(super) fn start() -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(QUEUE)
        .thread_name("segno-log")
        .finish(io::stderr());
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let filter = EnvFilter::try_from_env("SEGNO_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines =
        tracing_subscriber::fmt().with_writer(writer).with_ansi(colour).with_target(false).with_env_filter(filter);
    // A second start in one process keeps the first one's writer.
    let _ = lines.try_init();
    guard
}
