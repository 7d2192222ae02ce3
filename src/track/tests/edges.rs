//! What a tracker does at the edges of its calls: before a stream has begun, where nothing is left to give, and behind
//! what looked like a restart of upstream.

use super::rig::{Rig, event, gap, rig, rig_with};
use crate::sse::Scanner;
use crate::track::*;

/// A log so small that an event of more than 1 KiB is not held.
fn small_rig(events: std::ops::Range<u32>) -> Rig {
    let mut rig = Rig::new(TrackLimits { log_bytes: 8 << 10, max_event_bytes: 1 << 10, ..TrackLimits::default() });
    rig.tracker.begin(false, false);
    events.for_each(|n| drop(rig.pass(event(n))));
    rig
}

#[test]
fn a_clients_cursor_counts_only_before_the_stream_has_begun() {
    let seed = |rig: &mut Rig, id: &[u8]| {
        rig.with(|t, cx| t.seed_cursor(cx, id));
        rig.cursor().map(<[u8]>::to_vec)
    };
    let mut rig = rig();
    assert_eq!(seed(&mut rig, b""), None);
    assert_eq!(seed(&mut rig, &[b'x'; 1_025]), None);
    assert_eq!(seed(&mut rig, b"7"), Some(b"7".to_vec()));
    assert_eq!(rig.tracker.delivered_id(&rig.interner).unwrap().as_bytes(), b"7");
    assert_eq!(seed(&mut rig, b"8"), Some(b"7".to_vec()));
    rig.pass(event(9));
    assert_eq!(seed(&mut rig, b"10"), Some(b"9".to_vec()));
    rig.release();
    let mut rig = super::rig::rig();
    rig.pass(": hello\n");
    assert_eq!(seed(&mut rig, b"7"), None);
    rig.release();
}

#[test]
fn a_clients_cursor_that_finds_no_place_among_the_ids_is_not_known() {
    let mut rig = rig();
    rig.interner = Interner::new(7, 0);
    rig.with(|t, cx| t.seed_cursor(cx, b"7"));
    assert_eq!((rig.cursor(), rig.tracker.delivered().id), (None, None));
    rig.release();
}

#[test]
fn own_ids_that_are_offered_when_the_stream_has_begun_are_not_given() {
    let mut rig = rig();
    rig.pass("data: a\n\n");
    rig.tracker.offer_ids([b'x'; OWN_PREFIX]);
    assert_eq!(rig.pass("data: b\n\n"), "data: b\n\n");
    assert!(!rig.tracker.has_own_ids());
}

#[test]
fn what_own_ids_cost_is_counted() {
    let mut rig = rig();
    let before = rig.tracker.memory();
    rig.tracker.offer_ids([b'x'; OWN_PREFIX]);
    assert!(rig.tracker.memory() > before + OWN_PREFIX);
}

#[test]
fn what_is_received_is_undelivered_until_a_reader_has_it() {
    let mut rig = rig();
    rig.feed(event(1) + &event(2));
    let id = |id: Option<crate::base::EventId>| id.map(|id| id.as_bytes().to_vec());
    assert_eq!(id(rig.tracker.received_id(&rig.interner)), Some(b"2".to_vec()));
    assert_eq!((id(rig.tracker.delivered_id(&rig.interner)), rig.tracker.undelivered()), (None, 2));
    rig.take(event(1).len() as u64 + 3);
    assert_eq!((id(rig.tracker.delivered_id(&rig.interner)), rig.tracker.undelivered()), (Some(b"1".to_vec()), 1));
    rig.drain();
    assert_eq!((id(rig.tracker.delivered_id(&rig.interner)), rig.tracker.undelivered()), (Some(b"2".to_vec()), 0));
}

#[test]
fn a_reader_that_begins_again_does_not_move_the_mark_before_it_is_behind_it() {
    let mut rig = rig_with(1..4);
    let mark = rig.tracker.delivered();
    rig.with(|t, cx| {
        let _ = cx;
        t.rewind(0)
    });
    rig.read = 0;
    let one = event(1).len() as u64;
    for _ in 0..3 {
        rig.take(one);
        assert_eq!((rig.tracker.delivered(), rig.tracker.marked_offset()), (mark, 3 * one));
    }
    rig.pass(event(4));
    assert_eq!((rig.tracker.delivered().seq, rig.tracker.marked_offset()), (4, 4 * one));
    rig.release();
}

