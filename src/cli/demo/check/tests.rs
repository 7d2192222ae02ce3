//! The checker against streams that keep their script, and streams that break it.

use super::super::kind::Rule;
use super::*;

fn event(script: &Script, n: usize) -> Event {
    Event { id: script.id(n), kind: script.kind(n).to_owned(), data: script.data(n) }
}

fn verdict(script: &Script, order: impl IntoIterator<Item = usize>, ending: Ending) -> Verdict {
    let mut checker = Checker::new(script);
    order.into_iter().for_each(|n| _ = checker.event(&event(script, n)));
    checker.end(ending, false)
}

fn gap(data: &str) -> Event {
    Event { kind: "segno.gap".to_owned(), data: data.to_owned(), ..Event::default() }
}

#[test]
fn all_events_in_order_and_the_last_chunk_are_what_was_promised() {
    let script = Script::new(1, Rule::Clean, 0, 0, 9);
    assert_eq!(verdict(&script, 0..10, Ending::Clean), Verdict::default());
}

#[test]
fn a_lost_event_is_found() {
    let script = Script::new(1, Rule::Clean, 0, 0, 9);
    let verdict = verdict(&script, (0..10).filter(|&n| n != 4), Ending::Clean);
    assert_eq!((verdict.lost, verdict.duplicated, verdict.reordered), (1, 0, 0));
    assert!(!verdict.is_kept());
}

#[test]
fn a_doubled_event_is_found() {
    let script = Script::new(1, Rule::Clean, 0, 0, 9);
    let verdict = verdict(&script, [0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9], Ending::Clean);
    assert_eq!((verdict.lost, verdict.duplicated, verdict.reordered), (0, 1, 0));
}

#[test]
fn swapped_events_are_found() {
    let script = Script::new(1, Rule::Clean, 0, 0, 9);
    let verdict = verdict(&script, [0, 1, 3, 2, 4, 5, 6, 7, 8, 9], Ending::Clean);
    assert_eq!((verdict.lost, verdict.duplicated, verdict.reordered), (0, 0, 1));
}

#[test]
fn a_changed_event_is_found() {
    let script = Script::new(1, Rule::Clean, 0, 0, 0);
    let mut checker = Checker::new(&script);
    checker.event(&Event { id: None, ..event(&script, 0) });
    let verdict = checker.end(Ending::Clean, false);
    assert_eq!((verdict.lost, verdict.broken.len()), (0, usize::from(script.id(0).is_some())));
}

#[test]
fn a_cut_is_not_a_clean_end_and_a_clean_end_is_not_a_cut() {
    let clean = Script::new(1, Rule::Clean, 0, 0, 3);
    assert!(!verdict(&clean, 0..4, Ending::Cut).is_kept());
    let cut = Script::new(1, Rule::NoIds, 0, 0, 3);
    assert!(verdict(&cut, 0..3, Ending::Cut).is_kept());
    assert!(!verdict(&cut, 0..3, Ending::Clean).is_kept());
    assert!(!verdict(&cut, 0..3, Ending::Failed("hangs".to_owned())).is_kept());
}

#[test]
fn a_jump_loses_events_unless_it_is_stated() {
    let script = Script::new(1, Rule::Skipped, 0, 0, 0);
    let all = || (0..script.len()).filter(|n| !script.skip.contains(n));
    assert_eq!(verdict(&script, all(), Ending::Clean).lost, 3);
    for (data, kept) in [
        (r#"{"after":"20","resumed_at":"24","reason":"skipped"}"#, true),
        (r#"{"after":"20","resumed_at":"23","reason":"skipped"}"#, false),
        (r#"{"after":"20","resumed_at":"24","reason":"evicted"}"#, false),
    ] {
        let mut checker = Checker::new(&script);
        for n in all() {
            if n == 23 {
                checker.event(&gap(data));
            }
            checker.event(&event(&script, n));
        }
        let verdict = checker.end(Ending::Clean, false);
        assert_eq!((verdict.is_kept(), verdict.stated == 3), (kept, kept), "{verdict:?}");
    }
}

#[test]
fn a_gap_that_is_not_due_breaks_the_promise() {
    let script = Script::new(1, Rule::Clean, 0, 0, 3);
    let mut checker = Checker::new(&script);
    checker.event(&gap(r#"{"after":"1","resumed_at":null,"reason":"refused"}"#));
    (0..4).for_each(|n| _ = checker.event(&event(&script, n)));
    assert!(!checker.end(Ending::Clean, false).is_kept());
}
