//! The tracker as a whole, one test for each edge of its laws.

use super::rig::{Rig, event, gap, rig, rig_with};
use crate::base::{Span, Tick};
use crate::sse::Position;
use crate::track::*;

#[test]
fn bytes_are_forwarded_as_they_came_and_only_in_whole_blocks() {
    let mut rig = rig();
    assert_eq!(rig.pass(": hello\n\ndata: a\nunknown: x\n"), ": hello\n\n");
    assert_eq!(rig.tracker.position(), Position::Block);
    assert_eq!(rig.pass(": inside\n\n: ping"), "data: a\nunknown: x\n: inside\n\n");
    assert_eq!(rig.pass("\n"), ": ping\n");
    assert_eq!(rig.tracker.received(), Mark { seq: 1, id: None });
}

#[test]
fn a_cut_block_is_never_seen() {
    let mut rig = rig_with(1..3);
    assert_eq!(rig.pass("id: 3\ndata: ha"), "");
    assert_eq!(rig.tracker.cut(), CutKind::MidBlock);
    rig.tracker.begin(true, true);
    assert_eq!(rig.cursor(), Some(&b"2"[..]));
    assert_eq!(rig.pass(event(3)), event(3));
    assert_eq!(rig.tracker.cut(), CutKind::Clean);
    rig.release();
}

#[test]
fn a_clean_end_forwards_held_bytes_as_they_are() {
    let mut rig = rig();
    assert_eq!(rig.pass("data: 1\n\ndata: [DONE]"), "data: 1\n\n");
    assert_eq!(rig.with(|t, cx| t.finish(cx)), None);
    assert_eq!(rig.drain(), "data: [DONE]");
}

#[test]
fn an_id_stays_until_another_comes_or_an_empty_one_resets_it() {
    let mut rig = rig_with(1..2);
    rig.pass("data: no id\n\n");
    assert_eq!((rig.cursor(), rig.tracker.received().seq), (Some(&b"1"[..]), 2));
    assert_eq!(rig.tracker.delivered(), rig.tracker.received());
    rig.pass("id\n\n");
    assert_eq!((rig.cursor(), rig.tracker.received().seq, rig.tracker.healable()), (None, 3, false));
    assert_eq!(rig.tracker.delivered(), rig.tracker.received());
    rig.release();
}

#[test]
fn a_block_without_data_and_id_is_forwarded_and_not_counted() {
    let mut rig = rig();
    let fed = rig.feed("retry: 2500\n\n");
    assert_eq!((fed.events, fed.retry), (0, Some(Span::from_millis(2500))));
    assert_eq!((rig.tracker.received().seq, rig.tracker.retry()), (0, fed.retry));
    assert_eq!(rig.drain(), "retry: 2500\n\n");
}

#[test]
fn an_event_with_too_long_an_id_is_forwarded_untracked() {
    let mut rig = rig_with(1..2);
    let long = format!("id: {}\ndata: x\n\n", "y".repeat(1025));
    assert_eq!(rig.feed(&long).ids_too_long, 1);
    assert_eq!(rig.drain(), long);
    assert!(!rig.tracker.healable());
    rig.pass(event(2));
    assert!(rig.tracker.healable());
    rig.release();
}

#[test]
fn a_full_interner_makes_an_event_untracked() {
    let mut rig = rig();
    rig.interner = Interner::new(1, 2);
    assert_eq!(rig.feed(event(1) + &event(2) + &event(3)).ids_refused, 1);
    assert_eq!((rig.cursor(), rig.tracker.received().seq), (None, 3));
    rig.release();
}

#[test]
fn a_seeded_cursor_is_both_marks_id_before_any_event() {
    let mut rig = Rig::new(TrackLimits::default());
    rig.with(|t, cx| t.seed_cursor(cx, b"41"));
    rig.tracker.begin(false, false);
    assert_eq!(rig.cursor(), Some(&b"41"[..]));
    assert_eq!(rig.tracker.delivered(), rig.tracker.received());
    assert_eq!(rig.tracker.locate(&rig.interner, b"41"), Some(0));
    rig.pass(event(42));
    assert_eq!(rig.tracker.locate(&rig.interner, b"41"), Some(0));
    // Nobody here knows what the client got under its id, so this may be another event.
    rig.heal();
    let again = "id: 41\ndata: perhaps seen before\n\n".to_owned() + &event(43);
    assert_eq!(rig.pass(&again), again);
    rig.release();
}

