//! Cursors on the server.
//!
//! In: items to write, names to look up. Out: records.
//! Laws: a batch and a page of records cost a bounded number of round trips, commands and bytes; a connection that is
//! made again leads to a server that has the same key; a record that lacks its expiry is known until it has it.

use super::address::Address;
use super::bare::Bare;
use super::caller::{Call, Caller, missing};
use super::fault::{of, of_a_batch, of_text, server};
use super::names::{BUCKETS, Names, bucket, member, name};
use crate::base::StreamName;
use crate::store::encoding::{decode_record, encode_record};
use crate::store::error::{ServerFault, StoreError};
use crate::store::{Outcome, Record, SessionStore, Write};
use ::redis::{Cmd, RedisError, Value, cmd};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The number of the layout.
const FORMAT: u64 = 1;

/// Items of one batch, which is one round trip.
const BATCH: usize = 512;

/// Up to so many items of a call are exchanged one by one, and so keep their expiry. `write.lua` has the same number.
const FEW: usize = 2;

/// Records may lack their expiry for a while where it is at least this long, in milliseconds.
const LEAST_BARE: u64 = 600_000;

/// Items of one call of the script: while it runs, the server does nothing else.
const CALL: usize = 128;

/// The least and most names that are asked of a bucket at a time.
const NAMES: (usize, usize) = (8, 256);

/// The scripts: what writes, what cleans, what hands out epochs.
const SCRIPTS: &[&str] = &[
    concat!(include_str!("run.lua"), include_str!("write.lua")),
    concat!(include_str!("run.lua"), include_str!("clean.lua")),
    concat!(include_str!("run.lua"), include_str!("epoch.lua")),
];
const WRITE: usize = 0;
const CLEAN: usize = 1;
const EPOCH: usize = 2;

pub(super) struct Sessions {
    caller: Caller,
    names: Names,
    /// Milliseconds; 0: records do not expire.
    expiry: u64,
    /// Whether names are taken out whose record has expired.
    cleans: bool,
    /// Records that lack their expiry.
    bare: Bare,
    /// Where records are encoded.
    record: Vec<u8>,
}

/// A call of the script that writes, and what it says of each item's expiry.
struct Batch {
    /// The places of the items.
    places: Vec<usize>,
    expiries: Vec<Expires>,
}

/// When a record expires that is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expires {
    /// Never.
    Never,
    /// After the store's time.
    InTime,
    /// The same, but it may lack that for now.
    LaterSet,
}

impl Expires {
    const fn letter(self) -> u8 {
        match self {
            Self::Never => b'k',
            Self::InTime => b't',
            Self::LaterSet => b'b',
        }
    }
}

