//! What segno counts: one name for each count, the same in code, on the metrics page and in the docs.
//!
//! In: increments from the sans-IO layers, kept as plain numbers. Out: the numbers. The reactor drains them once a turn
//! and adds them to the shared counters.
//! Law: each kind of failure, each kind of refusal and each bound has a count of its own.

use super::Span;
use super::timing::{Spans, Timing};

macro_rules! counts {
    (@by route) => { true };
    (@by upstream) => { true };
    (@by) => { false };
    (@by_upstream upstream) => { true };
    (@by_upstream $(route)?) => { false };
    ($($(#[doc = $doc:literal])+ $name:ident = $metric:literal
        $({ $($label:ident: $value:literal),+ })? $(by $by:ident)?,)+) => {
        /// One thing that segno counts. Its docs are its help text on the metrics page, but where several share a
        /// metric and differ by a label.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Count {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Count {
            /// All of them, in the order of their declaration. Those that share a metric are neighbours.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The metric's name on the metrics page, without the prefix `segno_`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $metric,)+
                }
            }

            /// The labels that tell this count from others of the same metric.
            pub const fn labels(self) -> &'static [(&'static str, &'static str)] {
                match self {
                    $(Self::$name => &[$($((stringify!($label), $value)),+)?],)+
                }
            }

            /// Whether it is counted for each upstream of each route by itself, and so for each route.
            pub const fn is_by_upstream(self) -> bool {
                match self {
                    $(Self::$name => counts!(@by_upstream $($by)?),)+
                }
            }

            /// Whether it is counted for each route by itself.
            pub const fn is_by_route(self) -> bool {
                match self {
                    $(Self::$name => counts!(@by $($by)?),)+
                }
            }

            /// What it counts, in one line.
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
    /// Connections refused because all places were taken.
    OverConnections = "refused_total" { limit: "connections" },
    /// Connections refused because their address had as many as it may.
    OverConnectionsPerAddress = "refused_total" { limit: "connections_per_address" },
    /// Clients closed while they shook hands, because others came after them.
    OverHandshakes = "refused_total" { limit: "handshakes" },
    /// Requests refused because all streams were taken.
    OverStreams = "refused_total" { limit: "streams" },
    /// Requests refused because their address had as many event streams as it may.
    OverStreamsPerAddress = "refused_total" { limit: "streams_per_address" },
    /// Requests refused because their principal had as many event streams as it may.
    OverStreamsPerPrincipal = "refused_total" { limit: "streams_per_principal" },
    /// Requests refused because their session had as many event streams as it may.
    OverStreamsPerSession = "refused_total" { limit: "streams_per_session" },
    /// Clients that were given what the store holds of another instance's stream, since too many such were followed.
    OverFollows = "refused_total" { limit: "follows" },
    /// Requests refused because all sessions had readers.
    OverSessions = "refused_total" { limit: "sessions" },
    /// Requests refused because too many were under way.
    OverRequestsInFlight = "refused_total" { limit: "requests_in_flight" },
    /// Requests refused because all tunnels were taken.
    OverTunnels = "refused_total" { limit: "tunnels" },
    /// Requests refused because they came slowly and buffers were used up.
    OverBufferBudget = "refused_total" { limit: "buffer_budget" },
    /// Requests refused because their head was too long.
    OverHeaderBytes = "refused_total" { limit: "header_bytes" },
    /// Requests refused because their head had too many lines.
    OverHeaderCount = "refused_total" { limit: "header_count" },
    /// Requests refused because their head took too long.
    OverHeadTimeout = "refused_total" { limit: "head_timeout" },
    /// Connections cut because they did not begin with a header of the PROXY protocol that can be read, or came from a
    /// peer that may send none.
    OverProxyProtocol = "refused_total" { limit: "proxy_protocol" },
    /// Headers of the PROXY protocol that were read.
    ProxyHeaders = "proxy_headers_total",
    /// Connections that the system could not hand over, for want of file descriptors.
    AcceptsWithoutDescriptor = "accept_errors_total" { kind: "descriptors" },
    /// Connections that the system could not hand over, for want of memory.
    AcceptsWithoutMemory = "accept_errors_total" { kind: "memory" },
    /// Connections that the system could not hand over, for any other reason.
    AcceptsFailed = "accept_errors_total" { kind: "other" },
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
    /// Requests whose trace was not recorded because `trace_rate` others were in that second.
    TracesOverRate = "traces_over_rate_total",
    /// Requests refused before they reached the upstream: malformed, too large, or for no route.
    RequestsRefused = "requests_refused_total",
    /// Request heads refused because they, or a line of them, are too large.
    RequestsTooLarge = "parse_errors_total" { from: "client", kind: "size" },
    /// Request heads refused for their first line.
    RequestLinesBad = "parse_errors_total" { from: "client", kind: "first_line" },
    /// Request heads refused for a header line.
    RequestHeadersBad = "parse_errors_total" { from: "client", kind: "header" },
    /// Request heads refused for their `Host`.
    RequestHostsBad = "parse_errors_total" { from: "client", kind: "host" },
    /// Request heads refused because nobody can tell where their body ends, or how it is to be sent.
    RequestFramingsBad = "parse_errors_total" { from: "client", kind: "framing" },
    /// Requests refused for their body.
    RequestBodiesBad = "parse_errors_total" { from: "client", kind: "body" },
    /// Heads of answers that are not HTTP or break its rules.
    UpstreamHeadsBad = "parse_errors_total" { from: "upstream", kind: "head" },
    /// Bodies of answers that break HTTP's rules.
    UpstreamBodiesBad = "parse_errors_total" { from: "upstream", kind: "body" },
    /// Routes that a reload brought and that are counted as none, because too many new names have come since the start.
    RoutesWithoutMetrics = "routes_without_metrics_total",
    /// Requests for event streams that waited for another of their address or their principal to end.
    RequestsHeld = "requests_held_total",
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
    StreamsUntracked = "streams_untracked_total" by route,
    /// Event streams that nobody read, dropped because no client came back in time or `linger_bytes` was reached.
    StreamsLetGo = "streams_let_go_total" by route,
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
    StreamsStarted = "streams_started_total" by route,
    /// Event streams that the upstream ended cleanly.
    StreamsEnded = "streams_ended_total" by route,
    /// Event streams that ended as a cut for the client.
    StreamsCut = "streams_cut_total" by route,
    /// Event streams that a drain ended, so that their clients go on elsewhere.
    StreamsDrained = "streams_drained_total",
    /// Event streams that nobody else could go on with, and that had not ended by themselves when a drain was over.
    StreamsDrainedLate = "streams_drained_late_total",
    /// Event streams that the client left.
    StreamsLeft = "streams_left_total" by route,
    /// Event streams kept for clients that may come back.
    StreamsDetached = "streams_detached_total" by route,
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
    /// Retries of a POST answered 410, because the first events of the answer had left the log, or the upstream's last
    /// answer was older than `reauthorize`.
    RetriesGone = "retries_gone_total",
    /// Retries of a POST whose body was too long to be held back, so that the upstream was asked.
    RetriesTooLarge = "retries_too_large_total",
    /// Clients that came back and read on in a stream's log, or that share one.
    Resumes = "resumes_total" by route,
    /// Of these, the ones that were sent events which had come before they did.
    Replays = "replays_total" by route,
    /// Events that had come before the client that they were sent to.
    EventsReplayed = "replayed_events_total" by route,
    /// Clients cut because they fell behind the log while others read on.
    ReadersFallenOff = "readers_fallen_off_total" by route,
    /// Orders that were given before, as the client's id shows, and whose answer is in no log: refused with 410, and
    /// not given again.
    OrdersNotRepeated = "orders_not_repeated_total",
    /// Streams of an earlier process that were rebuilt from stored events.
    Rebuilt = "streams_rebuilt_total",
    /// Streams of other instances that clients went on with through the store.
    Follows = "follows_total",
    /// Events of other instances' streams that came through the store.
    EventsFollowed = "followed_events_total",
    /// Followed streams that could not be followed to their end: their instance died, the store lost events or was away.
    FollowsBroken = "follows_broken_total",
    /// Streams that another instance went on with, and that were let go here.
    TakenOver = "streams_taken_over_total",
    /// Look-ups in the store that failed or were not answered in time.
    LookupsFailed = "lookups_failed_total",
    /// Clients cut because the store could not tell for `heal_for` whether it has their events.
    LookupsGivenUp = "lookups_given_up_total",
    /// Requests without a cursor that began where their session was (`resume_from`).
    SessionCursorsUsed = "session_cursors_used_total",
    /// Requests without a cursor whose session had several stored cursors, whether one was used or not.
    SessionCursorsAmbiguous = "session_cursors_ambiguous_total",
    /// Event streams in a content coding, which pass through untracked.
    StreamsEncoded = "streams_encoded_total" by route,
    /// Events taken from upstreams and kept.
    Events = "events_received_total" by route,
    /// Bytes of event streams taken from upstreams.
    EventBytes = "received_bytes_total" by route,
    /// Events that clients' sockets took. An event that two clients read counts twice.
    EventsSent = "events_sent_total" by route,
    /// Bytes of event streams that clients' sockets took.
    EventBytesSent = "sent_bytes_total" by route,
    /// Events that segno gave an id of its own, because upstream gave none.
    IdsInjected = "ids_injected_total" by route,
    /// Events dropped while catching up, because the client has had them.
    Duplicates = "duplicates_dropped_total" by route,
    /// Of the duplicates, those told by their id alone, because they are too large to be held.
    DuplicatesByIdAlone = "duplicates_by_id_alone_total" by route,
    /// Events above `max_event_bytes`, passed through unbuffered.
    EventsOversize = "events_oversize_total" by route,
    /// Event ids above `max_id_bytes`, forwarded untracked.
    IdsTooLong = "ids_too_long_total" by route,
    /// Events forwarded untracked because all places for event ids were taken.
    IdsRefused = "ids_refused_total" by route,
    /// Requests whose `Last-Event-ID` no log can hold: it went upstream as it came.
    CursorsUntracked = "cursors_untracked_total",
    /// Streams that keep only a part of upstream's head for later readers, since all kept heads together are too large.
    HeadsShortened = "heads_shortened_total",
    /// Requests that named a stream of another principal, which they were not given.
    ResumesRefused = "resumes_refused_total" by route,
    /// Clients that came back to a stream for which upstream was asked first (`reauthorize`).
    Reauthorizations = "reauthorizations_total",
    /// Requests with an id in the form of segno's own that another key made: it did not go upstream.
    IdsForeign = "ids_foreign_total",
    /// Gaps stated because the events were older than the log keeps them.
    GapsExpired = "gaps_total" { reason: "expired" } by route,
    /// Gaps stated because the log was full.
    GapsEvicted = "gaps_total" { reason: "evicted" } by route,
    /// Gaps stated because no log has the id, which is segno's own.
    GapsUnknown = "gaps_total" { reason: "unknown" } by route,
    /// Gaps stated because upstream refused the id.
    GapsRefused = "gaps_total" { reason: "refused" } by route,
    /// Gaps stated because upstream has started again.
    GapsRestarted = "gaps_total" { reason: "restarted" } by route,
    /// Gaps stated because upstream's numbers jump.
    GapsSkipped = "gaps_total" { reason: "skipped" } by route,
    /// Cuts of event streams by an upstream that closed before the end.
    UpstreamCutsClosed = "upstream_cuts_total" { kind: "closed" } by route,
    /// Cuts of event streams by a connection that broke.
    UpstreamCutsReset = "upstream_cuts_total" { kind: "reset" } by route,
    /// Cuts of event streams whose upstream was silent for longer than `upstream_idle`.
    UpstreamCutsSilent = "upstream_cuts_total" { kind: "silent" } by route,
    /// Cuts of event streams whose upstream broke HTTP's rules.
    UpstreamCutsMalformed = "upstream_cuts_total" { kind: "malformed" } by route,
    /// Cuts that were healed.
    Heals = "heals_total" { outcome: "healed" } by route,
    /// Cuts behind which upstream said that the stream was over.
    HealsEnded = "heals_total" { outcome: "ended" } by route,
    /// Cuts behind which upstream did not know the last event id any more.
    HealsRefused = "heals_total" { outcome: "refused" } by route,
    /// Cuts that were not healed within `heal_for`, or behind which upstream gave an answer that no stream follows.
    HealsGivenUp = "heals_total" { outcome: "given_up" } by route,
    /// Cuts of streams that cannot be asked for again.
    HealsImpossible = "heals_total" { outcome: "impossible" } by route,
    /// Connections to an upstream that were opened.
    UpstreamConnects = "upstream_connects_total" by route,
    /// Connections to an upstream that could not be opened.
    UpstreamConnectsFailed = "upstream_connects_failed_total" by route,
    /// Requests that went out on a connection that had served another before.
    UpstreamReuses = "upstream_reuses_total" by route,
    /// Idle connections to an upstream that had ended, or held bytes that answer nothing, when a request came for them.
    UpstreamStale = "upstream_stale_total",
    /// Idle connections to an upstream, closed where connections or file descriptors ran short.
    UpstreamCrowdedOut = "upstream_crowded_out_total",
    /// Requests and heals that were sent to an upstream.
    UpstreamRequests = "upstream_requests_total" by upstream,
    /// Attempts that failed because the upstream could not be connected to.
    UpstreamErrorsConnect = "upstream_errors_total" { kind: "connect" } by upstream,
    /// Attempts that failed because the upstream closed the connection without an answer.
    UpstreamErrorsNoAnswer = "upstream_errors_total" { kind: "no_answer" } by upstream,
    /// Requests that the upstream answered 502, 503 or 504.
    UpstreamErrorsStatus = "upstream_errors_total" { kind: "status" } by upstream,
    /// Times that one of several upstreams was left out because it failed.
    UpstreamEjections = "upstream_ejections_total" by upstream,
    /// Times that an upstream came back by time because the checks that had left it out could not be made any more.
    ReturnsUnchecked = "upstream_returns_unchecked_total" by upstream,
    /// Messages that were led to no stream's upstream because streams of several upstreams had told their target.
    MessagesContested = "upstream_contested_total" by route,
    /// Requests and heals led to the next of several upstreams because one could not be reached.
    UpstreamTriedNext = "upstream_tried_next_total" by route,
    /// Checks of an upstream that it answered well.
    ChecksGood = "upstream_checks_total" { outcome: "good" } by upstream,
    /// Checks of an upstream that found it away, slow or failing.
    ChecksBad = "upstream_checks_total" { outcome: "bad" } by upstream,
    /// Checks of an upstream that were left out for want of a connection or a file descriptor.
    ChecksSkipped = "upstream_checks_total" { outcome: "skipped" } by upstream,
    /// Requests that segno itself answered 502 or 504.
    UpstreamFailures = "upstream_failures_total" by route,
    /// Heartbeats sent to clients.
    Heartbeats = "heartbeats_total" by route,
    /// Times that segno stopped reading from an upstream because a client is slow.
    Backpressure = "backpressure_total" by route,
    /// Clients cut because they took nothing of an answer for `body_timeout`.
    ClientsStalled = "clients_stalled_total" by route,
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