#[test]
fn replay_starts_behind_the_first_event_that_carries_the_id() {
    let mut rig = rig();
    let all = format!("{}id: 1\ndata: again\n\n{}", event(1), event(2));
    rig.pass(&all);
    let first = event(1).len() as u64;
    assert_eq!(rig.tracker.locate(&rig.interner, b"1"), Some(first));
    assert_eq!(rig.tracker.locate(&rig.interner, b"2"), Some(all.len() as u64));
    assert_eq!(rig.tracker.locate(&rig.interner, b"3"), None);
}

#[test]
fn an_evicted_event_can_still_be_resumed_from_when_nothing_after_it_is_lost() {
    let mut rig = Rig::new(TrackLimits { log_events: 2, ..TrackLimits::default() });
    rig.tracker.begin(false, false);
    (1..=4).for_each(|n| drop(rig.pass(event(n))));
    let start = rig.tracker.start();
    assert_eq!(rig.tracker.locate(&rig.interner, b"1"), None);
    assert_eq!(rig.tracker.locate(&rig.interner, b"2"), Some(start));
    rig.release();
}

// Byte order marks.

#[test]
fn a_mark_in_the_middle_is_taken_out_also_when_split() {
    for split in 0..=3 {
        let mut rig = rig_with(1..2);
        rig.heal();
        let body = "\u{feff}".to_owned() + &event(2);
        let mut out = rig.pass(&body.as_bytes()[..split]);
        out += &rig.pass(&body.as_bytes()[split..]);
        assert_eq!(out, event(2));
    }
}

#[test]
fn what_only_begins_like_a_mark_is_kept() {
    let mut rig = rig_with(1..2);
    rig.heal();
    rig.feed(b"\xef\xbb");
    assert_eq!(rig.tracker.position(), Position::Block);
    rig.feed(b"\xbe: x\ndata\n\n");
    rig.feed(b"");
    rig.take(u64::MAX);
    assert_eq!(rig.out, b"\xef\xbb\xbe: x\ndata\n\n");
}

#[test]
fn a_restart_with_a_mark_still_compares_equal() {
    let mut rig = rig();
    let first = "\u{feff}".to_owned() + &event(1);
    assert_eq!(rig.pass(&first), first);
    rig.heal();
    assert_eq!(rig.pass(first + &event(2)), event(2));
}

// Blocks too large to be held.

fn small() -> TrackLimits {
    TrackLimits { max_event_bytes: 100, log_bytes: 1024, ..TrackLimits::default() }
}

#[test]
fn an_oversize_block_is_passed_through_and_frees_the_log_behind_the_reader() {
    let mut rig = Rig::new(small());
    rig.tracker.begin(false, false);
    let mut out = rig.pass(event(1));
    assert!(!rig.feed("id: 2\ndata: ").oversize);
    assert!(rig.feed("x".repeat(200)).oversize);
    assert!(rig.tracker.is_open_oversize() && !rig.tracker.healable());
    for _ in 0..50 {
        assert!(rig.tracker.room(&rig.limits, &rig.budget) >= 100);
        out += &rig.pass("x".repeat(100));
    }
    out += &rig.pass("\n\n");
    assert!(!rig.tracker.is_open_oversize());
    assert_eq!(out, event(1) + "id: 2\ndata: " + &"x".repeat(5200) + "\n\n");
    assert_eq!(rig.tracker.replay_start(), Some(out.len() as u64));
    assert_eq!(rig.tracker.locate(&rig.interner, b"2"), Some(out.len() as u64));
    assert_eq!(rig.tracker.locate(&rig.interner, b"1"), None);
    assert_eq!(rig.cursor(), Some(&b"2"[..]));
    rig.release();
}

#[test]
fn a_cut_inside_an_oversize_block_cannot_be_healed() {
    let mut rig = Rig::new(small());
    rig.tracker.begin(false, false);
    rig.pass(event(1) + "data: " + &"x".repeat(200));
    assert_eq!(rig.tracker.cut(), CutKind::MidOversize);
    assert!(!rig.with(|t, cx| t.state_gap(cx, GapReason::Refused, None)));
}

