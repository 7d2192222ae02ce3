//! Whether the process lives, and whether it should be sent clients.
//!
//! In: the engine's numbers, the time. Out: a status, and a JSON object with the reasons.
//! Laws: `/healthz` says 200 as long as the reactor turns, draining or not, so that nobody kills a process that drains;
//! `/readyz` says 200 only while new requests are served and what they bring can be stored.

use crate::base::{Span, Tick};
use crate::metrics::{Gauge, Metrics, ReactorState};

/// Whether the reactor turns.
pub(super) fn healthz(metrics: &Metrics, now: Tick) -> (u16, String) {
    let reasons: Vec<String> = reactor(metrics, now).err().into_iter().collect();
    report(metrics, now, "ok", "failing", &reasons)
}

/// Whether new requests are served, and their cursors are stored or will be soon. `patience`: how long the store may be
/// away before clients should go elsewhere.
pub(super) fn readyz(metrics: &Metrics, now: Tick, patience: Span) -> (u16, String) {
    let mut reasons: Vec<String> = reactor(metrics, now).err().into_iter().collect();
    if metrics.gauge(Gauge::Draining) > 0 {
        reasons.push("draining".to_owned());
    }
    if let Some(away) = metrics.persistence().away_for(now).filter(|away| *away > patience) {
        reasons.push(format!("the store has been away for {}", away.rough()));
    }
    report(metrics, now, "ready", "not ready", &reasons)
}

fn reactor(metrics: &Metrics, now: Tick) -> Result<(), String> {
    match metrics.reactor(now) {
        ReactorState::Turning => Ok(()),
        ReactorState::Late(late) => {
            Err(format!("the reactor is stuck: it should have been heard of {} ago", late.rough()))
        }
        ReactorState::Ended => Err("the reactor has ended".to_owned()),
    }
}

fn report(metrics: &Metrics, now: Tick, good: &str, bad: &str, reasons: &[String]) -> (u16, String) {
    let (status, word) = if reasons.is_empty() { (200, good) } else { (503, bad) };
    let reactor = match metrics.reactor(now) {
        ReactorState::Turning => "turning",
        ReactorState::Late(_) => "stuck",
        ReactorState::Ended => "ended",
    };
    let p = metrics.persistence();
    let store = match (p.store_open.get(), p.breaker_open.get()) {
        (0, _) => "away",
        (_, 0) => "open",
        _ => "failing",
    };
    let draining = metrics.gauge(Gauge::Draining) > 0;
    // No reason holds what would have to be escaped.
    let reasons: Vec<String> = reasons.iter().map(|reason| format!("\"{reason}\"")).collect();
    let reasons = reasons.join(",");
    let body = format!(
        "{{\"status\":\"{word}\",\"reasons\":[{reasons}],\"reactor\":\"{reactor}\",\"store\":\"{store}\",\
         \"draining\":{draining}}}\n"
    );
    (status, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Span = Span::from_secs(30);

    /// The status and the reasons, of a body that is JSON.
    fn said((status, body): (u16, String)) -> (u16, Vec<String>) {
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        (status, json["reasons"].as_array().unwrap().iter().map(|r| r.as_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn health_is_the_reactor_alone() {
        let (metrics, now) = (Metrics::default(), Tick::from_millis(90_000));
        metrics.expect_reactor(now);
        metrics.set(Gauge::Draining, 1);
        assert_eq!(said(healthz(&metrics, now)), (200, vec![]));
        let late = said(healthz(&metrics, now + Span::from_secs(7)));
        assert_eq!(late, (503, vec!["the reactor is stuck: it should have been heard of 7 s ago".to_owned()]));
        metrics.expect_reactor(Tick::ZERO);
        assert_eq!(said(healthz(&metrics, now)), (503, vec!["the reactor has ended".to_owned()]));
        metrics.expect_reactor(Tick::NEVER);
        assert_eq!(said(healthz(&metrics, now)).0, 200);
    }

    #[test]
    fn ready_is_who_turns_drains_not_and_has_its_store() {
        let (metrics, start) = (Metrics::default(), Tick::ZERO);
        metrics.expect_reactor(Tick::NEVER);
        let at = |secs| start + Span::from_secs(secs);
        assert_eq!(said(readyz(&metrics, at(30), PATIENCE)), (200, vec![]));
        let away = said(readyz(&metrics, at(31), PATIENCE));
        assert_eq!(away, (503, vec!["the store has been away for 31 s".to_owned()]));
        metrics.persistence().note_open(true, at(32));
        assert_eq!(said(readyz(&metrics, at(99), PATIENCE)).0, 200);
        metrics.set(Gauge::Draining, 1);
        assert_eq!(said(readyz(&metrics, at(99), PATIENCE)), (503, vec!["draining".to_owned()]));
        metrics.expect_reactor(Tick::ZERO);
        assert_eq!(said(readyz(&metrics, at(99), PATIENCE)).1.len(), 2);
    }
}