/// Help texts of the metrics that several counts share.
const SHARED: &[(&str, &str)] = &[
    ("refused_total", "Connections and requests that were refused, by the bound that they reached."),
    ("accept_errors_total", "Connections that the system could not hand over, by what it lacked."),
    ("parse_errors_total", "Requests and answers that are not HTTP or break its rules, by whose they are and where."),
    ("gaps_total", "Gaps stated to clients, by reason."),
    ("upstream_cuts_total", "Cuts of event streams by an upstream, by kind."),
    ("heals_total", "Cuts by what became of them."),
    ("upstream_errors_total", "Requests and attempts that failed at an upstream, by how."),
    ("upstream_checks_total", "Checks of upstreams (`health`), by what they found."),
];

/// The help text of a metric.
pub fn help_of(count: Count) -> &'static str {
    SHARED.iter().find(|(name, _)| *name == count.name()).map_or(count.help(), |(_, help)| help)
}

/// Words that hold a bit for each count.
const WORDS: usize = Count::ALL.len().div_ceil(64);

/// The increments of one route, or of none.
#[derive(Clone, Debug)]
struct Row {
    since: [u64; Count::ALL.len()],
    /// The counts that have moved.
    moved: [u64; WORDS],
    timings: [Spans; Timing::ALL.len()],
    has_timings: bool,
    /// It is on the list of rows that have moved.
    listed: bool,
}

