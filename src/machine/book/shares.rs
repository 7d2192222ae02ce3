//! What streams have to do with other instances: logs that are claimed from them, and logs of theirs that are followed.
//!
//! In: look-ups that find a log, streams that end. Out: the fence that a claim names; which logs are followed, and from
//! where on.
//! Laws: a stream names the fence with its first part and never again; a log is followed once for each exchange, and
//! no more of them than `follows`; a stream that is neither has no entry here.

use crate::base::StreamName;
use crate::machine::cx::Cx;
use crate::machine::io::Output;
use crate::machine::keys::ExchangeKey;
use std::collections::HashMap;

/// How a stream stands to its log in the store.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(in crate::machine) enum Hold {
    /// No events have been handed over yet. The first ones claim the log, where logs are shared.
    #[default]
    Free,
    /// Events have been handed over.
    Claimed,
    /// The log has its end.
    Over,
    /// Nothing more is handed over: the end of the stream was emitted, or another instance owns its log.
    Closed,
}

/// A log of another instance that a stream reads.
#[derive(Debug)]
pub(in crate::machine) struct Following {
    pub(in crate::machine) name: StreamName,
    fence: u64,
    /// The store is asked for no more, since the readers are slow: some events found no room.
    pub(in crate::machine) is_paused: bool,
    /// These events, behind others that have found room, and how many bytes those have. They count against the budget
    /// of all logs.
    rest: Vec<u8>,
    taken: usize,
    /// Answers in a row that did not fit to what is here.
    pub(in crate::machine) misfits: u32,
}

/// What there is of both.
#[derive(Default, Debug)]
pub(in crate::machine) struct Shares {
    /// The fences of logs that were found and are to be claimed.
    seen: HashMap<ExchangeKey, u64>,
    follows: HashMap<ExchangeKey, Following>,
}

impl Shares {
    /// The stream goes on with a log that has changed its owner so often.
    pub(in crate::machine) fn see(&mut self, key: ExchangeKey, fence: u64) {
        if fence > 0 {
            self.seen.insert(key, fence);
        }
    }

    /// The fence over which the stream claims its log; 0 where the log is new.
    pub(super) fn claim(&mut self, key: ExchangeKey) -> u64 {
        self.seen.remove(&key).unwrap_or(0)
    }

    /// Logs that are followed.
    pub(in crate::machine) fn followed(&self) -> usize {
        self.follows.len()
    }

    /// Has a log followed behind this event.
    pub(in crate::machine) fn follow(
        &mut self,
        cx: &mut Cx,
        key: ExchangeKey,
        name: StreamName,
        after: u64,
        fence: u64,
    ) {
        cx.outputs.push_back(Output::Follow { exchange: key, name: name.clone(), after, fence });
        self.follows.insert(key, Following { name, fence, is_paused: false, rest: Vec::new(), taken: 0, misfits: 0 });
    }

    /// The log that an exchange follows.
    pub(in crate::machine) fn get_mut(&mut self, key: ExchangeKey) -> Option<&mut Following> {
        self.follows.get_mut(&key)
    }

    /// Keeps events for which there is no room, from the byte `taken` on. Until they find room, the store is asked for
    /// no more: it is the buffer.
    pub(in crate::machine) fn pause(&mut self, cx: &mut Cx, key: ExchangeKey, rest: Vec<u8>, taken: usize) {
        let Some(following) = self.follows.get_mut(&key) else { return };
        if !std::mem::replace(&mut following.is_paused, true) {
            cx.outputs.push_back(Output::Unfollow { exchange: key });
        }
        cx.budget.force_take(rest.len());
        (following.rest, following.taken) = (rest, taken);
    }

    /// Events that wait for room, to be taken in or given to [`Shares::pause`] again. `None`: none wait.
    pub(in crate::machine) fn take_rest(&mut self, cx: &mut Cx, key: ExchangeKey) -> Option<(Vec<u8>, usize)> {
        let following = self.follows.get_mut(&key).filter(|following| following.is_paused)?;
        let rest = std::mem::take(&mut following.rest);
        cx.budget.give(rest.len());
        Some((rest, following.taken))
    }

    /// Everything up to this event has found room. Where the store is asked for no more, it is asked again.
    pub(in crate::machine) fn go_on(&mut self, cx: &mut Cx, key: ExchangeKey, after: u64) {
        if let Some(following) = self.follows.get_mut(&key)
            && std::mem::take(&mut following.is_paused)
        {
            let (name, fence) = (following.name.clone(), following.fence);
            cx.outputs.push_back(Output::Follow { exchange: key, name, after, fence });
        }
    }

    /// The stream has ended, or is read no more.
    pub(in crate::machine) fn forget(&mut self, cx: &mut Cx, key: ExchangeKey) {
        if !self.seen.is_empty() {
            self.seen.remove(&key);
        }
        if !self.follows.is_empty()
            && let Some(following) = self.follows.remove(&key)
        {
            cx.budget.give(following.rest.len());
            if !following.is_paused {
                cx.outputs.push_back(Output::Unfollow { exchange: key });
            }
        }
    }

    /// A stream with events that found no room: where these lie, and how many bytes of them.
    #[cfg(test)]
    pub(in crate::machine) fn waiting(&self) -> Option<(ExchangeKey, *const u8, usize)> {
        let (key, following) = self.follows.iter().find(|(_, following)| !following.rest.is_empty())?;
        Some((*key, following.rest.as_ptr(), following.rest.len() - following.taken))
    }

    #[cfg(any(test, feature = "fuzzing", debug_assertions))]
    pub(in crate::machine) fn is_followed(&self, key: ExchangeKey) -> bool {
        self.follows.contains_key(&key)
    }
}
