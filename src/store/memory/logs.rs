//! Logs in memory: their blocks, who owns them, who follows them.
//!
//! In: log writes, and the time that passes. Out: what became of each write; logs; what is new for followers.
//! Law: it keeps the promises of [`log`](crate::store::log) by the simplest means.

use crate::base::StreamName;
use crate::store::error::StoreError;
use crate::store::log::{
    Claim, FOLLOWED_MS, FollowNews, Following, Lease, LogBlock, LogBounds, LogEnd, LogOutcome, LogWrite, StoredLog,
    state_holes,
};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

/// All logs.
#[derive(Default, Debug)]
pub(super) struct Logs {
    logs: BTreeMap<StreamName, Log>,
    /// The time, in milliseconds since this was made. It passes by [`Logs::pass`] alone.
    now_ms: u64,
}

#[derive(Default, Debug)]
struct Log {
    meta: Box<[u8]>,
    blocks: VecDeque<LogBlock>,
    fence: u64,
    owner: Option<u64>,
    /// When the lease is over, and until when somebody follows.
    leased_until: u64,
    followed_until: u64,
    end: Option<LogEnd>,
}

impl Logs {
    /// So much time has passed.
    pub(super) fn pass(&mut self, ms: u64) {
        self.now_ms = self.now_ms.saturating_add(ms);
    }

    pub(super) fn write(&mut self, item: &LogWrite, limit: usize) -> Result<LogOutcome, StoreError> {
        let (now, name) = (self.now_ms, &**item.name());
        let Some(log) = self.logs.get_mut(name) else {
            return match item {
                LogWrite::Append { .. } if self.logs.len() >= limit => Err(StoreError::Full { limit }),
                LogWrite::Append { block, meta, bounds, claim, .. } => {
                    let mut log = Log::default();
                    if let Some(claim) = claim {
                        log.pass_to(claim);
                    }
                    log.append(block, meta, bounds, claim.as_ref(), now);
                    self.logs.insert(name.clone(), log);
                    Ok(LogOutcome::Written { followed: false })
                }
                _ => Ok(LogOutcome::Written { followed: false }),
            };
        };
        let followed = log.followed_until > now;
        let is_repeated = match item.claim() {
            None => {
                if log.is_leased(now) {
                    return Ok(LogOutcome::Fenced);
                }
                false
            }
            Some(claim) if claim.seen == Some(log.fence) && matches!(item, LogWrite::Append { .. }) => {
                log.pass_to(claim);
                false
            }
            Some(claim) if log.owner == Some(claim.owner) => true,
            // What nobody owns any more may be removed.
            Some(_) if matches!(item, LogWrite::Remove { .. }) && !log.is_leased(now) => true,
            Some(_) => return Ok(LogOutcome::Fenced),
        };
        match item {
            LogWrite::Append { block, .. } if is_repeated && block.first < log.next() => {}
            LogWrite::Append { block, meta, bounds, claim, .. } => {
                if claim.is_some() && !is_repeated {
                    log.cut_off(block.first);
                }
                log.append(block, meta, bounds, claim.as_ref(), now);
            }
            LogWrite::Hold { claim, .. } if log.end.is_none() => log.hold(claim, now),
            LogWrite::Hold { .. } => {}
            LogWrite::End { end, next, .. } => {
                let end = if *next == log.next() { *end } else { LogEnd::Cut };
                (log.end, log.leased_until) = (Some(end), 0);
            }
            LogWrite::Remove { .. } => _ = self.logs.remove(name),
        }
        Ok(LogOutcome::Written { followed })
    }

