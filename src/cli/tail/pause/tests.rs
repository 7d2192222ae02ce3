//! Waits between connections, with chance as a number.

use super::*;

const SECOND: Span = Span::from_secs(1);

fn fed(events: u32, duplicates: u32) -> Fed {
    Fed { events, duplicates, ..Fed::default() }
}

#[test]
fn after_a_long_connection_the_next_begins_soon_and_not_at_once() {
    let mut pause = Pause::default();
    pause.begin(Tick::ZERO);
    pause.note(&fed(1, 0));
    assert_eq!(pause.end(None, 0, Tick::ZERO + SECOND), LEAST);
    assert_eq!(pause.end(None, u64::MAX, Tick::ZERO + SECOND), LEAST.times(2));
    assert_eq!(pause.end(Some(Span::ZERO), 0, Tick::ZERO + SECOND), LEAST);
}

#[test]
fn whatever_upstream_asks_for_and_chance_says_there_is_a_wait() {
    for (events, retry) in [(0, None), (1, None), (0, Some(Span::ZERO)), (1, Some(Span::ZERO))] {
        let mut pause = Pause::default();
        for _ in 0..40 {
            pause.begin(Tick::ZERO);
            pause.note(&Fed { retry, ..fed(events, 0) });
            assert!(pause.end(retry, 0, Tick::ZERO + SECOND.times(60)) >= LEAST, "{events} {retry:?}");
        }
    }
}

#[test]
fn an_upstream_that_sends_one_event_per_connection_is_asked_once_a_second() {
    let (mut pause, mut now) = (Pause::default(), Tick::ZERO);
    for _ in 0..10 {
        pause.begin(now);
        pause.note(&fed(1, 0));
        now = now + Span::from_millis(3);
        assert_eq!(pause.end(None, 0, now), Span::from_millis(997));
        now = now + Span::from_millis(997);
    }
}

#[test]
fn the_wait_that_upstream_asks_for_counts_after_an_event_too() {
    let mut pause = Pause::default();
    pause.begin(Tick::ZERO);
    pause.note(&Fed { retry: Some(SECOND.times(30)), ..fed(1, 0) });
    pause.note(&fed(1, 0));
    assert_eq!(pause.end(None, 0, Tick::ZERO + SECOND), SECOND.times(30));
    assert_eq!(pause.end(Some(SECOND.times(5)), 0, Tick::ZERO + SECOND), SECOND.times(5));
}

#[test]
fn one_new_event_among_repeats_resets_the_wait_and_repeats_alone_do_not() {
    let mut pause = Pause::default();
    for _ in 0..20 {
        pause.begin(Tick::ZERO);
        pause.note(&fed(0, 3));
        pause.note(&fed(1, 3));
    }
    assert_eq!((pause.tries(), pause.end(None, 0, Tick::ZERO + SECOND)), (0, LEAST));
    for _ in 0..20 {
        pause.begin(Tick::ZERO);
        pause.note(&fed(0, 3));
    }
    let most = Span::from_millis(10_250);
    assert_eq!((pause.tries(), pause.end(None, u64::MAX, Tick::ZERO + SECOND)), (20, most));
}
