//! The bounds and settings of a process, drawn by chance.
//!
//! In: a random source, a known fault. Out: a configuration in which every bound is small.

use super::script::Canary;
use super::source::{KINDS, Kind};
use crate::base::{Random, Span};
use crate::config::{Config, Dedup, Limits, LingerFull, Persist, Route, Share, StoreConfig, Upstream};

/// How many bytes all logs may have together, and how many more each stream may add: its first ring, its records, one
/// event that is on its way.
pub(super) const BUDGET: usize = 32 << 10;
pub(super) const ABOVE: usize = 16 << 10;
/// The same for what connections hold.
pub(super) const BUFFERS: usize = 64 << 10;

pub(super) const CONNECTIONS: usize = 60;
pub(super) const STREAMS: usize = 14;

/// How often a second upstream may be asked again.
pub(super) fn heal_rate(random: &mut Random) -> u32 {
    [1, 2, 100][random.below(3) as usize]
}

/// Random bounds, all of them small.
pub(super) fn config(random: &mut Random, heal_rate: u32, canary: Option<Canary>) -> Config {
    let route = |random: &mut Random, kind: Kind| {
        let mut route = Route::new(Upstream::parse("http://up:9000").unwrap_or_else(|e| panic!("{e}")));
        route.name = format!("k{}", kind.number());
        route.path = format!("/k{}/", kind.number());
        route.replay_events = [4, 16, 256][random.below(3) as usize];
        route.replay_bytes = [4 << 10, 16 << 10, 64 << 10][random.below(3) as usize];
        route.max_event_bytes = route.replay_bytes / 2;
        if kind == Kind::Grouped {
            (route.replay_events, route.replay_age) = (256, Span::from_secs(86_400));
        }
        route.heal_rate = if canary == Some(Canary::Unpaced) { 1_000 } else { heal_rate };
        route.window = 1 + random.below(48) as usize;
        route.linger = Span::from_secs([0, 5, 30][random.below(3) as usize]);
        route.linger_full = if random.below(3) == 0 { LingerFull::Evict } else { LingerFull::Pause };
        route.share = if random.below(4) == 0 { Share::Principal } else { Share::Off };
        route.upstream_idle = Some(Span::from_secs(20));
        route.heal_for = Span::from_secs([5, 60][random.below(2) as usize]);
        if canary == Some(Canary::NoDedup) {
            route.dedup = Dedup::Off;
        }
        if canary == Some(Canary::FatLogs) {
            (route.replay_events, route.replay_bytes, route.max_event_bytes) = (100_000, 1 << 20, 512 << 10);
        }
        if canary == Some(Canary::OnePrincipal) {
            // All requests have the same host.
            route.principal = vec!["Host".to_owned()];
            route.share = Share::Principal;
        }
        if canary == Some(Canary::GuessedIds) {
            route.principal = vec!["Host".to_owned()];
            route.share = Share::Off;
        }
        route
    };
    let routes: Vec<Route> = KINDS.iter().map(|kind| route(random, *kind)).collect();
    let log_budget = if canary == Some(Canary::FatLogs) { 64 << 20 } else { BUDGET };
    let streams = STREAMS - random.below(12) as usize;
    let sessions = 2 + random.below(12) as usize;
    let mut few = || if random.below(2) == 0 { 1 + random.below(3) as usize } else { STREAMS };
    let (streams_per_session, lingering_per_principal, lingering_per_address) = (few(), few(), few());
    let limits = Limits {
        streams,
        sessions,
        streams_per_session,
        lingering_per_principal,
        lingering_per_address,
        connections: CONNECTIONS,
        buffer_budget: BUFFERS,
        log_budget,
        ..Limits::default()
    };
    let persist = Persist { durable: random.below(2) == 0, ..Persist::default() };
    let store = if streams.is_multiple_of(2) { StoreConfig::Memory } else { StoreConfig::Own };
    Config { routes: routes.into(), limits, persist, store, ..Config::default() }
}
