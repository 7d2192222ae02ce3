//! Catching up: a test for each line of the table in `catch_up`, and the doubtful cases beside them.

use super::rig::{Rig, event, gap, rig, rig_with};
use crate::track::*;

/// A rig whose log holds one event at a time, and that has received the numbered events of a range.
fn forgetful(ids: std::ops::Range<u32>) -> Rig {
    let mut rig = Rig::new(TrackLimits { log_events: 1, ..TrackLimits::default() });
    rig.tracker.begin(false, false);
    ids.for_each(|n| drop(rig.pass(event(n))));
    rig
}

#[test]
fn a_repeated_event_is_dropped_and_comments_around_it_are_not() {
    let mut rig = rig_with(1..4);
    rig.heal();
    let body = format!(": a\n{}: b\n\n: c\n{}{}", event(2), event(3), event(4));
    assert_eq!(rig.pass(body), format!(": a\n: b\n\n: c\n{}", event(4)));
    assert!(!rig.tracker.is_catching_up());
    assert_eq!(rig.tracker.received().seq, 4);
}

#[test]
fn an_event_with_a_logged_id_and_other_bytes_is_new() {
    let mut rig = rig_with(1..4);
    rig.heal();
    let closing = "id: 3\nevent: done\ndata\n\n";
    assert_eq!(rig.pass(closing), closing);
    assert!(!rig.tracker.is_catching_up());
}

#[test]
fn the_closing_event_with_the_last_id_is_dropped_when_it_was_received() {
    let mut rig = rig_with(1..4);
    let closing = "id: 3\nevent: done\ndata\n\n";
    rig.pass(closing);
    rig.heal();
    let fed = rig.feed(event(3) + closing + &event(4));
    assert_eq!((fed.duplicates, fed.duplicates_by_id_alone, fed.events), (2, 0, 1));
    assert_eq!(rig.drain(), event(4));
}

#[test]
fn an_event_that_has_left_the_log_is_known_by_its_digest() {
    let mut rig = forgetful(1..30);
    rig.heal();
    let fed = rig.feed(event(20) + &event(3));
    assert_eq!((fed.duplicates, fed.duplicates_by_id_alone, rig.drain().as_str()), (2, 0, ""));
    rig.release();
}

#[test]
fn a_known_id_with_other_bytes_than_those_that_have_left_is_new_behind_a_gap() {
    for n in [3, 20] {
        let mut rig = forgetful(1..30);
        rig.heal();
        let reworded = format!("id: {n}\ndata: reworded\n\n") + &event(n + 1);
        assert_eq!(rig.pass(&reworded), gap("restarted", "\"29\"", &format!("\"{n}\"")) + &reworded);
        rig.release();
    }
}

#[test]
fn events_without_an_id_are_compared_with_those_after_the_mark() {
    let mut rig = rig_with(1..2);
    rig.pass("data: a\n\ndata: b\n\n");
    rig.heal();
    assert_eq!(rig.pass("data: b\n\ndata: c\n\ndata: a\n\n"), "data: c\n\ndata: a\n\n");
}

#[test]
fn events_without_an_id_are_compared_behind_the_repeat_they_follow() {
    let mut rig = rig_with(1..2);
    rig.pass("data: a\n\n".to_owned() + &event(2) + "data: b\n\n");
    rig.heal();
    let body = event(1) + "data: a\n\n" + &event(2) + "data: b\n\ndata: a\n\n";
    assert_eq!(rig.pass(body), "data: a\n\n");
}

#[test]
fn a_greeting_without_an_id_does_not_end_catching_up() {
    let mut rig = rig_with(1..20);
    rig.heal();
    assert_eq!(rig.pass("data: welcome back\n\n".to_owned() + &event(19)), "data: welcome back\n\n");
    assert!(rig.tracker.is_catching_up());
    assert_eq!(rig.pass(event(22)), gap("skipped", "\"19\"", "\"22\"") + &event(22));
}

#[test]
fn a_block_without_data_and_id_does_not_end_catching_up() {
    let mut rig = rig_with(1..4);
    rig.heal();
    assert_eq!(rig.pass("retry: 10\n\n".to_owned() + &event(3) + &event(4)), "retry: 10\n\n".to_owned() + &event(4));
}

#[test]
fn an_upstream_that_starts_again_is_dropped_up_to_the_mark() {
    let mut rig = rig();
    let run = |to: u32| (1..to).map(|n| event(n) + &format!("data: plain {n}\n\n")).collect::<String>();
    let plain = "data: first\n\n";
    rig.pass(plain.to_owned() + &run(40));
    rig.heal();
    // The greeting comes before any id of the body, and is not one of the mark's followers.
    assert_eq!(rig.pass(plain.to_owned() + &run(41)), plain.to_owned() + &event(40) + "data: plain 40\n\n");
    assert_eq!(rig.tracker.received().seq, 1 + 80 + 1);
    rig.release();
}

