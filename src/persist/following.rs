//! The third store thread, where logs are shared: follows what other processes write, for all streams over one
//! connection.
//!
//! In: logs to follow; the following half of the store, lent each time that the store is opened. Out: news of these
//! logs, each for the key that the caller gave.
//! Laws: no call waits for this thread; what finds no room with the listener is read again, so nothing is lost on the
//! way; while nothing is followed, the store is not asked; a half that is taken back is dropped.

use super::complaints::Complaints;
use super::message::{FollowedLog, Listener, LogNews, Message};
use crate::base::{Span, StreamName};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::slot::Ringer;
use crate::store::{FollowNews, Following, LogFollower};
use crate::sync::Post;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Words that may wait. Their places are taken at the start, so there is one where no logs are shared.
const WORDS: usize = 65_536;

/// How long the store may wait for something new, and how long calls are apart at least: so much, and so much more for
/// each log.
const PATIENCE: Span = Span::from_millis(50);
const PACE: Span = Span::from_millis(20);
const PACE_A_LOG: Span = Span::from_micros(10);
/// The pause after a call that failed.
const TROUBLE: Span = Span::from_millis(200);

/// What the thread is told.
pub(super) enum Word {
    /// Follow this log, and tell its news under this key.
    Follow { key: u64, following: Following },
    /// Tell nothing more under this key.
    Unfollow { key: u64 },
    /// News go here.
    Listen(Listener),
}

/// The number of an opening, with its following half; or none.
pub(super) type MaybeFollower = Option<(u64, Box<dyn LogFollower>)>;

/// Lends the thread a half of the store, and takes it back. Neither waits; only the newest of these words counts.
pub(super) struct FollowLender {
    half: Sender<MaybeFollower>,
    unheard: Receiver<MaybeFollower>,
}

impl FollowLender {
    pub(super) fn tell(&self, half: MaybeFollower) {
        let mut half = half;
        while let Err(TrySendError::Full(back)) = self.half.try_send(half) {
            let _ = self.unheard.try_recv();
            half = back;
        }
    }
}

/// Everything the thread owns.
pub(super) struct FollowThread {
    words: Receiver<Word>,
    halves: Receiver<MaybeFollower>,
    half: MaybeFollower,
    listener: Option<Listener>,
    follows: Vec<Followed>,
    /// The place of each key.
    places: HashMap<u64, usize>,
    /// Where it reports that its half has failed for good.
    messages: Post<Message>,
    ringer: Ringer,
    metrics: Arc<Metrics>,
    clock: Clock,
    complaints: Complaints,
}

/// A log that is followed, for one key.
struct Followed {
    key: u64,
    following: Following,
    /// It was told that the store is away.
    away: bool,
}

/// The thread's parts, and what others have of it. Where no logs are `shared`, nobody has anything to tell it.
pub(super) fn following(
    shared: bool,
    messages: Post<Message>,
    ringer: Ringer,
    metrics: Arc<Metrics>,
    clock: Clock,
    complaints: Complaints,
) -> (Sender<Word>, FollowLender, FollowThread) {
    let (teller, words) = bounded(if shared { WORDS } else { 1 });
    let (half, halves) = bounded(1);
    let thread = FollowThread {
        words,
        halves: halves.clone(),
        half: None,
        listener: None,
        follows: Vec::new(),
        places: HashMap::new(),
        messages,
        ringer,
        metrics,
        clock,
        complaints,
    };
    (teller, FollowLender { half, unheard: halves }, thread)
}

impl FollowThread {
    /// Follows until nobody can ask for it any more, or the writing thread has ended.
    pub(super) fn run(mut self) {
        let mut pause = None;
        while self.hear(pause) {
            pause = self.turn();
            self.metrics.persistence().follows.set(self.follows.len() as u64);
        }
    }

    /// Hears what there is, at most for a while. False: this is the end.
    fn hear(&mut self, pause: Option<Span>) -> bool {
        let limit = pause.map_or(Duration::MAX, Duration::from);
        let until = self.clock.now() + pause.unwrap_or(Span::ZERO);
        let never = crossbeam_channel::never();
        let after = if pause.is_some() { crossbeam_channel::after(limit) } else { never };
        loop {
            let word = select! {
                recv(self.words) -> word => word.map(Ok),
                recv(self.halves) -> half => half.map(Err),
                recv(after) -> _ => return true,
            };
            match word {
                Ok(Ok(word)) => self.on_word(word),
                Ok(Err(half)) => self.on_half(half),
                Err(_) => return false,
            }
            while let Ok(word) = self.words.try_recv() {
                self.on_word(word);
            }
            if pause.is_none_or(|_| self.clock.now() >= until) {
                return true;
            }
        }
    }

