//! Several upstreams of one route: which there are, how requests are spread over them, and when one is left out.
//!
//! In: URLs with weights. Out: [`UpstreamSet`], the part of a route that says all this.
//! Laws: the docs of a setting give its default, and say what more and less of it costs; a route with one upstream needs
//! none of them.

use std::fmt;

use super::upstream::{Upstream, UpstreamError};
use crate::base::Span;

/// Upstreams of one route at most: each request that begins may be compared with all of them.
pub const MAX_UPSTREAMS: usize = 64;

/// The largest weight.
pub const MAX_WEIGHT: u32 = 100;

/// One of several upstreams.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Weighted {
    /// Where requests go.
    pub upstream: Upstream,
    /// Its share of new requests beside the weights of the others. Default 1.
    pub weight: u32,
}

impl Weighted {
    /// Reads a URL, behind which ` weight=N` may stand.
    ///
    /// # Errors
    /// [`WeightedError`], which says what is wrong and how to write it.
    pub fn parse(text: &str) -> Result<Self, WeightedError> {
        let mut words = text.split_ascii_whitespace();
        let upstream = Upstream::parse(words.next().unwrap_or_default()).map_err(WeightedError::Url)?;
        let Some(word) = words.next() else { return Ok(Self { upstream, weight: 1 }) };
        let wrong = || WeightedError::Weight(text.to_owned());
        let digits = word.strip_prefix("weight=").filter(|_| words.next().is_none()).ok_or_else(wrong)?;
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let weight = digits.parse().ok().filter(|weight| (1..=MAX_WEIGHT).contains(weight)).ok_or_else(wrong)?;
        Ok(Self { upstream, weight })
    }
}

impl fmt::Display for Weighted {
    /// Writes what [`Weighted::parse`] reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weight {
            1 => self.upstream.fmt(f),
            weight => write!(f, "{} weight={weight}", self.upstream),
        }
    }
}

/// Why a text is not an upstream with its weight.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WeightedError {
    /// The URL is none.
    Url(UpstreamError),
    /// What follows the URL is no weight.
    Weight(String),
}

impl fmt::Display for WeightedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(why) => why.fmt(f),
            Self::Weight(_) => write!(f, "behind a URL only ` weight=N` may stand, with N from 1 to {MAX_WEIGHT}"),
        }
    }
}

impl std::error::Error for WeightedError {}

/// How new requests are spread over the upstreams of a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Balance {
    /// One after the other, as often as their weights say.
    #[default]
    RoundRobin,
    /// To the one that serves the fewest streams and other requests for its weight.
    LeastStreams,
}

/// Which requests go to the same upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sticky {
    /// Those of one session: those that name it in the session header, and the request whose
    /// answer began it.
    #[default]
    Session,
    /// Those of one principal, whatever session they name.
    Principal,
    /// None.
    Off,
}

/// The upstreams of a route, and how they are used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamSet {
    /// All of them, if there are several; the first is the route's `upstream`. Default empty: there is only that one.
    /// All have the same scheme and path.
    pub all: Vec<Weighted>,
    /// How new requests are spread. Default [`Balance::RoundRobin`]. Counting streams evens out streams of different
    /// lengths; taking turns is easier to predict.
    pub balance: Balance,
    /// Which requests go to the same upstream. Default [`Sticky::Session`]. A principal needs no memory, and several
    /// segno with one key agree on it, also after a restart; but all clients behind one key go to one upstream.
    pub sticky: Sticky,
    /// Whether an event id means the same at all upstreams, as behind one event store. Default false: a stream is
    /// healed at the upstream that gave its ids, or not at all. True lets a stream go on at another upstream; where
    /// that is not so, events are lost without a word.
    pub shared_ids: bool,
    /// Failures in a row after which an upstream gets no new requests for a while. Default 3; zero leaves none out.
    /// Fewer spares clients more failed attempts. More tolerates an upstream that fails now and then.
    pub eject_after: u32,
    /// For how long an upstream is left out the first time. Default 10 s. Each further time in a row it is twice as
    /// long, up to 5 minutes. Longer spares a weak upstream. Shorter uses one again sooner that was only restarted.
    pub eject_for: Span,
    /// The part of the upstreams, in percent, that may be left out because of what they answered; one may always be.
    /// Default 50. Those that cannot be reached do not count. More leaves all bad ones out. Less keeps a failure of all
    /// from crushing the last good ones.
    pub eject_share: u32,
    /// For how long an upstream that has come back gets less than its share, growing evenly. Default 10 s; zero gives
    /// it its share at once. Longer spares one that has to warm up. Shorter relieves the others sooner.
    pub slow_start: Span,
    /// What each upstream is asked for by GET to see whether it works: a path. Default none: only what requests meet
    /// counts. A path finds a failure before a client does, and costs a connection and a request each time.
    pub health: Option<String>,
    /// The time between two checks of an upstream, about. Default 10 s. Shorter finds a failure sooner. Longer costs
    /// upstreams less.
    pub health_every: Span,
    /// How long a check may take, from the connection to the head of the answer. Default 5 s. Longer tolerates an
    /// upstream that is slow now and then. Shorter finds one that hangs sooner.
    pub health_timeout: Span,
    /// Bad checks in a row that leave an upstream out. Default 3. Fewer finds a failure sooner. More tolerates odd ones.
    pub health_fall: u32,
    /// Good checks in a row that bring an upstream back that its checks had left out or that could not be connected to.
    /// Default 2. Fewer uses it sooner. More spares clients one that comes and goes. One that was left out for its
    /// answers has its time first.
    pub health_rise: u32,
    /// The status that a good answer has. Default none: any from 200 to 399. Naming one tells a login page, to which
    /// others are led, from a service that works.
    pub health_status: Option<u16>,
}

impl UpstreamSet {
    /// Whether a check that is answered with this status is a good one.
    pub fn is_healthy(&self, status: u16) -> bool {
        self.health_status.map_or(matches!(status, 200..=399), |expected| status == expected)
    }
}

impl Default for UpstreamSet {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            balance: Balance::RoundRobin,
            sticky: Sticky::Session,
            shared_ids: false,
            eject_after: 3,
            eject_for: Span::from_secs(10),
            eject_share: 50,
            slow_start: Span::from_secs(10),
            health: None,
            health_every: Span::from_secs(10),
            health_timeout: Span::from_secs(5),
            health_fall: 3,
            health_rise: 2,
            health_status: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_stands_behind_the_url_and_is_shown_where_it_is_not_one() {
        for text in ["http://a:1", "https://b/x weight=7"] {
            assert_eq!(Weighted::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Weighted::parse("http://a weight=1").unwrap().to_string(), "http://a");
    }

    #[test]
    fn what_is_no_weight_is_refused() {
        for text in
            ["http://a weight=0", "http://a weight=101", "http://a weight=+1", "http://a 2", "http://a weight=1 x"]
        {
            assert!(matches!(Weighted::parse(text), Err(WeightedError::Weight(_))), "{text}");
        }
        assert_eq!(Weighted::parse(""), Err(WeightedError::Url(UpstreamError::Scheme)));
    }
}
