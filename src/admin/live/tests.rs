//! The dashboard's event stream: what a viewer gets, first and when it comes back.
//!
//! In: counters and incidents of no engine. Out: events, read by segno's own parser.
//! Laws: those of the stream.

use super::*;
use crate::metrics::IncidentKind;

fn incident(kind: IncidentKind, what: &str, at: u64) -> Incident {
    Incident { at: Tick::from_millis(at), kind, what: what.into(), stream: Some(0x5c1f), why: "it \"broke\"".into() }
}

fn live() -> (Live, Metrics) {
    (Live::new(Clock::stopped(Tick::ZERO), Facts::default()), Metrics::default())
}

/// Ids, names and data of all events for a client that comes with this id.
fn read(live: &Live, last: Option<&str>) -> Vec<(String, String, serde_json::Value)> {
    let (mut place, mut out) = live.enter(last.map(str::as_bytes));
    while live.has(place) {
        let mut piece = Vec::new();
        live.go_on(&mut place, &mut piece);
        assert!(piece.len() < PIECE + 4_096, "{}", piece.len());
        out.extend_from_slice(&piece);
    }
    let text = String::from_utf8(out).unwrap();
    let field =
        |block: &str, name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    let blocks = text.split_terminator("\n\n").filter(|block| block.contains("data: "));
    blocks
        .map(|b| (field(b, "id: "), field(b, "event: "), serde_json::from_str(&field(b, "data: ")).unwrap()))
        .collect()
}

fn names(live: &Live, last: Option<&str>) -> Vec<String> {
    read(live, last).into_iter().map(|(_, name, _)| name).collect()
}

#[test]
fn a_snapshot_comes_each_second_and_an_incident_at_once() {
    let (mut live, metrics) = live();
    assert!(live.on_time(&metrics, Tick::ZERO));
    metrics.add(crate::base::Count::Events, 5);
    metrics.incidents().note(incident(IncidentKind::Cut, "GET /feed", 100));
    let (watched, unwatched) = (live.due(true), live.due(false));
    assert_eq!((watched, unwatched), (Tick::ZERO + LOOK, Tick::ZERO + SNAPSHOT));
    assert!(live.on_time(&metrics, watched) && !live.on_time(&metrics, watched + LOOK));
    assert!(live.on_time(&metrics, unwatched));
    let all = read(&live, None);
    let seen: Vec<_> = all.iter().map(|(_, name, _)| name.as_str()).collect();
    assert_eq!(seen, ["start", "snapshot", "incident", "snapshot"]);
    let (cut, last) = (&all[2].2, &all[3].2);
    assert_eq!((&cut["at"], &cut["kind"], &cut["stream"]), (&100.into(), &"cut".into(), &"5c1f".into()));
    assert_eq!((&cut["what"], &cut["why"]), (&"GET /feed".into(), &"it \"broke\"".into()));
    assert_eq!((&last["at"], &last["events"], &last["away"]), (&1_000.into(), &5.into(), &serde_json::json!([])));
}

#[test]
fn a_reload_that_changes_what_viewers_were_told_is_told_to_those_that_watch_and_to_those_that_come() {
    let (mut live, metrics) = live();
    live.on_time(&metrics, Tick::ZERO);
    live.go_by(Facts::default());
    assert_eq!(names(&live, None), ["start", "snapshot"]);
    let last = read(&live, None)[1].0.clone();
    live.go_by(Facts { upstreams: vec!["h:80".to_owned()], log_budget: 7, buffer_budget: 8 });
    let watching = read(&live, Some(&last));
    for (_, name, data) in &watching {
        assert_eq!((name.as_str(), &data["log_budget"], &data["upstreams"][0]), ("start", &7.into(), &"h:80".into()));
    }
    assert_eq!(
        (watching.len(), names(&live, None)),
        (2, vec!["start".to_owned(), "snapshot".to_owned(), "start".to_owned()])
    );
    assert_eq!(read(&live, None)[0].2["buffer_budget"], 8);
}

#[test]
fn who_comes_back_misses_nothing_and_gets_nothing_twice() {
    let (mut live, metrics) = live();
    for second in 0..5 {
        live.on_time(&metrics, Tick::from_millis(second * 1_000));
    }
    let all = read(&live, None);
    let last = &all[2].0;
    let rest: Vec<_> = read(&live, Some(last)).into_iter().skip(1).collect();
    assert_eq!((rest.len(), &rest[..]), (3, &all[3..]));
    assert_eq!(names(&live, Some(&all[5].0)), ["start"]);
}

