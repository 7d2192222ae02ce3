//! The engine's way to a collector of traces.
//!
//! In: a configuration. Out: the thread that sends spans, and a journal that puts them on its queue.
//! Laws: headers come from a file that is read once, at the start; a fault in it stops the start, and shows nothing of it.

use crate::base::{Span, entropy};
use crate::clock::Clock;
use crate::config::{Config, Fault, Otlp, OtlpHeaders, Section};
use crate::journal::{Journal, Level};
use crate::metrics::Metrics;
use crate::otlp::{Exporter, QUEUE};
use crate::reactor::StartError;
use crossbeam_channel::bounded;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a file of headers at most.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// How long the last spans may take. A collector that hangs holds the end up for so long.
const LAST_SPANS: Span = Span::from_secs(1);

/// Starts the thread, if the configuration names a collector.
pub(super) fn start(
    config: &Config,
    journal: Journal,
    metrics: &Arc<Metrics>,
    clock: Clock,
) -> Result<(Option<Exporter>, Journal), StartError> {
    if config.otlp.endpoint.is_none() {
        return Ok((None, journal));
    }
    let headers = headers(&config.otlp).map_err(|what| StartError::Config { faults: vec![fault(what)] })?;
    let (spans, sent) = bounded(QUEUE);
    let around = (Arc::clone(metrics), journal.clone(), clock);
    let exporter = Exporter::start(&config.otlp, headers, sent, around, entropy()).map_err(StartError::System)?;
    Ok((Some(exporter), journal.with_spans(spans)))
}

/// What keeps the thread from starting.
pub(super) fn obstacle(config: &Config) -> Option<Fault> {
    config.otlp.endpoint.as_ref()?;
    headers(&config.otlp).err().map(fault)
}

/// Sends the last spans, within what is left of a time limit.
pub(super) fn end(exporter: Option<Exporter>, left: Span, journal: &Journal) {
    let within = Duration::from(left.min(LAST_SPANS));
    let left = exporter.map_or(0, |exporter| exporter.end(within));
    if left > 0 {
        let what = format!("the collector of traces has not answered, so it may not have the last {left} spans");
        journal.clone().say(Level::Warn, what);
    }
}

fn headers(otlp: &Otlp) -> Result<OtlpHeaders, String> {
    let Some(path) = &otlp.headers_file else { return Ok(otlp.headers.clone()) };
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
    let wrong = |why: &dyn std::fmt::Display| format!("`otlp_headers_file`: {}: {why}", path.display());
    read.map_err(|e| wrong(&e))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(wrong(&"it is larger than 64KiB: is it a file of headers?"));
    }
    OtlpHeaders::of_lines(&text).map_err(|why| wrong(&why))
}

fn fault(what: String) -> Fault {
    Fault { section: Section::Top, key: "otlp_headers_file", other: None, what }
}
