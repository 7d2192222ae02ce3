//! The scanner against a JSON parser.

use super::*;
use crate::base::Random;
use serde_json::{Map, Value, json};

/// The slow twin: the whole body, by a JSON parser.
fn twin(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    Some(value.get("params")?.get("_meta")?.get(KEY)?.as_str()?.to_owned())
}

fn scan(body: &[u8], step: usize) -> Option<String> {
    let mut scan = MetaScan::default();
    body.chunks(step.max(1)).for_each(|part| scan.feed(part));
    scan.revision().map(|r| String::from_utf8(r.to_vec()).unwrap())
}

#[test]
fn a_request_tells_its_revision_however_it_is_cut() {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "x", "_meta": {"other": {"a": [1, {}]}, KEY: "2026-07-28"}}});
    for text in [body.to_string(), serde_json::to_string_pretty(&body).unwrap()] {
        for step in 1..=text.len() {
            assert_eq!(scan(text.as_bytes(), step).as_deref(), Some("2026-07-28"), "{text} by {step}");
        }
    }
}

#[test]
fn what_is_longer_than_a_date_is_not_cut_to_one() {
    let body = json!({"params": {"_meta": {KEY: "2026-07-28".repeat(9)}}}).to_string();
    assert_eq!(scan(body.as_bytes(), 3).as_deref(), Some("2026-07-282"));
}

#[test]
fn a_slash_may_be_escaped() {
    let body = br#"{"params":{"_meta":{"io.modelcontextprotocol\/protocolVersion":"2026-07-28"}}}"#;
    assert_eq!(scan(body, 7).as_deref(), Some("2026-07-28"));
}

#[test]
fn the_same_words_elsewhere_tell_nothing() {
    let pair = format!("\"{KEY}\":\"2026-07-28\"");
    for body in [
        String::new(),
        format!("{{{pair}}}"),
        format!("{{\"_meta\":{{{pair}}}}}"),
        format!("{{\"params\":[{{\"_meta\":{{{pair}}}}}]}}"),
        format!("{{\"params\":{{\"x\":{{\"_meta\":{{{pair}}}}}}}}}"),
        format!("{{\"params\":{{\"_meta\":[{{{pair}}}]}}}}"),
        format!("{{\"params\":{{\"_meta\":{{\"x\":{{{pair}}}}}}}}}"),
        format!("{{\"params\":{{\"text\":\"{{\\\"_meta\\\":{{\\\"{KEY}\\\":\\\"2026-07-28\\\"}}}}\"}}}}"),
        format!("{{\"params\":{{\"_meta\":{{\"{KEY}\":20260728}}}}}}"),
        format!("{{\"params\":{{\"_meta\":{{\"{KEY}\":{{{pair}}}}}}}}}"),
        format!("\"{{\" {{\"params\":{{\"_meta\":{{{pair}}}}}}}"),
    ] {
        assert_eq!(scan(body.as_bytes(), 3), None, "{body}");
    }
}

/// A value by chance, in which the path's names come often, each mostly where it belongs.
fn value(random: &mut Random, depth: u64) -> Value {
    let names = ["params", "_meta", KEY, "a", "x\"\\y", "", ["", KEY, "_meta", "params"][depth as usize]];
    match random.below(if depth == 0 { 3 } else { 10 }) {
        0 => json!(random.below(100)),
        1 => json!(["2026-07-28", "2025-11-25", "\\\"{", ""][random.below(4) as usize]),
        2 => Value::Null,
        3 => (0..random.below(3)).map(|_| value(random, depth - 1)).collect(),
        _ => {
            let mut map = Map::new();
            for _ in 0..random.below(5) {
                map.insert(names[random.below(12).min(6) as usize].to_owned(), value(random, depth - 1));
            }
            Value::Object(map)
        }
    }
}

#[test]
fn it_agrees_with_a_parser_on_any_json() {
    let mut random = Random::new(11);
    let mut found = 0;
    for _ in 0..50_000 {
        let body = value(&mut random, 3).to_string();
        let (seen, expected) = (scan(body.as_bytes(), 1 + random.below(20) as usize), twin(body.as_bytes()));
        // What is longer than a date is cut; none here is.
        assert_eq!(seen, expected, "{body}");
        found += u32::from(seen.is_some());
    }
    assert!(found > 500, "{found} tell one");
}

#[test]
fn any_bytes_are_borne_alike_whole_and_in_parts() {
    let mut random = Random::new(12);
    let alphabet = br#"{}[]",:\/ 1params_metaio.x"#;
    for _ in 0..50_000 {
        let n = random.below(60);
        let body: Vec<u8> = (0..n).map(|_| alphabet[random.below(alphabet.len() as u64) as usize]).collect();
        assert_eq!(scan(&body, 1), scan(&body, 60), "{:?}", String::from_utf8_lossy(&body));
    }
}
