//! Makes the published messages of spans.
//!
//! In: spans, what is said of the process, a clock. Out: the body of a call.
//! Laws: kinds, names and status go by OpenTelemetry's conventions for HTTP; a span that may begin before its client's by
//! the calendar is left so, since nobody can mend two clocks; what a span says is not changed here.
//! Source: OpenTelemetry, "Semantic conventions for HTTP spans" 1.x.

use super::messages::{
    AnyValue, ExportTraceServiceRequest, InstrumentationScope, KeyValue, Link, Resource, ResourceSpans, ScopeSpans,
    Span, SpanKind, Status, StatusCode, Value,
};
use crate::base::{Fact, TraceContext, TraceKind, TraceSpan};
use crate::clock::Clock;
use crate::config::Otlp;
use prost::Message;

/// Flags of a span or a link: whether its parent is remote is known, and it is.
const REMOTE_IS_KNOWN: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// What each call says beside its spans.
pub(super) struct Envelope {
    resource: Resource,
    scope: InstrumentationScope,
}

impl Envelope {
    /// `instance`: an id that no other process has.
    pub(super) fn new(otlp: &Otlp, instance: u128) -> Self {
        const VERSION: &str = env!("CARGO_PKG_VERSION");
        let mut attributes = vec![
            text("service.name", &otlp.service),
            text("service.version", VERSION),
            text("service.instance.id", &format!("{instance:032x}")),
            text("telemetry.sdk.name", "segno"),
            text("telemetry.sdk.language", "rust"),
            text("telemetry.sdk.version", VERSION),
        ];
        for (name, value) in otlp.named_attributes() {
            attributes.retain(|known| known.key != name);
            attributes.push(text(&name, &value));
        }
        let scope = InstrumentationScope { name: "segno".to_owned(), version: VERSION.to_owned() };
        Self { resource: Resource { attributes }, scope }
    }

    /// The body of a call with these spans.
    pub(super) fn body(&self, spans: &[TraceSpan], clock: Clock) -> Vec<u8> {
        let spans = spans.iter().map(|span| message(span, clock)).collect();
        let scope_spans = vec![ScopeSpans { scope: Some(self.scope.clone()), spans }];
        let resource_spans = vec![ResourceSpans { resource: Some(self.resource.clone()), scope_spans }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }
}

fn message(span: &TraceSpan, clock: Clock) -> Span {
    let nanos = |at| clock.calendar_micros(at).saturating_mul(1_000);
    let mut attributes: Vec<KeyValue> = span.facts.iter().map(|(name, what)| attribute(name, what)).collect();
    attributes.extend(span.error.iter().map(|error| text("error.type", error)));
    let code = if span.error.is_some() { StatusCode::Error } else { StatusCode::Unset };
    let status = Status { message: String::new(), code: code as i32 };
    // Of all parts only a request has a parent elsewhere.
    let remote = if span.kind == TraceKind::Exchange { IS_REMOTE } else { 0 };
    let start = nanos(span.began);
    Span {
        trace_id: span.context.trace.to_be_bytes().to_vec(),
        span_id: span.context.span.to_be_bytes().to_vec(),
        trace_state: span.state.to_string(),
        parent_span_id: span.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        name: name(span),
        kind: kind(span.kind) as i32,
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(span.ended.since(span.began).micros().saturating_mul(1_000)),
        attributes,
        links: span.link.iter().map(link).collect(),
        status: Some(status),
        flags: u32::from(span.context.flags) | REMOTE_IS_KNOWN | remote,
    }
}

fn link(other: &TraceContext) -> Link {
    Link {
        trace_id: other.trace.to_be_bytes().to_vec(),
        span_id: other.span.to_be_bytes().to_vec(),
        flags: u32::from(other.flags) | REMOTE_IS_KNOWN,
    }
}

fn kind(kind: TraceKind) -> SpanKind {
    match kind {
        TraceKind::Exchange => SpanKind::Server,
        TraceKind::Ask | TraceKind::Heal => SpanKind::Client,
        TraceKind::Replay | TraceKind::Lookup | TraceKind::Batch | TraceKind::Call => SpanKind::Internal,
    }
}

/// Names are of a small vocabulary: methods that are known, and routes.
fn name(span: &TraceSpan) -> String {
    let said = |name: &str| span.fact(name).map(ToString::to_string);
    let method =
        || said("http.request.method").filter(|method| method != "_OTHER").unwrap_or_else(|| "HTTP".to_owned());
    match (span.kind, said("http.route")) {
        (TraceKind::Exchange, Some(route)) => format!("{} {route}", method()),
        (TraceKind::Exchange | TraceKind::Ask, _) => method(),
        (kind, _) => kind.name().to_owned(),
    }
}

fn attribute(name: &str, what: &Fact) -> KeyValue {
    match what {
        Fact::Text(value) => text(name, value),
        Fact::Number(n) => {
            let value = Some(Value::Number(i64::try_from(*n).unwrap_or(i64::MAX)));
            KeyValue { key: name.to_owned(), value: Some(AnyValue { value }) }
        }
    }
}

fn text(name: &str, value: &str) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(Value::Text(value.to_owned())) }) }
}
