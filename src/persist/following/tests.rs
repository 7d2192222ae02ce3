//! The following thread over a store in memory: what it tells, what it tells again, and what a store that is away does.

use super::*;
use crate::journal::Journal;
use crate::slot::slots;
use crate::store::memory::Shared;
use crate::store::scripted::{Behaviour, Scripted};
use crate::store::{Claim, LogBlock, LogBounds, LogEnd, LogStore, LogWrite, StoreError};
use crate::sync::inbox;
use crossbeam_channel::unbounded;

const LONG: Duration = Duration::from_secs(60);

fn name(stream: u64) -> StreamName {
    StreamName { session: b"s"[..].into(), stream }
}

fn claim(seen: Option<u64>) -> Claim {
    Claim { owner: 1, seen, lease_ms: 1_000 }
}

fn append(store: &mut Shared, stream: u64, first: u64, seen: Option<u64>) {
    let block = Arc::new(LogBlock { first, at_ms: 0, bytes: b"x"[..].into(), ends: [1].into(), hole: false });
    let bounds = LogBounds { events: 9, bytes: 99, age_ms: 9 };
    let name = Arc::new(name(stream));
    let item = LogWrite::Append { name, block, meta: Arc::from([]), bounds, claim: Some(claim(seen)) };
    assert!(store.write_logs(&[item]).unwrap().iter().all(Result::is_ok));
}

struct Rig {
    words: Sender<Word>,
    lender: FollowLender,
    news: Receiver<(u64, FollowedLog)>,
    metrics: Arc<Metrics>,
}

/// The thread, with a listener that has room for so many news.
fn rig(room: usize) -> Rig {
    let (_writer, drain) = slots(1);
    let metrics = Arc::new(Metrics::default());
    let (messages, _inbox) = inbox(10);
    let complaints = Complaints::new(Journal::unheard());
    let (words, lender, thread) =
        following(true, messages, drain.ringer(), Arc::clone(&metrics), Clock::start(), complaints);
    let (sender, news) = bounded(room);
    let listener: Listener = Arc::new(move |news| match news {
        LogNews::Followed { key, news } => sender.try_send((key, news)).is_ok(),
        _ => true,
    });
    words.send(Word::Listen(listener)).unwrap();
    std::thread::spawn(move || thread.run());
    Rig { words, lender, news, metrics }
}

impl Rig {
    fn next(&self) -> (u64, FollowedLog) {
        self.news.recv_timeout(LONG).unwrap()
    }

    /// The first numbers of the blocks that come next for a key.
    fn firsts(&self, key: u64) -> Vec<u64> {
        match self.next() {
            (of, FollowedLog::Blocks(blocks)) if of == key => blocks.iter().map(|block| block.first).collect(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn each_key_is_told_what_comes_until_the_end_and_nothing_behind_its_last_word() {
    let (rig, mut store) = (rig(100), Shared::new(9));
    append(&mut store, 1, 1, Some(0));
    append(&mut store, 2, 1, Some(0));
    rig.lender.tell(Some((1, Box::new(store.clone()))));
    for key in [10, 11] {
        rig.words.send(follow(key, name(1), 1, 1)).unwrap();
    }
    rig.words.send(follow(20, name(2), 0, 1)).unwrap();
    assert_eq!(rig.firsts(20), [1]);
    append(&mut store, 1, 2, None);
    let mut both = [rig.next().0, rig.next().0];
    both.sort();
    assert_eq!(both, [10, 11]);
    rig.words.send(Word::Unfollow { key: 10 }).unwrap();
    rig.words.send(Word::Unfollow { key: 20 }).unwrap();
    // The same key again, from further back.
    rig.words.send(follow(20, name(2), 0, 1)).unwrap();
    assert_eq!(rig.firsts(20), [1]);
    append(&mut store, 1, 3, None);
    assert_eq!(rig.firsts(11), [3]);
    let end = LogWrite::End { name: Arc::new(name(1)), claim: claim(None), end: LogEnd::Whole, next: 4 };
    store.write_logs(&[end]).unwrap();
    assert_eq!(rig.next(), (11, FollowedLog::Ended(LogEnd::Whole, 3)));
    store.pass(2_000);
    assert_eq!(rig.next(), (20, FollowedLog::OwnerGone));
    rig.words.send(follow(30, name(9), 0, 1)).unwrap();
    assert_eq!(rig.next(), (30, FollowedLog::Lost));
    assert!(rig.news.is_empty());
}

#[test]
fn what_finds_no_room_is_read_again_in_its_order() {
    let (rig, mut store) = (rig(1), Shared::new(9));
    rig.lender.tell(Some((1, Box::new(store.clone()))));
    append(&mut store, 1, 1, Some(0));
    append(&mut store, 2, 1, Some(0));
    rig.words.send(follow(1, name(1), 0, 1)).unwrap();
    rig.words.send(follow(2, name(2), 0, 1)).unwrap();
    let mut found: HashMap<u64, Vec<u64>> = HashMap::new();
    for first in 2..=9 {
        append(&mut store, 1, first, None);
        append(&mut store, 2, first, None);
    }
    while found.len() < 2 || found.values().any(|firsts| firsts.last() != Some(&9)) {
        let (key, FollowedLog::Blocks(blocks)) = rig.next() else { panic!("no blocks") };
        found.entry(key).or_default().extend(blocks.iter().map(|block| block.first));
    }
    assert!(found.values().all(|firsts| firsts.is_sorted() && firsts.len() <= 9), "{found:?}");
    assert!(found.values().all(|firsts| (1..=9).all(|first| firsts.contains(&first))), "{found:?}");
}

#[test]
fn a_store_that_is_away_is_told_once_and_what_came_meanwhile_is_told_later() {
    let (rig, mut store) = (rig(100), Shared::new(9));
    rig.words.send(follow(1, name(1), 0, 1)).unwrap();
    assert_eq!(rig.next(), (1, FollowedLog::Away));
    append(&mut store, 1, 1, Some(0));
    let (fails, count) = unbounded::<()>();
    let failing = Scripted::new(Box::new(store.clone()), move |_| {
        fails.send(()).unwrap();
        Behaviour::Fails(StoreError::Refused("no".into()))
    });
    rig.lender.tell(Some((1, Box::new(failing))));
    assert_eq!(rig.next(), (1, FollowedLog::Away));
    count.recv_timeout(LONG).unwrap();
    count.recv_timeout(LONG).unwrap();
    rig.lender.tell(None);
    rig.lender.tell(Some((2, Box::new(store.clone()))));
    assert_eq!(rig.firsts(1), [1]);
    assert!(rig.metrics.persistence().follow_failures.get() >= 2);
}
