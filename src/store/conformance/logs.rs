//! The promises of logs that processes share, as checks.
//!
//! In: a way to open the store, and one to let time pass. Out: nothing, or a panic that names the broken promise.

use super::tools::{block, done, hold, name};
use crate::base::StreamName;
use crate::store::log::{
    Claim, FollowNews, Following, Lease, LogBlock, LogBounds, LogEnd, LogOutcome, LogStore, LogWrite, StoredLog,
};
use crate::store::opened::Opened;
use std::sync::Arc;
use std::time::Duration;

/// The epochs of two processes, the second of which began earlier.
const A: u64 = 7;
const B: u64 = 5;
/// The lease that both take, in milliseconds.
const LEASE: u64 = 400;

const BOUNDS: LogBounds = LogBounds { events: 100, bytes: 10_000, age_ms: 60_000 };
const WRITTEN: LogOutcome = LogOutcome::Written { followed: false };
const FOLLOWED: LogOutcome = LogOutcome::Written { followed: true };

pub(super) fn check(open: &mut dyn FnMut() -> Opened, pass: &mut dyn FnMut(Duration)) {
    a_log_has_one_owner(open, pass);
    what_is_repeated_changes_nothing(open);
    a_new_owner_cuts_off_what_it_has_not_read(open);
    an_ended_log_stays_until_it_goes_on(open);
    removals_are_fenced(open, pass);
    a_follower_is_told_everything_once(open);
    a_follower_is_told_that_the_owner_is_gone(open, pass);
    a_follower_is_told_what_is_lost(open);
    any_order_of_writes_does_what_it_does_to_the_memory_store(open);
}

/// A store, and a log in it.
struct Bench {
    opened: Opened,
    name: Arc<StreamName>,
}

impl Bench {
    fn new(open: &mut dyn FnMut() -> Opened, stream: u64) -> Self {
        let mut bench = Self { opened: open(), name: name(b"shared", stream) };
        bench.remove();
        bench
    }

    fn logs(&mut self) -> &mut dyn LogStore {
        &mut **self.opened.logs.as_mut().unwrap_or_else(|| panic!("a store that shares logs keeps logs"))
    }

    fn write(&mut self, item: LogWrite) -> LogOutcome {
        let results = done("writing a log", self.logs().write_logs(&[item]));
        hold("a batch has one result an item", results.len(), 1);
        results.into_iter().next().map_or(LogOutcome::Fenced, |result| done("writing a log", result))
    }

    fn append(&mut self, owner: u64, seen: Option<u64>, first: u64, events: u32) -> LogOutcome {
        let item = append(&self.name, block(first, events, first), Some(claim(owner, seen)));
        self.write(item)
    }

    fn hold(&mut self, owner: u64, lease_ms: u64) -> LogOutcome {
        let claim = Claim { lease_ms, ..claim(owner, None) };
        self.write(LogWrite::Hold { name: Arc::clone(&self.name), claim })
    }

    fn end(&mut self, owner: u64, end: LogEnd, next: u64) -> LogOutcome {
        self.write(LogWrite::End { name: Arc::clone(&self.name), claim: claim(owner, None), end, next })
    }

    fn remove_by(&mut self, owner: Option<u64>) -> LogOutcome {
        let claim = owner.map(|owner| claim(owner, None));
        self.write(LogWrite::Remove { name: Arc::clone(&self.name), claim })
    }

    /// Removes the log, whoever has it.
    fn remove(&mut self) {
        for owner in [A, B] {
            self.remove_by(Some(owner));
        }
        hold("a removed log is gone", self.read(), None);
    }

    fn read(&mut self) -> Option<StoredLog> {
        let name = Arc::clone(&self.name);
        done("reading a log", self.logs().read_log(&name, usize::MAX))
    }

    /// Fence, owner, whether it has a lease; and the numbers of the blocks.
    fn state(&mut self) -> (u64, Option<(u64, bool)>, Vec<u64>) {
        let log = self.read().unwrap_or_else(|| panic!("broken promise: a log that was written is there"));
        let owner = log.owner.map(|Lease { epoch, left_ms }| (epoch, left_ms > 0));
        (log.fence, owner, log.blocks.iter().map(|block| block.first).collect())
    }

    /// What is new, once there is something.
    fn news(&mut self, after: u64, fence: u64) -> Vec<FollowNews> {
        (0..CALLS).map(|_| self.one_call(after, fence)).find(|news| !news.is_empty()).unwrap_or_default()
    }

    fn one_call(&mut self, after: u64, fence: u64) -> Vec<FollowNews> {
        let following = Following { name: Arc::clone(&self.name), after, fence };
        let follower =
            self.opened.follower.as_mut().unwrap_or_else(|| panic!("a store that shares logs has a follower"));
        let news = done("following a log", follower.follow(&[following], Duration::from_millis(20)));
        news.into_iter()
            .map(|(at, news)| if at == 0 { news } else { panic!("news of a log that is not followed") })
            .collect()
    }
}