#[test]
fn a_body_from_the_very_beginning_is_dropped_as_far_as_it_is_known() {
    let mut rig = Rig::new(TrackLimits { log_events: 4, window: 4, ..TrackLimits::default() });
    rig.tracker.begin(false, false);
    (1..100).for_each(|n| drop(rig.pass(event(n))));
    rig.heal();
    assert_eq!(rig.pass((1..9).map(event).collect::<String>()), "");
    assert!(rig.tracker.is_restarted());
    // The stream has forgotten these, so they may be new ones.
    let rest: String = (9..103).map(event).collect();
    assert_eq!(rig.pass(&rest), rest);
    rig.release();
}

#[test]
fn new_events_behind_the_very_first_ones_are_kept() {
    let mut rig = Rig::new(TrackLimits { log_events: 8, ..TrackLimits::default() });
    rig.tracker.begin(false, false);
    (1..=20).for_each(|n| drop(rig.pass(event(n))));
    rig.heal();
    let new: String = (0..40).map(|n| event(n + 1000)).collect();
    assert_eq!(rig.pass((1..=8).map(event).collect::<String>() + &new), gap("skipped", "\"20\"", "\"1000\"") + &new);
    assert!(!rig.tracker.is_catching_up());
    rig.release();
}

#[test]
fn a_restart_that_ends_before_the_mark_is_a_stated_gap() {
    let mut rig = rig_with(1..20);
    rig.heal();
    assert_eq!(rig.pass(event(1) + &event(2)), "");
    assert_eq!(rig.with(|t, cx| t.finish(cx)), Some(GapReason::Restarted));
    assert_eq!(rig.drain(), gap("restarted", "\"19\"", "null"));
}

#[test]
fn a_mark_that_comes_again_with_other_bytes_is_another_run() {
    let mut rig = rig_with(1..10);
    rig.heal();
    let other = |n: u32| format!("id: {n}\ndata: another run\n\n");
    let fed = rig.feed((1..=10).map(other).collect::<String>());
    assert_eq!(fed.gap, Some(GapReason::Restarted));
    assert_eq!(rig.drain(), gap("restarted", "\"9\"", "\"1\"") + &(1..=10).map(other).collect::<String>());
}

#[test]
fn another_run_whose_beginning_the_log_has_forgotten_is_known_at_once() {
    let mut rig = Rig::new(TrackLimits { log_events: 4, window: 4, ..TrackLimits::default() });
    rig.tracker.begin(false, false);
    (1..2_000).for_each(|n| drop(rig.pass(event(n))));
    for (run, last) in ["second", "third", "fourth"].iter().zip(["1999", "50", "50"]) {
        rig.heal();
        let other: String = (1..=50).map(|n| format!("id: {n}\ndata: {run} run, event {n}\n\n")).collect();
        let fed = rig.feed(&other);
        assert_eq!(fed.gap, Some(GapReason::Restarted));
        assert_eq!(rig.drain(), gap("restarted", &format!("\"{last}\""), "\"1\"") + &other);
        // And the same run once more is known as far as it is remembered.
        rig.heal();
        assert_eq!(
            rig.pass((1..=8).map(|n| format!("id: {n}\ndata: {run} run, event {n}\n\n")).collect::<String>()),
            ""
        );
    }
    rig.release();
}

#[test]
fn an_id_that_was_counted_anew_is_no_place_to_go_on_from_once_events_have_left() {
    let mut rig = Rig::new(TrackLimits { log_events: 40, ..TrackLimits::default() });
    rig.tracker.begin(false, false);
    (1..60).for_each(|n| drop(rig.pass(event(n))));
    assert!(rig.tracker.locate(&rig.interner, b"30").is_some());
    rig.heal();
    rig.pass((1..=30).map(|n| format!("id: {n}\ndata: other {n}\n\n")).collect::<String>());
    // A reader that names it may have got the old one, and lacks all that came behind that.
    assert_eq!(rig.tracker.locate(&rig.interner, b"15"), None);
    rig.release();
}

#[test]
fn a_greeting_with_an_id_of_its_own_holds_nothing_up() {
    let mut rig = rig_with(1..20);
    rig.heal();
    assert_eq!(rig.pass(event(1) + &event(20) + &event(21)), event(20) + &event(21));
    assert!(!rig.tracker.is_catching_up());
}

#[test]
fn repeats_behind_a_greeting_are_still_repeats() {
    let mut rig = rig_with(1..20);
    rig.heal();
    assert_eq!(rig.pass(event(1) + &event(18) + &event(19) + &event(20)), event(20));
}

#[test]
fn the_received_id_coming_first_is_no_restart() {
    let mut rig = rig_with(1..4);
    rig.heal();
    assert_eq!(rig.pass(event(3)), "");
    assert!(!rig.tracker.is_restarted());
}

