//! What upstream and clients share: the clock and the tally.
//!
//! In: what happened, from every thread. Out: [`Tally`], the numbers of the report.
//! Laws: whatever grows has a bound; a thread that died does not poison the others; this is the only file of the demo
//! that sleeps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::check::Verdict;
use super::kind::Kind;
use super::script::Script;
use crate::base::{Span, Tick};

/// Failures told in full; more are only counted.
const MAX_TOLD: usize = 20;
/// Latencies kept of each sort.
const MAX_SAMPLES: usize = 1 << 20;
/// The longest sleep: how late a thread may learn that the demo is over.
const SLICE: Span = Span::from_millis(50);

/// The clock of the demo: it must not go backwards. It is read from many threads.
pub(super) type Now = Arc<dyn Fn() -> Tick + Send + Sync>;

/// Locks, also behind a thread that died: the numbers are still the best there are.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything that is counted.
#[derive(Default, Debug)]
pub(super) struct Tally {
    pub(super) streams: u64,
    pub(super) events: u64,
    pub(super) cuts: [u64; Kind::ALL.len()],
    /// Cuts behind which upstream was asked to go on, and did.
    pub(super) healed: u64,
    /// Times that a client was cut off, and came back.
    pub(super) came_back: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    /// Events that a gap stated as gone.
    pub(super) stated: u64,
    pub(super) ended: BTreeMap<&'static str, u64>,
    pub(super) gaps: BTreeMap<&'static str, u64>,
    /// Broken promises, in words, up to a bound.
    pub(super) failures: Vec<String>,
    pub(super) failed: u64,
    /// Microseconds from upstream's write to the client's read, through the proxy.
    pub(super) through: Vec<u32>,
    /// The same without a proxy between.
    pub(super) direct: Vec<u32>,
}

impl Tally {
    /// All cuts.
    pub(super) fn all_cuts(&self) -> u64 {
        self.cuts.iter().sum()
    }
}

/// Whether upstream is away, and how often it has been.
#[derive(Clone, Copy, Default, Debug)]
struct Outage {
    number: usize,
    down: bool,
}

/// One run of the demo.
pub(super) struct World {
    now: Now,
    /// When upstream's streams end.
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

    /// The time.
    pub(super) fn now(&self) -> Tick {
        (self.now)()
    }

    /// Sleeps for at most a slice, towards `until`; whether it has been reached.
    pub(super) fn doze(&self, until: Tick) -> bool {
        let left = until.since(self.now());
        if !left.is_zero() {
            thread::sleep(Duration::from(left.min(SLICE)));
        }
        left <= SLICE
    }

    /// Sleeps until then or the stop; whether it was not the stop.
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

    /// Upstream's listener is closed.
    pub(super) fn set_down(&self) {
        let mut outage = lock(&self.outage);
        *outage = Outage { number: outage.number + 1, down: true };
    }

    /// It is bound again.
    pub(super) fn set_up(&self) {
        lock(&self.outage).down = false;
    }

    /// The number of the outage that is on.
    pub(super) fn outage(&self) -> Option<usize> {
        let outage = *lock(&self.outage);
        outage.down.then_some(outage.number)
    }

    /// The numbers, to be read or changed.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    /// A promise was broken; `what` names the stream.
    pub(super) fn fail(&self, what: String) {
        let mut tally = self.tally();
        tally.failed += 1;
        if tally.failures.len() < MAX_TOLD {
            tally.failures.push(what);
        }
    }

    /// An event has come, so long after it was written, where that is known.
    pub(super) fn came(&self, direct: bool, latency: Option<Span>) {
        let mut tally = self.tally();
        tally.events += u64::from(!direct);
        let samples = if direct { &mut tally.direct } else { &mut tally.through };
        if let Some(latency) = latency
            && samples.len() < MAX_SAMPLES
        {
            samples.push(u32::try_from(latency.micros()).unwrap_or(u32::MAX));
        }
    }

    /// A stream is over. Whether it kept what its script promised.
    pub(super) fn settle(&self, script: &Script, verdict: Verdict) -> bool {
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
