//! Compares what a client has seen with what the script of its stream promises.
//!
//! In: events and the end of the stream. Out: a [`Verdict`].
//! Laws: events are counted by the sequence numbers in their data, never by their ids. An event that comes after a
//! later one is reordered. One that comes again is duplicated. One that never comes is lost, unless a gap announced it.

use serde_json::Value;

use super::parser::Event;
use super::script::Script;

/// Broken promises described for one stream.
const MAX_BROKEN: usize = 3;

/// How a stream ended, as its client saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// With the last chunk.
    Clean,
    /// Without the last chunk.
    Cut,
    /// The stream did not end, or the response was not a stream. Says what happened.
    Failed(String),
}

/// What a client saw of one stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Verdict {
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    /// Missing events that a gap announced, as it should.
    pub(super) stated: u64,
    /// The reasons of the gaps that were stated as promised.
    pub(super) gaps: Vec<&'static str>,
    /// Descriptions of broken promises, at most [`MAX_BROKEN`].
    pub(super) broken: Vec<String>,
}

impl Verdict {
    /// Whether the stream kept all that its script promised.
    pub(super) fn is_kept(&self) -> bool {
        self.lost + self.duplicated + self.reordered == 0 && self.broken.is_empty()
    }

    fn break_promise(&mut self, what: String) {
        if self.broken.len() < MAX_BROKEN {
            self.broken.push(what);
        }
    }
}

/// Checks one stream.
pub(super) struct Checker<'a> {
    script: &'a Script,
    seen: Vec<bool>,
    /// One more than the highest number seen.
    high: usize,
    verdict: Verdict,
}

impl<'a> Checker<'a> {
    /// A checker before the first event.
    pub(super) fn new(script: &'a Script) -> Self {
        Self { script, seen: vec![false; script.len()], high: 0, verdict: Verdict::default() }
    }

    /// Takes the next event. Returns its number if the event came for the first time.
    pub(super) fn event(&mut self, event: &Event) -> Option<usize> {
        if event.kind == "segno.gap" {
            self.gap(event);
            return None;
        }
        let Some(n) = self.number(event) else {
            self.verdict.break_promise(format!("an event came that was never sent: {:?}", event.data));
            return None;
        };
        let id_kept = self.script.rule.ids_are_added() || event.id == self.script.id(n);
        if !id_kept || event.kind != self.script.kind(n) || event.data != self.script.data(n) {
            self.verdict.break_promise(format!("event {n} came with other bytes: {event:?}"));
        }
        if std::mem::replace(&mut self.seen[n], true) {
            self.verdict.duplicated += 1;
            self.verdict.break_promise(format!("event {n} came again"));
            return None;
        }
        if n < self.high {
            self.verdict.reordered += 1;
            self.verdict.break_promise(format!("event {n} came late"));
        }
        self.high = self.high.max(n + 1);
        Some(n)
    }

    /// Gives the verdict at the end of the stream.
    pub(super) fn end(mut self, ending: Ending, inside_event: bool) -> Verdict {
        self.verdict.lost = self.seen.iter().filter(|seen| !**seen).count() as u64;
        if let Some(first) = self.seen.iter().position(|seen| !seen) {
            self.verdict.break_promise(format!(
                "{} of {} events lost from {first} on",
                self.verdict.lost,
                self.seen.len()
            ));
        }
        match (ending, self.script.rule.is_clean()) {
            (Ending::Clean, true) | (Ending::Cut, false) => {}
            (Ending::Clean, false) => self.verdict.break_promise("a cut was passed on as a clean end".to_owned()),
            (Ending::Cut, true) => self.verdict.break_promise(format!("the stream was cut after event {}", self.high)),
            (Ending::Failed(what), _) => self.verdict.break_promise(format!("{what} (after event {})", self.high)),
        }
        if inside_event {
            self.verdict.break_promise("part of an event was passed on".to_owned());
        }
        if let Some(promise) = self.script.gap()
            && self.verdict.gaps.is_empty()
        {
            self.verdict.break_promise(format!("no gap was stated, {:?} was due", promise.reason));
        }
        self.verdict
    }

    /// The number in the event's data, which begins with `NAME NUMBER`.
    fn number(&self, event: &Event) -> Option<usize> {
        let mut words = event.data.lines().next()?.split(' ');
        let name = words.next()?;
        let n = words.next()?.parse().ok()?;
        (name == self.script.name && n < self.seen.len() && !self.script.skip.contains(&n)).then_some(n)
    }

    fn gap(&mut self, event: &Event) {
        match self.due_gap(event) {
            Ok(reason) => {
                self.verdict.gaps.push(reason);
                for n in self.script.skip.clone() {
                    self.verdict.stated += u64::from(!std::mem::replace(&mut self.seen[n], true));
                }
            }
            Err(what) => self.verdict.break_promise(format!("a gap that {what}: {}", event.data)),
        }
    }

    /// The reason of a gap that the script promises here. An error says what is wrong with the gap.
    fn due_gap(&self, event: &Event) -> Result<&'static str, &'static str> {
        let promise = self.script.gap().filter(|_| self.verdict.gaps.is_empty()).ok_or("was not due")?;
        let data: Value = serde_json::from_str(&event.data).map_err(|_| "is not JSON")?;
        if self.high != promise.after + 1 {
            return Err("came at the wrong place");
        }
        if event.id.is_some() {
            return Err("carries an id");
        }
        if data["reason"] != promise.reason {
            return Err("has the wrong reason");
        }
        if text(&data["after"]) != self.script.id(promise.after) {
            return Err("has the wrong start");
        }
        if text(&data["resumed_at"]) != promise.resumed.and_then(|n| self.script.id(n)) {
            return Err("has the wrong end");
        }
        Ok(promise.reason)
    }
}

/// An id in JSON: a string, or a number if the id is an integer.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