/// Calls within which a follower tells what there is to tell.
const CALLS: usize = 32;

fn claim(owner: u64, seen: Option<u64>) -> Claim {
    Claim { owner, seen, lease_ms: LEASE }
}

fn append(name: &Arc<StreamName>, block: Arc<LogBlock>, claim: Option<Claim>) -> LogWrite {
    LogWrite::Append { name: Arc::clone(name), block, meta: Arc::from(&b"meta"[..]), bounds: BOUNDS, claim }
}

fn a_log_has_one_owner(open: &mut dyn FnMut() -> Opened, pass: &mut dyn FnMut(Duration)) {
    let promise = "a log has one owner at a time";
    let mut b = Bench::new(open, 1);
    hold(promise, b.append(A, Some(0), 1, 2), WRITTEN);
    hold(promise, b.append(A, None, 3, 2), WRITTEN);
    hold(promise, b.state(), (1, Some((A, true)), vec![1, 3]));
    // Those that have seen nothing, or what was before, or are not the owner.
    for (owner, seen) in [(B, Some(0)), (B, None), (B, Some(2))] {
        hold(promise, b.append(owner, seen, 5, 1), LogOutcome::Fenced);
    }
    let unclaimed = append(&b.name, block(5, 1, 5), None);
    hold("a write without a claim is fenced while a lease runs", b.write(unclaimed), LogOutcome::Fenced);
    hold(promise, b.hold(B, LEASE), LogOutcome::Fenced);
    hold(promise, b.end(B, LogEnd::Whole, 5), LogOutcome::Fenced);
    hold(promise, b.remove_by(Some(B)), LogOutcome::Fenced);
    hold(promise, b.state(), (1, Some((A, true)), vec![1, 3]));
    // Who has seen the fence may claim the log while its lease runs.
    hold(promise, b.append(B, Some(1), 5, 1), WRITTEN);
    hold(promise, b.state(), (2, Some((B, true)), vec![1, 3, 5]));
    hold("a late writer mixes nothing in", b.append(A, None, 5, 4), LogOutcome::Fenced);
    hold("a late writer mixes nothing in", b.append(A, Some(1), 5, 4), LogOutcome::Fenced);
    hold(promise, b.hold(A, LEASE), LogOutcome::Fenced);
    pass(Duration::from_millis(LEASE + 100));
    hold("a lease runs out", b.state(), (2, Some((B, false)), vec![1, 3, 5]));
    hold("an owner without a lease is one until another claims", b.hold(B, LEASE), WRITTEN);
    hold("a lease begins again", b.state().1, Some((B, true)));
    hold("a lease is given up", b.hold(B, 0), WRITTEN);
    hold("a lease is given up", b.state(), (2, None, vec![1, 3, 5]));
    hold("who has given a log up claims it like others", b.append(B, None, 6, 1), LogOutcome::Fenced);
    hold(promise, b.append(A, Some(2), 6, 1), WRITTEN);
    hold(promise, b.state(), (3, Some((A, true)), vec![1, 3, 5, 6]));
    hold(promise, b.remove_by(Some(A)), WRITTEN);
    hold("a log that is gone is nobody's", b.append(B, Some(3), 7, 1), WRITTEN);
    hold("a fence grows", b.state(), (4, Some((B, true)), vec![7]));
    b.remove();
}

fn what_is_repeated_changes_nothing(open: &mut dyn FnMut() -> Opened) {
    let promise = "what is repeated changes nothing more";
    let mut b = Bench::new(open, 2);
    hold(promise, b.append(A, Some(0), 1, 2), WRITTEN);
    hold(promise, b.append(A, Some(0), 1, 2), WRITTEN);
    hold(promise, b.append(A, None, 3, 2), WRITTEN);
    hold(promise, b.append(A, Some(0), 1, 2), WRITTEN);
    hold(promise, b.append(A, None, 3, 2), WRITTEN);
    hold(promise, b.state(), (1, Some((A, true)), vec![1, 3]));
    hold(promise, b.append(B, Some(1), 5, 2), WRITTEN);
    hold(promise, b.append(B, Some(1), 5, 2), WRITTEN);
    hold(promise, b.state(), (2, Some((B, true)), vec![1, 3, 5]));
    hold(promise, b.end(B, LogEnd::Cut, 7), WRITTEN);
    hold(promise, b.append(B, None, 5, 2), WRITTEN);
    hold(promise, b.end(B, LogEnd::Cut, 7), WRITTEN);
    let log = b.read().map(|log| (log.fence, log.end, log.blocks.len()));
    hold(promise, log, Some((2, Some(LogEnd::Cut), 3)));
    b.remove();
}

