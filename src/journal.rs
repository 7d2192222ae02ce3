//! The journal: log lines on their way from threads that must not wait to the thread that writes them.
//!
//! In: what to say, from any thread; parts of traces. Out: lines through `tracing`, written by the journal's own thread;
//! the parts of traces also on a queue, where somebody sends them on.
//! Laws: saying never waits, takes no lock and formats nothing, whatever the subscriber behind `tracing` does; at most
//! 1,024 lines wait, and one that finds no room is left out, counted, and told of by the next one; a line has a
//! bounded length and no control character. The thread ends with the last handle.

use crate::base::{Access, TraceShare, TraceSpan, shown};
use crate::metrics::Metrics;
use crate::sync::{Counter, Sleeper, park};
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tracing::field::display;
use tracing::level_filters::LevelFilter;

/// Lines that may wait to be written.
const WAITING: usize = 1_024;

/// Bytes of a line at most.
const LONGEST: usize = 1_000;

/// How important a line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// Something was lost.
    Error,
    /// Somebody should act on it.
    Warn,
    /// Good to know.
    Info,
    /// For those who search for a fault.
    Debug,
}

/// The stream and the request that a line is about, if it is about one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct About {
    /// The stream's number.
    pub stream: Option<u64>,
    /// The request's id; empty: none.
    pub request: Box<str>,
    /// The id of the request's trace, if it belongs to one.
    pub trace: Option<u128>,
}

/// What a line says. It becomes text on the journal's thread.
type What = Box<dyn fmt::Display + Send>;

enum Entry {
    Line {
        level: Level,
        what: What,
        about: About,
        /// Lines of the same handle that were left out before this one.
        left_out: u64,
    },
    /// A line of the access log.
    Served(Box<Access>),
    /// A part of a trace.
    Traced(Box<TraceSpan>),
    /// All lines before this one have been written.
    Mark(Sender<()>),
}

/// A handle to say lines with. Clones go to other threads.
pub struct Journal {
    /// `None`: nobody listens.
    link: Option<Link>,
    metrics: Arc<Metrics>,
    /// Lines left out since the last one that was not.
    left_out: u64,
    recording: Arc<Recording>,
    /// Where parts of traces are sent on from.
    spans: Option<Sender<Box<TraceSpan>>>,
}

/// Which traces are recorded at present, for threads that begin some of their own.
#[derive(Debug, Default)]
struct Recording {
    /// In millionths, plus one. 0: none is.
    share: Counter,
    rate: Counter,
}

impl Journal {
    /// Starts the thread. Lines that are left out are counted in `metrics`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(metrics: Arc<Metrics>) -> io::Result<Self> {
        let (entries, written) = bounded(WAITING);
        let (tell, told) = bounded(1);
        thread::Builder::new().name("segno-journal".to_owned()).spawn(move || {
            // The one who asks waits for it.
            let _ = tell.send(Sleeper::current());
            write(&written);
        })?;
        let writer = told.recv().map_err(io::Error::other)?;
        Ok(Self::over(entries, writer, metrics))
    }

    /// A journal that nobody writes.
    pub fn unheard() -> Self {
        Self { link: None, metrics: Arc::default(), left_out: 0, recording: Arc::default(), spans: None }
    }

    fn over(entries: Sender<Entry>, writer: Sleeper, metrics: Arc<Metrics>) -> Self {
        let link = Some(Link { entries: Some(entries), writer });
        Self { link, metrics, left_out: 0, recording: Arc::default(), spans: None }
    }

    /// Says something.
    pub fn say(&mut self, level: Level, what: impl fmt::Display + Send + 'static) {
        self.say_about(level, what, About::default());
    }

    /// Says something about a stream or a request.
    pub fn say_about(&mut self, level: Level, what: impl fmt::Display + Send + 'static, about: About) {
        let Some(link) = &self.link else { return };
        match link.pass(Entry::Line { level, what: Box::new(what), about, left_out: self.left_out }) {
            true => self.left_out = 0,
            false => self.leave_out(),
        }
    }

    /// Tells the access log of a request.
    pub fn served(&mut self, access: Box<Access>) {
        let Some(link) = &self.link else { return };
        if !link.pass(Entry::Served(access)) {
            self.leave_out();
        }
    }

    /// Tells whoever subscribes to the target `trace` of a part of a trace, as an event at the level `debug`, and puts it
    /// on the queue of those to be sent, if there is one.
    pub fn traced(&mut self, span: Box<TraceSpan>) {
        let is_told = self.link.is_some() && LevelFilter::current() >= LevelFilter::DEBUG;
        let span = match &self.spans {
            None => Some(span),
            Some(spans) => {
                let told = is_told.then(|| span.clone());
                let exports = self.metrics.exports();
                exports.waiting.add(1);
                if spans.try_send(span).is_err() {
                    exports.waiting.take(1);
                    exports.dropped_full.add(1);
                }
                told
            }
        };
        let Some((link, span)) = self.link.as_ref().zip(span.filter(|_| is_told)) else { return };
        if !link.pass(Entry::Traced(span)) {
            self.leave_out();
        }
    }

    /// From now on puts parts of traces on this queue, too: this handle, and those that are cloned from it. What finds no
    /// room there is dropped and counted. Nobody may sleep at the other end.
    #[must_use]
    pub fn with_spans(self, spans: Sender<Box<TraceSpan>>) -> Self {
        Self { spans: Some(spans), ..self }
    }

    /// This share of traces is recorded from now on, and at most so many a second.
    pub fn record(&self, share: Option<TraceShare>, rate: u32) {
        self.recording.rate.set(u64::from(rate));
        self.recording.share.set(share.map_or(0, |share| u64::from(share.in_millionths()) + 1));
    }

    /// The share of traces that is recorded, and how many a second. `None`: none is.
    pub fn recorded(&self) -> Option<(TraceShare, u32)> {
        let share = u32::try_from(self.recording.share.get().checked_sub(1)?).unwrap_or(0);
        Some((TraceShare::millionths(share), u32::try_from(self.recording.rate.get()).unwrap_or(u32::MAX)))
    }

    /// Counts a line that its owner does not say, because it has said too many.
    pub fn leave_out(&mut self) {
        self.left_out += 1;
        self.metrics.log_lines_dropped().add(1);
    }

    /// Waits until all that was said before is written, at most for `within`. False: that was too short.
    pub fn flush(&self, within: Duration) -> bool {
        let Some(link) = &self.link else { return true };
        let (mark, passed) = bounded(1);
        link.pass(Entry::Mark(mark)) && passed.recv_timeout(within).is_ok()
    }
}

