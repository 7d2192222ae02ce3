//! What happens in a run: steps drawn by a seed, and the known faults that may be switched in.
//!
//! In: a seed. Out: a script, the same one each time.

use crate::base::Random;

/// A known fault, switched in to see that its oracle finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Canary {
    /// Duplicates are not dropped.
    NoDedup,
    /// Clients ignore gap events.
    MuteGaps,
    /// All clients count as one principal.
    OnePrincipal,
    /// New events of an upstream that counts anew are dropped.
    Swallowed,
    /// The last event of a stream that cannot go on is taken for delivered, so that its client begins anew without it.
    LostAnew,
    /// All clients count as one principal, and nothing is shared: only ids that can be guessed lead to another's
    /// stream.
    GuessedIds,
    /// One byte of an answer is changed.
    Torn,
    /// Cursors are stored before their events are delivered.
    MarksAhead,
    /// The disk loses what it acknowledged.
    ForgetfulDisk,
    /// The disk writes late batches as if they were new.
    NoFencing,
    /// Logs may hold more than their budget.
    FatLogs,
    /// An error of the store is taken for the answer that nothing is stored.
    DeafToErrors,
    /// Upstream is asked again at any rate.
    Unpaced,
    /// The clock is not told to the machine.
    NoTime,
}

/// What happens in a step. The two numbers and the state of the run decide what it happens to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Action {
    pub(super) what: What,
    pub(super) a: u64,
    pub(super) b: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum What {
    /// More events exist.
    Grow,
    Connect,
    CutClient,
    /// A client takes no more by itself.
    Slow,
    /// Some bytes reach a slow client.
    Arrive,
    Fast,
    CutUpstream,
    /// An upstream is cut in the middle of an event.
    Tear,
    /// An upstream sends nothing more and stays connected.
    Silence,
    /// The next answers are failures.
    Fail,
    /// Connections to upstream are taken, refused, or hang.
    Dial,
    Pass,
    /// Much time passes at once, as when a laptop was asleep.
    Jump,
    /// The disk does something else from now on.
    Disk,
    /// The store thread has its turn.
    Persist,
    /// The store answers a question.
    Answer,
    /// The process dies, and another begins.
    Kill,
    /// The process is stopped in order, and another begins with another configuration.
    Restart,
    /// The process goes over to another configuration while it runs.
    Reload,
}

/// What happens, and how often.
const WEIGHTS: [(What, u64); 19] = [
    (What::Grow, 300),
    (What::Connect, 200),
    (What::CutClient, 60),
    (What::Slow, 15),
    (What::Arrive, 60),
    (What::Fast, 12),
    (What::CutUpstream, 40),
    (What::Tear, 30),
    (What::Silence, 6),
    (What::Fail, 8),
    (What::Dial, 8),
    (What::Pass, 120),
    (What::Jump, 3),
    (What::Disk, 12),
    (What::Persist, 80),
    (What::Answer, 30),
    (What::Kill, 3),
    (What::Restart, 2),
    (What::Reload, 6),
];

pub(super) fn script(seed: u64, steps: u64) -> Vec<Action> {
    let mut random = Random::new(seed);
    let all: u64 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
    let mut action = || {
        let mut at = random.below(all);
        let mut what = What::Grow;
        for (candidate, weight) in WEIGHTS {
            if at < weight {
                what = candidate;
                break;
            }
            at -= weight;
        }
        Action { what, a: random.next() >> 16, b: random.next() >> 16 }
    };
    (0..steps).map(|_| action()).collect()
}
