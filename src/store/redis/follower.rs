//! What other processes write to their logs on the server, as it comes.
//!
//! In: logs, and how much of each is known. Out: what is new in them.
//! Laws: one connection follows all logs; one command reads many of them, and waits for them where one server has them
//! all; a log's lease, and that it is followed, are looked at once in [`TURNS`] calls.

use super::address::Address;
use super::caller::{Call, Caller, bytes, number, parts};
use super::names::{BUCKETS, Names, bucket, member};
use crate::base::StreamName;
use crate::store::encoding::decode_block;
use crate::store::error::StoreError;
use crate::store::{FOLLOWED_MS, FollowNews, Following, LogEnd, LogFollower};
use ::redis::{Cmd, Value, cmd};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Calls between two looks at one log's state.
const TURNS: usize = 16;

/// The most logs that one command reads, and entries that it takes of each.
const READ: usize = 1_000;
const ENTRIES: usize = 8;

const SCRIPTS: &[&str] = &[include_str!("watch.lua")];
const WATCH: usize = 0;

pub(super) struct Follower {
    caller: Caller,
    names: Names,
    turn: usize,
    /// Logs whose state was looked at.
    known: HashSet<Arc<StreamName>>,
}

/// A log, and who of the wanted ones it stands for.
struct Read {
    key: String,
    /// Where to read on.
    from: (u64, u64),
    places: Vec<usize>,
}

impl Follower {
    pub(super) fn open(address: &Address) -> Result<Self, StoreError> {
        let (caller, names) = (Caller::connect(address, SCRIPTS)?, Names::new(&address.prefix));
        Ok(Self { caller, names, turn: 0, known: HashSet::new() })
    }

    /// Buckets of which one command may name keys together.
    fn group(&self, name: &StreamName) -> u8 {
        if self.caller.is_cluster() { bucket(&name.session) } else { 0 }
    }

    /// Looks at the state of those whose turn it is, and of those that are new.
    fn watch(&mut self, wanted: &[Following]) -> Result<Vec<(usize, FollowNews)>, StoreError> {
        self.turn = (self.turn + 1) % TURNS;
        if self.known.len() > 2 * wanted.len() + READ {
            self.known.clear();
        }
        let mut calls: HashMap<u8, Vec<usize>> = HashMap::new();
        for (at, following) in wanted.iter().enumerate() {
            let is_new = self.known.insert(Arc::clone(&following.name));
            if is_new || following.name.stream as usize % TURNS == self.turn {
                calls.entry(self.group(&following.name)).or_default().push(at);
            }
        }
        let parts_of: Vec<Vec<usize>> = calls
            .into_values()
            .flat_map(|places| places.chunks(READ).map(<[usize]>::to_vec).collect::<Vec<_>>())
            .collect();
        let key = |at: &usize| {
            let name = &wanted.get(*at)?.name;
            Some(self.names.log_state(bucket(&name.session), &member(name)))
        };
        let calls: Vec<Call> = parts_of
            .iter()
            .map(|places| {
                let arguments = vec![FOLLOWED_MS.to_string().into_bytes()];
                Call { keys: places.iter().filter_map(key).collect(), arguments }
            })
            .collect();
        let mut news = Vec::new();
        for (places, answer) in parts_of.into_iter().zip(self.caller.call(WATCH, &calls)?) {
            let answer = match answer.map_err(|e| self.caller.fault(Some(&e))) {
                Err(e) if e.is_of_a_part() => {
                    news.extend(places.into_iter().map(|at| (at, FollowNews::Away)));
                    continue;
                }
                answer => answer?,
            };
            if parts(&answer).len() != places.len() {
                return Err(self.caller.fault(None));
            }
            for (at, state) in places.into_iter().zip(parts(&answer)) {
                let Some(following) = wanted.get(at) else { continue };
                news.extend(stands(following, state).map(|told| (at, told)));
            }
        }
        Ok(news)
    }