impl Sessions {
    pub(super) fn open(address: &Address, expiry: Option<Duration>, cleans: bool) -> Result<Self, StoreError> {
        let expiry = expiry.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX).clamp(1, LONGEST));
        let mut sessions = Self {
            caller: Caller::connect(address, SCRIPTS)?,
            names: Names::new(&address.prefix),
            expiry,
            cleans,
            bare: Bare::default(),
            record: Vec::new(),
        };
        sessions.check_format()?;
        Ok(sessions)
    }

    /// The keys with this prefix are ours, and of a layout that is known.
    fn check_format(&mut self) -> Result<(), StoreError> {
        let mut get = cmd("GET");
        get.arg(self.names.meta("format"));
        let what = "the key of its layout holds something else";
        match text(self.caller.one(&get)?) {
            Some(None) => Ok(()),
            Some(Some(format)) => match format.parse::<u64>() {
                Ok(FORMAT) => Ok(()),
                Ok(found) if found > FORMAT => {
                    let why = format!("it has layout {found}, and this version knows {FORMAT}");
                    Err(server(&self.caller.address, ServerFault::Foreign, &why))
                }
                _ => Err(server(&self.caller.address, ServerFault::Foreign, what)),
            },
            None => Err(server(&self.caller.address, ServerFault::Foreign, what)),
        }
    }

    /// The argument of an item.
    fn argument(&mut self, write: &Write, expires: Expires) -> Vec<u8> {
        let with = |what: u8, value: &[u8]| [&[what, expires.letter()], value].concat();
        match write {
            Write::Cursor(record) => {
                encode_record(record, &mut self.record);
                with(b'c', &self.record)
            }
            Write::Activity { last_seen_ms } => with(b'a', &last_seen_ms.to_le_bytes()),
            Write::Remove { epoch, sequence } => with(b'r', &[epoch.to_le_bytes(), sequence.to_le_bytes()].concat()),
            Write::Expire { before_ms } => with(b'x', &before_ms.to_le_bytes()),
        }
    }

    /// How an item of a call of so many expires.
    fn expires(&self, name: &StreamName, of: usize) -> Expires {
        match self.expiry {
            0 => Expires::Never,
            _ if name.is_named_cursor() => Expires::Never,
            LEAST_BARE.. if of > FEW && self.bare.may_lack(name) => Expires::LaterSet,
            _ => Expires::InTime,
        }
    }

    /// One call for the items at these places, which have one hash tag where the server is a Cluster.
    fn call_for(&mut self, items: &[(Arc<StreamName>, Write)], places: &[usize]) -> (Batch, Call) {
        let mut batch = Batch { places: places.to_vec(), expiries: Vec::with_capacity(places.len()) };
        let mut call = Call { keys: Vec::new(), arguments: vec![self.expiry.to_string().into_bytes()] };
        let mut buckets: Vec<u8> = Vec::new();
        for (name, write) in places.iter().filter_map(|at| items.get(*at)) {
            let bucket = bucket(&name.session);
            // Those of one bucket stand together.
            if buckets.last() != Some(&bucket) {
                buckets.push(bucket);
            }
            let expires = self.expires(name, places.len());
            batch.expiries.push(expires);
            call.keys.push(self.names.record(bucket, &member(name)));
            call.arguments.push(self.argument(write, expires));
        }
        call.keys.extend(buckets.into_iter().map(|bucket| self.names.index(bucket)));
        (batch, call)
    }

    /// Notes what became of an item.
    fn note(
        &mut self,
        (name, write): &(Arc<StreamName>, Write),
        expires: Expires,
        result: &Result<Outcome, StoreError>,
    ) {
        match (write, result) {
            (_, Ok(Outcome::Stale)) => {}
            (Write::Remove { .. } | Write::Expire { .. }, Ok(Outcome::Written)) => self.bare.removed(name),
            (Write::Cursor(_) | Write::Activity { .. }, _) if expires == Expires::LaterSet => {
                self.bare.wrote(name, true)
            }
            (Write::Cursor(_) | Write::Activity { .. }, Ok(_)) if expires == Expires::InTime => {
                self.bare.wrote(name, false);
            }
            _ => {}
        }
    }

    /// The results of a call for so many items.
    fn results(&self, answer: Result<Value, RedisError>, count: usize) -> Vec<Result<Outcome, StoreError>> {
        let result = |value: &Value| match value {
            Value::Int(1) => Ok(Outcome::Written),
            Value::Int(_) => Ok(Outcome::Stale),
            Value::BulkString(text) => Err(of_text(&self.caller.address, &String::from_utf8_lossy(text))),
            _ => Err(of(&self.caller.address, &missing())),
        };
        match answer {
            Ok(Value::Array(values)) if values.len() == count => values.iter().map(result).collect(),
            Ok(_) => vec![Err(of(&self.caller.address, &missing())); count],
            Err(e) => vec![Err(of(&self.caller.address, &e)); count],
        }
    }

    /// Reads on in some buckets: the names, then their records.
    fn fetch(&mut self, shelves: &mut [Shelf], count: usize) -> Result<(), StoreError> {
        let hungry = |shelf: &Shelf| !shelf.is_done && shelf.found.is_empty();
        let wanted: Vec<usize> = (0..shelves.len()).filter(|at| shelves.get(*at).is_some_and(hungry)).collect();
        let asked: Vec<&Shelf> = wanted.iter().filter_map(|at| shelves.get(*at)).collect();
        let commands: Vec<Cmd> = asked.iter().map(|shelf| shelf.command(&self.names, count)).collect();
        let mut members: Vec<(usize, Vec<u8>)> = Vec::new();
        for (at, answer) in wanted.into_iter().zip(self.caller.ask(&commands)?) {
            let Value::Array(found) = answer.map_err(|e| of(&self.caller.address, &e))? else {
                return Err(of(&self.caller.address, &missing()));
            };
            let Some(shelf) = shelves.get_mut(at) else { continue };
            shelf.is_done = found.len() < count;
            for member in found {
                let Value::BulkString(member) = member else { continue };
                // What is not text is none of segno's, and stands behind everything that is.
                let Ok(text) = std::str::from_utf8(&member) else {
                    shelf.is_done = true;
                    break;
                };
                shelf.from = format!("({text}");
                members.push((at, member));
            }
        }
        let key = |(at, member): &(usize, Vec<u8>)| {
            let bucket = shelves.get(*at).map_or(0, |shelf| shelf.bucket);
            self.names.record(bucket, &String::from_utf8_lossy(member))
        };
        let keys: Vec<String> = members.iter().map(key).collect();
        let answers = self.read(&keys)?;
        let mut gone: Vec<(u8, Vec<u8>)> = Vec::new();
        for ((at, member), answer) in members.into_iter().zip(answers) {
            let Some(shelf) = shelves.get_mut(at) else { continue };
            match answer {
                // A damaged record is skipped: the others are sound.
                Value::BulkString(bytes) => {
                    let found = name(&member).zip(decode_record(&bytes).ok());
                    shelf.found.extend(found.map(|(name, record)| (member, name, record)));
                }
                _ => gone.push((shelf.bucket, member)),
            }
        }
        self.clean(&gone)
    }

    /// What the keys of records hold.
    fn read(&mut self, keys: &[String]) -> Result<Vec<Value>, StoreError> {
        if self.caller.is_cluster() {
            // Each has a slot of its own.
            let commands: Vec<Cmd> = keys.iter().map(|key| of_keys("GET", std::slice::from_ref(key))).collect();
            let answers = self.caller.ask(&commands)?.into_iter();
            return answers.map(|answer| answer.map_err(|e| of(&self.caller.address, &e))).collect();
        }
        let commands: Vec<Cmd> = keys.chunks(CALL).map(|keys| of_keys("MGET", keys)).collect();
        let mut found = Vec::with_capacity(keys.len());
        for answer in self.caller.ask(&commands)? {
            match answer.map_err(|e| of(&self.caller.address, &e))? {
                Value::Array(values) => found.extend(values),
                _ => return Err(of(&self.caller.address, &missing())),
            }
        }
        if found.len() == keys.len() { Ok(found) } else { Err(of(&self.caller.address, &missing())) }
    }

    /// Takes names out whose record is gone.
    fn clean(&mut self, gone: &[(u8, Vec<u8>)]) -> Result<(), StoreError> {
        if !self.cleans || gone.is_empty() {
            return Ok(());
        }
        let mut calls: Vec<(u8, Call)> = Vec::new();
        for (bucket, member) in gone {
            let at = calls.iter().position(|(of, call)| of == bucket && call.arguments.len() < CALL);
            let at = at.unwrap_or_else(|| {
                let keys = vec![self.names.index(*bucket)];
                calls.push((*bucket, Call { keys, arguments: Vec::new() }));
                calls.len() - 1
            });
            let Some((_, call)) = calls.get_mut(at) else { continue };
            call.keys.push(self.names.record(*bucket, &String::from_utf8_lossy(member)));
            call.arguments.push(member.clone());
        }
        let calls: Vec<Call> = calls.into_iter().map(|(_, call)| call).collect();
        let answers = self.caller.call(CLEAN, &calls)?;
        answers.into_iter().try_for_each(|answer| answer.map(drop).map_err(|e| of(&self.caller.address, &e)))
    }

    /// Up to `limit` records of some buckets, in the order of their names.
    fn merge(&mut self, mut shelves: Vec<Shelf>, limit: usize) -> Result<Vec<(StreamName, Record)>, StoreError> {
        let count = (4 * limit / shelves.len().max(1)).clamp(NAMES.0, NAMES.1);
        let mut found = Vec::new();
        while found.len() < limit {
            if shelves.iter().any(|shelf| !shelf.is_done && shelf.found.is_empty()) {
                self.fetch(&mut shelves, count)?;
                continue;
            }
            let first = shelves.iter_mut().filter(|shelf| !shelf.found.is_empty());
            let first = first.min_by(|a, b| a.first().cmp(&b.first()));
            let Some((_, name, record)) = first.and_then(|shelf| shelf.found.pop_front()) else { break };
            found.push((name, record));
        }
        Ok(found)
    }
}

