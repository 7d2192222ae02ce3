//! What segno counts: one name for each count, the same in code, on the metrics page and in the docs.
//!
//! In: increments from the sans-IO layers, kept as plain numbers. Out: the numbers. The reactor drains them once a turn
//! and adds them to the shared counters.
//! Law: each kind of failure, each kind of refusal and each bound has a count of its own.

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $name:ident = $metric:literal,)+) => {
        /// One thing that segno counts. Its docs are its help text on the metrics page.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Count {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Count {
            /// All of them, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The metric's name on the metrics page.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $metric,)+
                }
            }

            /// What the metric counts, in one line.
            pub const fn help(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

counts! {
    /// Client connections accepted.
    ConnectionsAccepted = "connections_accepted_total",
    /// Client connections refused because all places were taken.
    ConnectionsRefused = "connections_refused_total",
    /// Times that the system could not hand over a connection, mostly for want of file descriptors.
    AcceptsFailed = "accepts_failed_total",
    /// Times that a connection found no file descriptor.
    DescriptorsShort = "descriptors_short_total",
    /// Clients' TLS connections opened.
    TlsHandshakes = "tls_handshakes_total",
    /// TLS connections that clients began and that were not opened: broken off, too slow, or without a certificate that
    /// is accepted.
    TlsHandshakesFailed = "tls_handshakes_failed_total",
    /// TLS connections of clients closed while they were being opened, because `handshakes` others came after them.
    TlsHandshakesCrowdedOut = "tls_handshakes_crowded_out_total",
    /// Requests taken from clients.
    Requests = "requests_total",
    /// Requests refused before they reached the upstream: malformed, too large, or for no route.
    RequestsRefused = "requests_refused_total",
    /// Requests refused because they had come through this process before.
    Loops = "loops_total",
    /// Requests refused because all streams were taken.
    StreamsRefused = "streams_refused_total",
    /// Requests that came slowly, refused because `buffer_budget` was used up.
    RequestsCrowdedOut = "requests_crowded_out_total",
    /// Connections that went over to another protocol and pass through as tunnels.
    TunnelsOpened = "tunnels_opened_total",
    /// Requests for another protocol refused because all places for tunnels were taken.
    TunnelsRefused = "tunnels_refused_total",
    /// Bytes that passed through tunnels, both ways.
    TunnelBytes = "tunnel_bytes_total",
    /// Event streams that found no place in their session, and passed through untracked.
    StreamsUntracked = "streams_untracked_total",
    /// Event streams that nobody read, dropped because no client came back in time or `linger_bytes` was reached.
    StreamsLetGo = "streams_let_go_total",
    /// Event streams that nobody read, dropped because their principal or their address had too many.
    StreamsOverShare = "streams_over_share_total",
    /// Event streams that nobody read, dropped where streams, connections or file descriptors ran short.
    StreamsCrowdedOut = "streams_crowded_out_total",
    /// Idle sessions forgotten to make room for new ones.
    SessionEvictions = "session_evictions_total",
    /// Stored records removed with sessions that were forgotten to make room.
    RecordsEvicted = "records_evicted_total",
    /// Sessions forgotten because they were idle for longer than `session_idle`.
    SessionsExpired = "sessions_expired_total",
    /// Event streams begun.
    StreamsStarted = "streams_started_total",
    /// Event streams that the upstream ended cleanly.
    StreamsEnded = "streams_ended_total",
    /// Event streams that ended as a cut for the client.
    StreamsCut = "streams_cut_total",
    /// Event streams that the client left.
    StreamsLeft = "streams_left_total",
    /// Event streams kept for clients that may come back.
    StreamsDetached = "streams_detached_total",
    /// Orders (`idempotent`) kept for a retry although their answer has not begun.
    OrdersDetached = "orders_detached_total",
    /// Orders (`idempotent`) that were not kept for a retry, because 64 that are the same were kept already.
    OrdersNotKept = "orders_not_kept_total",
    /// Retries of a POST that got the answer to an earlier try; the upstream was not asked again.
    RetriesJoined = "retries_joined_total",
    /// Retries of a POST of which no earlier try was here, so that the upstream was asked.
    RetriesUnknown = "retries_unknown_total",
    /// Retries of a POST whose earlier try was getting an ordinary answer, so that the upstream was asked again.
    RetriesLate = "retries_late_total",
    /// Retries of a POST answered 410, because the first events of the answer had left the log.
    RetriesGone = "retries_gone_total",
    /// Retries of a POST whose body was too long to be held back, so that the upstream was asked.
    RetriesTooLarge = "retries_too_large_total",
    /// Clients that came back and read on in a stream's log, or that share one.
    Resumes = "resumes_total",
    /// Clients cut because they fell behind the log while others read on.
    ReadersFallenOff = "readers_fallen_off_total",
    /// Streams of an earlier process that were rebuilt from stored events.
    Rebuilt = "streams_rebuilt_total",
    /// Look-ups in the store that failed or were not answered in time.
    LookupsFailed = "lookups_failed_total",
    /// Clients cut because the store could not tell for `heal_for` whether it has their events.
    LookupsGivenUp = "lookups_given_up_total",
    /// Requests without a cursor that began where their session was (`resume_from`).
    SessionCursorsUsed = "session_cursors_used_total",
    /// Requests without a cursor whose session had several stored cursors, whether one was used or not.
    SessionCursorsAmbiguous = "session_cursors_ambiguous_total",
    /// Event streams in a content coding, which pass through untracked.
    StreamsEncoded = "streams_encoded_total",
    /// Events taken from upstreams and kept.
    Events = "events_total",
    /// Bytes of event streams taken from upstreams.
    EventBytes = "event_bytes_total",
    /// Events dropped while catching up, because the client has had them.
    Duplicates = "duplicates_total",
    /// Of the duplicates, those told by their id alone, because they are too large to be held.
    DuplicatesByIdAlone = "duplicates_by_id_alone_total",
    /// Events above `max_event_bytes`, passed through unbuffered.
    EventsOversize = "events_oversize_total",
    /// Event ids above `max_id_bytes`, forwarded untracked.
    IdsTooLong = "ids_too_long_total",
    /// Events forwarded untracked because all places for event ids were taken.
    IdsRefused = "ids_refused_total",
    /// Requests whose `Last-Event-ID` no log can hold: it went upstream as it came.
    CursorsUntracked = "cursors_untracked_total",
    /// Streams that keep only a part of upstream's head for later readers, since all kept heads together are too large.
    HeadsShortened = "heads_shortened_total",
    /// Requests that named a stream of another principal, which they were not given.
    ResumesRefused = "resumes_refused_total",
    /// Clients that came back to a stream for which upstream was asked first (`reauthorize`).
    Reauthorizations = "reauthorizations_total",
    /// Requests with an id in the form of segno's own that another key made: it did not go upstream.
    IdsForeign = "ids_foreign_total",
    /// Gaps stated to clients.
    Gaps = "gaps_total",
    /// Cuts of event streams by an upstream.
    UpstreamCuts = "upstream_cuts_total",
    /// Cuts that were healed.
    Heals = "heals_total",
    /// Cuts that could not be healed in time, or at all.
    HealsFailed = "heals_failed_total",
    /// Connections to an upstream that were opened.
    UpstreamConnects = "upstream_connects_total",
    /// Connections to an upstream that could not be opened.
    UpstreamConnectsFailed = "upstream_connects_failed_total",
    /// Requests that went out on a connection that had served another before.
    UpstreamReuses = "upstream_reuses_total",
    /// Idle connections to an upstream that had ended, or held bytes that answer nothing, when a request came for them.
    UpstreamStale = "upstream_stale_total",
    /// Idle connections to an upstream, closed where connections or file descriptors ran short.
    UpstreamCrowdedOut = "upstream_crowded_out_total",
    /// Answers of an upstream that are not HTTP or break its rules.
    UpstreamMalformed = "upstream_malformed_total",
    /// Requests that segno itself answered 502 or 504.
    UpstreamFailures = "upstream_failures_total",
    /// Heartbeats sent to clients.
    Heartbeats = "heartbeats_total",
    /// Times that segno stopped reading from an upstream because a client is slow.
    Backpressure = "backpressure_total",
    /// Clients cut because they took nothing of an answer for `body_timeout`.
    ClientsStalled = "clients_stalled_total",
    /// Connections that broke because the other side could not be reached for `peer_timeout`.
    PeersVanished = "peers_vanished_total",
    /// Bytes that logs gave back because `log_budget` was used up.
    LogBytesReclaimed = "log_bytes_reclaimed_total",
    /// Connections to the admin address that could not be accepted.
    AdminAcceptsFailed = "admin_accepts_failed_total",
    /// Requests to the admin address that were given up: the client was slow or left, or the store did not answer.
    AdminRequestsFailed = "admin_requests_failed_total",
    /// Requests to the admin address that were not let in: by a foreign name, or without the token.
    AdminRequestsRefused = "admin_requests_refused_total",
    /// Viewers of the dashboard refused because too many watch it.
    AdminViewersRefused = "admin_viewers_refused_total",
}

/// The increments since the last drain.
#[derive(Debug)]
pub struct Counts {
    since: [u64; Count::ALL.len()],
    any: bool,
}

impl Default for Counts {
    fn default() -> Self {
        Self { since: [0; Count::ALL.len()], any: false }
    }
}

impl Counts {
    /// Counts one.
    pub fn one(&mut self, count: Count) {
        self.add(count, 1);
    }

    /// Counts `n`.
    pub fn add(&mut self, count: Count, n: u64) {
        self.since[count as usize] += n;
        self.any = true;
    }

    /// What has been counted since the last drain.
    pub fn get(&self, count: Count) -> u64 {
        self.since[count as usize]
    }

    /// Passes each count that has moved to `each`, and starts again from zero.
    pub fn drain(&mut self, mut each: impl FnMut(Count, u64)) {
        if !std::mem::take(&mut self.any) {
            return;
        }
        for (count, n) in Count::ALL.iter().zip(&mut self.since) {
            if *n > 0 {
                each(*count, std::mem::take(n));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_hands_over_each_increment_once() {
        let mut counts = Counts::default();
        counts.one(Count::Events);
        counts.add(Count::Events, 2);
        counts.one(Count::Gaps);
        let mut seen = Vec::new();
        counts.drain(|c, n| seen.push((c, n)));
        assert_eq!(seen, [(Count::Events, 3), (Count::Gaps, 1)]);
        counts.drain(|_, _| panic!("drained twice"));
    }

    #[test]
    fn names_are_unique_and_the_order_is_that_of_the_enum() {
        let names: std::collections::HashSet<_> = Count::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Count::ALL.len());
        assert!(Count::ALL.iter().enumerate().all(|(i, c)| *c as usize == i));
        assert!(Count::ALL.iter().all(|c| c.help().ends_with('.')));
    }
}
