//! Traces: what upstream is told of them, and the spans of exchanges, heals, replays and look-ups.

use super::asking::*;
use super::*;
use crate::base::{Fact, TraceContext, TraceKind, TraceShare, TraceSpan};
use crate::config::{Share, Tracing};
use crate::machine::NotLookedUp;

const CLIENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn traced_by(tracing: Tracing, adjust: impl FnOnce(&mut Route, &mut Limits)) -> World {
    world_of(Config { tracing, ..one_route(adjust) })
}

/// Only requests whose clients ask for it are recorded.
fn traced(adjust: impl FnOnce(&mut Route, &mut Limits)) -> World {
    traced_by(Tracing { sample: Some(TraceShare::millionths(0)), ..Tracing::default() }, adjust)
}

fn lines(traceparent: &str) -> String {
    format!("TraceParent: {traceparent}\r\nTraceState: vendor=1\r\n")
}

fn ask(lines: &str) -> String {
    GET_STREAM.replace("Host", &format!("{lines}Host"))
}

/// The values of a header that an end got, one by one.
fn values(w: &World, end: usize, name: &str) -> Vec<String> {
    let wire = w.wire(end);
    let named = wire.lines().filter_map(|line| line.split_once(": "));
    named.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
}

fn place(w: &World, end: usize) -> TraceContext {
    let said = values(w, end, "traceparent");
    assert_eq!(said.len(), 1, "{said:?}");
    TraceContext::parse(said[0].as_bytes()).unwrap()
}

fn client() -> TraceContext {
    TraceContext::parse(CLIENT.as_bytes()).unwrap()
}

fn of(w: &World, kind: TraceKind) -> Vec<&TraceSpan> {
    w.traced.iter().filter(|span| span.kind == kind).collect()
}

fn number(span: &TraceSpan, name: &str) -> u64 {
    match span.fact(name) {
        Some(Fact::Number(n)) => *n,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn a_healed_stream_has_its_spans_under_the_traceparent_of_its_client() {
    let mut w = traced(|_, _| {});
    let c = w.client_with(&ask(&lines(CLIENT)));
    let (first, began) = (w.last_up(), w.now);
    w.say(first, &format!("{STREAM}{}", chunk(&event(1))));
    w.pass_secs(10);
    let cut = w.now;
    w.fin(first);
    let second = w.last_up();
    w.pass_ms(300);
    let healed = w.now;
    w.say(second, &format!("{STREAM}{}{LAST}", chunk(&event(2))));
    w.acknowledged();
    assert_eq!(w.events(c), event(1) + &event(2));
    let one = |kind| of(&w, kind)[0];
    let (exchange, ask, heal) = (one(TraceKind::Exchange), one(TraceKind::Ask), one(TraceKind::Heal));
    assert_eq!(w.traced.len(), 3, "{:#?}", w.traced);
    assert_eq!((exchange.context.trace, exchange.parent), (client().trace, Some(client().span)));
    assert_eq!((exchange.began, &*exchange.state, &exchange.error), (began, "vendor=1", &None));
    assert_eq!((number(exchange, "http.response.status_code"), number(exchange, "segno.events")), (200, 2));
    assert_eq!(exchange.fact("http.route"), Some(&"/".into()));
    assert_eq!((heal.context.trace, heal.parent), (client().trace, Some(exchange.context.span)));
    assert_eq!((heal.began, heal.ended, number(heal, "segno.tries")), (cut, healed, 1));
    assert_eq!((ask.parent, ask.began, &ask.error), (heal.parent, began, &None));
    // Upstream is told of segno's own spans, and that the trace is recorded.
    assert_eq!((place(&w, first), place(&w, second)), (ask.context, heal.context));
    for asked in [ask, heal] {
        assert_eq!(number(asked, "http.response.status_code"), 200);
        let said = |name| asked.fact(name).map(ToString::to_string);
        assert_eq!(said("http.request.method").as_deref(), Some("GET"));
        assert!(said("url.full").unwrap().ends_with("/events"), "{:?}", said("url.full"));
    }
    assert_eq!(values(&w, second, "tracestate"), ["vendor=1"]);
    assert!(exchange.ended >= heal.ended && exchange.context.is_sampled());
}

#[test]
fn a_heal_that_fails_says_so() {
    let mut w = traced(|route, _| route.heal_for = Span::from_secs(5));
    w.client_with(&ask(&lines(CLIENT)));
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(1))));
    w.dial = Dial::Refuse;
    w.fin(w.last_up());
    w.pass_secs(30);
    let heal = of(&w, TraceKind::Heal)[0];
    assert_eq!(heal.error.as_deref(), Some("given_up"));
    assert!(number(heal, "segno.tries") > 1);
}

