//! Logs on the server, which processes share.
//!
//! In: blocks of logs and what their owners say, names to look up. Out: what became of each write; logs.
//! Laws: comparing with the owner and writing is one script; a batch is one round trip; a call of the script has a
//! bounded number of items and bytes, since the server does nothing else meanwhile.

use super::address::Address;
use super::caller::{Call, Caller, bytes, number, parts};
use super::fault::{of_a_batch, of_text};
use super::names::{BUCKETS, Names, bucket, member};
use crate::base::StreamName;
use crate::store::encoding::{decode_block, encode_block};
use crate::store::error::StoreError;
use crate::store::log::state_holes;
use crate::store::{Claim, Lease, LogEnd, LogOutcome, LogStore, LogWrite, StoredLog};
use ::redis::{RedisError, Value};
use std::time::Duration;

/// The most items and bytes of one call of the script; one block may have more bytes.
const CALL: usize = 64;
const CALL_BYTES: usize = 256 << 10;

const SCRIPTS: &[&str] = &[include_str!("log.lua"), include_str!("read.lua")];
const WRITE: usize = 0;
const READ: usize = 1;

/// The greatest number that the scripts count exactly with.
const MOST: u64 = 1 << 52;

/// How long a log is kept at least after its last write, in milliseconds.
const LEAST: u64 = 10_000;

pub(super) struct Logs {
    caller: Caller,
    names: Names,
    /// The longest that a log is kept after its last write, in milliseconds.
    expiry: u64,
    record: Vec<u8>,
}

impl Logs {
    pub(super) fn open(address: &Address, expiry: Option<Duration>) -> Result<Self, StoreError> {
        let expiry = expiry.map_or(MOST, |time| u64::try_from(time.as_millis()).unwrap_or(MOST).clamp(LEAST, MOST));
        let (caller, names) = (Caller::connect(address, SCRIPTS)?, Names::new(&address.prefix));
        Ok(Self { caller, names, expiry, record: Vec::new() })
    }

    /// Adds an item to a call.
    fn add(&mut self, call: &mut Call, item: &LogWrite) {
        let name = item.name();
        let (bucket, member) = (bucket(&name.session), member(name));
        call.keys.extend([self.names.log(bucket, &member), self.names.log_state(bucket, &member)]);
        let (owner, seen, lease) = match item.claim() {
            Some(Claim { owner, seen, lease_ms }) => (owner.to_string(), seen.map(|seen| seen.to_string()), *lease_ms),
            None => (String::new(), None, 0),
        };
        let what = match item {
            LogWrite::Append { .. } => "a",
            LogWrite::Hold { .. } => "h",
            LogWrite::End { .. } => "e",
            LogWrite::Remove { .. } => "r",
        };
        let head = [what.to_owned(), owner, seen.unwrap_or_default(), lease.min(MOST).to_string()];
        call.arguments.extend(head.map(String::into_bytes));
        let mut numbers = [0; 8];
        let (mut meta, mut data): (&[u8], &[u8]) = (&[], &[]);
        match item {
            LogWrite::Append { block, meta: needed, bounds, .. } => {
                let keep = bounds.age_ms.max(lease.saturating_mul(4)).max(LEAST).min(self.expiry);
                numbers = [
                    block.first,
                    block.ends.len() as u64,
                    block.bytes.len() as u64,
                    block.at_ms,
                    bounds.events,
                    bounds.bytes,
                    bounds.age_ms,
                    keep,
                ];
                encode_block(block, &mut self.record);
                (meta, data) = (needed, &self.record);
            }
            LogWrite::End { end, next, .. } => {
                meta = if *end == LogEnd::Whole { b"w" } else { b"c" };
                numbers[0] = *next;
            }
            LogWrite::Hold { .. } | LogWrite::Remove { .. } => {}
        }
        call.arguments.extend(numbers.map(|n| n.min(MOST).to_string().into_bytes()));
        call.arguments.extend([meta.to_vec(), data.to_vec()]);
    }

