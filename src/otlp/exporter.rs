//! The thread that sends spans.
//!
//! In: spans off the queue; the word that the end has come. Out: calls to the collector; counts; log lines.
//! Laws: at most one batch is on its way; each span is counted once, those behind a call that hangs at the end included: who
//! takes it off those that wait counts it; a failure is logged at most once in a while, with what happens next; at the end
//! there is one attempt for each batch, as long as there is time.
//!
//! ```text
//! until the end is said: take what waits, up to a batch -> call -> taken, refused, or tried again after a wait
//!     -> nothing waits? look again in a while
//! ```

use super::call::{Caller, Outcome};
use super::encode::Envelope;
use crate::base::{Random, Span, Tick, TraceSpan};
use crate::clock::Clock;
use crate::config::{Otlp, OtlpHeaders};
use crate::journal::{Journal, Level};
use crate::metrics::{Exports, Metrics};
use crate::timer::Backoff;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Spans that may wait to be sent. Each takes about 1 KB.
pub const QUEUE: usize = 2_048;

/// Spans of one call at most.
const BATCH: usize = 512;

/// How long the queue is left alone: where spans come, and where none did.
const BUSY: Duration = Duration::from_millis(200);
const QUIET: Duration = Duration::from_secs(1);

/// Calls for one batch at most, and for how long one is tried.
const TRIES: u32 = 5;
const TRIED_FOR: Span = Span::from_secs(60);

/// Between two calls for one batch. The same bound holds for what a collector asks for.
const RETRY: Backoff = Backoff::new(Span::from_millis(500), Span::from_secs(30));
const LONGEST_WAIT: Span = Span::from_secs(30);

/// Between two log lines.
const SILENCE: Span = Span::from_secs(30);

/// For how long the thread sends on where nobody waits for it.
const LEFT_ALONE: Duration = Duration::from_millis(250);

/// The thread, as its owner sees it. Once this is dropped, the thread ends soon.
#[derive(Debug)]
pub struct Exporter {
    end: Sender<Duration>,
    ended: Receiver<()>,
    metrics: Arc<Metrics>,
}

/// What is on its owner's side of the queue, and what the thread needs of the process.
#[derive(Debug)]
pub(super) struct Around {
    spans: Receiver<Box<TraceSpan>>,
    metrics: Arc<Metrics>,
    journal: Journal,
    clock: Clock,
}

impl Exporter {
    /// Starts the thread. `journal`: one that puts no spans on the queue. `random`: 128 bits that nobody else has.
    ///
    /// # Errors
    /// When there is no address, or the system gives no thread.
    pub fn start(
        otlp: &Otlp,
        headers: OtlpHeaders,
        spans: Receiver<Box<TraceSpan>>,
        (metrics, journal, clock): (Arc<Metrics>, Journal, Clock),
        random: u128,
    ) -> io::Result<Self> {
        let Some(endpoint) = &otlp.endpoint else { return Err(io::Error::other("no collector is named")) };
        let (caller, envelope) = (Caller::new(otlp, endpoint.to_string(), headers), Envelope::new(otlp, random));
        let ((end, ends), (tell_ended, ended)) = (bounded(1), bounded(1));
        let around = Around { spans, metrics: Arc::clone(&metrics), journal, clock };
        let sending = Sending {
            caller,
            envelope,
            around,
            ends,
            until: None,
            random: Random::new((random >> 64) as u64),
            said_at: None,
            is_failing: false,
        };
        thread::Builder::new().name("segno-otlp".to_owned()).spawn(move || {
            sending.run();
            let _ = tell_ended.try_send(());
        })?;
        Ok(Self { end, ended, metrics })
    }

    /// Sends what waits, for up to `within`. Returns how many spans were left with a call that still hangs, whose thread
    /// was left behind. They are counted as left at the end, whatever becomes of the call.
    pub fn end(self, within: Duration) -> u64 {
        let _ = self.end.try_send(within);
        if self.ended.recv_timeout(within + LEFT_ALONE).is_ok() {
            return 0;
        }
        let exports = self.metrics.exports();
        let left = exports.waiting.claim(u64::MAX);
        exports.dropped_ended.add(left);
        left
    }
}

/// The thread's own.
struct Sending {
    caller: Caller,
    envelope: Envelope,
    around: Around,
    ends: Receiver<Duration>,
    /// When all must be over, once that is said.
    until: Option<Tick>,
    random: Random,
    said_at: Option<Tick>,
    /// The last batch was given up.
    is_failing: bool,
}

