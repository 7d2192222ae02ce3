//! The kinds of cuts that segno must heal, and the rules that say what becomes of a stream.
//!
//! In: a kind and random numbers. Out: a [`Cut`]: at which event, at which byte, with FIN or with RST.
//! Law: a cut inside an event never sends any part of the blank line that would end the block. With CRLF line ends this
//! includes the CR of that line, because a lone CR already ends a line.

use crate::base::{Random, Span};

/// A way in which the upstream is lost and comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    FinBetween,
    RstBetween,
    FinInside,
    RstInside,
    FinInChunkHeader,
    FinInChunk,
    CloseFinInside,
    CloseRstInside,
    ResetBeforeHead,
    Status503,
    Status429,
    Inclusive,
    IdLess,
    Bom,
    Retry50,
    RepeatedId,
    Refused,
    RestartInt,
    RestartUuid,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub(super) const ALL: [Self; 19] = [
        Self::FinBetween,
        Self::RstBetween,
        Self::FinInside,
        Self::RstInside,
        Self::FinInChunkHeader,
        Self::FinInChunk,
        Self::CloseFinInside,
        Self::CloseRstInside,
        Self::ResetBeforeHead,
        Self::Status503,
        Self::Status429,
        Self::Inclusive,
        Self::IdLess,
        Self::Bom,
        Self::Retry50,
        Self::RepeatedId,
        Self::Refused,
        Self::RestartInt,
        Self::RestartUuid,
    ];

    /// The kinds that each stream of the fleet goes through in turn: all but the last three.
    pub(super) const IN_TURN: &'static [Self] = Self::ALL.split_at(Self::ALL.len() - 3).0;

    /// The name in the report.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::FinBetween => "fin_between_events",
            Self::RstBetween => "rst_between_events",
            Self::FinInside => "fin_inside_event",
            Self::RstInside => "rst_inside_event",
            Self::FinInChunkHeader => "fin_inside_chunk_header",
            Self::FinInChunk => "fin_inside_chunk",
            Self::CloseFinInside => "close_delimited_fin_inside_event",
            Self::CloseRstInside => "close_delimited_rst_inside_event",
            Self::ResetBeforeHead => "reset_before_head",
            Self::Status503 => "status_503",
            Self::Status429 => "status_429_retry_after",
            Self::Inclusive => "inclusive_replay",
            Self::IdLess => "events_without_id",
            Self::Bom => "byte_order_mark",
            Self::Retry50 => "retry_50",
            Self::RepeatedId => "repeated_last_id",
            Self::Refused => "connection_refused",
            Self::RestartInt => "restart_integer_ids",
            Self::RestartUuid => "restart_uuid_ids",
        }
    }

    /// How many requests fail after the cut before one gets the stream again.
    pub(super) const fn failures(self) -> u32 {
        match self {
            Self::ResetBeforeHead => 2,
            Self::Status503 | Self::Status429 => 1,
            _ => 0,
        }
    }
}

/// Where a connection breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Spot {
    /// After a whole event and its chunk.
    Between,
    /// In the middle of an event; the chunk, if there are chunks, is whole.
    Inside,
    /// After the first digit of a chunk's length.
    ChunkHeader,
    /// After a whole event, in a chunk that announced a greater length.
    Chunk,
}

/// One cut of a script.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cut {
    pub(super) kind: Kind,
    /// Events sent whole before it.
    pub(super) after: usize,
    pub(super) spot: Spot,
    /// Whether the connection ends with RST, else with FIN.
    pub(super) reset: bool,
    /// Whether the body has chunks. Without them it ends with the connection.
    pub(super) chunked: bool,
    /// Decides how many bytes of a block are sent when the cut is inside it.
    point: u64,
}

impl Cut {
    /// A cut of this kind after `after` events. What the kind does not decide is random.
    pub(super) fn new(kind: Kind, after: usize, random: &mut Random) -> Self {
        let (inside, reset) = (random.below(2) == 0, random.below(2) == 0);
        let spot = match kind {
            Kind::FinBetween | Kind::RstBetween | Kind::IdLess | Kind::RepeatedId | Kind::Refused => Spot::Between,
            Kind::FinInside | Kind::RstInside | Kind::CloseFinInside | Kind::CloseRstInside => Spot::Inside,
            Kind::FinInChunkHeader => Spot::ChunkHeader,
            Kind::FinInChunk => Spot::Chunk,
            _ if inside => Spot::Inside,
            _ => Spot::Between,
        };
        let reset = match kind {
            Kind::FinBetween | Kind::FinInside | Kind::FinInChunkHeader => false,
            Kind::FinInChunk | Kind::CloseFinInside => false,
            Kind::RstBetween | Kind::RstInside | Kind::CloseRstInside => true,
            _ => reset,
        };
        let chunked = !matches!(kind, Kind::CloseFinInside | Kind::CloseRstInside);
        Self { kind, after, spot, reset, chunked, point: random.next() }
    }

