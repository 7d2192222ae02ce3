//! What a request to the admin address gets.
//!
//! In: a request's head, counters, the time. Out: a whole answer, or the word that a list or the live stream is wanted.
//! Laws: no path but `/health` answers a request that [`Access`] does not let in; the dashboard's page, which holds no
//! number, wants a known `Host` and no token, since a browser cannot send one with a link; `/health` says 200 only while
//! new requests are served.

use super::access::{Access, Shut};
use super::dashboard;
use super::page::metrics_page;
use crate::base::{Count, Tick};
use crate::http::{HeadError, Method, RequestHead, write_answer};
use crate::metrics::{Gauge, Metrics, ReactorState};

/// What a request gets.
pub(super) enum Answer {
    /// These bytes.
    Whole(Vec<u8>),
    /// The stored cursors; for HEAD the head alone.
    List { head_only: bool },
    /// The dashboard's event stream, after the event with this id; for HEAD the head alone.
    Live { last: Option<Box<[u8]>>, head_only: bool },
}

/// Answers a request.
pub(super) fn answer(head: &Result<RequestHead, HeadError>, access: &Access, metrics: &Metrics, now: Tick) -> Answer {
    let head = match head {
        Ok(head) => head,
        Err(e) => return refusal(e.status(), &e.to_string(), &[], false),
    };
    let head_only = head.method == Method::Head;
    if !matches!(head.method, Method::Get | Method::Head) {
        return refusal(405, "only GET is known here", &[("Allow", "GET, HEAD")], false);
    }
    let path = head.target.split('?').next().unwrap_or_default();
    if path == "/health" {
        let (status, text) = health(metrics, now);
        return Answer::Whole(page(status, &text, "text/plain; charset=utf-8", head_only));
    }
    let may = match path {
        "/" => access.check_host(head),
        _ => access.check(head),
    };
    if let Err(shut) = may {
        metrics.add(Count::AdminRequestsRefused, 1);
        return match shut {
            Shut::Foreign => {
                let why = "`Host` names neither `localhost` nor an address nor a name given by `--admin-host`";
                refusal(421, why, &[], head_only)
            }
            Shut::NoToken => {
                let why = "send the admin token: `Authorization: Bearer TOKEN`";
                refusal(401, why, &[("WWW-Authenticate", "Bearer realm=\"segno\"")], head_only)
            }
        };
    }
    match path {
        "/" => Answer::Whole(dashboard::page(head_only)),
        "/events" => {
            let last = head.headers.get("Last-Event-ID").map(Into::into);
            Answer::Live { last, head_only }
        }
        "/metrics" => {
            let text = metrics_page(metrics, now);
            Answer::Whole(page(200, &text, "text/plain; version=0.0.4; charset=utf-8", head_only))
        }
        "/sessions" => Answer::List { head_only },
        _ => refusal(404, "known here: / (the dashboard), /events, /metrics, /health, /sessions", &[], head_only),
    }
}

fn refusal(status: u16, why: &str, extra: &[(&str, &str)], head_only: bool) -> Answer {
    let mut out = Vec::new();
    write_answer(status, why, extra, true, head_only, &mut out);
    Answer::Whole(out)
}

fn page(status: u16, body: &str, content_type: &str, head_only: bool) -> Vec<u8> {
    let (reason, length) = (crate::http::reason(status), body.len());
    let mut out = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    .into_bytes();
    if !head_only {
        out.extend_from_slice(body.as_bytes());
    }
    out
}

/// Whether new requests are served, and what the parts do. A store that is away is told of and changes nothing, since
/// streams flow without it.
fn health(metrics: &Metrics, now: Tick) -> (u16, String) {
    let reactor = metrics.reactor(now);
    let is_draining = metrics.gauge(Gauge::Draining) > 0;
    let (status, word) = match (reactor, is_draining) {
        (ReactorState::Turning, false) => (200, "ok"),
        (_, true) => (503, "draining"),
        (_, false) => (503, "failing"),
    };
    let reactor = match reactor {
        ReactorState::Turning => "turning".to_owned(),
        ReactorState::Late(late) => format!("stuck: it should have been heard of {} ago", late.rough()),
        ReactorState::Ended => "ended".to_owned(),
    };
    let p = metrics.persistence();
    let store = match (p.store_open.get(), p.breaker_open.get()) {
        (0, _) => "away: nothing is stored until it opens",
        (_, 0) => "open",
        _ => "failing: cursors wait in memory",
    };
    (status, format!("{word}\nreactor: {reactor}\nstore: {store}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Span;

    #[test]
    fn health_tells_of_a_reactor_that_turns_that_is_stuck_and_that_has_ended() {
        let (metrics, now) = (Metrics::default(), Tick::from_millis(9_000));
        metrics.expect_reactor(now);
        assert_eq!(
            health(&metrics, now),
            (200, "ok\nreactor: turning\nstore: away: nothing is stored until it opens\n".to_owned())
        );
        metrics.persistence().store_open.set(1);
        let (status, text) = health(&metrics, now + Span::from_secs(7));
        assert_eq!(status, 503);
        assert_eq!(text, "failing\nreactor: stuck: it should have been heard of 7 s ago\nstore: open\n");
        metrics.expect_reactor(Tick::ZERO);
        assert_eq!(health(&metrics, now), (503, "failing\nreactor: ended\nstore: open\n".to_owned()));
        metrics.expect_reactor(Tick::NEVER);
        metrics.persistence().breaker_open.set(1);
        assert_eq!(health(&metrics, now).0, 200);
        metrics.set(Gauge::Draining, 1);
        assert_eq!(
            health(&metrics, now),
            (503, "draining\nreactor: turning\nstore: failing: cursors wait in memory\n".to_owned())
        );
    }
}