impl Sending {
    fn run(mut self) {
        let mut pause = QUIET;
        loop {
            self.pause(pause);
            pause = QUIET;
            while let Some(batch) = self.batch() {
                pause = BUSY;
                // The end may have come while the last batch was sent.
                self.pause(Duration::ZERO);
                if self.left().is_some_and(|left| left.is_zero()) {
                    self.settle(batch.len(), |exports| &exports.dropped_ended);
                } else {
                    self.send(&batch);
                }
                if self.until.is_none() && batch.len() < BATCH {
                    break;
                }
            }
            if self.until.is_some() {
                return;
            }
        }
    }

    /// Waits, unless the end has come or comes meanwhile.
    fn pause(&mut self, pause: Duration) {
        if self.until.is_some() {
            return;
        }
        let within = match self.ends.recv_timeout(pause) {
            Ok(within) => within,
            Err(RecvTimeoutError::Timeout) => return,
            Err(RecvTimeoutError::Disconnected) => LEFT_ALONE,
        };
        self.until = Some(self.around.clock.now() + Span::from(within));
    }

    /// The time that is left, once the end was said.
    fn left(&self) -> Option<Duration> {
        self.until.map(|until| Duration::from(until.since(self.around.clock.now())))
    }

    /// What waits, up to a batch.
    fn batch(&self) -> Option<Vec<TraceSpan>> {
        let batch: Vec<_> = self.around.spans.try_iter().take(BATCH).map(|span| *span).collect();
        (!batch.is_empty()).then_some(batch)
    }

    /// Sends a batch, and tries again where that may help.
    fn send(&mut self, batch: &[TraceSpan]) {
        let body = self.envelope.body(batch, self.around.clock);
        let gives_up = self.around.clock.now() + TRIED_FOR;
        for tries in 1.. {
            let outcome = self.caller.call(&body, self.left());
            if !matches!(outcome, Outcome::Taken { .. }) {
                self.exports().failed.add(1);
            }
            let (why, after) = match outcome {
                Outcome::Taken { rejected, said } => return self.taken(batch.len(), rejected, said),
                Outcome::Refused { why } => {
                    self.settle(batch.len(), |exports| &exports.dropped_refused);
                    return self.complain(&why, batch.len(), "they are dropped");
                }
                Outcome::Failed { why } => {
                    self.settle(batch.len(), |exports| &exports.dropped_failed);
                    return self.complain(&why, batch.len(), "they are dropped");
                }
                Outcome::Later { why, after } => (why, after),
            };
            let wait = RETRY.delay(tries, self.random.next()).max(after.unwrap_or_default().min(LONGEST_WAIT));
            let is_over = tries >= TRIES || self.around.clock.now() + wait >= gives_up || self.until.is_some();
            // While it is away, each batch has one call, so that later spans are not kept from one that comes back.
            if is_over || self.is_failing {
                self.is_failing = true;
                self.settle(batch.len(), |exports| &exports.dropped_failed);
                return self.complain(&why, batch.len(), "they are dropped, and later ones are tried");
            }
            self.complain(&why, batch.len(), "they are tried again");
            self.pause(wait.into());
        }
    }

    fn taken(&mut self, spans: usize, rejected: u64, said: Option<String>) {
        self.is_failing = false;
        let rejected = rejected.min(spans as u64);
        let exports = self.exports();
        let claimed = exports.waiting.claim(spans as u64);
        exports.sent.add(claimed.saturating_sub(rejected));
        exports.dropped_refused.add(claimed.min(rejected));
        if let Some(said) = said {
            match usize::try_from(rejected) {
                Ok(0) => self.say(format!("the collector of traces has taken {spans} spans, but {said}")),
                rejected => self.complain(&said, rejected.unwrap_or(spans), "they are dropped"),
            }
        }
    }

    /// Counts spans that nobody will get.
    fn settle(&self, spans: usize, reason: impl Fn(&Exports) -> &crate::sync::Counter) {
        let claimed = self.exports().waiting.claim(spans as u64);
        reason(self.exports()).add(claimed);
    }

    fn exports(&self) -> &Exports {
        self.around.metrics.exports()
    }

    fn complain(&mut self, why: &str, spans: usize, next: &str) {
        self.say(format!("the collector of traces has not taken {spans} spans: {why}; {next}"));
    }

    fn say(&mut self, what: String) {
        let now = self.around.clock.now();
        if self.said_at.is_none_or(|at| now.since(at) >= SILENCE) {
            self.said_at = Some(now);
            self.around.journal.say(Level::Warn, what);
        }
    }
}

#[cfg(test)]
mod tests;