fn a_new_owner_cuts_off_what_it_has_not_read(open: &mut dyn FnMut() -> Opened) {
    let promise = "a new owner's events follow those that it has read";
    let mut b = Bench::new(open, 3);
    b.append(A, Some(0), 1, 2);
    b.append(A, None, 3, 2);
    b.append(A, None, 5, 4);
    hold(promise, b.append(B, Some(1), 3, 1), WRITTEN);
    hold(promise, b.state(), (2, Some((B, true)), vec![1, 3]));
    hold(promise, b.append(B, None, 4, 1), WRITTEN);
    // A block that reaches over the number goes as a whole, and the hole is stated.
    b.append(B, None, 5, 4);
    hold(promise, b.append(A, Some(2), 7, 1), WRITTEN);
    let log = b.read().unwrap_or_else(|| panic!("a log that was written is there"));
    let blocks: Vec<_> = log.blocks.iter().map(|block| (block.first, block.ends.len(), block.hole)).collect();
    hold(promise, blocks, vec![(1, 2, false), (3, 1, false), (4, 1, false), (7, 1, true)]);
    b.remove();
}

fn an_ended_log_stays_until_it_goes_on(open: &mut dyn FnMut() -> Opened) {
    let promise = "an ended log has no lease and stays readable";
    let mut b = Bench::new(open, 4);
    b.append(A, Some(0), 1, 2);
    hold(promise, b.end(A, LogEnd::Whole, 3), WRITTEN);
    hold(promise, b.hold(A, LEASE), WRITTEN);
    let state = |b: &mut Bench| b.read().map(|log| (log.fence, log.end, log.blocks.len()));
    hold(promise, state(&mut b), Some((1, Some(LogEnd::Whole), 1)));
    hold(promise, b.state().1, Some((A, false)));
    hold("an owner's next block takes the end away", b.append(A, None, 3, 1), WRITTEN);
    hold("an owner's next block takes the end away", state(&mut b), Some((1, None, 2)));
    // The last block has not come here.
    hold(promise, b.end(A, LogEnd::Whole, 5), WRITTEN);
    hold("an end behind a hole is a cut", b.read().and_then(|log| log.end), Some(LogEnd::Cut));
    hold("a claim takes the end away", b.append(B, Some(1), 4, 1), WRITTEN);
    hold("a claim takes the end away", state(&mut b), Some((2, None, 3)));
    b.remove();
}

fn removals_are_fenced(open: &mut dyn FnMut() -> Opened, pass: &mut dyn FnMut(Duration)) {
    let promise = "a log is removed by its owner, and by others once its lease is over";
    let mut b = Bench::new(open, 5);
    b.append(A, Some(0), 1, 2);
    hold(promise, b.remove_by(Some(B)), LogOutcome::Fenced);
    hold(promise, b.remove_by(None), LogOutcome::Fenced);
    pass(Duration::from_millis(LEASE + 100));
    hold(promise, b.remove_by(Some(B)), WRITTEN);
    hold(promise, b.read(), None);
    hold("to hold what is gone makes no log", b.hold(A, LEASE), WRITTEN);
    hold("to hold what is gone makes no log", b.read(), None);
    hold("to end what is gone makes no log", b.end(A, LogEnd::Cut, 1), WRITTEN);
    hold("to end what is gone makes no log", b.read(), None);
}

fn firsts(news: &[FollowNews]) -> Vec<Result<u64, FollowNews>> {
    let mut all = Vec::new();
    for one in news {
        match one {
            FollowNews::Blocks(blocks) => all.extend(blocks.iter().map(|block| Ok(block.first))),
            other => all.push(Err(other.clone())),
        }
    }
    all
}

fn a_follower_is_told_everything_once(open: &mut dyn FnMut() -> Opened) {
    let promise = "a follower is told every block once and in order";
    let mut b = Bench::new(open, 6);
    b.append(A, Some(0), 1, 2);
    hold(promise, b.one_call(2, 1), vec![]);
    hold("the owner is told that somebody follows", b.append(A, None, 3, 2), FOLLOWED);
    b.append(A, None, 5, 1);
    hold(promise, firsts(&b.news(2, 1)), vec![Ok(3), Ok(5)]);
    hold("what is not known yet is told again", firsts(&b.news(4, 1)), vec![Ok(5)]);
    hold(promise, b.one_call(5, 1), vec![]);
    hold("the owner is told that somebody follows", b.hold(A, LEASE), FOLLOWED);
    b.append(A, None, 6, 1);
    b.end(A, LogEnd::Whole, 7);
    let ended = FollowNews::Ended(LogEnd::Whole);
    let mut told = firsts(&b.news(5, 1));
    if told.len() < 2 {
        told.extend(firsts(&b.news(6, 1)));
    }
    hold("a follower is told the end behind everything", told, vec![Ok(6), Err(ended.clone())]);
    hold("a follower that comes late is told the end", b.news(6, 1), vec![ended]);
    b.remove();
    hold("a follower is told that the log is gone", b.news(6, 1), vec![FollowNews::Lost]);
}