impl Row {
    fn new() -> Self {
        Self {
            since: [0; Count::ALL.len()],
            moved: [0; WORDS],
            timings: Default::default(),
            has_timings: false,
            listed: false,
        }
    }
}

/// The increments since the last drain: for the engine, and for each route.
#[derive(Debug)]
pub struct Counts {
    /// The engine's, then the routes'.
    rows: Vec<Row>,
    moved: Vec<u32>,
}

impl Default for Counts {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Counts {
    /// Nothing counted, for so many routes.
    pub fn new(routes: usize) -> Self {
        Self { rows: vec![Row::new(); routes + 1], moved: Vec::with_capacity(routes + 1) }
    }

    /// Makes room for the counts of so many routes.
    pub fn make_places(&mut self, routes: usize) {
        if self.rows.len() <= routes {
            self.rows.resize(routes + 1, Row::new());
        }
    }

    /// Counts one.
    pub fn one(&mut self, count: Count) {
        self.add(count, 1);
    }

    /// Counts `n`.
    pub fn add(&mut self, count: Count, n: u64) {
        self.add_to(0, count, n);
    }

    /// Counts one for a route.
    pub fn one_at(&mut self, route: usize, count: Count) {
        self.add_at(route, count, 1);
    }

    /// Counts `n` for a route. One that is not known counts as none.
    pub fn add_at(&mut self, route: usize, count: Count, n: u64) {
        debug_assert!(count.is_by_route(), "{count:?}");
        self.add_to(self.row_of(route), count, n);
    }

