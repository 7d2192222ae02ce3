//! The reader of `traceparent` beside a slow twin, and shares of traces.

use super::*;
use crate::base::Random;

const SOUND: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The same as the format's text has it: parts between dashes, letter by letter.
fn twin(value: &[u8]) -> Option<TraceContext> {
    let text = std::str::from_utf8(value).ok()?;
    let parts: Vec<&str> = text.split('-').collect();
    let is_hex = |part: &str, len| part.len() == len && part.chars().all(|c| "0123456789abcdef".contains(c));
    let [version, trace, span, flags, rest @ ..] = &parts[..] else { return None };
    if !is_hex(version, 2) || *version == "ff" || *version == "00" && !rest.is_empty() {
        return None;
    }
    if !is_hex(trace, 32) || !is_hex(span, 16) || !is_hex(flags, 2) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|n| *n != 0)?;
    let span = u64::from_str_radix(span, 16).ok().filter(|n| *n != 0)?;
    Some(TraceContext { trace, span, flags: u8::from_str_radix(flags, 16).ok()? & 3 })
}

#[test]
fn the_reader_agrees_with_its_twin_on_sound_values_and_on_mutilated_ones() {
    let mut random = Random::new(5);
    let letters = b"0123456789abcdefABF-g \t0f-";
    let (mut sound, mut wrong) = (0, 0);
    for _ in 0..200_000 {
        let mut value = SOUND.as_bytes().to_vec();
        for _ in 0..random.below(4) {
            let at = random.below(value.len() as u64) as usize;
            let letter = letters[random.below(letters.len() as u64) as usize];
            match random.below(8) {
                0 => drop(value.remove(at)),
                1 => value.insert(at, letter),
                2 => value.truncate(at.max(50)),
                3 => value.extend([b'-', letter]),
                4 => value[at % 2] = letter,
                5 => value[3..35].fill(b'0'),
                _ => value[at] = letter,
            }
        }
        let found = TraceContext::parse(&value);
        assert_eq!(found, twin(&value), "{}", value.escape_ascii());
        *if found.is_some() { &mut sound } else { &mut wrong } += 1;
    }
    assert!(sound > 10_000 && wrong > 10_000, "{sound} {wrong}");
}

#[test]
fn a_value_is_written_as_it_was_read_and_a_later_version_is_read_as_far_as_it_is_known() {
    let context = TraceContext::parse(SOUND.as_bytes()).unwrap();
    assert_eq!(context.to_string(), SOUND);
    assert!(context.is_sampled() && context.trace_hex() == SOUND[3..35]);
    let later = SOUND.replace("00-4", "cc-4").replace("-01", "-ff-what-comes");
    assert_eq!(TraceContext::parse(later.as_bytes()), Some(TraceContext { flags: 3, ..context }));
    for wrong in ["", "00", &SOUND.to_uppercase(), &format!("{SOUND}-"), &SOUND.replace("00-4", "ff-4")] {
        assert_eq!(TraceContext::parse(wrong.as_bytes()), None, "{wrong}");
    }
}

#[test]
fn a_share_takes_its_part_and_is_shown_as_it_is_written() {
    for (text, shown) in [("0", "0"), ("1", "1"), ("1.0", "1"), ("0.01", "0.01"), ("0.500000", "0.5")] {
        let share: TraceShare = text.parse().unwrap();
        assert_eq!(share.to_string(), shown);
        let mut random = Random::new(3);
        let taken = (0..10_000).filter(|_| share.takes(u128::from(random.next()))).count() as f64;
        assert!((taken / 10_000.0 - text.parse::<f64>().unwrap()).abs() < 0.02, "{text}: {taken}");
    }
    for wrong in ["", ".5", "2", "1.1", "-1", "0.0000001", "1e-3", "0,1", "01"] {
        assert!(wrong.parse::<TraceShare>().is_err(), "{wrong}");
    }
}
