//! Shared streams, found by what tells their answers apart: one step, however many variants a feed has.
//!
//! In: streams with the names by which upstream's answer varies, requests. Out: the stream that answers a request, for
//! the caller to look at closely.
//! Laws: a look takes one step; only hashes and names are kept, for no longer than their streams are here.

use super::vary;
use crate::machine::exchange::Request;
use crate::machine::keys::ExchangeKey;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// A session and a target.
type Place = (u128, u64);

/// By what the answers for one target vary, as the newest one says.
struct Names {
    names: Box<[u8]>,
    streams: usize,
}

/// The shared streams whose answers have begun.
#[derive(Default)]
pub(in crate::machine) struct Variants {
    hashing: RandomState,
    names: HashMap<Place, Names>,
    /// By place and by the values that the answer varies by, hashed: the newest of those streams.
    newest: HashMap<(Place, u64), ExchangeKey>,
    entered: HashMap<ExchangeKey, (Place, u64)>,
}

impl Variants {
    /// Enters a stream, or enters it anew. `varies`: the names by which its answer varies.
    pub(in crate::machine) fn enter(&mut self, key: ExchangeKey, request: &Request, varies: Option<&[u8]>) {
        self.forget(key);
        let place = place(request);
        let names = varies.unwrap_or_default();
        let at = (place, vary::variant_by(names, &request.head, self.hashing.build_hasher()));
        let known = self.names.entry(place).or_insert_with(|| Names { names: names.into(), streams: 0 });
        known.streams += 1;
        if *known.names != *names {
            known.names = names.into();
        }
        self.newest.insert(at, key);
        self.entered.insert(key, at);
    }

    /// The stream is over.
    pub(in crate::machine) fn forget(&mut self, key: ExchangeKey) {
        if self.entered.is_empty() {
            return;
        }
        let Some(at) = self.entered.remove(&key) else { return };
        if self.newest.get(&at) == Some(&key) {
            self.newest.remove(&at);
        }
        if let Some(known) = self.names.get_mut(&at.0) {
            known.streams -= 1;
            if known.streams == 0 {
                self.names.remove(&at.0);
            }
        }
    }

    /// The stream whose answer a request would get, as far as hashes tell.
    pub(super) fn find(&self, request: &Request) -> Option<ExchangeKey> {
        let place = place(request);
        let names = &self.names.get(&place)?.names;
        self.newest.get(&(place, vary::variant_by(names, &request.head, self.hashing.build_hasher()))).copied()
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(in crate::machine) fn is_empty(&self) -> bool {
        self.entered.is_empty() && self.newest.is_empty() && self.names.is_empty()
    }
}

fn place(request: &Request) -> Place {
    (request.identity.session, request.identity.target)
}
