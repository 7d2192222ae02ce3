//! The end of the thread, while a call hangs.
//!
//! In: a collector that takes connections and says nothing. Out: where the spans are counted.

use super::*;
use crate::base::{TraceContext, TraceKind};
use crate::config::OtlpEndpoint;
use std::net::TcpListener;

fn span() -> Box<TraceSpan> {
    let context = TraceContext { trace: 1, span: 1, flags: 1 };
    Box::new(TraceSpan::new(TraceKind::Heal, context, None, Tick::ZERO, Tick::ZERO))
}

#[test]
fn spans_behind_a_call_that_hangs_at_the_end_are_counted_once() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = OtlpEndpoint::parse(&format!("http://{}", collector.local_addr().unwrap())).unwrap();
    // Longer than the end may take, and no longer than the test: the call fails behind the end.
    let otlp = Otlp { endpoint: Some(endpoint), timeout: Span::from_millis(1_500), ..Otlp::default() };
    let (metrics, (spans, sent)) = (Arc::new(Metrics::default()), bounded(QUEUE));
    let around = (Arc::clone(&metrics), Journal::unheard(), Clock::start());
    let put = |n: usize| {
        metrics.exports().waiting.add(n as u64);
        (0..n).for_each(|_| spans.try_send(span()).unwrap());
    };
    put(3);
    let exporter = Exporter::start(&otlp, OtlpHeaders::default(), sent, around, 7).unwrap();
    // Once the collector is called, what comes waits behind the call.
    let call = collector.accept().unwrap();
    put(BATCH + 4);
    assert_eq!(exporter.end(Duration::ZERO), (BATCH + 7) as u64);
    let exports = metrics.exports();
    let counted = || (exports.dropped_ended.get(), exports.dropped_failed.get(), exports.waiting.get());
    assert_eq!(counted(), ((BATCH + 7) as u64, 0, 0));
    drop(call);
    // What the thread finds out behind the end changes nothing: the queue goes with it.
    while spans.try_send(span()).is_ok() {
        thread::yield_now();
    }
    assert_eq!(counted(), ((BATCH + 7) as u64, 0, 0));
}
