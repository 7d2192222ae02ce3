//! What the upstream and the clients share: the clock and the tally.
//!
//! In: what happened, reported by every thread. Out: [`Tally`], the numbers of the report.
//! Laws: everything that grows has a bound; a thread that panics does not stop the others; no other file of the demo
//! sleeps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::check::Verdict;
use super::kind::Kind;
use super::script::Script;
use crate::base::{Span, Tick};

/// Failures that the report describes. Further ones are only counted.
const MAX_DESCRIBED: usize = 20;
/// Latencies kept with the proxy, and as many without.
const MAX_SAMPLES: usize = 1 << 20;
/// The longest sleep. A thread learns at most this late that the demo is over.
const SLICE: Span = Span::from_millis(50);

/// The clock of the demo. Many threads read it, and it must not go backwards.
pub(super) type Now = Arc<dyn Fn() -> Tick + Send + Sync>;

/// Locks the mutex, even if a thread panicked while it held the lock: what the thread counted until then is still
/// right.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything that the demo counts.
#[derive(Default, Debug)]
pub(super) struct Tally {
    pub(super) streams: u64,
    pub(super) events: u64,
    pub(super) cuts: [u64; Kind::ALL.len()],
    /// Cuts after which the upstream was asked to go on, and did.
    pub(super) healed: u64,
    /// Times that a client lost its connection and came back.
    pub(super) came_back: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    /// Missing events that a gap announced.
    pub(super) stated: u64,
    /// Streams whose client cannot know whether it has all.
    pub(super) unknown: u64,
    pub(super) ended: BTreeMap<&'static str, u64>,
    pub(super) gaps: BTreeMap<&'static str, u64>,
    /// Descriptions of broken promises, at most [`MAX_DESCRIBED`].
    pub(super) failures: Vec<String>,
    /// How many promises were broken.
    pub(super) failed: u64,
    /// Microseconds from the upstream's write to the client's read, through the proxy.
    pub(super) through: Vec<u32>,
    /// The same without the proxy.
    pub(super) direct: Vec<u32>,
}

impl Tally {
    /// Cuts of all kinds together.
    pub(super) fn all_cuts(&self) -> u64 {
        self.cuts.iter().sum()
    }
}

/// Whether the upstream is away, and how often it has been away so far.
#[derive(Clone, Copy, Default, Debug)]
struct Outage {
    number: usize,
    down: bool,
}

/// One run of the demo.
pub(super) struct World {
    now: Now,
    /// When the upstream's streams end.
    pub(super) end: Tick,
    pub(super) start: Tick,
    pub(super) seed: u64,
    tally: Mutex<Tally>,
    outage: Mutex<Outage>,
    stopped: Mutex<bool>,
}

impl World {
    /// A run that starts now.
    pub(super) fn new(now: Now, duration: Span, seed: u64) -> Self {
        let start = now();
        Self {
            now,
            end: start + duration,
            start,
            seed,
            tally: Mutex::default(),
            outage: Mutex::default(),
            stopped: Mutex::default(),
        }
    }

    /// The present time.
    pub(super) fn now(&self) -> Tick {
        (self.now)()
    }

    /// Sleeps until `until`, but for at most [`SLICE`]. Returns whether `until` has been reached.
    pub(super) fn doze(&self, until: Tick) -> bool {
        let left = until.since(self.now());
        if !left.is_zero() {
            thread::sleep(Duration::from(left.min(SLICE)));
        }
        left <= SLICE
    }

    /// Sleeps until `until`, or until the run is stopped. Returns `false` if the run was stopped.
    pub(super) fn sleep_until(&self, until: Tick) -> bool {
        while !self.is_stopped() {
            if self.doze(until) {
                return true;
            }
        }
        false
    }

    /// Tells all threads to end.
    pub(super) fn stop(&self) {
        *lock(&self.stopped) = true;
    }

    /// Whether all threads are to end.
    pub(super) fn is_stopped(&self) -> bool {
        *lock(&self.stopped)
    }

    /// Notes that the upstream has closed its listener.
    pub(super) fn set_down(&self) {
        let mut outage = lock(&self.outage);
        *outage = Outage { number: outage.number + 1, down: true };
    }

    /// Notes that the upstream listens again.
    pub(super) fn set_up(&self) {
        lock(&self.outage).down = false;
    }

    /// The number of the present outage, counted from 1.
    pub(super) fn outage(&self) -> Option<usize> {
        let outage = *lock(&self.outage);
        outage.down.then_some(outage.number)
    }

    /// The numbers, to read or to change.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    /// Notes that a promise was broken. `what` names the stream.
    pub(super) fn fail(&self, what: String) {
        let mut tally = self.tally();
        tally.failed += 1;
        if tally.failures.len() < MAX_DESCRIBED {
            tally.failures.push(what);
        }
    }

    /// Counts an event that a client got, and its latency where that is known. `direct`: without the proxy.
    pub(super) fn record_event(&self, direct: bool, latency: Option<Span>) {
        let mut tally = self.tally();
        tally.events += u64::from(!direct);
        let samples = if direct { &mut tally.direct } else { &mut tally.through };
        if let Some(latency) = latency
            && samples.len() < MAX_SAMPLES
        {
            samples.push(u32::try_from(latency.micros()).unwrap_or(u32::MAX));
        }
    }

    /// Counts what a client saw of a finished stream. Returns whether the script's promises were kept.
    pub(super) fn record_verdict(&self, script: &Script, verdict: Verdict) -> bool {
        let kept = verdict.is_kept();
        let mut tally = self.tally();
        tally.lost += verdict.lost;
        tally.duplicated += verdict.duplicated;
        tally.reordered += verdict.reordered;
        tally.stated += verdict.stated;
        for reason in verdict.gaps {
            *tally.gaps.entry(reason).or_default() += 1;
        }
        if kept && !script.rule.is_direct() {
            *tally.ended.entry(script.rule.ended()).or_default() += 1;
        }
        drop(tally);
        verdict.broken.into_iter().for_each(|what| self.fail(format!("{}: {what}", script.name)));
        kept
    }
}
