//! Recent events in two tables: a head per stream with totals, and its blocks by their first event.
//!
//! In: blocks to append, logs to remove, names to look up. Out: the newest blocks.
//! Laws: one process has the file, so every claim succeeds; an append touches the head, the new block and the blocks that it pushes out, and nothing else.

use super::tables::{BLOCKS, HEADS, begin, refused};
use crate::base::StreamName;
use crate::store::encoding::{decode_block, encode_block};
use crate::store::log::state_holes;
use crate::store::{LogBlock, LogBounds, LogOutcome, LogStore, LogWrite, StoreError, StoredLog};
use ::redb::{Database, ReadableDatabase, ReadableTable, Table};
use std::ops::Bound;
use std::sync::Arc;

type Heads<'t> = Table<'t, (&'static [u8], u64), &'static [u8]>;
type Blocks<'t> = Table<'t, (&'static [u8], u64, u64), &'static [u8]>;

pub(super) struct Logs {
    database: Arc<Database>,
    record: Vec<u8>,
}

impl Logs {
    pub(super) fn new(database: Arc<Database>) -> Self {
        Self { database, record: Vec::new() }
    }

    fn write(
        &mut self,
        heads: &mut Heads<'_>,
        blocks: &mut Blocks<'_>,
        item: &LogWrite,
    ) -> Result<LogOutcome, StoreError> {
        let name = item.name();
        let key = (&*name.session, name.stream);
        match item {
            LogWrite::Hold { .. } | LogWrite::End { .. } => {}
            LogWrite::Remove { .. } => {
                remove_while(blocks, name, |_| true)?;
                heads.remove(key).map_err(|e| refused("removing a log", e))?;
            }
            LogWrite::Append { block, meta, bounds, .. } => {
                let mut totals = read_totals(heads, name)?;
                encode_block(block, &mut self.record);
                let place = (&*name.session, name.stream, block.first);
                let old = blocks.insert(place, &*self.record).map_err(|e| refused("writing a log block", e))?;
                if let Some(old) = old.and_then(|old| decode_block(old.value()).ok()) {
                    totals.subtract(&old);
                }
                totals.events += block.ends.len() as u64;
                totals.bytes += block.bytes.len() as u64;
                remove_while(blocks, name, |oldest| {
                    let goes = oldest.first != block.first && totals.exceed(bounds, oldest, block.at_ms);
                    if goes {
                        totals.subtract(oldest);
                    }
                    goes
                })?;
                let head = [&totals.events.to_le_bytes(), &totals.bytes.to_le_bytes(), &**meta].concat();
                heads.insert(key, &*head).map_err(|e| refused("writing a log's head", e))?;
            }
        }
        Ok(LogOutcome::Written { followed: false })
    }
}

/// The totals of a stream's blocks.
#[derive(Clone, Copy, Default)]
struct Totals {
    events: u64,
    bytes: u64,
}

impl Totals {
    fn exceed(&self, bounds: &LogBounds, oldest: &LogBlock, now_ms: u64) -> bool {
        self.events > bounds.events || self.bytes > bounds.bytes || now_ms.saturating_sub(oldest.at_ms) > bounds.age_ms
    }

    fn subtract(&mut self, block: &LogBlock) {
        self.events = self.events.saturating_sub(block.ends.len() as u64);
        self.bytes = self.bytes.saturating_sub(block.bytes.len() as u64);
    }
}

fn read_totals(heads: &Heads<'_>, name: &StreamName) -> Result<Totals, StoreError> {
    let head = heads.get((&*name.session, name.stream)).map_err(|e| refused("reading a log's head", e))?;
    let numbers = head.and_then(|head| {
        let (events, rest) = head.value().split_first_chunk()?;
        let (bytes, _) = rest.split_first_chunk()?;
        Some(Totals { events: u64::from_le_bytes(*events), bytes: u64::from_le_bytes(*bytes) })
    });
    Ok(numbers.unwrap_or_default())
}

/// Removes a stream's oldest blocks as long as `goes` says so. A block that cannot be read is removed too.
fn remove_while(
    blocks: &mut Blocks<'_>,
    name: &StreamName,
    mut goes: impl FnMut(&LogBlock) -> bool,
) -> Result<(), StoreError> {
    let (session, stream) = (&*name.session, name.stream);
    loop {
        let oldest = {
            let range = blocks.range((session, stream, 0)..=(session, stream, u64::MAX));
            let mut range = range.map_err(|e| refused("reading log blocks", e))?;
            let Some(entry) = range.next() else { return Ok(()) };
            let (key, value) = entry.map_err(|e| refused("reading log blocks", e))?;
            let leaves = decode_block(value.value()).map_or(true, |block| goes(&block));
            if !leaves {
                return Ok(());
            }
            key.value().2
        };
        blocks.remove((session, stream, oldest)).map_err(|e| refused("removing a log block", e))?;
    }
}

impl LogStore for Logs {
    fn write_logs(&mut self, items: &[LogWrite]) -> Result<Vec<Result<LogOutcome, StoreError>>, StoreError> {
        let database = Arc::clone(&self.database);
        let write = begin(&database)?;
        let results = {
            let mut heads = write.open_table(HEADS).map_err(|e| refused("opening a table", e))?;
            let mut blocks = write.open_table(BLOCKS).map_err(|e| refused("opening a table", e))?;
            items.iter().map(|item| self.write(&mut heads, &mut blocks, item)).collect()
        };
        write.commit().map_err(|e| refused("committing", e))?;
        Ok(results)
    }

    fn scan_logs(&mut self, after: Option<&StreamName>, limit: usize) -> Result<Vec<(StreamName, u64)>, StoreError> {
        let read = self.database.begin_read().map_err(|e| refused("beginning to read", e))?;
        let heads = read.open_table(HEADS).map_err(|e| refused("opening a table", e))?;
        let blocks = read.open_table(BLOCKS).map_err(|e| refused("opening a table", e))?;
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded((&*name.session, name.stream)));
        let range = heads.range::<(&[u8], u64)>((from, Bound::Unbounded));
        let mut found = Vec::new();
        for entry in range.map_err(|e| refused("reading logs", e))?.take(limit) {
            let (key, _) = entry.map_err(|e| refused("reading logs", e))?;
            let (session, stream) = key.value();
            let range = blocks.range((session, stream, 0)..=(session, stream, u64::MAX));
            let newest = range.map_err(|e| refused("reading log blocks", e))?.next_back();
            let newest = newest.transpose().map_err(|e| refused("reading log blocks", e))?;
            // A block that cannot be read is of no use, and neither is what comes before it.
            let at_ms = newest.and_then(|(_, block)| decode_block(block.value()).ok()).map_or(0, |block| block.at_ms);
            found.push((StreamName { session: session.into(), stream }, at_ms));
        }
        Ok(found)
    }

    fn read_log(&mut self, name: &StreamName, max_bytes: usize) -> Result<Option<StoredLog>, StoreError> {
        let read = self.database.begin_read().map_err(|e| refused("beginning to read", e))?;
        let heads = read.open_table(HEADS).map_err(|e| refused("opening a table", e))?;
        let blocks = read.open_table(BLOCKS).map_err(|e| refused("opening a table", e))?;
        let (session, stream) = (&*name.session, name.stream);
        let Some(head) = heads.get((session, stream)).map_err(|e| refused("reading a log's head", e))? else {
            return Ok(None);
        };
        let meta = head.value().get(16..).unwrap_or_default().into();
        let range = blocks.range((session, stream, 0)..=(session, stream, u64::MAX));
        let (mut found, mut left) = (Vec::new(), max_bytes);
        for entry in range.map_err(|e| refused("reading log blocks", e))?.rev() {
            let (_, value) = entry.map_err(|e| refused("reading log blocks", e))?;
            let Ok(block) = decode_block(value.value()) else { break };
            if block.bytes.len() > left && !found.is_empty() {
                break;
            }
            left = left.saturating_sub(block.bytes.len());
            found.push(block);
        }
        found.reverse();
        state_holes(&mut found);
        Ok(Some(StoredLog { meta, blocks: found, fence: 0, owner: None, end: None }))
    }
}