#[test]
fn a_client_that_comes_back_has_a_replay_and_a_link_to_the_request_before() {
    let mut w = traced(|route, _| route.linger = Span::from_secs(30));
    let c = w.client_with(&ask(&lines(CLIENT)));
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    w.rst(c);
    w.say(u, &(2..=5).map(|n| chunk(&event(n))).collect::<String>());
    let other = CLIENT.replace("4bf9", "5bf9");
    let (back, at) = (w.client_with(&with(&lines(&other), "1")), w.now);
    assert_eq!(data(&w, back).len(), 4);
    let replay = of(&w, TraceKind::Replay)[0];
    assert_eq!((number(replay, "segno.events"), replay.began, &replay.error), (4, at, &None));
    assert_eq!(replay.context.trace, TraceContext::parse(other.as_bytes()).unwrap().trace);
    let (parent, link) = (replay.parent, replay.link);
    let first = of(&w, TraceKind::Exchange)[0].context;
    assert_eq!((link, of(&w, TraceKind::Ask)[0].context), (Some(first), place(&w, u)));
    w.rst(back);
    let second = of(&w, TraceKind::Exchange)[1];
    assert_eq!((Some(second.context.span), second.link), (parent, link));
    assert_eq!(number(second, "segno.events"), 4);
}

#[test]
fn who_waits_for_the_answer_to_another_request_is_linked_to_it() {
    let mut w = traced(|route, _| route.share = Share::Principal);
    let first = w.client_with(&ask(&lines(CLIENT)));
    let second = w.client_with(&ask(&lines(&CLIENT.replace("4bf9", "5bf9"))));
    w.say(w.last_up(), &format!("{STREAM}{}{LAST}", chunk(&event(1))));
    w.acknowledged();
    assert_eq!((data(&w, first).len(), data(&w, second).len(), w.ups.len()), (1, 1, 1));
    let all = of(&w, TraceKind::Exchange);
    let links: Vec<_> = all.iter().map(|span| span.link).collect();
    let asked = all.iter().find(|span| span.link.is_none()).unwrap().context;
    assert!(links.contains(&Some(asked)), "{links:?}");
    assert_eq!(of(&w, TraceKind::Ask)[0].parent, Some(asked.span));
}

#[test]
fn a_look_up_that_fails_is_a_part_of_its_request() {
    let config =
        Config { persist: crate::config::Persist { durable: true, ..Default::default() }, ..one_route(|_, _| {}) };
    let sample = Some(TraceShare::millionths(0));
    let mut w = world_of(Config { tracing: Tracing { sample, ..Tracing::default() }, ..config });
    w.client_with(&with(&lines(CLIENT), "7"));
    let exchange = w.lookups[0].exchange;
    w.pass_ms(200);
    w.machine.handle(Input::LookedUp { exchange, found: Err(NotLookedUp) }, w.now);
    w.pump();
    let lookup = of(&w, TraceKind::Lookup)[0];
    assert_eq!((lookup.error.as_deref(), lookup.ended.since(lookup.began)), (Some("failed"), Span::from_millis(200)));
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}{LAST}", chunk(&event(8))));
    let (lookup, ask) = (of(&w, TraceKind::Lookup)[0], of(&w, TraceKind::Ask)[0]);
    assert_eq!((lookup.parent, ask.context), (ask.parent, place(&w, u)));
}

#[test]
fn a_traceparent_that_cannot_be_used_is_replaced_and_its_tracestate_goes() {
    for wrong in ["", "00-zz", &CLIENT.to_uppercase(), "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
        let mut w = traced(|_, _| {});
        w.client_with(&ask(&lines(wrong)));
        let own = place(&w, w.last_up());
        assert!(own.trace != client().trace && !own.is_sampled());
        assert!(values(&w, w.last_up(), "tracestate").is_empty());
    }
    let mut w = traced(|_, _| {});
    w.client_with(&ask(&(lines(CLIENT) + &lines(CLIENT))));
    assert_ne!(place(&w, w.last_up()).trace, client().trace, "two of them are none");
}

