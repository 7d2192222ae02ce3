//! Reopening: a look-up is answered exactly once, and never from an opening that had ended before the look-up was
//! asked; both halves of an opening are dropped before the next opening, and a half that fails causes one reopening.
//! Explored to the end if one opening begins, else with at most two or three pre-emptions, and with one if three
//! threads or both store threads run.

use segno::base::Span;
use segno::persist::parts::{lookups, threads};
use segno::persist::{Opener, PersistConfig, PersistControl, WorkerConfig};
use segno::slot::slots;
use segno::store::{Opened, SessionStore, StoreError};
use segno::sync::{Heard, Sleeper, desk, park};
use segno::timer::Backoff;
use segno_loom_tests::{
    Half, bounded, clock, closed_half, exhaustive, half, must_fail_without, name, questions_first, thread,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Looks up which opening answers; 0 if none does.
fn ask(control: &PersistControl, check: impl FnOnce(u64) + Send + 'static) {
    let reply = move |found: Result<Option<_>, StoreError>| {
        // After a failure, answers are not checked.
        if !std::thread::panicking() {
            check(found.ok().flatten().map_or(0, |cursor: segno::store::Record| cursor.sequence));
        }
    };
    control.load((*name(1)).clone(), Box::new(reply)).unwrap();
}

/// Counts an answer, which must be one of these openings. The test's own counter is not part of the model.
fn one_of(openings: &'static [u64], answers: &Arc<AtomicU64>) -> impl FnOnce(u64) + Send + 'static {
    let answers = Arc::clone(answers);
    move |opening| {
        assert!(openings.contains(&opening), "answered from {opening}, not {openings:?}");
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// A word, which names an opening or none (0), and the openings that may answer a look-up after the word.
type Said = (u64, &'static [u64]);

/// One thread gives the words, and looks up after each word that has answers.
fn model(said: &'static [Said]) {
    let (writer, _drain) = slots(1);
    let (control, say, run) = lookups(writer.ringer(), clock());
    let answers = Arc::default();
    let telling = thread::spawn({
        let answers = Arc::clone(&answers);
        move || {
            for &(opening, allowed) in said {
                say((opening > 0).then(|| (opening, half(opening, || ()) as Box<dyn SessionStore>)));
                if !allowed.is_empty() {
                    ask(&control, one_of(allowed, &answers));
                }
            }
            // `say` lives on: once it is dropped, no look-up is answered any more.
            say
        }
    });
    run();
    let _say = telling.join().unwrap();
    let asked = said.iter().filter(|(_, allowed)| !allowed.is_empty()).count() as u64;
    assert_eq!(answers.load(Ordering::Relaxed), asked, "a look-up was not answered once");
}

/// One opening, with a look-up.
const BEGUN: &[Said] = &[(1, &[1])];
/// An opening that ends. It may answer a look-up that was asked before its end.
const ENDED: &[Said] = &[(1, &[0, 1]), (0, &[0])];
/// An opening that ends, and the next. After the end, the first one never answers.
const REOPENED: &[Said] = &[(1, &[]), (0, &[0, 2]), (2, &[2])];

#[test]
fn what_was_opened_before_a_look_up_answers_it() {
    exhaustive(|| model(BEGUN));
}

#[test]
fn what_has_ended_before_a_look_up_does_not_answer_it() {
    bounded(3, || model(ENDED));
}

#[test]
fn what_has_ended_before_a_look_up_does_not_answer_it_when_there_is_the_next() {
    bounded(2, || model(REOPENED));
}

#[test]
fn what_has_ended_does_not_answer_a_look_up_that_is_heard_first() {
    questions_first(|| bounded(2, || model(ENDED)));
}

#[test]
fn what_has_ended_does_not_answer_a_look_up_that_is_heard_first_when_there_is_the_next() {
    questions_first(|| bounded(2, || model(REOPENED)));
}

/// Two threads look up while one gives words. Each look-up gets one answer.
fn several() {
    let (writer, _drain) = slots(1);
    let (control, say, run) = lookups(writer.ringer(), clock());
    let answers = Arc::default();
    let asking = [control.clone(), control].map(|control| {
        let check = one_of(&[0, 1, 2], &answers);
        thread::spawn(move || ask(&control, check))
    });
    let let_go = Arc::new(AtomicU64::new(0));
    let telling = thread::spawn({
        let let_go = Arc::clone(&let_go);
        move || {
            for opening in 1..=2 {
                let let_go = Arc::clone(&let_go);
                let count = move || {
                    let_go.fetch_add(1, Ordering::Relaxed);
                };
                say(Some((opening, half(opening, count))));
            }
        }
    });
    run();
    asking.into_iter().for_each(|asking| asking.join().unwrap());
    telling.join().unwrap();
    assert_eq!(answers.load(Ordering::Relaxed), 2, "a look-up was not answered once");
    assert_eq!(let_go.load(Ordering::Relaxed), 2, "a half is still held");
}

#[test]
fn each_of_several_is_answered_once() {
    bounded(1, several);
}

/// Tells one thread that a half was dropped. The model has no steps for this except the wake-up.
#[derive(Clone)]
struct LetGo(Arc<AtomicU64>, Arc<Sleeper>);

impl LetGo {
    /// Tells the thread that calls this.
    fn new() -> Self {
        Self(Arc::default(), Arc::new(Sleeper::current()))
    }

    fn say(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        self.1.wake();
    }

    /// Waits until this many halves were dropped; for ever if they never are.
    fn wait(&self, times: u64) {
        while self.0.load(Ordering::Relaxed) < times {
            park(None);
        }
    }

    /// A half that reports when it is dropped.
    fn half(&self, opening: u64) -> Box<Half> {
        let let_go = self.clone();
        half(opening, move || let_go.say())
    }

    /// A half that has failed for good, and reports when it is dropped.
    fn closed_half(&self, opening: u64) -> Box<Half> {
        let let_go = self.clone();
        closed_half(opening, move || let_go.say())
    }
}

/// Without any look-up, a half that is taken away is still dropped.
fn unasked() {
    let (writer, _drain) = slots(1);
    let (control, say, run) = lookups(writer.ringer(), clock());
    let telling = thread::spawn(move || {
        let let_go = LetGo::new();
        say(Some((1, let_go.half(1))));
        say(None);
        let_go.wait(1);
        say(Some((2, let_go.half(2))));
        // Dropping `say` ends the other thread, which must drop the half.
        drop(say);
        let_go.wait(2);
        drop(control);
    });
    run();
    telling.join().unwrap();
}

#[test]
fn a_half_is_let_go_of_while_nobody_asks() {
    bounded(2, unasked);
}

/// Both store threads over a store that can be open only once at a time, like a locked file: opening it waits until
/// both halves are dropped. In the first opening the half for look-ups has failed for good, which two look-ups find
/// out.
fn whole() {
    let (_writer, drain) = slots(1);
    let (openings, failures, answers, let_go) =
        (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default(), Arc::default());
    let end = Arc::new(Mutex::new(None));
    let finish = {
        let end = Arc::clone(&end);
        move || {
            let end = end.lock().unwrap().take();
            drop(end);
        }
    };
    let open: Opener = Box::new({
        let (openings, let_go, finish) = (Arc::clone(&openings), Arc::clone(&let_go), finish.clone());
        move || {
            let opening = openings.fetch_add(1, Ordering::Relaxed) + 1;
            let let_go = LetGo(Arc::clone(&let_go), Arc::new(Sleeper::current()));
            let_go.wait(2 * (opening - 1));
            if opening > 1 {
                finish();
            }
            let lookup = if opening == 1 { let_go.closed_half(opening) } else { let_go.half(opening) };
            Ok(Opened { sessions: let_go.half(opening), lookup, logs: None, log_lookup: None, follower: None })
        }
    });
    let worker = WorkerConfig { window: Span::ZERO, ..WorkerConfig::default() };
    let reopen = Backoff::new(Span::ZERO, Span::ZERO);
    let config = PersistConfig { worker, reopen, idle: Span::MAX, log_bytes: 0, ..PersistConfig::new(77, 1) };
    let (control, says, write, look_up) = threads(config, drain, open, clock());
    *end.lock().unwrap() = Some(says);
    let writing = thread::spawn(write);
    let looking_up = thread::spawn(look_up);
    for _ in 0..2 {
        let (failures, answers, finish) = (Arc::clone(&failures), Arc::clone(&answers), finish.clone());
        let reply = move |found: Result<_, StoreError>| {
            failures.fetch_add(u64::from(matches!(found, Err(StoreError::Closed))), Ordering::Relaxed);
            if answers.fetch_add(1, Ordering::Relaxed) == 1 && failures.load(Ordering::Relaxed) == 0 {
                finish();
            }
        };
        control.load((*name(1)).clone(), Box::new(reply)).unwrap();
    }
    drop(control);
    writing.join().unwrap();
    looking_up.join().unwrap();
    assert_eq!(answers.load(Ordering::Relaxed), 2, "a look-up was not answered once");
    let expected = 1 + failures.load(Ordering::Relaxed).min(1);
    assert_eq!(openings.load(Ordering::Relaxed), expected, "the store was opened too often, or not again");
    assert_eq!(let_go.load(Ordering::Relaxed), 2 * expected, "a half is still held");
}

#[test]
fn both_halves_are_let_go_of_before_the_store_is_opened_again_once() {
    bounded(1, whole);
}

must_fail_without! {
    without_the_release_of_a_word_a_half_is_used_too_early:
        Word Release, bounded(2, || model(ENDED)), "Causality violation";
    without_the_acquire_of_a_word_a_half_is_used_too_early:
        Word Acquire, bounded(2, || model(ENDED)), "Causality violation";
    without_the_release_of_a_look_up_an_opening_is_not_known_of:
        Letter Release, exhaustive(|| model(BEGUN)), "answered from 0, not [1]";
    without_the_acquire_of_a_look_up_an_opening_is_not_known_of:
        Letter Acquire, exhaustive(|| model(BEGUN)), "answered from 0, not [1]";
    without_the_release_of_a_look_up_an_ended_opening_answers:
        Letter Release, bounded(2, || model(ENDED)), "answered from 1, not [0]";
    without_the_acquire_of_a_look_up_an_ended_opening_answers:
        Letter Acquire, bounded(2, || model(ENDED)), "answered from 1, not [0]";
}

/// An opening in the protocol.
struct Word(u64, LetGo);

impl Drop for Word {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.1.say();
        }
    }
}

/// The order of the protocol's steps.
#[derive(Clone, Copy, Default)]
struct Steps {
    /// An answer is given without looking for a newer word.
    answer_from_what_was_heard: bool,
    /// A word is taken only when a look-up comes.
    hear_only_when_asked: bool,
    /// The old word is taken away before the newer one is put there.
    give_way_first: bool,
}

/// The protocol itself over a desk, so that its steps can be swapped: an opening that ends, then a look-up if `asked`,
/// then the next opening.
fn protocol(steps: Steps, asked: bool) {
    let (asker, teller, mut desk) = desk::<(), Option<Option<Word>>>(1);
    let telling = thread::spawn(move || {
        let let_go = LetGo::new();
        let say = |word| {
            if steps.give_way_first {
                drop(teller.tell(None));
            }
            drop(teller.tell(Some(word)));
        };
        say(Some(Word(1, let_go.clone())));
        say(None);
        if asked {
            asker.ask(()).unwrap();
            say(Some(Word(2, let_go)));
        } else {
            let_go.wait(1);
        }
    });
    let (mut word, mut unheard) = (None, Vec::new());
    loop {
        match desk.hear() {
            Heard::Word(newer) if steps.hear_only_when_asked => unheard.extend(newer),
            Heard::Word(newer) => word = newer.unwrap_or(word),
            Heard::Silence => word = None,
            Heard::Question(()) => {
                if !steps.answer_from_what_was_heard {
                    unheard.extend(desk.newest().flatten());
                }
                word = unheard.drain(..).last().unwrap_or(word);
                let opening = word.as_ref().map_or(0, |word| word.0);
                assert_ne!(opening, 1, "answered from an opening that has ended");
            }
            Heard::End => break,
        }
    }
    drop(word);
    telling.join().unwrap();
}

#[test]
fn the_protocol_in_its_order_holds() {
    bounded(3, || protocol(Steps::default(), true));
    bounded(3, || protocol(Steps::default(), false));
}

#[cfg(loom)]
#[test]
#[should_panic(expected = "answered from an opening that has ended")]
fn answering_from_what_was_heard_answers_from_an_ended_opening() {
    bounded(2, || protocol(Steps { answer_from_what_was_heard: true, ..Steps::default() }, true));
}

#[cfg(loom)]
#[test]
#[should_panic(expected = "answered from an opening that has ended")]
fn giving_way_before_the_newer_word_is_there_answers_from_an_ended_opening() {
    bounded(2, || protocol(Steps { give_way_first: true, ..Steps::default() }, true));
}

#[cfg(loom)]
#[test]
#[should_panic(expected = "deadlock")]
fn hearing_only_when_asked_keeps_a_half_for_ever() {
    bounded(2, || protocol(Steps { hear_only_when_asked: true, ..Steps::default() }, false));
}