impl Clone for Journal {
    fn clone(&self) -> Self {
        let (metrics, recording) = (Arc::clone(&self.metrics), Arc::clone(&self.recording));
        Self { link: self.link.clone(), metrics, left_out: 0, recording, spans: self.spans.clone() }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journal")
    }
}

/// One end of the queue, and the thread at the other.
#[derive(Clone)]
struct Link {
    /// Empty once this end is dropped.
    entries: Option<Sender<Entry>>,
    writer: Sleeper,
}

impl Link {
    /// Puts an entry on the queue. False: there is no room, or no thread any more.
    ///
    /// The thread never waits inside of the queue, so that sending finds no receiver to lock and to wake.
    fn pass(&self, entry: Entry) -> bool {
        let is_passed = self.entries.as_ref().is_some_and(|entries| entries.try_send(entry).is_ok());
        if is_passed {
            self.writer.wake();
        }
        is_passed
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        drop(self.entries.take());
        // It may have been the last one.
        self.writer.wake();
    }
}

/// The thread. A wake-up between the look at the queue and the sleep ends that sleep at once.
fn write(entries: &Receiver<Entry>) {
    loop {
        match entries.try_recv() {
            Ok(Entry::Line { level, what, about, left_out }) => write_line(level, &*what, &about, left_out),
            Ok(Entry::Served(access)) => write_access(&access),
            Ok(Entry::Traced(span)) => write_span(&span),
            // Nobody may wait for it any more.
            Ok(Entry::Mark(mark)) => drop(mark.try_send(())),
            Err(TryRecvError::Empty) => park(None),
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

fn write_line(level: Level, what: &dyn fmt::Display, about: &About, left_out: u64) {
    if left_out > 0 {
        tracing::warn!("left out {left_out} log lines: there were too many at once");
    }
    let line = shown(&what.to_string(), LONGEST);
    let stream = about.stream.map(|stream| display(format!("{stream:x}")));
    let request = Some(&about.request).filter(|id| !id.is_empty()).map(display);
    let trace_id = about.trace.map(|trace| display(format!("{trace:032x}")));
    match level {
        Level::Error => tracing::error!(stream, request, trace_id, "{line}"),
        Level::Warn => tracing::warn!(stream, request, trace_id, "{line}"),
        Level::Info => tracing::info!(stream, request, trace_id, "{line}"),
        Level::Debug => tracing::debug!(stream, request, trace_id, "{line}"),
    }
}

/// The target of what is told of traces.
const TRACE: &str = "trace";

fn write_span(span: &TraceSpan) {
    let facts: Vec<String> = span.facts.iter().map(|(name, what)| format!("{name}={what}")).collect();
    tracing::debug!(
        target: TRACE,
        trace_id = %span.context.trace_hex(),
        span_id = %format_args!("{:016x}", span.context.span),
        parent_id = span.parent.map(|parent| display(format!("{parent:016x}"))),
        link = span.link.map(display),
        began_us = span.began.micros(),
        us = span.ended.since(span.began).micros(),
        error = span.error.as_ref().map(display),
        facts = %shown(&facts.join(" "), LONGEST),
        "{}",
        span.kind.name()
    );
}

/// The target of the access log's lines, by which their level can be chosen.
const ACCESS: &str = "access";

fn write_access(access: &Access) {
    let (method, path) = access.target.split_once(' ').unwrap_or(("", &access.target));
    let Access { bytes, events, .. } = *access;
    tracing::info!(
        target: ACCESS,
        client = %access.client.to_canonical(),
        method,
        "target" = path,
        status = access.status.map(u64::from),
        bytes,
        events,
        ms = access.took.millis(),
        stream = access.stream.map(|stream| display(format!("{stream:x}"))),
        request = %access.request,
        trace_id = access.trace.map(|trace| display(format!("{trace:032x}"))),
        "access"
    );
}

#[cfg(test)]
mod tests;
