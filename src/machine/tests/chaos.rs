//! Whole runs by chance: upstreams that cut, refuse and repeat, clients that take what they like, and garbage.
//!
//! Law: one seed replays a run.

use super::*;
use crate::base::Random;

/// An upstream that has events 1 to `last` and answers from behind the cursor it is asked with.
struct Source {
    last: u32,
    random: Random,
    /// What is still to be said on each connection.
    scripts: HashMap<usize, Vec<u8>>,
}

impl Source {
    fn text(n: u32) -> String {
        match n % 5 {
            0 => format!(": ping\nid: {n}\nevent: e\ndata: {}\n\n", "x".repeat(n as usize)),
            1 => format!("id: {n}\r\ndata: {n}\r\n\r\n"),
            2 => format!("data: {n}\ndata: more\nid: {n}\n\n"),
            _ => event(n),
        }
    }

    fn all(&self) -> String {
        (1..=self.last).map(Self::text).collect()
    }

    /// What upstream says to a request: everything, as much as may come before a cut at any byte.
    fn script(&mut self, request: &str) -> Vec<u8> {
        let cursor = request.split("Last-Event-ID: ").nth(1).and_then(|r| r.split("\r\n").next());
        let from = cursor.map_or(0, |id| id.parse().unwrap());
        let framing = self.random.below(3);
        let mut body: Vec<u8> = Vec::new();
        // Some upstreams repeat the event they are asked behind.
        let first = if from > 0 && self.random.below(3) == 0 { from } else { from + 1 };
        for n in first..=self.last {
            let text = Self::text(n);
            match framing {
                0 => body.extend_from_slice(chunk(&text).as_bytes()),
                _ => body.extend_from_slice(text.as_bytes()),
            }
        }
        let head = match framing {
            0 => "Transfer-Encoding: chunked\r\n".to_owned(),
            _ => format!("Content-Length: {}\r\n", body.len()),
        };
        if framing == 0 {
            body.extend_from_slice(LAST.as_bytes());
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{head}\r\n");
        [head.as_bytes(), &body].concat()
    }

    /// One step of the upstream at the end of a connection.
    fn step(&mut self, w: &mut World) {
        let Some(&u) = w.ups.last().filter(|&&u| w.is_live(u)) else { return };
        if !self.scripts.contains_key(&u) {
            if !w.wire(u).contains("\r\n\r\n") {
                return;
            }
            let script = self.script(&w.wire(u));
            self.scripts.insert(u, script);
        }
        let script = self.scripts.get_mut(&u).unwrap();
        let n = (self.random.below(400) as usize).min(script.len());
        let part: Vec<u8> = script.drain(..n).collect();
        let cut = script.len().min(1) as u64 * self.random.below(8);
        w.say_bytes(u, &part);
        match cut {
            // Before the first id there is nothing to go on from.
            _ if w.count(Count::Events) == 0 => {}
            1 => w.fin(u),
            2 => w.rst(u),
            _ => {}
        }
    }
}

#[test]
fn whatever_is_cut_the_client_gets_each_event_once() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut w = world_with(|r, _| {
            r.replay_bytes = 2048;
            r.max_event_bytes = 1024;
            r.replay_events = 8 + seed as usize % 64;
            r.heal_for = Span::from_secs(1_000);
        });
        let mut source = Source { last: 120, random: Random::new(seed ^ 99), scripts: HashMap::new() };
        let old = random.below(5) == 0;
        let version = if old { "HTTP/1.0" } else { "HTTP/1.1" };
        let c = w.client_with(&format!("GET / {version}\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"));
        let mut turns = 0;
        while w.machine.exchanges() > 0 {
            turns += 1;
            assert!(turns < 20_000, "seed {seed} hangs");
            w.dial = if random.below(3) == 0 { Dial::Refuse } else { Dial::Accept };
            match random.below(6) {
                0 => w.takes(c, 0),
                1 => w.takes(c, random.below(300) as usize),
                2 => w.takes_all(c),
                3 => w.pass_ms(random.below(400)),
                _ => source.step(&mut w),
            }
        }
        w.takes_all(c);
        let (body, last) = w.body(c);
        // A comment is forwarded at once, so one in front of a cut comes twice; and a CR ends a block, so that its LF
        // may be lost in a cut, or come behind a heartbeat.
        let events = |text: &str| {
            let text = text.replace("\r\n", "\n").replace('\r', "\n");
            without_heartbeats(&text).replace(": ping\n", "").replace("\n\n\n", "\n\n")
        };
        assert_eq!(events(&body), events(&source.all()), "seed {seed}");
        assert_eq!((last, w.state(c)), if old { (false, State::Shut) } else { (true, State::Open) }, "seed {seed}");
    }
}

#[test]
fn garbage_is_no_panic_and_leaves_nothing() {
    const WORDS: [&str; 24] = [
        GET,
        GET_STREAM,
        POST,
        OK,
        STREAM,
        STREAM_UNTIL_CLOSE,
        LAST,
        "\r\n",
        "\n\n",
        "5\r\nhello\r\n",
        "id: 1\n",
        "data: x\n\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 204 No\r\n\r\n",
        "HTTP/1.1 503 X\r\nRetry-After: 1\r\n\r\n",
        "HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n",
        "\u{feff}",
        "retry: 1\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "d\r\nid: 7\ndata: 7\n\n\r\n",
    ];
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let mut w = world_with(|r, l| {
            l.connections = 12;
            l.streams = 4;
            l.log_budget = 10_000;
            r.replay_bytes = 2048;
            r.max_event_bytes = 60;
            r.upstream_idle = (seed % 2 == 0).then_some(Span::from_secs(9));
            r.heal_for = Span::from_secs(seed % 30);
        });
        for step in 0..300 {
            w.what = format!("seed {seed}, step {step}");
            w.dial = [Dial::Accept, Dial::Accept, Dial::Refuse, Dial::Hang][random.below(4) as usize];
            let end = random.below(w.ends.len().max(1) as u64 + 1) as usize;
            if end >= w.ends.len() || !w.is_live(end) {
                w.client();
                continue;
            }
            match random.below(16) {
                0 => w.fin(end),
                1 => w.rst(end),
                2 | 3 => w.takes(end, random.below(60) as usize),
                4 => w.takes_all(end),
                5 => w.pass_ms(random.below(3_000)),
                6 if random.below(4) == 0 => w.pass_secs(random.below(70)),
                _ => w.say(end, WORDS[random.below(WORDS.len() as u64) as usize]),
            }
            assert!(w.machine.connections() <= 12 && w.machine.exchanges() <= 4);
        }
        if seed % 3 == 0 {
            w.drain();
        }
    }
}