#[test]
fn an_oversize_block_that_comes_again_is_known_by_the_id_at_its_front_and_dropped_unheld() {
    let mut rig = Rig::new(small());
    rig.tracker.begin(false, false);
    let huge = "id: h\ndata: ".to_owned() + &"x".repeat(600) + "\n\n";
    let mut out = String::new();
    let body = |to: u32| event(1) + &huge + &(2..to).map(event).collect::<String>();
    for piece in body(5).as_bytes().chunks(90) {
        out += &rig.pass(piece);
    }
    rig.heal();
    for piece in body(7).as_bytes().chunks(90) {
        out += &rig.pass(piece);
        assert!(rig.tracker.memory() < 3000);
    }
    assert_eq!(out, body(7));
    rig.release();
}

#[test]
fn a_block_that_a_spent_budget_cannot_hold_is_passed_through() {
    let mut rig = rig();
    rig.budget = Budget::new(0);
    rig.feed("data: ");
    let mut fed = 0;
    while !rig.tracker.is_open_oversize() {
        let room = rig.tracker.room(&rig.limits, &rig.budget);
        assert!(room > 0 && fed < 5000);
        rig.feed("x".repeat(room.min(1000)));
        fed += room.min(1000);
    }
    assert_eq!(fed + 6, 4096);
    rig.take(u64::MAX);
    rig.release();
}

// Bounds.

#[test]
fn an_evicted_event_is_not_resumed_from_when_one_after_it_is_lost() {
    let mut rig = Rig::new(TrackLimits { log_events: 1, ..TrackLimits::default() });
    rig.tracker.begin(false, false);
    rig.pass(event(1) + "data: a\n\n");
    assert_eq!(rig.tracker.locate(&rig.interner, b"1"), Some(event(1).len() as u64));
    rig.pass("data: b\n\n");
    assert_eq!(rig.tracker.locate(&rig.interner, b"1"), None);
    rig.release();
}

#[test]
fn a_full_log_holds_upstream_back_until_a_reader_takes_something() {
    let mut rig = Rig::new(TrackLimits { log_bytes: 512, ..TrackLimits::default() });
    rig.tracker.begin(false, false);
    assert!(rig.tracker.room(&rig.limits, &rig.budget) > 0);
    // The notes on these events take more bytes than the events.
    let (event, notes) = ("data\n\n", rig.limits.notes());
    rig.feed(event.repeat(notes));
    assert_eq!((notes, rig.tracker.room(&rig.limits, &rig.budget)), (32, 0));
    rig.take(event.len() as u64);
    assert!(rig.tracker.room(&rig.limits, &rig.budget) > 0);
    assert_eq!(rig.tracker.delivered().seq, 1);
}

#[test]
fn delivered_events_leave_when_they_are_old_and_take_their_memory_along() {
    let mut rig = rig_with(1..200);
    let full = rig.tracker.memory();
    rig.now = Tick::ZERO + Span::from_secs(299);
    rig.with(|t, cx| t.expire(cx));
    assert_eq!((rig.tracker.start(), rig.tracker.memory()), (0, full));
    rig.now = Tick::ZERO + Span::from_secs(301);
    rig.with(|t, cx| t.expire(cx));
    assert_eq!(rig.tracker.start(), rig.tracker.end());
    // The window stays: 48 ids with the digests of their events.
    assert!(rig.tracker.memory() < 400 + 48 * 12, "{}", rig.tracker.memory());
    assert_eq!(rig.tracker.locate(&rig.interner, b"199"), Some(rig.tracker.end()));
    assert_eq!(rig.cursor(), Some(&b"199"[..]));
    rig.release();
}

#[test]
fn undelivered_events_stay_whatever_their_age() {
    let mut rig = rig();
    rig.feed(event(1) + &event(2));
    rig.take(event(1).len() as u64 + 3);
    rig.now = Tick::ZERO + Span::from_secs(10_000);
    rig.with(|t, cx| t.expire(cx));
    assert_eq!(rig.tracker.start(), event(1).len() as u64);
    assert_eq!(rig.drain(), event(1) + &event(2));
}