#[test]
fn a_request_that_is_not_recorded_keeps_its_trace_and_has_no_span() {
    let mut w = traced(|_, _| {});
    let c = w.client_with(&ask(&lines(&CLIENT.replace("-01", "-00"))));
    w.say(w.last_up(), &format!("{STREAM}{}", chunk(&event(1))));
    w.fin(w.last_up());
    w.pass_secs(1);
    let own = place(&w, w.last_up());
    assert!(own.trace == client().trace && own.span != client().span && !own.is_sampled());
    w.rst(c);
    assert!(w.traced.is_empty());
}

#[test]
fn without_tracing_the_headers_go_upstream_as_they_came() {
    let mut w = world();
    let c = w.client_with(&ask(&lines(CLIENT)));
    let u = w.last_up();
    w.say(u, &format!("{STREAM}{}", chunk(&event(1))));
    w.fin(u);
    w.pass_secs(1);
    for end in [u, w.last_up()] {
        assert!(w.wire(end).contains(&format!("TraceParent: {CLIENT}\r\nTraceState: vendor=1\r\n")), "{}", w.wire(end));
    }
    let subject = w.notices.iter().find_map(|notice| notice.subject()).unwrap();
    assert_eq!(subject.trace, Some(client().trace));
    w.rst(c);
    assert!(w.traced.is_empty());
}

#[test]
fn what_clients_can_have_recorded_is_bounded_and_the_share_decides_where_they_do_not() {
    let tracing = Tracing { sample: Some(TraceShare::millionths(0)), rate: 3, ..Tracing::default() };
    let mut w = traced_by(tracing, |_, _| {});
    for _ in 0..10 {
        let c = w.client_with(&ask(&lines(CLIENT)));
        w.rst(c);
    }
    assert_eq!((of(&w, TraceKind::Exchange).len(), w.count(Count::TracesOverRate)), (3, 7));
    // What the client has decided reaches upstream all the same, and nobody is told of a span that there is not.
    let u = w.last_up();
    assert_eq!((place(&w, u), values(&w, u, "tracestate")), (client(), vec!["vendor=1".to_owned()]));
    // A client has no say where the configuration says so.
    for (sample, follow, recorded) in [(0, false, 0), (1_000_000, false, 1), (1_000_000, true, 1)] {
        let sample = Some(TraceShare::millionths(sample));
        let mut w = traced_by(Tracing { sample, follow, ..Tracing::default() }, |_, _| {});
        let traceparent = if follow { String::new() } else { lines(CLIENT) };
        let c = w.client_with(&ask(&traceparent));
        // Without a span of its own, segno passes on what the client has said.
        assert!(place(&w, w.last_up()).is_sampled());
        assert_eq!(place(&w, w.last_up()) == client(), recorded == 0);
        w.rst(c);
        assert_eq!(of(&w, TraceKind::Exchange).len(), recorded);
        assert!(follow || recorded == 0 || of(&w, TraceKind::Exchange)[0].parent == Some(client().span));
    }
}

#[test]
fn a_request_says_who_asked_whom_by_the_names_of_opentelemetry() {
    let mut w = traced(|_, _| {});
    let c = w.client_with(&ask(&lines(CLIENT)).replace("GET /events", "BREW /events?key=hush"));
    w.say(w.last_up(), "HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n");
    w.rst(c);
    let (exchange, ask) = (of(&w, TraceKind::Exchange)[0], of(&w, TraceKind::Ask)[0]);
    assert_eq!((exchange.error.as_deref(), ask.error.as_deref()), (Some("503"), Some("503")));
    for (span, name) in [(exchange, "url.path"), (exchange, "client.address"), (exchange, "network.peer.address")] {
        assert!(span.fact(name).is_some(), "{name}: {span:?}");
    }
    let said = |span: &TraceSpan, name: &str| span.fact(name).map(ToString::to_string);
    assert_eq!(said(exchange, "http.request.method").as_deref(), Some("_OTHER"));
    assert_eq!(said(exchange, "url.scheme").as_deref(), Some("http"));
    assert!(!format!("{:?}", w.traced).contains("hush"));
}

#[test]
fn an_upstream_that_cannot_be_reached_ends_the_request_for_it() {
    let mut w = traced(|route, _| route.heal_for = Span::from_secs(5));
    w.dial = Dial::Refuse;
    w.client_with(&ask(&lines(CLIENT)));
    w.pass_secs(30);
    let ask = of(&w, TraceKind::Ask)[0];
    assert_eq!(ask.error.as_deref(), Some("given_up"));
    assert!(number(ask, "http.request.resend_count") > 0);
    assert_eq!(of(&w, TraceKind::Ask).len(), 1);
}
