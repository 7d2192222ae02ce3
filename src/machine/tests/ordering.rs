//! Calls by chance whose clients give up and try again, as SDKs do: upstream executes each call once, and each client
//! gets its whole answer in the end.
//!
//! Law: one seed replays a run. A run on a route that knows no orders shows that the oracle can see a second execution.

use super::*;
use crate::base::Random;

/// Users, and calls of each. All users say the same.
const USERS: usize = 2;
const CALLS: usize = 4;

struct Call {
    user: usize,
    n: usize,
    keyed: bool,
    /// Tries so far, the last one of which the client reads.
    tries: Vec<usize>,
    is_over: bool,
}

impl Call {
    fn name(&self) -> String {
        format!("{}/{}", self.user, self.n)
    }

    fn request(&self) -> String {
        let (user, tried, body) = (self.user, self.tries.len(), format!("call {}", self.n));
        let key = if self.keyed { format!("Idempotency-Key: {}\r\n", self.n) } else { String::new() };
        let length = body.len();
        format!(
            "POST /v1/chat HTTP/1.1\r\nHost: h\r\nAuthorization: {user}\r\nX-Stainless-Retry-Count: {tried}\r\n{key}\
             Content-Length: {length}\r\n\r\n{body}"
        )
    }

    fn is_stream(&self) -> bool {
        !self.n.is_multiple_of(3)
    }

    fn answer(&self) -> String {
        let name = self.name();
        match self.is_stream() {
            true => (0..10).map(|event| format!("data: {name} {event}\n\n")).collect(),
            false => format!("answer to {name}"),
        }
    }

    /// The answer as upstream sends it.
    fn script(&self) -> String {
        let answer = self.answer();
        match self.is_stream() {
            true => format!("{STREAM}{}{LAST}", answer.split_inclusive("\n\n").map(chunk).collect::<String>()),
            false => {
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{answer}", answer.len())
            }
        }
    }

    fn has_all(&self, w: &World) -> bool {
        let Some(last) = self.tries.last() else { return false };
        let (body, ended) = w.body(*last);
        w.status(*last) == 200 && body == self.answer() && (ended || !self.is_stream())
    }
}

struct Run {
    w: World,
    random: Random,
    calls: Vec<Call>,
    /// What upstream has still to say on each of its connections.
    scripts: HashMap<usize, Vec<u8>>,
    executed: HashMap<String, usize>,
}

impl Run {
    fn new(seed: u64, idempotent: bool) -> Self {
        let w = lingering_world(|route, _| {
            route.idempotent = idempotent;
            route.linger_post = Span::from_secs(35);
        });
        let mut random = Random::new(seed);
        let each = (0..USERS).flat_map(|user| (0..CALLS).map(move |n| (user, n)));
        let calls = each
            .map(|(user, n)| Call { user, n, keyed: random.below(2) == 0, tries: Vec::new(), is_over: false })
            .collect();
        Self { w, random, calls, scripts: HashMap::new(), executed: HashMap::new() }
    }

    /// Plays until all calls are over, and returns the most that one of them was executed.
    fn play(mut self, seed: u64) -> usize {
        for turn in 0.. {
            assert!(turn < 20_000, "seed {seed} hangs");
            if self.calls.iter().all(|call| call.is_over) {
                break;
            }
            match self.random.below(5) {
                0 | 1 => self.client(),
                2 | 3 => self.upstream(),
                _ => {
                    let millis = self.random.below(400);
                    self.w.pass_ms(millis);
                }
            }
        }
        self.executed.values().copied().max().unwrap_or(0)
    }

    /// One step of a client: its first try, or it gives up and tries again, or it has all.
    fn client(&mut self) {
        let n = self.random.below(self.calls.len() as u64) as usize;
        let (gives_up, how, tells) = (self.random.below(3) == 0, self.random.below(2), self.random.below(4) > 0);
        let Self { w, calls, .. } = self;
        let call = &mut calls[n];
        call.is_over |= call.has_all(w);
        let Some(last) = call.tries.last().copied() else {
            call.tries.push(w.client_with(&call.request()));
            return;
        };
        // What has begun as an ordinary answer goes to this try alone.
        let may_give_up = call.is_stream() || w.wire(last).is_empty() || w.state(last) != State::Open;
        if call.is_over || !may_give_up || !gives_up || call.tries.len() > 12 && w.state(last) == State::Open {
            return;
        }
        // With a key, the client may try again although its last try is still there.
        if tells || !call.keyed {
            match how {
                0 => w.fin(last),
                _ => w.rst(last),
            }
        }
        call.tries.push(w.client_with(&call.request()));
    }

    /// One step of upstream: it says a part of an answer.
    fn upstream(&mut self) {
        let n = self.random.below(self.w.ups.len().max(1) as u64) as usize;
        let Some(u) = self.w.ups.get(n).copied().filter(|u| self.w.is_live(*u)) else { return };
        let wire = self.w.wire(u);
        if !self.scripts.contains_key(&u) {
            let Some((head, body)) = wire.split_once("\r\n\r\n") else { return };
            let is_it = |call: &&Call| {
                let user = format!("Authorization: {}\r\n", call.user);
                head.contains(&user) && body == format!("call {}", call.n)
            };
            let Some(call) = self.calls.iter().find(is_it) else { return };
            *self.executed.entry(call.name()).or_default() += 1;
            self.scripts.insert(u, call.script().into_bytes());
        }
        let Some(script) = self.scripts.get_mut(&u) else { return };
        let part: Vec<u8> = script.drain(..script.len().min(1 + self.random.below(60) as usize)).collect();
        let is_all = script.is_empty();
        self.w.say_bytes(u, &part);
        if is_all {
            self.w.fin(u);
        }
    }
}

#[test]
fn whoever_gives_up_and_tries_again_each_call_is_executed_once() {
    for seed in 0..200 {
        assert_eq!(Run::new(seed, true).play(seed), 1, "seed {seed}");
    }
}

#[test]
fn without_orders_the_same_clients_have_calls_executed_again() {
    assert!((0..20).any(|seed| Run::new(seed, false).play(seed) > 1), "the oracle sees nothing");
}
