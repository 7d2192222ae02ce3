//! Which logs of the store belong to this process, where processes share them: their leases, and who follows them.
//!
//! In: writes of logs and what became of them, ticks. Out: writes that keep leases alive or give them up; news for
//! whoever has the streams.
//! Laws: a lease is renewed by every write, and by a hold once a third of it has passed without one; who is told that
//! another process has a log is told once; news that find no room are told again; streams without a log cost nothing.

use super::message::{Listener, LogNews};
use crate::base::{Span, StreamName, Tick};
use crate::store::{Claim, LogOutcome, LogWrite};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// News that may wait for room. Of more, those that wait for the longest are dropped: a fenced owner is told again by
/// its next write.
const NEWS: usize = 10_000;

/// See the module's page.
pub(super) struct Owning {
    /// What all claims of this process name. 0: the store has not said yet.
    epoch: u64,
    lease: Span,
    logs: HashMap<Arc<StreamName>, Owned>,
    /// When leases are looked at next.
    look_at: Tick,
    listener: Option<Listener>,
    untold: VecDeque<LogNews>,
    /// Logs that were taken over from another owner just now: their cursors need a new epoch.
    taken: Vec<Arc<StreamName>>,
}

/// A log of this process.
#[derive(Clone, Copy)]
struct Owned {
    renewed: Tick,
    followed: bool,
}

impl Owning {
    pub(super) fn new(lease: Span) -> Self {
        let (logs, untold, taken) = (HashMap::new(), VecDeque::new(), Vec::new());
        Self { epoch: 0, lease, logs, look_at: Tick::ZERO, listener: None, untold, taken }
    }

    /// The store has handed out an epoch. The first one stays the name of this process for as long as it lives.
    pub(super) fn go_by(&mut self, epoch: u64) -> u64 {
        if self.epoch == 0 {
            self.epoch = epoch;
        }
        self.epoch
    }

    /// From now on news go here.
    pub(super) fn listen(&mut self, listener: Listener) {
        self.listener = Some(listener);
    }

    /// Logs of this process.
    pub(super) fn count(&self) -> usize {
        self.logs.len()
    }

    /// Puts the name of this process into the claims of writes.
    pub(super) fn sign(&self, items: &mut [LogWrite]) {
        for claim in items.iter_mut().filter_map(LogWrite::claim_mut) {
            (claim.owner, claim.lease_ms) = (self.epoch, claim.lease_ms.min(self.lease.millis()));
        }
    }

    /// The claim of a log that is this process's already.
    fn claim(&self) -> Claim {
        Claim { owner: self.epoch, seen: None, lease_ms: self.lease.millis() }
    }

    /// When leases are looked at; `None`: there are none.
    pub(super) fn due(&self) -> Option<Tick> {
        (!self.logs.is_empty()).then_some(self.look_at)
    }

    /// Holds for the leases that end soon, if it is time to look.
    pub(super) fn holds(&mut self, now: Tick) -> Vec<LogWrite> {
        if self.due().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let third = Span::from_micros(self.lease.micros() / 3);
        self.look_at = now + Span::from_micros(third.micros() / 2);
        let claim = self.claim();
        let old = self.logs.iter().filter(|(_, owned)| now.since(owned.renewed) >= third);
        old.map(|(name, _)| LogWrite::Hold { name: Arc::clone(name), claim }).collect()
    }

    /// Writes that give all leases up, so that others need not wait for their end.
    pub(super) fn give_up(&mut self) -> Vec<LogWrite> {
        let claim = Claim { lease_ms: 0, ..self.claim() };
        self.logs.drain().map(|(name, _)| LogWrite::Hold { name, claim }).collect()
    }

    /// What became of a write.
    pub(super) fn on_written(&mut self, write: &LogWrite, outcome: LogOutcome, now: Tick) {
        let (name, Some(claim)) = (write.name(), write.claim()) else { return };
        match (outcome, write) {
            (LogOutcome::Fenced, _) => {
                let was_ours = self.logs.remove(name).is_some();
                if was_ours || matches!(write, LogWrite::Append { .. }) {
                    self.tell(LogNews::TakenOver { name: Arc::clone(name) });
                }
            }
            (LogOutcome::Written { .. }, LogWrite::End { .. } | LogWrite::Remove { .. }) => _ = self.logs.remove(name),
            (LogOutcome::Written { .. }, LogWrite::Hold { .. }) if claim.lease_ms == 0 => _ = self.logs.remove(name),
            (LogOutcome::Written { followed }, LogWrite::Append { .. }) => {
                if claim.seen.is_some_and(|seen| seen > 0) {
                    self.taken.push(Arc::clone(name));
                }
                let known = self.logs.insert(Arc::clone(name), Owned { renewed: now, followed });
                self.on_followed(name, known.is_some_and(|owned| owned.followed), followed);
            }
            (LogOutcome::Written { followed }, LogWrite::Hold { .. }) => {
                // A hold of a log that was let go meanwhile does not bring it back.
                let Some(owned) = self.logs.get_mut(name) else { return };
                let before = std::mem::replace(owned, Owned { renewed: now, followed });
                self.on_followed(name, before.followed, followed);
            }
        }
    }

