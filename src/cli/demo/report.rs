//! What the demo writes: one JSON object, a short table, or a live line that it rewrites.
//!
//! In: the tally. Out: text.
//! Laws: the JSON object is one line with its fields in the order below; it lists every kind of cut, with 0 for a kind
//! that did not occur.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::kind::Kind;
use super::world::{Tally, World};
use crate::base::Span;

/// A run of the demo in numbers.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub(crate) struct Report {
    /// How long the upstream sent, in seconds.
    pub(crate) duration_s: f64,
    /// Streams that clients asked for.
    pub(crate) streams: u64,
    /// Events that clients got, without repeats.
    pub(crate) events: u64,
    /// Cuts that segno had to heal, by kind.
    pub(crate) cuts: BTreeMap<&'static str, u64>,
    /// Events that the upstream sent and a client never got.
    pub(crate) lost: u64,
    /// Events that a client got more than once.
    pub(crate) duplicated: u64,
    /// Events that a client got after a later one.
    pub(crate) reordered: u64,
    /// Streams that ended as they had to, by the kind of end.
    pub(crate) ended: BTreeMap<&'static str, u64>,
    /// Gaps that segno had to state and stated, by reason.
    pub(crate) gaps: BTreeMap<&'static str, u64>,
    /// Missing events that those gaps announced.
    pub(crate) stated: u64,
    /// Cuts after which the upstream was asked to go on, and did.
    pub(crate) healed: u64,
    /// Times that a client lost its connection and came back.
    pub(crate) came_back: u64,
    /// The time from the upstream's write to the client's read, minus the same time without the proxy.
    pub(crate) added_latency_us: Latency,
    /// The same faults and scripts without segno.
    pub(crate) without: Without,
    /// Whether the run was interrupted: streams that had not ended are not judged.
    pub(crate) interrupted: bool,
    /// Whether segno kept every promise: nothing was lost, repeated or out of order.
    pub(crate) ok: bool,
    /// Descriptions of the first broken promises.
    pub(crate) failures: Vec<String>,
}

/// What clients without segno saw: a browser's `EventSource`, and POSTs that are sent once.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[non_exhaustive]
pub(crate) struct Without {
    /// Streams that have ended for their clients.
    pub(crate) streams: u64,
    /// Events that clients got, without repeats.
    pub(crate) events: u64,
    /// Events that a client never got.
    pub(crate) lost: u64,
    /// Events that a client got more than once.
    pub(crate) duplicated: u64,
    /// Events that a client got after a later one.
    pub(crate) reordered: u64,
    /// Streams whose client cannot know whether it has all.
    pub(crate) unknown: u64,
}

impl Without {
    fn of(world: &World) -> Self {
        let tally = world.tally();
        let Tally { streams, events, lost, duplicated, reordered, unknown, .. } = *tally;
        Self { streams, events, lost, duplicated, reordered, unknown }
    }
}

/// Microseconds, at the median and at the 99th percentile. Both are 0 if nothing was measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[non_exhaustive]
pub(crate) struct Latency {
    /// The median.
    pub(crate) p50: u32,
    /// The 99th percentile.
    pub(crate) p99: u32,
}

impl Report {
    pub(super) fn new(duration: Span, tally: &mut Tally, without: &World) -> Self {
        Self {
            without: Without::of(without),
            interrupted: false,
            duration_s: duration.millis() as f64 / 1_000.0,
            streams: tally.streams,
            events: tally.events,
            cuts: Kind::ALL.iter().map(|&kind| (kind.name(), tally.cuts[kind as usize])).collect(),
            lost: tally.lost,
            duplicated: tally.duplicated,
            reordered: tally.reordered,
            ended: tally.ended.clone(),
            gaps: tally.gaps.clone(),
            stated: tally.stated,
            healed: tally.healed,
            came_back: tally.came_back,
            added_latency_us: latency(&mut tally.through).less(latency(&mut tally.direct)),
            ok: tally.lost + tally.duplicated + tally.reordered + tally.failed == 0,
            failures: tally.failures.clone(),
        }
    }

