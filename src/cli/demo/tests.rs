//! The upstream as a direct client sees it, and the whole demo with a toy proxy that heals.

mod toy;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::kind::{Cut, Kind, Rule, Spot};
use super::parser::{Event, Parser};
use super::run::{Error, Options, run};
use super::script::Script;
use super::stream::{Stream, Streams};
use super::upstream::{LOOPBACK, Upstream};
use super::world::{Now, World};
use crate::base::{Random, Span, Tick};
use crate::clock::Clock;

fn clock() -> Now {
    let clock = Clock::start();
    Arc::new(move || clock.now())
}

/// An upstream that serves one stream quickly, with a cut after three events.
struct Rig {
    world: Arc<World>,
    upstream: Upstream,
    stream: Arc<Stream>,
}

impl Rig {
    fn new(rule: Rule, cuts: &[Cut]) -> Self {
        let world = Arc::new(World::new(clock(), Span::from_secs(60), 1));
        let mut script = Script::new(1, rule, 0, 0, 6);
        script.period = Span::from_millis(1);
        if !cuts.is_empty() {
            script.cuts = cuts.to_vec();
        }
        let streams = Streams::default();
        let stream = streams.open(script);
        Self {
            upstream: Upstream::start(
                LOOPBACK,
                Arc::clone(&world),
                Arc::new(move |name: &str, _: Option<&str>| streams.find(name)),
            )
            .unwrap(),
            world,
            stream,
        }
    }

    fn cut(kind: Kind) -> (Self, Cut) {
        let cut = Cut::new(kind, 3, &mut Random::new(kind as u64));
        (Self::new(Rule::Fleet, &[cut]), cut)
    }

    fn fetch(&self, last_id: Option<&str>) -> Fetched {
        fetch(self.upstream.addr, &self.stream.script.name, last_id)
    }

    fn id(&self, n: usize) -> Option<String> {
        self.stream.script.id(n)
    }

    fn end(self) {
        self.world.stop();
        self.upstream.join();
        assert_eq!(self.world.tally().failures, [""; 0]);
    }
}

struct Fetched {
    bytes: Vec<u8>,
    reset: bool,
    parser: Parser,
    events: Vec<Event>,
}

impl Fetched {
    /// The sequence numbers in the data of the events.
    fn numbers(&self) -> Vec<usize> {
        self.events.iter().map(|e| e.data.split([' ', '\n']).nth(1).unwrap().parse().unwrap()).collect()
    }
}

fn fetch(addr: SocketAddr, name: &str, last_id: Option<&str>) -> Fetched {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let last_id = last_id.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
    write!(socket, "GET /{name} HTTP/1.1\r\n{last_id}\r\n").unwrap();
    let mut bytes = Vec::new();
    let reset = match socket.read_to_end(&mut bytes) {
        Ok(_) => false,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => true,
        Err(error) => panic!("{error}"),
    };
    let (mut parser, mut events) = (Parser::new(), Vec::new());
    parser.feed(&bytes, &mut events).unwrap();
    Fetched { bytes, reset, parser, events }
}

#[test]
fn each_cut_appears_on_the_wire_as_its_kind_says() {
    for &kind in Kind::IN_TURN {
        let (rig, cut) = Rig::cut(kind);
        let got = rig.fetch(None);
        let sent = if cut.spot == Spot::Chunk { 4 } else { 3 };
        assert_eq!(got.numbers(), (0..sent).collect::<Vec<_>>(), "{kind:?}");
        assert_eq!(got.reset, cut.reset, "{kind:?}");
        assert_eq!(got.parser.is_close_delimited(), !cut.chunked, "{kind:?}");
        assert_eq!(got.parser.is_inside_event(), cut.spot == Spot::Inside, "{kind:?}");
        assert_eq!(got.bytes.ends_with(b"\r\n1"), cut.spot == Spot::ChunkHeader, "{kind:?}");
        assert!(!got.parser.is_clean(), "{kind:?}");
        assert_eq!(rig.world.tally().cuts[kind as usize], 1);
        rig.end();
    }
}

#[test]
fn each_kind_of_cut_is_healed_in_its_own_way_after_the_id_of_the_request() {
    for kind in [Kind::IN_TURN, &[Kind::RestartInt]].concat() {
        let (rig, _) = Rig::cut(kind);
        let id = rig.id(1);
        rig.fetch(None);
        for _ in 0..kind.failures() {
            assert_eq!(rig.world.tally().healed, 0);
            let failed = rig.fetch(id.as_deref());
            let status = failed.parser.status;
            match kind {
                Kind::ResetBeforeHead => assert!(failed.reset && failed.bytes.is_empty()),
                Kind::Status503 => assert_eq!(status, Some(503)),
                _ => assert!(status == Some(429) && String::from_utf8_lossy(&failed.bytes).contains("Retry-After: 1")),
            }
        }
        let healed = rig.fetch(id.as_deref());
        let first = match kind {
            Kind::Inclusive => 1,
            Kind::RestartInt => 0,
            _ => 2,
        };
        assert_eq!(healed.numbers(), (first..7).collect::<Vec<_>>(), "{kind:?}");
        assert!(healed.parser.is_clean());
        let text = String::from_utf8_lossy(&healed.bytes).into_owned();
        assert_eq!(text.contains("\u{feff}"), kind == Kind::Bom);
        assert_eq!(text.contains("retry: 50\n\n"), kind == Kind::Retry50);
        assert_eq!(rig.world.tally().healed, 1);
        rig.end();
    }
}

