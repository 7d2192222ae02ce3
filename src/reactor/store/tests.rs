//! Replies and news on their way back: what finds room, and what becomes of the rest.

use super::*;
use crate::base::{EventId, Key};
use crate::machine::{StoredEvents, StoredOwner};
use mio::{Poll, Token};

fn stored(bytes: usize) -> StoredStream {
    let log = StoredEvents {
        meta: Box::default(),
        first: 1,
        bytes: vec![0; bytes],
        fence: 0,
        owner: StoredOwner::None,
        end: None,
    };
    StoredStream { stream: 1, id: EventId::from_bytes(b"1").unwrap(), last_seen_ms: 0, log: Some(log) }
}

#[test]
fn replies_without_room_are_counted_and_their_bytes_bounded() {
    let poll = Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
    let (mut link, metrics) = (StoreLink::new(|_, _| true, |_, _| true), Arc::new(Metrics::default()));
    let replies = link.open(&waker, &metrics);
    let send = |bytes| {
        let exchange: ExchangeKey = Key::from_bits(0);
        Reply { exchange, back: link.back.clone() }.send(Ok(vec![stored(bytes)]));
    };
    let dropped = || metrics.persistence().answers_dropped.get();
    (0..5).for_each(|_| send(BYTES as usize / 4));
    assert_eq!((dropped(), replies.bytes.get()), (1, BYTES));
    assert_eq!(replies.next().unwrap().1.unwrap().len(), 1);
    send(BYTES as usize / 4);
    assert_eq!(dropped(), 1);
    // The one without room was not lost: it is an error.
    let rest: Vec<bool> = std::iter::from_fn(|| replies.next()).map(|(_, found)| found.is_ok()).collect();
    assert_eq!(rest, [true, true, true, false, true]);
    assert_eq!(replies.bytes.get(), 0);
    (0..REPLIES + 3).for_each(|_| send(1));
    assert_eq!((dropped(), replies.bytes.get()), (4, REPLIES as u64));
}

#[test]
fn news_without_room_are_refused_and_keep_their_order() {
    let poll = Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
    let (heard, sender) = bounded(1);
    let link = StoreLink::new(|_, _| true, |_, _| true);
    let mut link = link.sharing(|_| false, move |to| heard.send(to).unwrap());
    let replies = link.open(&waker, &Arc::new(Metrics::default()));
    let sender: NewsSender = sender.recv().unwrap();
    let events = |bytes: u64| {
        let log = stored(bytes as usize).log.unwrap();
        LogNews::Followed { exchange: Key::from_bits(0), news: Followed::Events(log) }
    };
    assert!(sender.send(events(BYTES - 10)) && !sender.send(events(11)) && sender.send(events(10)));
    let name = Arc::new(StreamName { session: b"s"[..].into(), stream: 1 });
    let small = LogNews::TakenOver { name };
    assert_eq!((0..NEWS).filter(|_| sender.send(small.clone())).count(), NEWS - 2);
    assert_eq!(replies.next_news(), Some(events(BYTES - 10)));
    assert!(sender.send(events(BYTES - 10)));
    assert_eq!((replies.next_news(), replies.next_news()), (Some(events(10)), Some(small)));
    assert!(!link.follow(Follow::End { exchange: Key::from_bits(0) }) && link.is_shared());
}