    /// Writes one line of JSON.
    ///
    /// # Errors
    /// `out` cannot be written to.
    pub(crate) fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let line = serde_json::to_string(self)?;
        writeln!(out, "{line}")
    }

    /// Writes a short table.
    ///
    /// # Errors
    /// `out` cannot be written to.
    pub(crate) fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let (streams, events, seconds) = (self.streams, self.events, self.duration_s);
        writeln!(out, "{events} events over {streams} streams in {seconds} s")?;
        writeln!(out, "\n{:>8}  cuts, {} of them healed", self.cuts.values().sum::<u64>(), self.healed)?;
        rows(out, &self.cuts)?;
        writeln!(out, "\n{:>8}  times a client was cut off and came back", self.came_back)?;
        writeln!(out, "\n{:>8}  streams ended as they had to", self.ended.values().sum::<u64>())?;
        rows(out, &self.ended)?;
        writeln!(out, "\n{:>8}  gaps stated, {} events in them", self.gaps.values().sum::<u64>(), self.stated)?;
        rows(out, &self.gaps)?;
        let Latency { p50, p99 } = self.added_latency_us;
        writeln!(out, "\nadded latency: {p50} us at the median, {p99} us at the 99th percentile")?;
        let (lost, duplicated, reordered) = (self.lost, self.duplicated, self.reordered);
        let plain = &self.without;
        writeln!(out, "\n{:>14}  {:>14}", "with segno", "without")?;
        for (with, without, what) in [
            (lost, plain.lost, "events lost"),
            (duplicated, plain.duplicated, "events repeated"),
            (reordered, plain.reordered, "events out of order"),
            (0, plain.unknown, "streams whose client cannot know whether it has all"),
        ] {
            writeln!(out, "{with:>14}  {without:>14}  {what}")?;
        }
        if self.interrupted {
            writeln!(out, "\ninterrupted: streams that had not ended are not judged")?;
        }
        writeln!(out, "\nlost {lost}, duplicated {duplicated}, reordered {reordered}")?;
        for failure in &self.failures {
            writeln!(out, "failed: {failure}")?;
        }
        writeln!(out, "{}", if self.ok { "ok" } else { "not ok" })
    }
}

impl Latency {
    /// This latency minus `floor`, at least 0.
    const fn less(self, floor: Self) -> Self {
        Self { p50: self.p50.saturating_sub(floor.p50), p99: self.p99.saturating_sub(floor.p99) }
    }
}

fn rows(out: &mut dyn Write, counts: &BTreeMap<&'static str, u64>) -> io::Result<()> {
    counts.iter().try_for_each(|(name, count)| writeln!(out, "{count:>12}  {}", name.replace('_', " ")))
}

fn latency(samples: &mut [u32]) -> Latency {
    samples.sort_unstable();
    let at = |percent: usize| samples.get(samples.len() * percent / 100).copied().unwrap_or_default();
    Latency { p50: at(50), p99: at(99) }
}

/// Rewrites the live line that shows how the run goes.
///
/// # Errors
/// `err` cannot be written to.
pub(super) fn write_live(err: &mut dyn Write, elapsed: Span, tally: &Tally, colour: bool) -> io::Result<()> {
    let bad = tally.lost + tally.duplicated + tally.reordered + tally.failed > 0;
    let (on, off) = match (colour, bad) {
        (false, _) => ("", ""),
        (true, true) => ("\x1b[31m", "\x1b[0m"),
        (true, false) => ("\x1b[32m", "\x1b[0m"),
    };
    let (seconds, tenths) = (elapsed.millis() / 1_000, elapsed.millis() / 100 % 10);
    let (events, cuts, lost) = (tally.events, tally.all_cuts(), tally.lost);
    write!(err, "\r{seconds:>4}.{tenths} s  {events:>7} events  {cuts:>5} cuts  {on}{lost} lost{off} ")?;
    err.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn report(tally: &mut Tally) -> Report {
        let world = World::new(Arc::new(|| crate::base::Tick::ZERO), Span::from_secs(20), 1);
        Report::new(Span::from_secs(20), tally, &world)
    }

    #[test]
    fn the_json_object_is_one_line_in_the_order_of_its_fields() {
        let mut out = Vec::new();
        report(&mut Tally::default()).write_json(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(text.starts_with(r#"{"duration_s":20.0,"streams":0,"events":0,"cuts":{"#), "{text}");
        assert!(text.contains(r#""lost":0,"duplicated":0,"reordered":0,"ended":{},"gaps":{}"#), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["cuts"]["fin_inside_event"], 0);
    }

    #[test]
    fn a_lost_event_or_a_broken_promise_is_not_ok() {
        let ok = |mut tally: Tally| report(&mut tally).ok;
        assert!(ok(Tally::default()));
        assert!(!ok(Tally { lost: 1, ..Tally::default() }));
        assert!(!ok(Tally { failed: 1, ..Tally::default() }));
    }

    #[test]
    fn the_latency_without_the_proxy_is_subtracted() {
        let mut tally = Tally { through: (0..100).map(|n| n + 10).collect(), direct: vec![5; 9], ..Tally::default() };
        assert_eq!(report(&mut tally).added_latency_us, Latency { p50: 55, p99: 104 });
    }

    #[test]
    fn colours_are_used_only_when_asked_for() {
        for colour in [false, true] {
            let mut err = Vec::new();
            write_live(&mut err, Span::from_millis(1_250), &Tally::default(), colour).unwrap();
            assert_eq!(err.contains(&0x1b), colour);
        }
    }
}
