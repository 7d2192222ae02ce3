//! What a response of upstream means, by where the request stands. One table, no state.
//!
//! In: the situation, the status, what the body is. Out: what to do with it.
//! Laws: a heal never passes a failure of upstream on as an answer; a GET that accepts event streams is never told
//! 502, 503 or 504, on which browsers give up for good.

/// Where a request stands when upstream answers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Situation {
    /// The client has no head yet, and would take any response.
    Plain,
    /// The client has no head yet; it asked for an event stream and can be held.
    Held,
    /// The client was sent a head of segno's own. It came without a cursor and has had no events.
    Opened,
    /// The client is in the middle of a stream and has a cursor.
    Healing,
}

/// What upstream answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    /// Its content type is `text/event-stream`.
    pub(super) event_stream: bool,
    /// Its body is in a content coding, which cannot be tracked.
    pub(super) encoded: bool,
}

/// What to do with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Track it as an event stream.
    Stream,
    /// Pass it through as it is.
    Pass,
    /// Ask again later.
    Retry,
    /// The stream is over, cleanly.
    End,
    /// Upstream no longer knows the cursor: state the gap, then cut.
    Refused,
    /// Cut: the client comes back by itself and sees what upstream says.
    Cut,
}

pub(super) fn verdict(situation: Situation, response: Response) -> Verdict {
    let trackable = response.status == 200 && response.event_stream && !response.encoded;
    match (situation, response.status) {
        (_, 200) if trackable => Verdict::Stream,
        (Situation::Plain, _) => Verdict::Pass,
        (Situation::Held, 502..=504) => Verdict::Retry,
        (Situation::Held, _) => Verdict::Pass,
        (_, 204) => Verdict::End,
        (_, 408 | 425 | 429 | 500..=599) => Verdict::Retry,
        (Situation::Healing, 400 | 404 | 410 | 412 | 416) => Verdict::Refused,
        _ => Verdict::Cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(status: u16) -> Response {
        Response { status, event_stream: false, encoded: false }
    }

    fn stream(status: u16) -> Response {
        Response { status, event_stream: true, encoded: false }
    }

    const ALL: [Situation; 4] = [Situation::Plain, Situation::Held, Situation::Opened, Situation::Healing];

    #[test]
    fn a_plain_event_stream_is_tracked_everywhere() {
        assert!(ALL.iter().all(|s| verdict(*s, stream(200)) == Verdict::Stream));
    }

    #[test]
    fn an_encoded_stream_is_passed_at_first_and_cut_in_the_middle() {
        let gzip = Response { encoded: true, ..stream(200) };
        assert_eq!(ALL.map(|s| verdict(s, gzip)), [Verdict::Pass, Verdict::Pass, Verdict::Cut, Verdict::Cut]);
    }

    #[test]
    fn healing_follows_the_table() {
        for status in 300..600 {
            let expected = match status {
                408 | 425 | 429 => Verdict::Retry,
                400 | 404 | 410 | 412 | 416 => Verdict::Refused,
                500.. => Verdict::Retry,
                _ => Verdict::Cut,
            };
            assert_eq!(verdict(Situation::Healing, plain(status)), expected, "{status}");
            assert_eq!(verdict(Situation::Healing, stream(status)), expected, "{status}");
        }
        assert_eq!(verdict(Situation::Healing, plain(204)), Verdict::End);
        assert_eq!(verdict(Situation::Healing, plain(200)), Verdict::Cut);
    }

    #[test]
    fn without_a_cursor_nothing_can_be_refused() {
        assert_eq!(verdict(Situation::Opened, plain(404)), Verdict::Cut);
        assert_eq!(verdict(Situation::Opened, plain(503)), Verdict::Retry);
        assert_eq!(verdict(Situation::Opened, plain(204)), Verdict::End);
    }

    #[test]
    fn a_held_client_is_never_told_that_upstream_is_away() {
        for status in 100..600 {
            let retried = matches!(status, 502..=504);
            assert_eq!(verdict(Situation::Held, plain(status)) == Verdict::Retry, retried, "{status}");
            assert_eq!(verdict(Situation::Plain, plain(status)), Verdict::Pass);
        }
    }
}