    /// Reads what is new in these logs.
    fn read(
        &mut self,
        reads: Vec<Read>,
        wanted: &[Following],
        block: Option<u64>,
    ) -> Result<Vec<(usize, FollowNews)>, StoreError> {
        let mut groups: Vec<Vec<Read>> = (0..BUCKETS).map(|_| Vec::new()).collect();
        for read in reads {
            let of = read.places.first().and_then(|at| wanted.get(*at)).map_or(0, |first| self.group(&first.name));
            if let Some(group) = groups.get_mut(usize::from(of)) {
                group.push(read);
            }
        }
        let chunks: Vec<&[Read]> = groups.iter().flat_map(|group| group.chunks(READ)).collect();
        let is_one = chunks.len() == 1 && !self.caller.is_cluster();
        let commands: Vec<Cmd> = chunks.iter().map(|reads| command(reads, block.filter(|_| is_one))).collect();
        let by_key: HashMap<&[u8], &Read> =
            chunks.iter().flat_map(|reads| reads.iter()).map(|read| (read.key.as_bytes(), read)).collect();
        let mut news = Vec::new();
        for (reads, answer) in chunks.iter().zip(self.caller.ask(&commands)?) {
            let answer = match answer.map_err(|e| self.caller.fault(Some(&e))) {
                Err(e) if e.is_of_a_part() => {
                    let places = reads.iter().flat_map(|read| &read.places);
                    news.extend(places.map(|at| (*at, FollowNews::Away)));
                    continue;
                }
                answer => answer?,
            };
            for log in parts(&answer) {
                let [key, entries] = parts(log) else { continue };
                let Some(read) = bytes(key).and_then(|key| by_key.get(key)) else { continue };
                for at in &read.places {
                    let Some(following) = wanted.get(*at) else { continue };
                    news.extend(told(following, parts(entries)).into_iter().map(|told| (*at, told)));
                }
            }
        }
        Ok(news)
    }
}

/// One command that reads these logs, and waits for so many milliseconds.
fn command(reads: &[Read], block: Option<u64>) -> Cmd {
    let mut command = cmd("XREAD");
    command.arg("COUNT").arg(ENTRIES);
    if let Some(millis) = block {
        command.arg("BLOCK").arg(millis);
    }
    command.arg("STREAMS");
    reads.iter().for_each(|read| _ = command.arg(&read.key));
    reads.iter().for_each(|read| _ = command.arg(format!("{}-{}", read.from.0, read.from.1)));
    command
}

/// How a log stands, where that is news.
fn stands(following: &Following, state: &Value) -> Option<FollowNews> {
    let [fence, left, next, ended] = parts(state) else { return Some(FollowNews::Lost) };
    let is_told = number(next).is_none_or(|next| next <= following.after + 1);
    match (number(fence) == Some(following.fence), number(left), number(ended)) {
        (false, ..) => Some(FollowNews::OwnerGone),
        (true, Some(0), Some(0)) if is_told => Some(FollowNews::OwnerGone),
        _ => None,
    }
}

/// What entries of a log say that are read after what is known.
fn told(following: &Following, entries: &[Value]) -> Vec<FollowNews> {
    let (mut blocks, mut last, mut next) = (Vec::new(), None, following.after + 1);
    for entry in entries {
        let [id, fields] = parts(entry) else { continue };
        let [kind, data] = parts(fields) else { continue };
        let id = bytes(id).and_then(|id| std::str::from_utf8(id).ok()).and_then(|id| id.split_once('-'));
        let Some((Ok(fence), Ok(place))) = id.map(|(fence, place)| (fence.parse::<u64>(), place.parse::<u64>())) else {
            continue;
        };
        if fence != following.fence {
            last = Some(FollowNews::OwnerGone);
            break;
        }
        if bytes(kind) != Some(b"d") {
            let whole = if bytes(data) == Some(b"w") { LogEnd::Whole } else { LogEnd::Cut };
            last = Some(if place == 2 * next - 1 { FollowNews::Ended(whole) } else { FollowNews::Lost });
            break;
        }
        let Some(block) = bytes(data).and_then(|data| decode_block(data).ok()) else {
            last = Some(FollowNews::Lost);
            break;
        };
        let behind = block.first + block.ends.len() as u64;
        if behind <= next {
            continue;
        }
        if block.first != next || block.hole {
            last = Some(FollowNews::Lost);
            break;
        }
        next = behind;
        blocks.push(block);
    }
    let blocks = (!blocks.is_empty()).then_some(FollowNews::Blocks(blocks));
    blocks.into_iter().chain(last).collect()
}

impl LogFollower for Follower {
    fn follow(&mut self, wanted: &[Following], patience: Duration) -> Result<Vec<(usize, FollowNews)>, StoreError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut news = self.watch(wanted)?;
        let over: HashSet<usize> = news.iter().map(|(at, _)| *at).collect();
        let mut reads: HashMap<(&Arc<StreamName>, u64), Read> = HashMap::new();
        for (at, following) in wanted.iter().enumerate().filter(|(at, _)| !over.contains(at)) {
            let read = reads.entry((&following.name, following.fence)).or_insert_with(|| {
                let key = self.names.log(bucket(&following.name.session), &member(&following.name));
                Read { key, from: (following.fence, u64::MAX), places: Vec::new() }
            });
            read.from.1 = read.from.1.min(following.after.saturating_mul(2));
            read.places.push(at);
        }
        if reads.is_empty() {
            return Ok(news);
        }
        // A call must return within the connection's own time-out.
        let patience = patience.min(self.caller.address.timeout / 2);
        let block = u64::try_from(patience.as_millis()).ok().filter(|millis| news.is_empty() && *millis > 0);
        news.extend(self.read(reads.into_values().collect(), wanted, block)?);
        Ok(news)
    }
}
