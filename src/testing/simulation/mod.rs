//! Whole lives by chance: the real machine, trackers, logs, slots, worker and stores, between simulated clocks,
//! sockets, upstreams, clients and disks.
//!
//! In: a seed. Out: nothing, or the first promise that was broken, with a script that breaks it.
//! The oracles stand outside the system. They check the sequence that each client received against what upstream sent
//! and which gaps were stated; the content and the owner of each event; the marks; the bounds of memory; the
//! pace at which upstream is asked again; that every request is answered. If an upstream ignores `Last-Event-ID`, nobody can know which event comes next, so only content
//! and owner are checked. The tracker's own simulation checks more of these upstreams.
//!
//! `SEGNO_SEED=n` runs one seed, `SEGNO_SEEDS=n` runs n seeds from there on, `SEGNO_STEPS=n` takes n steps in
//! each. One seed is the same run bit for bit. A run that fails prints a shrunk script.

mod bounds;
mod client;
mod disk;
mod pace;
mod run;
mod script;
mod shared;
mod shelf;
mod source;
mod visitor;

use crate::testing::trace::tell;
use run::Run;
use script::{Action, Canary, script};
use std::cell::Cell;
use std::panic;

/// Each known fault, with words from the message of the oracle that must find it.
const CANARIES: [(Canary, &str); 14] = [
    (Canary::Swallowed, "nobody said so"),
    (Canary::LostAnew, "begins anew behind"),
    (Canary::NoDedup, "repeated or out of order"),
    (Canary::MuteGaps, "nobody said so"),
    (Canary::OnePrincipal, "got what is another's"),
    (Canary::GuessedIds, "got what is another's"),
    (Canary::Torn, "is not what was sent"),
    (Canary::MarksAhead, "no client has been given it"),
    (Canary::ForgetfulDisk, "was acknowledged"),
    (Canary::NoFencing, "was acknowledged"),
    (Canary::FatLogs, "bytes in logs"),
    (Canary::DeafToErrors, "the store could not tell"),
    (Canary::Unpaced, "faster than"),
    (Canary::NoTime, ""),
];

/// Seeds within which each canary must be found.
const CANARY_SEEDS: u64 = 100;

/// What a run found: how many events reached clients and the fingerprint of all that was done, or what broke.
type Found = Result<(u64, u64), String>;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs a script, and says what it broke.
fn attempt(seed: u64, script: &[Action], canary: Option<Canary>) -> Found {
    QUIET.set(true);
    let result = panic::catch_unwind(|| {
        let mut run = Run::new(seed, canary);
        script.iter().for_each(|action| run.step(*action));
        run.end()
    });
    QUIET.set(false);
    result.map_err(|why| message(&*why))
}

/// What a panic says.
fn message(why: &(dyn std::any::Any + Send)) -> String {
    match (why.downcast_ref::<String>(), why.downcast_ref::<&str>()) {
        (Some(text), _) => text.clone(),
        (_, Some(text)) => (*text).to_owned(),
        _ => "a panic without a message".to_owned(),
    }
}

/// Keeps expected failures, which are tried again and again, from printing anything.
fn hush() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !QUIET.get() {
            before(info);
        }
    }));
}

/// What a failure says, without its numbers.
fn plain(why: &str) -> String {
    why.chars()
        .filter(|c| !c.is_ascii_digit())
        .take(400)
        .collect::<String>()
        .split(": ")
        .last()
        .unwrap_or("")
        .to_owned()
}

/// The smallest part of a script that still breaks the same: halves, quarters and so on are left out in turn.
fn shrink(seed: u64, mut script: Vec<Action>, why: &str) -> Vec<Action> {
    let mut part = script.len() / 2;
    let mut tries = 0;
    while part > 0 && tries < 2_000 {
        let mut at = 0;
        while at < script.len() && tries < 2_000 {
            let mut shorter = script.clone();
            shorter.drain(at..(at + part).min(script.len()));
            tries += 1;
            match attempt(seed, &shorter, None) {
                Err(other) if plain(&other) == plain(why) => script = shorter,
                _ => at += part,
            }
        }
        part /= 2;
    }
    script
}

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// Runs seeds, and panics with a shrunk script at the first that breaks something.
fn run_all(seeds: std::ops::Range<u64>, steps: u64) -> u64 {
    hush();
    let mut events = 0;
    for seed in seeds {
        let whole = script(seed, steps);
        match attempt(seed, &whole, None) {
            Ok((got, trace)) => {
                events += got;
                tell(&format!("seed {seed:06} {trace:016x} {got}"));
            }
            Err(why) => {
                let small = shrink(seed, whole, &why);
                let again = attempt(seed, &small, None).err().unwrap_or_default();
                panic!(
                    "seed {seed}: {why}\nshrunk to {} steps: {again}\n{}\nagain: SEGNO_SEED={seed} SEGNO_SEEDS=1",
                    small.len(),
                    small.iter().map(|a| format!("{:?} {} {}\n", a.what, a.a, a.b)).collect::<String>(),
                );
            }
        }
    }
    events
}

/// Half of the seeds that are asked for, so that two tests can share them and run at the same time.
fn half(which: u64) -> std::ops::Range<u64> {
    let (first, count) = (number("SEGNO_SEED", 0), number("SEGNO_SEEDS", 500));
    let middle = first + count.div_ceil(2);
    if which == 0 { first..middle } else { middle..first + count }
}

#[test]
fn nothing_is_broken_by_chance_first_half() {
    let seeds = half(0);
    let events = run_all(seeds.clone(), number("SEGNO_STEPS", 2_000));
    eprintln!("seeds {seeds:?}: {events} events reached clients");
    assert!(events > 0, "nothing happened");
}

#[test]
fn nothing_is_broken_by_chance_second_half() {
    let seeds = half(1);
    let events = run_all(seeds.clone(), number("SEGNO_STEPS", 2_000));
    eprintln!("seeds {seeds:?}: {events} events reached clients");
}

#[test]
fn one_seed_is_the_same_run_again() {
    hush();
    let whole = script(3, 500);
    assert_eq!(attempt(3, &whole, None), attempt(3, &whole, None));
}

#[test]
fn every_known_fault_is_found() {
    hush();
    for (canary, says) in CANARIES {
        let finds = |seed: &u64| {
            let script = script(*seed, 1_500);
            let why = attempt(*seed, &script, Some(canary)).err();
            why.is_some_and(|why| why.contains(says) && attempt(*seed, &script, None).is_ok())
        };
        let found = (0..CANARY_SEEDS).find(finds);
        assert!(found.is_some(), "{canary:?} was not found within {CANARY_SEEDS} seeds");
        eprintln!("{canary:?}: found by seed {found:?}");
    }
}