#[test]
fn who_missed_more_than_is_kept_or_comes_from_another_process_is_told() {
    let (mut live, metrics) = live();
    live.on_time(&metrics, Tick::ZERO);
    let old = read(&live, None)[1].0.clone();
    for n in 0..INCIDENTS as u64 + 2 {
        metrics.incidents().note(incident(IncidentKind::Gap, "GET /feed", n));
        live.on_time(&metrics, Tick::from_millis(n * 250));
    }
    let gap = |last: &str| {
        let (_, name, data) = read(&live, Some(last)).swap_remove(0);
        assert_eq!((name.as_str(), &data["after"]), ("segno.gap", &last.into()));
        (data["reason"].as_str().unwrap().to_owned(), data["resumed_at"].as_str().map(str::to_owned))
    };
    assert_eq!(gap(&old).0, "evicted");
    let oldest = read(&live, None)[1].0.clone();
    for (last, reason) in [("1234-7", "restarted"), ("0-999999", "unknown"), ("nonsense", "unknown")] {
        assert_eq!(gap(last), (reason.to_owned(), Some(oldest.clone())));
    }
}

#[test]
fn what_is_kept_is_bounded_and_a_flood_of_incidents_takes_no_snapshot_away() {
    let (mut live, metrics) = live();
    for n in 0..4_000 {
        metrics.incidents().note(incident(IncidentKind::Cut, "GET /feed", n));
        live.on_time(&metrics, Tick::from_millis(n * 250));
    }
    assert_eq!((live.snapshots.len(), live.incidents.len()), (SNAPSHOTS, INCIDENTS));
    assert_eq!(names(&live, None).len(), 1 + SNAPSHOTS + INCIDENTS);
    let numbers: Vec<_> = live.after(Place(0)).map(|(n, _)| n).collect();
    assert!(numbers.is_sorted());
}

#[test]
fn an_upstream_is_away_until_it_is_back() {
    let (mut live, metrics) = live();
    metrics.incidents().note(incident(IncidentKind::Away, "h:80", 7));
    live.on_time(&metrics, Tick::ZERO);
    let away = serde_json::json!([{"upstream": "h:80", "since": 7, "why": "it \"broke\""}]);
    assert_eq!(read(&live, None)[2].2["away"], away);
    metrics.incidents().note(incident(IncidentKind::Back, "h:80", 9));
    live.on_time(&metrics, Tick::from_millis(1_000));
    assert_eq!(read(&live, None)[4].2["away"], serde_json::json!([]));
    (0..AWAY as u64 + 9).for_each(|n| metrics.incidents().note(incident(IncidentKind::Away, &n.to_string(), n)));
    live.on_time(&metrics, Tick::from_millis(2_000));
    assert_eq!(live.away.len(), AWAY);
}

#[test]
fn upstreams_are_told_with_what_they_serve_and_those_in_trouble_are_never_left_out() {
    let (mut live, metrics) = live();
    let names: Vec<String> = (0..100).map(|n| format!("h{n}:80")).collect();
    let rows = metrics.upstreams().go_by(names.iter().map(|name| ("/", name.as_str())));
    rows[3].busy.set(7);
    rows[99].stand(Some(crate::metrics::Trouble { since: Tick::from_millis(5), why: "it \"broke\"".into() }));
    live.on_time(&metrics, Tick::ZERO);
    let snapshot = &read(&live, None)[1].2;
    let all = snapshot["upstreams"].as_array().unwrap();
    assert_eq!((all.len(), &snapshot["upstreams_left"]), (64, &36.into()));
    assert_eq!(
        all[0],
        serde_json::json!({"upstream": "h99:80", "route": "/", "busy": 0, "out_since": 5, "why": "it \"broke\""})
    );
    assert_eq!(all[4], serde_json::json!({"upstream": "h3:80", "route": "/", "busy": 7}));
}

#[test]
fn a_thread_that_was_held_up_takes_one_snapshot_and_goes_on() {
    let (mut live, metrics) = live();
    live.on_time(&metrics, Tick::ZERO);
    let late = Tick::from_millis(60_000);
    assert!(live.on_time(&metrics, late) && live.due(false) > late && live.snapshots.len() == 2);
}