#[test]
fn a_part_of_a_byte_order_mark_at_a_clean_end_is_forwarded_as_it_is() {
    let mut rig = rig_with(1..2);
    rig.heal();
    rig.feed(b"\xef\xbb");
    assert_eq!(rig.with(|t, cx| t.finish(cx)), None);
    rig.out.clear();
    rig.take(u64::MAX);
    assert_eq!(rig.out, b"\xef\xbb");
}

#[test]
fn a_cut_in_a_byte_order_mark_is_a_cut_inside_a_block() {
    let mut rig = rig_with(1..2);
    rig.heal();
    rig.feed(b"\xef");
    assert_eq!(rig.tracker.cut(), CutKind::MidBlock);
    rig.tracker.begin(true, true);
    assert_eq!(rig.pass(event(1) + &event(2)), event(2));
}

#[test]
fn a_part_of_an_event_is_given_where_others_have_taken_all_the_room_there_was() {
    let mut rig = rig();
    rig.budget = Budget::new(16 << 10);
    rig.pass(event(1));
    let part = format!("data: {}", "x".repeat((4 << 10) - 6));
    assert!(!rig.feed(&part).oversize);
    rig.with(|t, cx| t.trim(cx, 0));
    let rest = rig.budget.left();
    assert!(rig.budget.try_take(rest));
    assert_eq!((rig.tracker.room(&rig.limits, &rig.budget), rig.drain()), (0, String::new()));
    assert!(rig.with(|t, cx| t.unstick(cx)).oversize);
    assert_eq!(rig.drain(), part);
    assert!(rig.tracker.room(&rig.limits, &rig.budget) > 0);
    // It is told once.
    assert!(!rig.with(|t, cx| t.unstick(cx)).oversize);
    assert_eq!(rig.pass("\n\n"), "\n\n");
    rig.budget.give(rest);
    rig.release();
}

#[test]
fn a_long_comment_among_repeats_is_passed_through_and_changes_nothing() {
    let mut rig = small_rig(1..20);
    rig.heal();
    let comment = format!(": {}\n", "x".repeat(5_000));
    let mut out = rig.pass(event(1));
    comment.as_bytes().chunks(500).for_each(|piece| out += &rig.pass(piece));
    assert_eq!(out, comment);
    assert_eq!(rig.pass((2..21).map(event).collect::<String>()), event(20));
    rig.release();
}

#[test]
fn a_large_event_without_an_id_is_passed_through_and_repeats_behind_it_are_dropped() {
    let mut rig = small_rig(1..20);
    rig.heal();
    let large = format!("data: {}\n\n", "x".repeat(5_000));
    let mut out = rig.pass(event(1));
    large.as_bytes().chunks(500).for_each(|piece| out += &rig.pass(piece));
    assert_eq!(out + &rig.pass(event(2) + &event(20)), large + &event(20));
    rig.release();
}

#[test]
fn a_large_event_with_a_known_id_of_a_smaller_one_is_new_behind_a_gap() {
    let mut rig = small_rig(1..20);
    rig.heal();
    let large = format!("id: 3\ndata: {}\n\n", "x".repeat(5_000));
    let mut out = rig.pass(event(1) + &event(2));
    large.as_bytes().chunks(500).for_each(|piece| out += &rig.pass(piece));
    assert_eq!(out, gap("restarted", "\"19\"", "\"3\"") + &large);
    assert_eq!(rig.pass(event(4)), event(4));
    rig.release();
}

#[test]
fn a_large_event_that_came_in_one_read_is_known_again_when_it_comes_in_parts() {
    let mut rig = Rig::new(TrackLimits { max_event_bytes: 100, log_bytes: 4096, window: 1, ..TrackLimits::default() });
    rig.tracker.begin(false, false);
    let large = "id: big\ndata: ".to_owned() + &"x".repeat(200) + "\n\n";
    let body: String = (1..12).map(event).chain([large]).chain((12..15).map(event)).collect();
    assert_eq!(rig.pass(&body), body);
    rig.heal();
    let again: String = (body + &event(15)).as_bytes().chunks(120).map(|piece| rig.pass(piece)).collect();
    assert_eq!(again, event(15));
    rig.release();
}