    /// FIN between events, with chunks.
    pub(super) const fn plain(after: usize) -> Self {
        Self { kind: Kind::FinBetween, after, spot: Spot::Between, reset: false, chunked: true, point: 0 }
    }

    /// How many of a block's `block` bytes are sent when the cut is inside it: at least one, and none of its blank
    /// line.
    pub(super) fn part(&self, block: usize) -> usize {
        1 + Random::new(self.point).below(block.saturating_sub(3) as u64) as usize
    }
}

/// What becomes of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rule {
    /// Runs until the end of the demo, through all kinds of cuts in turn.
    Fleet,
    /// Its upstream forgets what it sent. Integer ids.
    RestartInt,
    /// Its upstream forgets what it sent. Ids without order.
    RestartUuid,
    /// Ends with its last chunk.
    Clean,
    /// Is cut; the next request is answered 204.
    NoContent,
    /// Is cut; the next request is answered 404.
    Gone404,
    /// Is cut; the next request is answered 410.
    Gone410,
    /// Has no ids and is cut.
    NoIds,
    /// Is cut, and jumps over some integer ids when it comes back.
    Skipped,
    /// Is cut on both sides: its client leaves and comes back, too.
    Returning,
    /// Has no ids and answers a POST. Its client leaves, and comes back with the same POST.
    ReturningPost,
    /// Goes to the upstream without the proxy and is never cut. It measures the latency without the proxy.
    Direct,
}

impl Rule {
    /// The first part of the names of its streams.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::RestartInt => "restart_int",
            Self::RestartUuid => "restart_uuid",
            Self::Clean => "clean",
            Self::NoContent => "no_content",
            Self::Gone404 => "gone_404",
            Self::Gone410 => "gone_410",
            Self::NoIds => "no_ids",
            Self::Skipped => "skipped",
            Self::Returning => "back",
            Self::ReturningPost => "back_post",
            Self::Direct => "direct",
        }
    }

    /// The end that the client must see, as the report names it.
    pub(super) const fn ended(self) -> &'static str {
        match self {
            Self::NoContent => "clean_by_204",
            Self::Gone404 => "cut_by_404",
            Self::Gone410 => "cut_by_410",
            Self::NoIds => "cut_without_ids",
            Self::Returning => "clean_cut_on_both_sides",
            Self::ReturningPost => "clean_post_without_ids",
            _ => "clean",
        }
    }

    /// Whether the client must see a last chunk. If not, it must see none.
    pub(super) const fn is_clean(self) -> bool {
        !matches!(self, Self::Gone404 | Self::Gone410 | Self::NoIds)
    }

    /// Whether it ends with a closing event and the last chunk. If not, it ends with a FIN.
    pub(super) const fn closes(self) -> bool {
        self.is_clean() && !matches!(self, Self::NoContent)
    }

    /// Whether it bypasses the proxy.
    pub(super) const fn is_direct(self) -> bool {
        matches!(self, Self::Direct)
    }

    /// Whether segno may add its own ids, because the upstream sends none.
    pub(super) const fn ids_are_added(self) -> bool {
        matches!(self, Self::NoIds | Self::ReturningPost)
    }

    /// Whether its client leaves and comes back.
    pub(super) const fn client_leaves(self) -> bool {
        matches!(self, Self::Returning | Self::ReturningPost)
    }

    /// The method of the request.
    pub(super) const fn method(self) -> &'static str {
        if matches!(self, Self::ReturningPost) { "POST" } else { "GET" }
    }

    /// Whether outages cut it.
    pub(super) const fn is_cut_by_outages(self) -> bool {
        matches!(self, Self::Fleet)
    }

    /// The status that answers a request after the stream's end. `None` if no such request may come.
    pub(super) const fn status_after_end(self) -> Option<u16> {
        match self {
            // When a client comes back after the end, segno asks the upstream whether there is more.
            Self::NoContent | Self::Returning => Some(204),
            Self::Gone404 => Some(404),
            Self::Gone410 => Some(410),
            _ => None,
        }
    }

    /// The time between two events.
    pub(super) const fn period(self) -> Span {
        match self {
            Self::Fleet | Self::RestartInt | Self::RestartUuid | Self::Direct => Span::from_millis(40),
            _ => Span::from_millis(20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_listed_by_number_and_no_two_share_a_name() {
        let mut names: Vec<_> = Kind::ALL.iter().map(|k| k.name()).collect();
        assert!(Kind::ALL.iter().enumerate().all(|(n, &k)| k as usize == n));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::ALL.len());
    }

    #[test]
    fn a_cut_inside_never_reaches_the_blank_line() {
        let mut random = Random::new(3);
        for len in 8..200 {
            let part = Cut::new(Kind::FinInside, 1, &mut random).part(len);
            assert!((1..=len - 3).contains(&part));
        }
    }

    #[test]
    fn a_close_delimited_cut_is_inside_an_event() {
        let mut random = Random::new(4);
        for kind in Kind::ALL {
            let cut = Cut::new(kind, 1, &mut random);
            assert!(cut.chunked || cut.spot == Spot::Inside);
        }
    }
}