    fn on_word(&mut self, word: Word) {
        match word {
            Word::Listen(listener) => self.listener = Some(listener),
            Word::Unfollow { key } => self.drop_key(key),
            Word::Follow { key, following } => {
                self.drop_key(key);
                self.places.insert(key, self.follows.len());
                self.follows.push(Followed { key, following, away: false });
            }
        }
    }

    fn on_half(&mut self, half: MaybeFollower) {
        self.half = half;
        if self.half.is_some() {
            self.follows.iter_mut().for_each(|followed| followed.away = false);
        }
    }

    fn drop_key(&mut self, key: u64) {
        let Some(at) = self.places.remove(&key) else { return };
        self.follows.swap_remove(at);
        if let Some(moved) = self.follows.get(at) {
            self.places.insert(moved.key, at);
        }
    }

    /// Asks the store once. Returns when to ask again; `None`: once something was heard.
    fn turn(&mut self) -> Option<Span> {
        if self.follows.is_empty() {
            return None;
        }
        let begun = self.clock.now();
        let Some((opening, half)) = &mut self.half else {
            return if self.tell_away() { None } else { Some(TROUBLE) };
        };
        let wanted: Vec<Following> = self.follows.iter().map(|followed| followed.following.clone()).collect();
        match half.follow(&wanted, PATIENCE.into()) {
            Ok(news) => {
                let is_idle = news.is_empty();
                self.on_news(news);
                let apart = if is_idle { PATIENCE } else { PACE };
                let apart = apart.max(PACE_A_LOG.times(self.follows.len() as u64));
                let passed = self.clock.now().since(begun);
                Some(Span::from_micros(apart.micros().saturating_sub(passed.micros())))
            }
            Err(e) => {
                self.metrics.persistence().follow_failures.add(1);
                if e.ends_the_opening() {
                    // Where the inbox is full, the next call reports it again.
                    let _ = self.messages.leave(Message::Closed { opening: *opening });
                    self.ringer.call();
                }
                let what = || format!("logs of other instances could not be followed: {e}; they are read again soon");
                self.complaints.say(self.clock.now(), what);
                self.tell_away();
                Some(TROUBLE)
            }
        }
    }

    /// Tells all that the store is away, once. False: some could not be told yet.
    fn tell_away(&mut self) -> bool {
        let Some(listener) = &self.listener else { return true };
        let mut all = true;
        for followed in self.follows.iter_mut().filter(|followed| !followed.away) {
            followed.away = listener(LogNews::Followed { key: followed.key, news: FollowedLog::Away });
            all &= followed.away;
        }
        all
    }

    fn on_news(&mut self, news: Vec<(usize, FollowNews)>) {
        let Some(listener) = self.listener.clone() else { return };
        let mut over = Vec::new();
        // Where one of a log's news finds no room, those behind it are left as well.
        let mut held = None;
        for (at, news) in news {
            let Some(followed) = self.follows.get_mut(at).filter(|_| held != Some(at)) else { continue };
            let key = followed.key;
            if news == FollowNews::Away {
                followed.away = followed.away || listener(LogNews::Followed { key, news: FollowedLog::Away });
                continue;
            }
            let (after, told) = match news {
                FollowNews::Blocks(blocks) => {
                    (blocks.last().map(|last| last.first + last.ends.len() as u64 - 1), FollowedLog::Blocks(blocks))
                }
                FollowNews::Ended(end) => (None, FollowedLog::Ended(end, followed.following.after)),
                FollowNews::OwnerGone => (None, FollowedLog::OwnerGone),
                FollowNews::Lost => (None, FollowedLog::Lost),
                FollowNews::Away => (None, FollowedLog::Away),
            };
            let is_last = !matches!(told, FollowedLog::Blocks(_));
            if !listener(LogNews::Followed { key, news: told }) {
                held = Some(at);
                continue;
            }
            followed.following.after = after.unwrap_or(followed.following.after);
            followed.away = false;
            if is_last {
                over.push(key);
            }
        }
        over.into_iter().for_each(|key| self.drop_key(key));
    }
}

/// What is followed under a key.
pub(super) fn follow(key: u64, name: StreamName, after: u64, fence: u64) -> Word {
    Word::Follow { key, following: Following { name: Arc::new(name), after, fence } }
}

#[cfg(test)]
mod tests;