/// The longest expiry, in milliseconds: a hundred years.
const LONGEST: u64 = 100 * 365 * 24 * 3_600_000;

/// A bucket of which records are read.
struct Shelf {
    bucket: u8,
    /// Where to read on, and up to where, as `ZRANGEBYLEX` takes it.
    from: String,
    to: String,
    /// What was read and not taken yet, with the members.
    found: VecDeque<(Vec<u8>, StreamName, Record)>,
    is_done: bool,
}

impl Shelf {
    fn new(bucket: u8, from: String, to: String) -> Self {
        Self { bucket, from, to, found: VecDeque::new(), is_done: false }
    }

    fn command(&self, names: &Names, count: usize) -> Cmd {
        let mut command = cmd("ZRANGEBYLEX");
        command.arg(names.index(self.bucket)).arg(&self.from).arg(&self.to).arg("LIMIT").arg(0).arg(count);
        command
    }

    fn first(&self) -> Option<&[u8]> {
        self.found.front().map(|(member, ..)| &**member)
    }
}

/// A command with keys alone.
fn of_keys(name: &str, keys: &[String]) -> Cmd {
    let mut command = cmd(name);
    command.arg(keys);
    command
}

/// The text of an answer, if there is one. `None`: it is something else.
fn text(value: Value) -> Option<Option<String>> {
    match value {
        Value::Nil => Some(None),
        Value::BulkString(bytes) => String::from_utf8(bytes).ok().map(Some),
        Value::SimpleString(text) => Some(Some(text)),
        _ => None,
    }
}

