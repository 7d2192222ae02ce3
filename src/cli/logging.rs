//! Log lines on standard error, written by a thread of their own.
//!
//! In: events of `tracing`. Out: lines; the level is chosen by `SEGNO_LOG` (`warn`, `info`, `debug`), `info` without it.
//! Law: whoever logs never waits: lines go through a bounded queue, and what does not fit is left out.

use std::io::{self, IsTerminal};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that may wait to be written.
const QUEUE: usize = 4_096;

/// Starts logging; lines that wait are written when the guard goes.
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