fn a_follower_is_told_that_the_owner_is_gone(open: &mut dyn FnMut() -> Opened, pass: &mut dyn FnMut(Duration)) {
    let promise = "a follower is told that the owner is gone";
    let mut b = Bench::new(open, 7);
    b.append(A, Some(0), 1, 2);
    hold(promise, b.one_call(2, 1), vec![]);
    pass(Duration::from_millis(LEASE + 700));
    hold(promise, b.news(2, 1), vec![FollowNews::OwnerGone]);
    b.hold(A, LEASE);
    pass(Duration::from_millis(100));
    b.append(B, Some(1), 3, 1);
    hold("another owner's events are not mixed in", b.news(2, 1), vec![FollowNews::OwnerGone]);
    hold("the new owner is followed", firsts(&b.news(2, 2)), vec![Ok(3)]);
    b.hold(B, 0);
    hold(promise, b.news(3, 2), vec![FollowNews::OwnerGone]);
    b.remove();
}

fn a_follower_is_told_what_is_lost(open: &mut dyn FnMut() -> Opened) {
    let promise = "a follower is told that events are lost";
    let mut b = Bench::new(open, 8);
    b.append(A, Some(0), 1, 2);
    b.append(A, None, 4, 1);
    hold(promise, firsts(&b.news(2, 1)), vec![Err(FollowNews::Lost)]);
    let few = LogBounds { events: 1, ..BOUNDS };
    let trimmed = append(&b.name, block(5, 1, 5), Some(claim(A, None)));
    let LogWrite::Append { name, block, meta, claim, .. } = trimmed else { return };
    hold(promise, b.write(LogWrite::Append { name, block, meta, claim, bounds: few }), FOLLOWED);
    hold(promise, firsts(&b.news(3, 1)), vec![Err(FollowNews::Lost)]);
    hold(promise, firsts(&b.news(4, 1)), vec![Ok(5)]);
    b.remove();
}

fn any_order_of_writes_does_what_it_does_to_the_memory_store(open: &mut dyn FnMut() -> Opened) {
    use crate::base::Random;
    use crate::store::memory::MemoryStore;
    let promise = "any batch of log writes does what it does to the memory store";
    let (mut random, mut twin) = (Random::new(5), MemoryStore::new(usize::MAX));
    let names = [name(b"x", 1), name(b"y", 1), name(b"y", 2)];
    let mut next = [1u64; 3];
    for _ in 0..30 {
        let mut opened = open();
        let Some(logs) = &mut opened.logs else { return };
        let mut items = Vec::new();
        for _ in 0..random.below(12) {
            let at = random.below(3) as usize;
            let (name, owner) = (Arc::clone(&names[at]), [A, B][random.below(2) as usize]);
            let seen = if random.below(3) == 0 { None } else { Some(random.below(6)) };
            let claim = Claim { owner, seen, lease_ms: 60_000 };
            items.push(match random.below(12) {
                0 => LogWrite::End { name, claim, end: LogEnd::Whole, next: next[at] },
                1 => LogWrite::Hold { name, claim },
                2 => LogWrite::Remove { name, claim: Some(claim) },
                3 => LogWrite::Hold { name, claim: Claim { lease_ms: 0, ..claim } },
                _ => {
                    let first = next[at].saturating_sub(random.below(3)).max(1);
                    let events = 1 + random.below(3) as u32;
                    next[at] = first + u64::from(events);
                    let bounds = LogBounds { events: 5, bytes: 60, age_ms: 50 };
                    let meta = Arc::from(&b"meta"[..]);
                    LogWrite::Append { name, block: block(first, events, first), meta, bounds, claim: Some(claim) }
                }
            });
        }
        let results = done("writing logs", logs.write_logs(&items));
        hold(promise, results, done("writing the twin", twin.write_logs(&items)));
        for name in &names {
            let mut pair = [done("reading a log", logs.read_log(name, 25)), done("reading", twin.read_log(name, 25))];
            // The time passes in one of them alone.
            for lease in pair.iter_mut().flatten().filter_map(|log| log.owner.as_mut()) {
                lease.left_ms = lease.left_ms.min(1);
            }
            let [found, expected] = pair;
            hold(promise, found, expected);
        }
    }
    for name in names {
        for owner in [A, B] {
            let remove = LogWrite::Remove { name: Arc::clone(&name), claim: Some(claim(owner, None)) };
            let mut opened = open();
            let Some(logs) = &mut opened.logs else { return };
            done("removing", logs.write_logs(&[remove])).into_iter().for_each(|result| _ = done("removing", result));
        }
    }
}