impl SessionStore for Sessions {
    fn next_epoch(&mut self) -> Result<u64, StoreError> {
        let call = Call { keys: vec![self.names.meta("epoch")], arguments: Vec::new() };
        let answer = self.caller.call(EPOCH, &[call])?.pop().unwrap_or_else(|| Err(missing()));
        let value = match answer {
            Err(e) if e.to_string().contains("overflow") => return Err(StoreError::OutOfEpochs),
            answer => answer.map_err(|e| of(&self.caller.address, &e))?,
        };
        let epoch = text(value).flatten().and_then(|digits| digits.parse().ok());
        epoch.ok_or_else(|| {
            server(&self.caller.address, ServerFault::Foreign, "the key of its epoch holds something else")
        })
    }

    fn secret(&mut self, candidate: u128) -> Result<u128, StoreError> {
        let (format, key) = (self.names.meta("format"), self.names.meta("key"));
        let (mut keep_format, mut keep_key, mut get) = (cmd("SET"), cmd("SET"), cmd("GET"));
        keep_format.arg(format).arg(FORMAT).arg("NX");
        keep_key.arg(&key).arg(format!("{candidate:032x}")).arg("NX");
        get.arg(&key);
        let mut answers = self.caller.ask(&[keep_format, keep_key, get])?;
        let found = answers.pop().unwrap_or_else(|| Err(missing())).map_err(|e| of(&self.caller.address, &e))?;
        answers.into_iter().try_for_each(|answer| answer.map(drop).map_err(|e| of(&self.caller.address, &e)))?;
        let digits = text(found).flatten().filter(|digits| digits.len() == 32);
        let key = digits.and_then(|digits| u128::from_str_radix(&digits, 16).ok());
        let what = "its key is not 32 hexadecimal digits";
        let key = key.ok_or_else(|| server(&self.caller.address, ServerFault::Foreign, what))?;
        self.caller.must_have(self.names.meta("key"), key);
        Ok(key)
    }

    fn get_last_event_id(&mut self, name: &StreamName) -> Result<Option<Record>, StoreError> {
        let mut get = cmd("GET");
        get.arg(self.names.record(bucket(&name.session), &member(name)));
        match self.caller.one(&get)? {
            Value::BulkString(bytes) => decode_record(&bytes).map(Some),
            _ => Ok(None),
        }
    }

