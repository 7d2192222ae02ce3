//! Runs the fuzz targets on kept and on generated inputs, so that their properties are tested without a fuzzer.
//!
//! In: `fuzz/corpus`, with a folder for each target. An input that once caused a crash has a name that says what it
//! was.
//! Out: the file or the seed with which a body failed.
//! Laws: every target of `fuzz/fuzz_targets` has a body and a corpus, and every corpus has a target; the corpora stay
//! small.

#![allow(clippy::expect_used, clippy::panic, reason = "a test may panic: that is a failed test")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use segno::base::Random;
use segno::fuzzing::{Body, TARGETS};

/// The most files of one corpus, and the most bytes of one file.
const MOST_FILES: usize = 40;
const MOST_BYTES: usize = 4 << 10;

/// How many inputs are generated for each target.
const SEEDS: u64 = 5_000;

/// The files of a folder by name, without those that begin with a dot.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("the entry can be read").path()).collect();
    files.retain(|path| !name(path).starts_with('.'));
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn fuzz(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder)
}

fn run(body: Body, data: &[u8], what: &str) {
    let held = catch_unwind(AssertUnwindSafe(|| body(data)));
    assert!(held.is_ok(), "{what} failed with {} bytes: {}", data.len(), data.escape_ascii());
}

#[test]
fn every_target_has_a_body_and_a_corpus() {
    let targets: Vec<String> = files(&fuzz("fuzz_targets")).iter().map(|path| name(path)).collect();
    let corpora: Vec<String> = files(&fuzz("corpus")).iter().map(|path| name(path)).collect();
    assert_eq!(targets, corpora);
    let mut bodies: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    bodies.sort_unstable();
    if cfg!(all(feature = "net", feature = "file")) {
        assert_eq!(targets, bodies);
    }
    assert!(bodies.iter().all(|body| targets.iter().any(|target| target == body)));
}

#[test]
fn the_properties_hold_for_kept_inputs() {
    for (target, body) in TARGETS {
        let corpus = files(&fuzz("corpus").join(target));
        assert!((1..=MOST_FILES).contains(&corpus.len()), "{target}: {} files", corpus.len());
        for path in corpus {
            let data = fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            assert!(data.len() <= MOST_BYTES, "{}: {} bytes", path.display(), data.len());
            run(*body, &data, &path.display().to_string());
        }
    }
}

#[test]
fn the_properties_hold_for_generated_inputs() {
    for (target, body) in TARGETS {
        let kept: Vec<Vec<u8>> =
            files(&fuzz("corpus").join(target)).iter().map(|path| fs::read(path).expect("it can be read")).collect();
        for seed in 0..SEEDS {
            let data = make_up(&mut Random::new(seed), &kept);
            run(*body, &data, &format!("{target}, seed {seed}"));
        }
    }
}

/// Generates an input: a kept input with some bytes changed, inserted, removed, or followed by another input; or random
/// bytes.
fn make_up(random: &mut Random, kept: &[Vec<u8>]) -> Vec<u8> {
    let some = |random: &mut Random| kept[random.below(kept.len() as u64) as usize].clone();
    let mut data = match random.below(8) {
        0 => (0..random.below(200)).map(|_| random.next() as u8).collect(),
        _ => some(random),
    };
    for _ in 0..random.below(6) {
        let at = random.below(data.len() as u64 + 1) as usize;
        match random.below(5) {
            0 => data.insert(at, random.next() as u8),
            1 => drop(data.drain(at..(at + random.below(9) as usize).min(data.len()))),
            2 => {
                let from = some(random);
                let piece = random.below(from.len() as u64 + 1) as usize;
                data.truncate(at);
                data.extend_from_slice(&from[piece..]);
            }
            _ if at < data.len() => data[at] = random.next() as u8,
            _ => {}
        }
    }
    data
}