#[test]
fn trimming_gives_memory_back_to_the_budget() {
    let mut rig = rig_with(1..2000);
    let used = rig.budget.used();
    let given = rig.with(|t, cx| t.trim(cx, 1000));
    assert!(given > 0);
    assert_eq!(rig.budget.used(), used - given);
    assert!(rig.tracker.end() - rig.tracker.start() <= 512);
    rig.release();
}

#[test]
fn pings_alone_do_not_fill_the_log() {
    let mut rig = Rig::new(small());
    rig.tracker.begin(false, false);
    for _ in 0..10_000 {
        assert_eq!(rig.pass(":\n\n"), ":\n\n");
    }
    assert!(rig.tracker.memory() < 2000);
}

#[test]
fn an_idle_stream_with_one_event_is_small() {
    let mut rig = rig();
    assert_eq!(rig.tracker.memory(), size_of::<Tracker>());
    rig.pass(format!("id: 1\ndata: {}\n\n", "x".repeat(242)));
    assert!(rig.tracker.memory() + 64 < 900, "{}", rig.tracker.memory());
}

#[test]
fn nothing_grows_in_the_steady_state() {
    let mut rig = Rig::new(TrackLimits { log_events: 64, ..TrackLimits::default() });
    rig.tracker.begin(false, false);
    let mut sizes = Vec::new();
    for n in 0..3_000 {
        // Now and then a read ends inside the id.
        let text = format!("event: message\nid: 0a1b2c3d-4e5f-6071-8293-{n:012x}\ndata: {n:0190}\n\n");
        let (a, b) = text.split_at(if n % 4 == 0 { 40 } else { text.len() });
        rig.feed(a);
        rig.feed(b);
        rig.take(u64::MAX);
        sizes.push((rig.tracker.memory(), rig.interner.bytes(), rig.budget.used()));
    }
    assert!(sizes[1_000..].iter().all(|s| *s == sizes[1_000]));
    rig.release();
}

#[test]
fn a_gap_is_stated_in_front_of_a_block_that_has_not_ended() {
    let mut rig = rig_with(1..2);
    rig.feed("id: 2\nda");
    assert!(rig.with(|t, cx| t.state_gap(cx, GapReason::Refused, None)));
    assert_eq!(rig.pass("ta: x\n\n"), gap("refused", "\"1\"", "null") + "id: 2\ndata: x\n\n");
    assert_eq!(rig.tracker.received().seq, 2);
    assert_eq!(rig.tracker.delivered().seq, 2);
    rig.release();
}

#[test]
fn an_id_whose_first_event_has_left_with_others_behind_it_is_not_found_at_a_later_one() {
    let mut rig = Rig::new(TrackLimits { log_events: 2, ..TrackLimits::default() });
    rig.tracker.begin(false, false);
    for text in ["id: 7\ndata: A\n\n", "data: B\n\n", "data: C\n\n", "id: 7\ndata: D\n\n"] {
        rig.pass(text);
    }
    assert_eq!(rig.tracker.locate(&rig.interner, b"7"), None, "B and C would be skipped in silence");
    rig.release();
}

#[test]
fn a_greeting_is_not_taken_for_the_first_event_that_carried_its_id_and_has_left() {
    let mut rig = Rig::new(TrackLimits { log_events: 4, ..TrackLimits::default() });
    rig.tracker.begin(false, false);
    (1..=12).for_each(|n| drop(rig.pass(event(n))));
    rig.pass("id: 1\ndata: welcome back\n\n");
    rig.pass(event(13));
    assert_eq!(rig.tracker.locate(&rig.interner, b"1"), None, "2 to 12 would be skipped in silence");
    assert_eq!(rig.tracker.locate(&rig.interner, b"13"), Some(rig.tracker.end()));
    // Also when it is the last that has left.
    (14..=17).for_each(|n| drop(rig.pass(event(n))));
    assert_eq!(rig.tracker.locate(&rig.interner, b"1"), None);
    rig.release();
}

#[test]
fn a_log_of_many_small_events_gives_back_as_much_as_it_is_asked_for() {
    let mut rig = rig();
    (0..300).for_each(|n| drop(rig.pass(format!("data: {n}\n\n"))));
    for keep in [8 << 10, 4 << 10, 1 << 10] {
        rig.with(|t, cx| t.trim(cx, keep));
        assert!(rig.tracker.memory() <= keep + 1_024, "{} of {keep}", rig.tracker.memory());
    }
    rig.release();
}