#[test]
fn a_replay_repeats_the_bytes() {
    let (rig, _) = Rig::cut(Kind::FinBetween);
    let (first, again) = (rig.fetch(None), rig.fetch(rig.id(0).as_deref()));
    assert_eq!(first.events[1..], again.events[..2]);
    assert_eq!(rig.stream.written(1), None);
    assert!(rig.stream.written(0).is_some());
    rig.end();
}

#[test]
fn a_request_after_the_end_is_answered_by_the_rules_status() {
    for (rule, status) in [(Rule::NoContent, 204), (Rule::Gone404, 404), (Rule::Gone410, 410)] {
        let rig = Rig::new(rule, &[]);
        let got = rig.fetch(None);
        assert!(!got.parser.is_clean() && !got.reset);
        assert_eq!(rig.fetch(rig.id(5).as_deref()).parser.status, Some(status));
        rig.end();
    }
}

#[test]
fn a_jump_leaves_numbers_out() {
    let rig = Rig::new(Rule::Skipped, &[]);
    assert_eq!(rig.fetch(None).numbers(), (0..20).collect::<Vec<_>>());
    assert_eq!(rig.fetch(Some("20")).numbers(), (23..30).collect::<Vec<_>>());
    assert_eq!(rig.world.tally().all_cuts(), 0);
    assert_eq!(rig.world.tally().healed, 0);
    rig.end();
}

#[test]
fn a_request_for_an_id_that_was_never_sent_is_a_failure() {
    let (rig, _) = Rig::cut(Kind::FinBetween);
    rig.fetch(None);
    assert_eq!(rig.fetch(rig.id(5).as_deref()).parser.status, Some(400));
    assert_eq!(std::mem::take(&mut rig.world.tally().failures).len(), 1);
    rig.end();
}

#[test]
fn an_outage_refuses_connections_and_the_port_comes_back() {
    let rig = Rig::new(Rule::Fleet, &[]);
    while rig.world.outage().is_none() {
        rig.world.doze(Tick::NEVER);
    }
    let refused = TcpStream::connect(rig.upstream.addr).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    while rig.world.outage().is_some() {
        rig.world.doze(Tick::NEVER);
    }
    assert_eq!(rig.fetch(None).numbers().len(), 7);
    rig.end();
}

/// Runs the whole demo with the toy in place of the proxy.
fn demo(duration: Span, flaw: toy::Flaw) -> serde_json::Value {
    let options = Options { duration, json: true, both_sides: false, seed: 1, live: false, colour: false };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let start = |upstream| Ok(toy::start(upstream, flaw));
    let report = run(&options, clock(), start, &mut || false, &mut out, &mut err).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(json["ok"], report.ok);
    assert_eq!(err.iter().filter(|&&byte| byte == b'\n').count(), 1);
    json
}

#[test]
fn a_proxy_that_heals_loses_nothing() {
    let json = demo(Span::from_secs(2), toy::Flaw::None);
    assert_eq!(json["ok"], true, "{json:#}");
    assert!(json["events"].as_u64().unwrap() > 1_000);
}

#[test]
fn a_proxy_that_repeats_is_found() {
    let json = demo(Span::from_secs(2), toy::Flaw::Repeats);
    assert!(json["ok"] == false && json["duplicated"].as_u64().unwrap() > 0, "{json:#}");
}

#[test]
fn the_same_faults_without_segno_lose_repeat_and_leave_in_doubt() {
    let json = demo(Span::from_secs(2), toy::Flaw::None);
    let without = &json["without"];
    for what in ["streams", "events", "lost", "unknown"] {
        assert!(without[what].as_u64().unwrap() > 0, "{what}: {json:#}");
    }
}

#[test]
fn an_interrupt_gives_the_counts_so_far() {
    let options =
        Options { duration: Span::from_secs(60), json: true, both_sides: false, seed: 1, live: false, colour: false };
    let (mut out, mut err, mut looks) = (Vec::new(), Vec::new(), 0);
    let mut interrupted = || {
        looks += 1;
        looks > 5
    };
    let start = |upstream| Ok(toy::start(upstream, toy::Flaw::None));
    let report = run(&options, clock(), start, &mut interrupted, &mut out, &mut err).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert!(json["interrupted"] == true && json["events"].as_u64().unwrap() > 0, "{json:#}");
    assert!(report.duration_s < 30.0 && report.ok, "{report:?}");
}

#[test]
fn a_table_is_written_for_people() {
    let mut options =
        Options { duration: Span::from_secs(1), json: false, both_sides: false, seed: 2, live: true, colour: true };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let start = |upstream| Ok(toy::start(upstream, toy::Flaw::None));
    let report = run(&options, clock(), start, &mut || false, &mut out, &mut err).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with("lost 0, duplicated 0, reordered 0\nok\n"), "{text}");
    assert_eq!(report.duration_s, 1.0);
    assert!(err.starts_with(b"segno demo: ") && err.contains(&b'\r'));
    options.live = false;
    let refused =
        run(&options, clock(), |_| Err(Error::Proxy("no".into())), &mut || false, &mut Vec::new(), &mut Vec::new());
    assert_eq!(refused.unwrap_err().to_string(), "cannot start the proxy: no");
}