    /// Notes how long something took, for a route.
    pub fn note(&mut self, route: usize, timing: Timing, span: Span) {
        let at = self.row_of(route);
        let row = self.touch(at);
        row.timings[timing as usize].note(span);
        row.has_timings = true;
    }

    fn row_of(&self, route: usize) -> usize {
        if route + 1 < self.rows.len() { route + 1 } else { 0 }
    }

    #[inline]
    fn add_to(&mut self, at: usize, count: Count, n: u64) {
        let row = self.touch(at);
        row.since[count as usize] += n;
        row.moved[count as usize / 64] |= 1 << (count as usize % 64);
    }

    #[inline]
    fn touch(&mut self, at: usize) -> &mut Row {
        let row = &mut self.rows[at];
        if !std::mem::replace(&mut row.listed, true) {
            self.moved.push(at as u32);
        }
        row
    }

    /// What has been counted since the last drain, of all routes together.
    pub fn get(&self, count: Count) -> u64 {
        self.rows.iter().map(|row| row.since[count as usize]).sum()
    }

    /// Passes each timing of which something was noted to `each`, with its route, and starts again from nothing. Call
    /// it before [`Counts::drain`].
    pub fn drain_timings(&mut self, mut each: impl FnMut(Timing, Option<usize>, &Spans)) {
        for at in &self.moved {
            let Some(row) = self.rows.get_mut(*at as usize) else { continue };
            if !std::mem::take(&mut row.has_timings) {
                continue;
            }
            for (timing, spans) in Timing::ALL.iter().zip(&mut row.timings) {
                if *spans != Spans::default() {
                    each(*timing, (*at as usize).checked_sub(1), &std::mem::take(spans));
                }
            }
        }
    }

