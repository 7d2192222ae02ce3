//! Sends recorded traces to a collector, by OTLP over HTTP with bodies in protobuf.
//!
//! In: spans off a bounded queue. Out: calls to the collector, one after the other; what became of each span, counted.
//! Laws: whoever puts a span on the queue never waits and wakes nobody; one batch is held beside the queue, so memory is
//! bounded whatever the collector does; each call has a time limit, and so many bytes of its answer are read and no more;
//! a batch is tried again a bounded number of times, in which the queue fills and then drops; the end takes the time that
//! it is given and no longer.
//!
//! `messages` are the published messages, as far as they are used; `encode` makes them of spans; `call` is one call;
//! `exporter` is the thread.
//! Source: OpenTelemetry, "OTLP Specification" 1.x, sections "OTLP/HTTP" and "Failures".

mod call;
mod encode;
mod exporter;
mod messages;

pub use exporter::{Exporter, QUEUE};
