//! Reopening: a look-up is answered once, from no opening that had ended when it was asked; both halves of an opening are
//! let go of before the next, and a half that fails costs one reopening. Explored to the end where one opening begins, else
//! with at most two or three pre-emptions, and one where three threads or both store threads run.

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

/// Looks up which opening is answered from; 0: none is.
fn ask(control: &PersistControl, check: impl FnOnce(u64) + Send + 'static) {
    let reply = move |found: Result<Option<_>, StoreError>| {
        // When the test has failed, answers mean nothing.
        if !std::thread::panicking() {
            check(found.ok().flatten().map_or(0, |cursor: segno::store::Record| cursor.sequence));
        }
    };
    control.load((*name(1)).clone(), Box::new(reply)).unwrap();
}

/// Counts an answer, which must be one of these. What the test itself counts is no part of the model.
fn one_of(openings: &'static [u64], answers: &Arc<AtomicU64>) -> impl FnOnce(u64) + Send + 'static {
    let answers = Arc::clone(answers);
    move |opening| {
        assert!(openings.contains(&opening), "answered from {opening}, not {openings:?}");
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// What is said, an opening or none, and which openings may answer whoever asks behind it.
type Said = (u64, &'static [u64]);

/// One says, and asks behind each that has an answer.
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
            // It goes on: nothing is answered any more once it has ended.
            say
        }
    });
    run();
    let _say = telling.join().unwrap();
    let asked = said.iter().filter(|(_, allowed)| !allowed.is_empty()).count() as u64;
    assert_eq!(answers.load(Ordering::Relaxed), asked, "a look-up was not answered once");
}

/// An opening that is looked up in.
const BEGUN: &[Said] = &[(1, &[1])];
/// One that ends. Whoever asked before may be answered from it.
const ENDED: &[Said] = &[(1, &[0, 1]), (0, &[0])];
/// One that ends, and the next: never the first one again.
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
fn nor_does_it_when_there_is_the_next() {
    bounded(2, || model(REOPENED));
}

#[test]
fn nor_where_the_look_up_is_heard_first() {
    questions_first(|| bounded(2, || model(ENDED)));
}

#[test]
fn nor_where_it_is_heard_first_when_there_is_the_next() {
    questions_first(|| bounded(2, || model(REOPENED)));
}

/// Two ask while one says; whoever asks, asks once, and has one answer.
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

/// Tells one thread that something was let go of, with no steps of a model beside the waking.
#[derive(Clone)]
struct LetGo(Arc<AtomicU64>, Arc<Sleeper>);

impl LetGo {
    /// To the thread that asks.
    fn new() -> Self {
        Self(Arc::default(), Arc::new(Sleeper::current()))
    }

    fn say(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        self.1.wake();
    }

    /// Waits until it was said so often. If it never is, for ever.
    fn wait(&self, times: u64) {
        while self.0.load(Ordering::Relaxed) < times {
            park(None);
        }
    }

    /// A half that says so.
    fn half(&self, opening: u64) -> Box<Half> {
        let let_go = self.clone();
        half(opening, move || let_go.say())
    }

    /// One that has failed for good, and says so too.
    fn closed_half(&self, opening: u64) -> Box<Half> {
        let let_go = self.clone();
        closed_half(opening, move || let_go.say())
    }
}

/// Nobody asks: a half that is taken away is let go of all the same.
fn unasked() {
    let (writer, _drain) = slots(1);
    let (control, say, run) = lookups(writer.ringer(), clock());
    let telling = thread::spawn(move || {
        let let_go = LetGo::new();
        say(Some((1, let_go.half(1))));
        say(None);
        let_go.wait(1);
        say(Some((2, let_go.half(2))));
        // The thread that says it ends.
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

/// Both store threads over a store that is open once at a time, as a locked file is: it waits for both halves. The half for
/// look-ups of its first opening has failed for good, which two who ask find out.
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
            Ok(Opened { sessions: let_go.half(opening), lookup, logs: None, log_lookup: None })
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

/// How the protocol is gone through.
#[derive(Clone, Copy, Default)]
struct Steps {
    /// The newest word is not looked for before an answer.
    answer_from_what_was_heard: bool,
    /// A word is taken up when somebody asks.
    hear_only_when_asked: bool,
    /// The word before is taken away, and then the newer one is left.
    give_way_first: bool,
}

/// The protocol itself over a desk, so that its steps can be swapped: an opening that ends, a look-up behind it, or none, and
/// the next opening.
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