    /// The results of a call for so many items.
    fn results(&self, answer: Result<Value, RedisError>, count: usize) -> Vec<Result<LogOutcome, StoreError>> {
        let result = |value: &Value| match value {
            Value::Int(0) => Ok(LogOutcome::Fenced),
            Value::Int(n) => Ok(LogOutcome::Written { followed: *n == 2 }),
            Value::BulkString(text) => Err(of_text(&self.caller.address, &String::from_utf8_lossy(text))),
            _ => Err(self.caller.fault(None)),
        };
        match answer {
            Ok(Value::Array(values)) if values.len() == count => values.iter().map(result).collect(),
            Ok(_) => vec![Err(self.caller.fault(None)); count],
            Err(e) => vec![Err(self.caller.fault(Some(&e))); count],
        }
    }
}

impl LogStore for Logs {
    fn write_logs(&mut self, items: &[LogWrite]) -> Result<Vec<Result<LogOutcome, StoreError>>, StoreError> {
        let mut groups: Vec<Vec<(Vec<usize>, usize)>> = vec![Vec::new(); usize::from(BUCKETS)];
        for (at, item) in items.iter().enumerate() {
            // One server takes all of them in one call. The items of one log stay in their order.
            let group = if self.caller.is_cluster() { usize::from(bucket(&item.name().session)) } else { 0 };
            let Some(group) = groups.get_mut(group) else { continue };
            match group.last_mut() {
                Some((places, held)) if places.len() < CALL && *held + item.bytes() <= CALL_BYTES => {
                    places.push(at);
                    *held += item.bytes();
                }
                _ => group.push((vec![at], item.bytes())),
            }
        }
        let parts: Vec<Vec<usize>> = groups.into_iter().flatten().map(|(places, _)| places).collect();
        let mut calls = Vec::with_capacity(parts.len());
        for places in &parts {
            let mut call = Call::default();
            places.iter().filter_map(|at| items.get(*at)).for_each(|item| self.add(&mut call, item));
            calls.push(call);
        }
        let mut results: Vec<Result<LogOutcome, StoreError>> = vec![Err(StoreError::Closed); items.len()];
        for (places, answer) in parts.into_iter().zip(self.caller.call(WRITE, &calls)?) {
            for (at, result) in places.iter().zip(self.results(answer, places.len())) {
                if let Some(place) = results.get_mut(*at) {
                    *place = result;
                }
            }
        }
        of_a_batch(&results).map_or(Ok(results), Err)
    }

    fn read_log(&mut self, name: &StreamName, max_bytes: usize) -> Result<Option<StoredLog>, StoreError> {
        let (bucket, member) = (bucket(&name.session), member(name));
        let keys = vec![self.names.log(bucket, &member), self.names.log_state(bucket, &member)];
        let arguments = vec![(max_bytes as u64).min(MOST).to_string().into_bytes()];
        let answer = self.caller.call(READ, &[Call { keys, arguments }])?.pop();
        let value = match answer {
            Some(Ok(value)) => value,
            Some(Err(e)) => return Err(self.caller.fault(Some(&e))),
            None => return Err(self.caller.fault(None)),
        };
        let [fence, owner, left, end, meta, found @ ..] = parts(&value) else { return Ok(None) };
        let end = match bytes(end) {
            Some(b"w") => Some(LogEnd::Whole),
            Some(b"c") => Some(LogEnd::Cut),
            _ => None,
        };
        let left_ms = number(left).unwrap_or(0);
        let owner = number(owner).map(|epoch| Lease { epoch, left_ms });
        // What lies before a block that is damaged is of no use.
        let mut blocks: Vec<_> = found.iter().map_while(|block| decode_block(bytes(block)?).ok()).collect();
        blocks.reverse();
        state_holes(&mut blocks);
        let (meta, fence) = (bytes(meta).unwrap_or_default().into(), number(fence).unwrap_or(0));
        Ok(Some(StoredLog { meta, blocks, fence, owner, end }))
    }

    fn has_recovered(&mut self) -> bool {
        self.caller.has_recovered()
    }
}