    /// Passes each count that has moved to `each`, with its route if it has one, and starts again from zero.
    pub fn drain(&mut self, mut each: impl FnMut(Count, Option<usize>, u64)) {
        for at in self.moved.drain(..) {
            let Some(row) = self.rows.get_mut(at as usize) else { continue };
            row.listed = false;
            for (word, bits) in row.moved.iter_mut().enumerate() {
                let mut left = std::mem::take(bits);
                while left != 0 {
                    let count = word * 64 + left.trailing_zeros() as usize;
                    left &= left - 1;
                    let n = std::mem::take(&mut row.since[count]);
                    if n > 0 {
                        each(Count::ALL[count], (at as usize).checked_sub(1), n);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_hands_over_each_increment_once_by_route() {
        let mut counts = Counts::new(2);
        counts.one_at(1, Count::Events);
        counts.add_at(0, Count::Events, 2);
        counts.one_at(1, Count::Events);
        counts.one(Count::Requests);
        assert_eq!(counts.get(Count::Events), 4);
        let mut seen = Vec::new();
        counts.drain(|c, route, n| seen.push((c, route, n)));
        assert_eq!(seen, [(Count::Events, Some(1), 2), (Count::Events, Some(0), 2), (Count::Requests, None, 1)]);
        counts.drain(|_, _, _| panic!("drained twice"));
        counts.one_at(9, Count::Events);
        counts.drain(|c, route, n| assert_eq!((c, route, n), (Count::Events, None, 1)));
    }

    #[test]
    fn names_with_their_labels_are_unique_and_the_order_is_that_of_the_enum() {
        let names: std::collections::HashSet<_> = Count::ALL.iter().map(|c| (c.name(), c.labels())).collect();
        assert_eq!(names.len(), Count::ALL.len());
        assert!(Count::ALL.iter().enumerate().all(|(i, c)| *c as usize == i));
        assert!(Count::ALL.iter().all(|c| c.help().ends_with('.') && c.name().ends_with("_total")));
    }

    #[test]
    fn counts_that_share_a_metric_are_neighbours_with_the_same_labels_and_one_help() {
        let mut shared = Vec::new();
        for family in Count::ALL.chunk_by(|a, b| a.name() == b.name()) {
            let keys = |c: &Count| (c.is_by_route(), c.labels().iter().map(|(key, _)| *key).collect::<Vec<_>>());
            assert!(family.iter().all(|c| keys(c) == keys(&family[0])), "{family:?}");
            if !family[0].labels().is_empty() {
                shared.push(family[0].name());
            }
        }
        assert_eq!(shared, SHARED.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }
}