    fn on_followed(&mut self, name: &Arc<StreamName>, before: bool, followed: bool) {
        if before != followed {
            self.tell(LogNews::Watched { name: Arc::clone(name), followed });
        }
    }

    fn tell(&mut self, news: LogNews) {
        if self.untold.len() >= NEWS {
            self.untold.pop_front();
        }
        self.untold.push_back(news);
    }

    /// Tells the news that wait, as far as there is room.
    pub(super) fn tell_news(&mut self) {
        let Some(listener) = &self.listener else { return };
        while let Some(news) = self.untold.front() {
            if !listener(news.clone()) {
                return;
            }
            self.untold.pop_front();
        }
    }

    /// When news that wait are told again; `None`: none wait.
    pub(super) fn has_untold(&self) -> bool {
        self.listener.is_some() && !self.untold.is_empty()
    }

    /// Logs that were taken over since the last call.
    pub(super) fn taken(&mut self) -> &mut Vec<Arc<StreamName>> {
        &mut self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{LogBlock, LogBounds, LogStore, MemoryStore};
    use std::sync::Mutex;

    fn append(stream: u64, first: u64, seen: Option<u64>) -> LogWrite {
        let name = Arc::new(StreamName { session: b"s"[..].into(), stream });
        let block = Arc::new(LogBlock { first, at_ms: 0, bytes: b"x"[..].into(), ends: [1].into(), hole: false });
        let bounds = LogBounds { events: 9, bytes: 99, age_ms: 9 };
        let claim = Some(Claim { owner: 0, seen, lease_ms: u64::MAX });
        LogWrite::Append { name, block, meta: Arc::from([]), bounds, claim }
    }

    /// Two processes over one store, and what the first is told.
    #[test]
    fn leases_are_held_while_nothing_is_written_and_a_fenced_owner_is_told_once() {
        let (mut store, told) = (MemoryStore::new(9), Arc::new(Mutex::new(Vec::new())));
        let [mut a, mut b] = [7, 8].map(|epoch| {
            let mut owning = Owning::new(Span::from_millis(3_000));
            assert_eq!((owning.go_by(epoch), owning.go_by(9)), (epoch, epoch));
            owning
        });
        let heard = Arc::clone(&told);
        a.listen(Arc::new(move |news| {
            heard.lock().unwrap().push(news);
            true
        }));
        let mut write = |of: &mut Owning, mut items: Vec<LogWrite>, ms: u64| {
            of.sign(&mut items);
            for (item, result) in items.iter().zip(store.write_logs(&items).unwrap()) {
                of.on_written(item, result.unwrap(), Tick::from_millis(ms));
            }
            of.tell_news();
        };
        write(&mut a, vec![append(1, 1, Some(0)), append(2, 1, Some(0))], 0);
        assert_eq!((a.count(), a.holds(Tick::from_millis(900)).len()), (2, 0));
        write(&mut a, vec![append(2, 2, None)], 900);
        let holds = a.holds(Tick::from_millis(1_400));
        assert_eq!(holds.iter().map(|hold| hold.name().stream).collect::<Vec<_>>(), [1]);
        assert!(a.holds(Tick::from_millis(1_450)).is_empty(), "leases are not looked at again at once");
        write(&mut b, vec![append(1, 2, Some(1))], 1_500);
        assert_eq!((b.taken().len(), a.taken().len()), (1, 0));
        write(&mut a, holds, 1_600);
        write(&mut a, vec![append(2, 3, None)], 1_700);
        let name = Arc::clone(append(1, 1, None).name());
        assert_eq!(*told.lock().unwrap(), [LogNews::TakenOver { name }]);
        let left = a.give_up();
        assert_eq!(left.iter().map(|hold| hold.name().stream).collect::<Vec<_>>(), [2]);
        write(&mut a, left, 1_800);
        assert_eq!((a.count(), a.due()), (0, None));
    }
}