#[test]
fn a_jump_after_sixteen_consecutive_ids_is_a_stated_gap() {
    let mut rig = rig_with(1..17);
    rig.pass("data: no id\n\n");
    rig.heal();
    assert_eq!(
        rig.pass(": c\n".to_owned() + &event(18)),
        ": c\n".to_owned() + &gap("skipped", "\"16\"", "\"18\"") + &event(18)
    );
    assert_eq!(rig.tracker.received().seq, 18);
}

#[test]
fn no_jump_is_stated_after_fewer_ids_or_where_none_is_left_out() {
    for (ids, next) in [(1..16, 20), (1..17, 17)] {
        let mut rig = rig_with(ids);
        rig.heal();
        assert_eq!(rig.pass(event(next)), event(next));
    }
}

#[test]
fn dedup_off_drops_nothing() {
    let mut rig = Rig::new(TrackLimits { dedup: Dedup::Off, ..TrackLimits::default() });
    rig.tracker.begin(false, false);
    rig.pass(event(1) + &event(2));
    rig.heal();
    assert_eq!(rig.pass(event(1) + &event(2)), event(1) + &event(2));
}

#[test]
fn dedup_always_drops_repeats_in_the_middle_of_a_body() {
    let mut rig = Rig::new(TrackLimits { dedup: Dedup::Always, ..TrackLimits::default() });
    rig.tracker.begin(false, false);
    let closing = "id: 2\nevent: done\ndata\n\n";
    let body = event(1) + &event(2) + &event(1) + closing + "data: a\n\ndata: a\n\n";
    assert_eq!(rig.pass(body), event(1) + &event(2) + closing + "data: a\n\ndata: a\n\n");
    rig.release();
}

#[test]
fn dedup_resume_keeps_repeats_in_the_middle_of_a_body() {
    let mut rig = rig();
    assert_eq!(rig.pass(event(1) + &event(1)), event(1) + &event(1));
}

#[test]
fn a_crlf_split_at_the_end_of_a_read_changes_no_verdict() {
    let crlf = |n: u32| event(n).replace('\n', "\r\n");
    let mut rig = rig();
    rig.pass(crlf(1) + &crlf(2));
    rig.heal();
    let mut out = String::new();
    for byte in (crlf(1) + &crlf(2) + &crlf(3)).bytes() {
        out += &rig.pass([byte]);
    }
    assert_eq!(out.trim_start_matches(['\r', '\n']), crlf(3));
}

#[test]
fn followers_of_an_evicted_event_are_compared_behind_its_repeat() {
    let mut rig = Rig::new(TrackLimits { log_events: 2, ..TrackLimits::default() });
    rig.tracker.begin(false, false);
    rig.pass(event(100) + &event(5));
    // Nine other ids, so that upstream is not taken to start again with one of the first.
    (10..20).for_each(|n| drop(rig.pass(event(n))));
    rig.pass(event(30) + "data: a\n\n");
    rig.pass(event(31));
    rig.heal();
    let fed = rig.feed(event(30) + "data: a\n\n" + &event(31) + &event(32));
    assert_eq!((fed.duplicates, fed.duplicates_by_id_alone), (3, 0));
    assert_eq!(rig.drain(), event(32));
    rig.release();
}

#[test]
fn a_gap_in_the_middle_of_a_read_that_fills_the_log_loses_no_bytes() {
    for extra in 0..40 {
        let mut rig = Rig::new(TrackLimits { log_bytes: 512, max_event_bytes: 256, ..TrackLimits::default() });
        rig.tracker.begin(false, false);
        (1..17).for_each(|n| drop(rig.pass(event(n))));
        rig.heal();
        let room = rig.tracker.room(&rig.limits, &rig.budget);
        let mut body = event(20);
        while body.len() + 30 < room - extra {
            body += &event(21);
        }
        assert_eq!(rig.pass(&body), gap("skipped", "\"16\"", "\"20\"") + &body);
        rig.release();
    }
}

#[test]
fn a_large_event_behind_a_greeting_is_passed_through() {
    let mut rig = Rig::new(TrackLimits { log_bytes: 8 << 10, max_event_bytes: 1 << 10, ..TrackLimits::default() });
    rig.tracker.begin(false, false);
    (1..20).for_each(|n| drop(rig.pass(event(n))));
    rig.heal();
    let large = format!("id: 20\ndata: {}\n\n", "x".repeat(3_000));
    let mut out = rig.pass(event(1));
    large.as_bytes().chunks(500).for_each(|piece| out += &rig.pass(piece));
    assert_eq!(out + &rig.pass(event(21)), large + &event(21));
    rig.release();
}

#[test]
fn a_greeting_that_was_the_last_of_the_first_ids_holds_nothing_up() {
    let mut rig = rig_with(11..18);
    rig.pass(event(1));
    (18..40).for_each(|n| drop(rig.pass(event(n))));
    rig.heal();
    assert_eq!(rig.pass(event(1) + &event(40)), event(40));
}
