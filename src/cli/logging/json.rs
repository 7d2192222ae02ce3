//! Log lines as JSON, one object on each line.
//!
//! In: events of `tracing`. Out: lines such as `{"ts":"2026-01-31T12:00:00.000000Z","level":"info","what":"..."}`; what
//! an event says beside its words follows under names of its own.
//! Law: a line is whole JSON, whatever the event says.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats events as JSON.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        writer.write_str(&object(&level, &fields.what, &fields.rest))
    }
}

/// A line that says `what`.
pub(super) fn line(level: &str, what: &str) -> String {
    object(level, what, "")
}

fn object(level: &str, what: &str, rest: &str) -> String {
    let mut ts = String::new();
    // A clock that cannot be shown leaves the field empty.
    let _ = tracing_subscriber::fmt::time().format_time(&mut Writer::new(&mut ts));
    format!("{{\"ts\":{},\"level\":{},\"what\":{}{rest}}}\n", quoted(&ts), quoted(level), quoted(what))
}

/// A text as JSON writes it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What an event says: its words, and all else as `,"name":value`.
#[derive(Default)]
struct Fields {
    what: String,
    rest: String,
}

impl Fields {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing to a text does not fail.
        let _ = write!(self.rest, ",{}:{value}", quoted(field.name()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.what = format!("{value:?}"),
            _ => self.add(field, format_args!("{}", quoted(&format!("{value:?}")))),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.what),
            _ => self.add(field, format_args!("{}", quoted(value))),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_object_with_its_words_and_its_fields() {
        let kept = Kept::default();
        let to = kept.clone();
        let lines = tracing_subscriber::fmt().event_format(Json).with_writer(move || to.clone()).finish();
        tracing::subscriber::with_default(lines, || {
            let (none, some) = (None::<u64>, Some(tracing::field::display("1f")));
            tracing::warn!(stream = some, status = none, bytes = 7_u64, request = "a\"b", "it said \"{}\"\n", "no");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(line["ts"].as_str().unwrap().ends_with('Z') && line["status"].is_null(), "{text}");
        assert_eq!((&line["level"], &line["what"]), (&"warn".into(), &"it said \"no\"\n".into()));
        assert_eq!((&line["stream"], &line["bytes"], &line["request"]), (&"1f".into(), &7.into(), &"a\"b".into()));
        let said: serde_json::Value = serde_json::from_str(&super::line("info", "listening")).unwrap();
        assert_eq!((&said["level"], &said["what"]), (&"info".into(), &"listening".into()));
    }
}
