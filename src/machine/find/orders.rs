//! Orders: POSTs that upstream is asked for once, however often their client tries.
//!
//! In: heads of POSTs on routes with `idempotent`, hashes of their bodies. Out: what a request says of its try; the
//! exchanges that carry an order of the same name.
//! Laws: a retry finds only what the same principal ordered, from the same place, for the same target and with the same
//! body; without a key it finds only what nobody reads any more, since another client may have ordered the same; a name
//! leads to [`SAME`] exchanges at most; no key is kept, only a hash of it.
//! Source: draft-ietf-httpapi-idempotency-key-header; the SDKs of OpenAI and Anthropic, which send
//! `X-Stainless-Retry-Count` with each try, and no key.

use super::identity::{Identity, Secret};
use crate::machine::keys::ExchangeKey;
use crate::track::Tracker;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The header that names one order, whatever else is the same.
const KEY: &str = "Idempotency-Key";

/// The header in which SDKs count the tries before this one.
const RETRY_COUNT: &str = "X-Stainless-Retry-Count";

/// Orders of one name at most. A retry looks at each of them.
const SAME: usize = 64;

/// What a request says of its try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::machine) struct Try {
    /// It has a key, so the order may be here.
    pub(in crate::machine) keyed: bool,
    /// It says that it is not the first one.
    pub(in crate::machine) again: bool,
}

impl Try {
    /// What a head says, by a function that looks its headers up. `None`: its client does not try again, or does not say
    /// so.
    pub(in crate::machine) fn of<'r>(header: impl Fn(&str) -> Option<&'r [u8]>) -> Option<Self> {
        let keyed = key_in(&header).is_some();
        let count = header(RETRY_COUNT).and_then(|count| std::str::from_utf8(count).ok()?.parse::<u32>().ok());
        (keyed || count.is_some()).then_some(Self { keyed, again: count.is_some_and(|count| count > 0) })
    }

    /// Whether an earlier try may be here.
    pub(in crate::machine) fn may_repeat(self) -> bool {
        self.keyed || self.again
    }
}

fn key_in<'r>(header: impl Fn(&str) -> Option<&'r [u8]>) -> Option<&'r [u8]> {
    header(KEY).filter(|key| !key.is_empty())
}

/// The order that an exchange carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::machine) struct Order {
    name: u128,
    /// The client named it by a key.
    pub(in crate::machine) keyed: bool,
}

impl Order {
    /// The order of who asks for what with this body. `by_name`: for an event stream, by name. `header` looks headers up.
    pub(in crate::machine) fn of<'r>(
        secret: &Secret,
        identity: &Identity,
        body: u128,
        by_name: bool,
        header: impl Fn(&str) -> Option<&'r [u8]>,
    ) -> Self {
        let key = key_in(header);
        Self { name: secret.order(identity, body, by_name, key), keyed: key.is_some() }
    }
}

/// Exchanges by the names of their orders: those with a key, and those without one that nobody reads.
#[derive(Default)]
pub(in crate::machine) struct Orders(HashMap<u128, Vec<ExchangeKey>>);

impl Orders {
    /// Later tries may find the exchange from now on. `false`: too many of the same name are here.
    #[must_use]
    pub(in crate::machine) fn enter(&mut self, order: Order, key: ExchangeKey) -> bool {
        let same = self.0.entry(order.name).or_default();
        let is_here = same.contains(&key);
        let has_place = is_here || same.len() < SAME;
        if has_place && !is_here {
            same.push(key);
        }
        has_place
    }

    /// No later try finds the exchange.
    pub(in crate::machine) fn forget(&mut self, order: Order, key: ExchangeKey) {
        if let Entry::Occupied(mut same) = self.0.entry(order.name) {
            same.get_mut().retain(|other| *other != key);
            if same.get().is_empty() {
                same.remove();
            }
        }
    }

    /// The exchanges that carry an order of this name, the one that was entered last in front.
    pub(in crate::machine) fn newest_of(&self, order: Order) -> Vec<ExchangeKey> {
        self.0.get(&order.name).into_iter().flatten().rev().copied().collect()
    }

    /// All of them.
    #[cfg(any(test, feature = "fuzzing", debug_assertions))]
    pub(in crate::machine) fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}

/// Where a log begins that holds the first event, with the comments before it.
pub(in crate::machine) fn start_of(tracker: &Tracker) -> Option<u64> {
    tracker.replay_start().filter(|start| *start == 0).or_else(|| tracker.locate_event(0))
}