    pub(super) fn scan(&self, after: Option<&StreamName>, limit: usize) -> Vec<(StreamName, u64)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.logs.range((from, Bound::Unbounded)).take(limit);
        found.map(|(name, log)| (name.clone(), log.blocks.back().map_or(0, |block| block.at_ms))).collect()
    }

    pub(super) fn read(&self, name: &StreamName, max_bytes: usize) -> Option<StoredLog> {
        let log = self.logs.get(name)?;
        let mut left = max_bytes;
        let fits = |block: &&LogBlock| {
            let fits = block.bytes.len() <= left;
            left = left.saturating_sub(block.bytes.len());
            fits
        };
        let count = log.blocks.iter().rev().take_while(fits).count().max(1);
        let mut blocks: Vec<LogBlock> =
            log.blocks.iter().skip(log.blocks.len().saturating_sub(count)).cloned().collect();
        state_holes(&mut blocks);
        let left_ms = log.leased_until.saturating_sub(self.now_ms);
        let owner = log.owner.map(|epoch| Lease { epoch, left_ms });
        Some(StoredLog { meta: log.meta.clone(), blocks, fence: log.fence, owner, end: log.end })
    }

    /// What is new for a follower, which is seen by this.
    pub(super) fn news(&mut self, following: &Following) -> Vec<FollowNews> {
        let now = self.now_ms;
        let Some(log) = self.logs.get_mut(&*following.name) else { return vec![FollowNews::Lost] };
        log.followed_until = now.saturating_add(FOLLOWED_MS);
        if log.fence != following.fence {
            return vec![FollowNews::OwnerGone];
        }
        let (mut news, mut blocks, mut next) = (Vec::new(), Vec::new(), following.after + 1);
        for block in log.blocks.iter().filter(|block| block.first + block.ends.len() as u64 > following.after + 1) {
            if block.first != next || block.hole {
                news.push(FollowNews::Lost);
                break;
            }
            next += block.ends.len() as u64;
            blocks.push(block.clone());
        }
        if !blocks.is_empty() {
            news.insert(0, FollowNews::Blocks(blocks));
        }
        if !news.contains(&FollowNews::Lost) {
            match log.end {
                Some(end) => news.push(FollowNews::Ended(end)),
                None if !log.is_leased(now) => news.push(FollowNews::OwnerGone),
                None => {}
            }
        }
        news
    }
}

impl Log {
    /// The number behind that of the last event.
    fn next(&self) -> u64 {
        self.blocks.back().map_or(0, |block| block.first + block.ends.len() as u64)
    }

    fn is_leased(&self, now: u64) -> bool {
        self.owner.is_some() && self.leased_until > now
    }

    /// The log has another owner, or the same one once more.
    fn pass_to(&mut self, claim: &Claim) {
        self.fence = self.fence.max(claim.seen.unwrap_or(0)) + 1;
        (self.owner, self.end) = (Some(claim.owner), None);
    }

    fn hold(&mut self, claim: &Claim, now: u64) {
        self.owner = (claim.lease_ms > 0).then_some(claim.owner);
        self.leased_until = now.saturating_add(claim.lease_ms);
    }

    /// Drops what has this number or a greater one.
    fn cut_off(&mut self, first: u64) {
        while self.blocks.back().is_some_and(|block| block.first + block.ends.len() as u64 > first) {
            self.blocks.pop_back();
        }
    }

    fn append(&mut self, block: &LogBlock, meta: &[u8], bounds: &LogBounds, claim: Option<&Claim>, now: u64) {
        if let Some(claim) = claim {
            self.hold(claim, now);
        }
        self.end = None;
        self.meta = meta.into();
        self.blocks.push_back(block.clone());
        self.trim(bounds);
    }

    fn trim(&mut self, bounds: &LogBounds) {
        let newest = self.blocks.back().map_or(0, |block| block.at_ms);
        while self.blocks.len() > 1 {
            let events: usize = self.blocks.iter().map(|block| block.ends.len()).sum();
            let bytes: usize = self.blocks.iter().map(|block| block.bytes.len()).sum();
            let oldest = self.blocks.front().map_or(0, |block| block.at_ms);
            let is_old = newest.saturating_sub(oldest) > bounds.age_ms;
            if events as u64 <= bounds.events && bytes as u64 <= bounds.bytes && !is_old {
                return;
            }
            self.blocks.pop_front();
        }
    }
}
