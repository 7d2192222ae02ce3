//! Sizes that change both ways, numbers that their owner keeps, and the bounds of some of them.
//!
//! In: values, set by the reactor once a turn; bounds, set when they change. Out: the same values, by name.
//! Law: a gauge is a plain number with one writer.

macro_rules! gauges {
    ($($(#[doc = $doc:literal])+ $name:ident = $metric:literal,)+) => {
        /// One size that changes both ways, or a number that its owner keeps. Its docs are its help text on the metrics
        /// page.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Gauge {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Gauge {
            /// All of them, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The metric's name, without the prefix `segno_`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $metric,)+
                }
            }

            /// What the metric shows, in one line.
            pub const fn help(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

gauges! {
    /// Open connections, clients' and upstreams'.
    Connections = "connections",
    /// Requests being served, event streams among them.
    Exchanges = "exchanges",
    /// Requests that are neither event streams nor tunnels.
    InFlight = "requests_in_flight",
    /// Requests that wait for an event stream of their address or their principal to end.
    HeldRequests = "requests_held",
    /// Addresses and principals that have something which counts against a bound of theirs.
    Counted = "holders_counted",
    /// Sessions that segno remembers.
    Sessions = "sessions",
    /// Event streams, those that linger included.
    Streams = "streams",
    /// Clients that read an event stream.
    Subscribers = "subscribers",
    /// Of these, the ones whose socket is full.
    SlowReaders = "slow_readers",
    /// Tunnels: connections that have gone over to another protocol.
    Tunnels = "tunnels",
    /// Bytes that connections hold beside the logs.
    BufferBytes = "buffer_bytes",
    /// Bytes that all logs hold.
    LogBytes = "log_bytes",
    /// Bytes that streams and sessions hold beside their logs: positions, windows, ids.
    StreamBytes = "stream_bytes",
    /// Bytes of upstreams' heads that are kept for clients that come back.
    HeadBytes = "head_bytes",
    /// Event ids that are interned now.
    EventIds = "event_ids",
    /// Events that were received and that no client is known to have got.
    Undelivered = "undelivered_events",
    /// Times that an event id was known when segno interned it.
    InternHits = "string_intern_hits_total",
    /// Times that an event id was new when segno interned it.
    InternMisses = "string_intern_misses_total",
    /// The longest turn of the reactor since the start: the longest that a stream has waited for the others, or for the
    /// processor.
    LongestTurn = "reactor_longest_turn_seconds",
    /// 1 from the moment that the reactor was told to end.
    Draining = "draining",
}

impl Gauge {
    /// What one unit of the value is, in that of the metric.
    pub const fn scale(self) -> f64 {
        match self {
            Self::LongestTurn => 1e-6,
            _ => 1.0,
        }
    }
}

/// What has a bound, and a gauge that says how much of it is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// Open connections.
    Connections,
    /// Streams, and other requests being served.
    Exchanges,
    /// Requests in flight.
    InFlight,
    /// Sessions.
    Sessions,
    /// Tunnels.
    Tunnels,
    /// Bytes of all logs.
    LogBytes,
    /// Bytes that connections hold.
    BufferBytes,
    /// Bytes of kept heads.
    HeadBytes,
    /// Event ids.
    EventIds,
}

impl Bound {
    /// All of them, in the order of their declaration.
    pub const ALL: &[Self] = &[
        Self::Connections,
        Self::Exchanges,
        Self::InFlight,
        Self::Sessions,
        Self::Tunnels,
        Self::LogBytes,
        Self::BufferBytes,
        Self::HeadBytes,
        Self::EventIds,
    ];

    /// The gauge that it bounds.
    pub const fn gauge(self) -> Gauge {
        match self {
            Self::Connections => Gauge::Connections,
            Self::Exchanges => Gauge::Exchanges,
            Self::InFlight => Gauge::InFlight,
            Self::Sessions => Gauge::Sessions,
            Self::Tunnels => Gauge::Tunnels,
            Self::LogBytes => Gauge::LogBytes,
            Self::BufferBytes => Gauge::BufferBytes,
            Self::HeadBytes => Gauge::HeadBytes,
            Self::EventIds => Gauge::EventIds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_enums() {
        assert!(Gauge::ALL.iter().enumerate().all(|(i, g)| *g as usize == i));
        assert!(Bound::ALL.iter().enumerate().all(|(i, b)| *b as usize == i));
        assert!(Gauge::ALL.iter().all(|g| g.help().ends_with('.')));
    }
}
