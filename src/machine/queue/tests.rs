//! Turns at an upstream: who is asked first, who is called up, who leaves no trace.

use super::*;
use crate::config::Upstream;

const NOW: Tick = Tick::from_millis(5_000);

fn key(n: u64) -> ExchangeKey {
    ExchangeKey::from_bits(n)
}

#[test]
fn who_is_due_first_is_asked_first_and_who_has_ended_takes_no_place() {
    let mut queue = Queue::new(2);
    for n in 0..6 {
        queue.line_up(key(n), 6, |_| true);
    }
    let odd = |entry: Entry| entry.key.to_bits() % 2 == 1;
    assert_eq!([queue.next(NOW, odd), queue.next(NOW, odd)], [Some(key(1)), Some(key(3))]);
    assert_eq!((queue.next(NOW, odd), queue.next_at()), (None, NOW + Span::from_millis(500)));
    assert_eq!(queue.next(queue.next_at(), odd), Some(key(5)));
    assert_eq!((queue.next(NOW, odd), queue.next_at()), (None, Tick::NEVER));
}

#[test]
fn an_answer_calls_up_those_that_back_off_evenly_and_a_failure_ends_that() {
    let mut queue = Queue::new(10);
    for n in 0..5 {
        queue.fall_asleep(key(n), 5, |_| true);
    }
    assert_eq!((queue.next(NOW, |_| true), queue.next_at()), (None, Tick::NEVER));
    queue.on_answer(NOW, u64::MAX);
    assert_eq!(queue.next_at(), NOW + CALL_WITHIN);
    let mut at = queue.next_at();
    for n in 0..3 {
        assert_eq!(queue.next(at, |_| true), Some(key(n)));
        assert_eq!(queue.next(at, |_| true), None, "no burst");
        at = at + Span::from_millis(100);
        assert_eq!(queue.next_at(), at);
    }
    queue.on_failure();
    assert_eq!((queue.next(at, |_| true), queue.next_at()), (None, Tick::NEVER));
}

#[test]
fn entries_of_the_ended_do_not_pile_up() {
    let mut queue = Queue::new(1);
    for n in 0..10_000 {
        queue.line_up(key(n), 3, |entry| entry.key.to_bits() > n - n.min(3));
        assert!(queue.line.len() <= 2 * 3 + SLACK + 1);
    }
}

#[test]
fn routes_of_one_upstream_share_its_queue_at_the_lowest_rate() {
    let route = |url: &str, heal_rate| Route {
        heal_rate,
        ..Route::new(Upstream::parse(url).unwrap_or_else(|e| panic!("{e}")))
    };
    let routes = [route("http://a:1", 50), route("http://b:1", 50), route("http://a:1/base", 1)];
    let mut queues = Queues::new(&routes);
    assert_eq!((queues.all.len(), [0, 1, 2].map(|route| queues.of(route))), (2, [0, 1, 0]));
    let queue = queues.at(0);
    queue.line_up(key(1), 2, |_| true);
    queue.line_up(key(2), 2, |_| true);
    assert_eq!([queue.next(NOW, |_| true), queue.next(NOW, |_| true)], [Some(key(1)), None]);
}