    fn store_event_ids_batch(
        &mut self,
        items: &[(Arc<StreamName>, Write)],
    ) -> Result<Vec<Result<Outcome, StoreError>>, StoreError> {
        let bucket_of = |at: &usize| items.get(*at).map_or(0, |(name, _)| bucket(&name.session));
        let mut places: Vec<usize> = (0..items.len()).collect();
        // Those of one stream stay in their order.
        places.sort_by_key(bucket_of);
        // One server takes any keys in one call.
        let is_cluster = self.caller.is_cluster();
        let groups = places.chunk_by(|a, b| !is_cluster || bucket_of(a) == bucket_of(b));
        let (batches, calls): (Vec<Batch>, Vec<Call>) =
            groups.flat_map(|group| group.chunks(CALL)).map(|places| self.call_for(items, places)).unzip();
        let mut results: Vec<Result<Outcome, StoreError>> = vec![Err(StoreError::Closed); items.len()];
        let answers = match self.caller.call(WRITE, &calls) {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            // It may have been done all the same.
            Err(e) => vec![Err(e); calls.len()],
        };
        for (Batch { places, expiries }, answer) in batches.into_iter().zip(answers) {
            let of_items = match answer {
                Ok(answer) => self.results(answer, places.len()),
                Err(e) => vec![Err(e); places.len()],
            };
            for ((at, expires), result) in places.into_iter().zip(expiries).zip(of_items) {
                if let (Some(place), Some(item)) = (results.get_mut(at), items.get(at)) {
                    self.note(item, expires, &result);
                    *place = result;
                }
            }
        }
        of_a_batch(&results).map_or(Ok(results), Err)
    }

    fn store_last_event_id(&mut self, name: &StreamName, cursor: &Record) -> Result<Outcome, StoreError> {
        let item = (Arc::new(name.clone()), Write::Cursor(cursor.clone()));
        self.store_event_ids_batch(&[item])?.pop().unwrap_or(Err(StoreError::Closed))
    }

    fn remove(&mut self, name: &StreamName) -> Result<(), StoreError> {
        let item = (Arc::new(name.clone()), Write::Remove { epoch: u64::MAX, sequence: u64::MAX });
        self.store_event_ids_batch(&[item])?.pop().unwrap_or(Err(StoreError::Closed)).map(drop)
    }

    fn scan(&mut self, after: Option<&StreamName>, limit: usize) -> Result<Vec<(StreamName, Record)>, StoreError> {
        let from = after.map_or_else(|| "-".to_owned(), |name| format!("({}", member(name)));
        self.merge((0..BUCKETS).map(|bucket| Shelf::new(bucket, from.clone(), "+".to_owned())).collect(), limit)
    }

    fn session(&mut self, session: &[u8], limit: usize) -> Result<Vec<(StreamName, Record)>, StoreError> {
        let of = |stream| member(&StreamName { session: session.into(), stream });
        let shelf = Shelf::new(bucket(session), format!("[{}", of(0)), format!("[{}", of(u64::MAX)));
        self.merge(vec![shelf], limit)
    }

    fn batch_limit(&self) -> usize {
        BATCH
    }

    fn has_recovered(&mut self) -> bool {
        self.caller.has_recovered()
    }

    fn is_settled(&self) -> bool {
        self.bare.is_empty()
    }

    fn settle(&mut self, all: bool) -> Result<(), StoreError> {
        let mut trouble = Ok(());
        for names in self.bare.next_round(all).chunks(BATCH) {
            let command = |name: &Arc<StreamName>| {
                let key = self.names.record(bucket(&name.session), &member(name));
                let mut command = cmd("PEXPIRE");
                command.arg(key).arg(self.expiry);
                command
            };
            let commands: Vec<Cmd> = names.iter().map(command).collect();
            for (name, answer) in names.iter().zip(self.caller.ask(&commands)?) {
                match answer {
                    // A record that is gone needs none.
                    Ok(_) => self.bare.removed(name),
                    Err(e) => trouble = Err(of(&self.caller.address, &e)),
                }
            }
        }
        trouble
    }
}