#[test]
fn a_large_repeat_whose_last_line_gives_it_another_id_is_a_stated_gap() {
    let mut rig = small_rig(1..20);
    let large = |end: &str| format!("id: big\ndata: {}\n{end}\n", "x".repeat(5_000));
    let pass =
        |rig: &mut Rig, text: String| -> String { text.as_bytes().chunks(500).map(|piece| rig.pass(piece)).collect() };
    assert_eq!(pass(&mut rig, large("")), large(""));
    rig.heal();
    assert_eq!(pass(&mut rig, large("")), "");
    rig.heal();
    assert_eq!(pass(&mut rig, large("id: other\n")), gap("restarted", "\"big\"", "null"));
    assert_eq!(rig.pass(event(20)), event(20));
    rig.release();
}

#[test]
fn new_events_without_a_known_id_behind_a_first_one_are_kept() {
    for front in ["", "id\n"] {
        let mut rig = Rig::new(TrackLimits { log_events: 4, ..TrackLimits::default() });
        rig.tracker.begin(false, false);
        (1..20).for_each(|n| drop(rig.pass(event(n))));
        rig.heal();
        let new: String = (0..24).map(|n| format!("{front}data: new {n}\n\n")).collect();
        assert_eq!(rig.pass(event(1) + &new), new);
        rig.release();
    }
}

#[test]
fn first_ids_that_come_in_another_order_are_no_restart() {
    let mut rig = rig_with(10..31);
    rig.heal();
    assert_eq!(rig.pass(event(12)), "");
    assert!(rig.tracker.is_restarted());
    // What upstream had sent before the mark would not be told from this if it had started again.
    assert_eq!(rig.pass(event(11) + "data: new\n\n" + &event(31)), "data: new\n\n".to_owned() + &event(31));
    assert!(!rig.tracker.is_restarted());
}

#[test]
fn blocks_of_another_connection_are_whole_only_where_this_one_stands_outside_of_any() {
    let whole = |rig: &mut Rig, bytes: &str| {
        // At a place where no byte order mark may come.
        let mut other = Scanner::resumed(100);
        rig.with(|t, cx| t.feed_whole(cx, &mut other, bytes.as_bytes())).map(|fed| fed.events)
    };
    let mut rig = rig();
    rig.pass(event(0));
    assert_eq!((whole(&mut rig, &event(1)), whole(&mut rig, "data: a\n")), (Some(1), None));
    let mut inside = Scanner::resumed(100);
    let _ = inside.scan(b"data: half");
    assert!(rig.with(|t, cx| t.feed_whole(cx, &mut inside, event(2).as_bytes())).is_none());
    rig.pass("data: half");
    assert_eq!(whole(&mut rig, &event(2)), None);
    rig.tracker.begin(false, true);
    assert_eq!(whole(&mut rig, &event(2)), None);
    rig.release();
}

#[test]
fn a_window_says_how_many_ids_it_holds() {
    let (mut interner, mut window) = (Interner::new(1, 9), Window::new(2));
    let symbols = ["a", "b", "c"].map(|id| interner.intern_times(id.as_bytes(), 1).unwrap().0);
    assert!(window.is_empty());
    for (symbol, len) in symbols.into_iter().zip([1, 2, 2]) {
        window.push(symbol);
        assert_eq!((window.len(), window.is_empty()), (len, false));
    }
    assert!(symbols[0].get() != symbols[1].get() && symbols[1].get() != symbols[2].get());
}

#[test]
fn each_reason_for_a_gap_has_its_word() {
    use GapReason::*;
    let words = [Expired, Evicted, Unknown, Refused, Restarted, Skipped].map(|reason| reason.to_string());
    assert_eq!(words, ["expired", "evicted", "unknown", "refused", "restarted", "skipped"]);
}
