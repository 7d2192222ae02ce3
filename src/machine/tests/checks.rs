//! Checks of upstreams: when they are made, what they say, and what follows from them.

use super::*;
use crate::base::Tick;
use crate::config::{HostSent, Weighted};
use crate::machine::tests::upstreams::{GOOD_HEAD, to};
use crate::testing::world::Said;

const SERVED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
const BAD: &str = "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n";

/// A world whose route has these upstreams, checked each second.
fn checked(urls: &[&str], adjust: impl FnOnce(&mut Route)) -> Checks {
    let config = to(urls, |route| {
        route.set.health = Some("/up?k".to_owned());
        route.set.health_every = Span::from_secs(1);
        adjust(route);
    });
    Checks { w: world_of(config), answers: [GOOD_HEAD; 3].map(str::to_owned), seen: 0 }
}

/// A world whose upstreams answer checks. Requests of clients are left to the test.
struct Checks {
    w: World,
    /// What each upstream answers to a check; empty: nothing.
    answers: [String; 3],
    seen: usize,
}

impl Checks {
    fn pass_ms(&mut self, ms: u64) {
        for _ in 0..ms / 20 {
            self.w.pass_ms(20);
            self.answer();
        }
    }

    fn pass_secs(&mut self, secs: u64) {
        self.pass_ms(1_000 * secs);
    }

    fn answer(&mut self) {
        while self.seen < self.w.ups.len() {
            let (up, place) = (self.w.up(self.seen), self.w.placed[self.seen]);
            self.seen += 1;
            if self.w.wire(up).starts_with("GET /up?k ") && !self.answers[place].is_empty() {
                let answer = self.answers[place].clone();
                self.w.say(up, &answer);
            }
        }
    }

    /// Connections that were made for checks of this upstream.
    fn made(&self, place: usize) -> Vec<usize> {
        let is_one = |n: &usize| self.w.placed[*n] == place && self.w.wire(self.w.up(*n)).starts_with("GET /up?k ");
        (0..self.w.ups.len()).filter(is_one).collect()
    }

    /// Where so many requests of clients go.
    fn ask(&mut self, times: usize) -> Vec<usize> {
        self.ask_for(times, |_| SERVED)
    }

    /// The same, with what each upstream answers.
    fn ask_for(&mut self, times: usize, answer: impl Fn(usize) -> &'static str) -> Vec<usize> {
        let one = |c: &mut Self| {
            c.answer();
            let before = c.w.placed.len();
            c.w.client_with(GET);
            c.seen = c.w.ups.len();
            let at = c.w.placed[before];
            c.w.say(c.w.last_up(), answer(at));
            at
        };
        (0..times).map(|_| one(self)).collect()
    }

    fn says(&self, what: &str) -> usize {
        self.w.notices.iter().filter(|n| n.to_string().contains(what)).count()
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.w.drain();
        }
    }
}

#[test]
fn each_upstream_is_asked_on_a_connection_of_its_own_and_not_all_at_once() {
    let mut c = checked(&["http://a:1", "http://b:1", "http://c:1"], |_| {});
    c.pass_secs(10);
    for place in 0..3 {
        let made = c.made(place);
        assert!((9..=11).contains(&made.len()), "{} checks", made.len());
        let asked = c.w.wire(c.w.up(made[0]));
        let version = env!("CARGO_PKG_VERSION");
        let head =
            format!("GET /up?k HTTP/1.1\r\nHost: {}:1\r\nUser-Agent: segno/{version}\r\n", ["a", "b", "c"][place]);
        assert!(asked.starts_with(&head) && asked.ends_with("\r\nConnection: close\r\n\r\n"), "{asked}");
        let at: Vec<u64> = made.iter().map(|n| c.w.dialled[*n].since(Tick::ZERO).millis()).collect();
        let waits: Vec<u64> = at.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(waits.iter().all(|ms| (880..=1_140).contains(ms)), "{waits:?}");
        assert!(waits.iter().any(|ms| *ms != waits[0]), "a random part: {waits:?}");
    }
    let firsts: std::collections::HashSet<u64> =
        (0..3).map(|p| c.w.dialled[c.made(p)[0]].since(Tick::ZERO).millis()).collect();
    assert_eq!(firsts.len(), 3, "{firsts:?}");
    assert_eq!(c.w.machine.connections(), 0, "each is closed, and none is kept for requests");
    let counted = [Count::ChecksGood, Count::Requests, Count::UpstreamConnects].map(|count| c.w.count(count));
    assert!(counted[0] > 26 && counted[1..] == [0, 0], "{counted:?}");
}

#[test]
fn a_check_carries_the_host_that_requests_carry() {
    for (host, sent, expected) in [
        (Some("own.test"), HostSent::Client, "own.test"),
        (Some("own.test"), HostSent::Upstream, "a:1"),
        (None, HostSent::Client, "a:1"),
    ] {
        let mut c = checked(&["http://a:1"], |r| (r.host, r.upstream_host) = (host.map(str::to_owned), sent));
        c.pass_secs(2);
        let asked = c.w.wire(c.w.up(0));
        assert!(asked.contains(&format!("\r\nHost: {expected}\r\n")), "{asked}");
    }
}

#[test]
fn bad_checks_in_a_row_leave_an_upstream_out_until_enough_are_good() {
    let mut c = checked(&["http://a:1", "http://b:1"], |r| r.set.slow_start = Span::ZERO);
    c.pass_secs(2);
    c.answers[0] = BAD.to_owned();
    let before = c.made(0).len();
    while c.says("a:1 fails") == 0 {
        c.pass_ms(20);
    }
    assert_eq!(c.made(0).len() - before, 3);
    assert_eq!(c.says("a:1 fails (check of /up?...: it answered 500); the other upstreams get its new requests until its checks are good again"), 1, "{:?}", c.w.notices);
    assert_eq!(c.ask(6), [1; 6]);
    // No time brings it back.
    c.pass_secs(400);
    assert_eq!((c.ask(2), c.says("a:1 fails")), (vec![1; 2], 1));
    c.answers[0] = GOOD_HEAD.to_owned();
    let before = c.made(0).len();
    while c.says("a:1 gets new requests again") == 0 {
        c.pass_ms(20);
    }
    assert_eq!(c.made(0).len() - before, 2);
    assert_eq!(c.ask(6).iter().filter(|at| **at == 0).count(), 3);
    assert_eq!(c.w.count(Count::UpstreamEjections), 1);
}

#[test]
fn an_odd_bad_check_changes_nothing() {
    let mut c = checked(&["http://a:1", "http://b:1"], |_| {});
    for n in 0..30 {
        c.answers[0] = if n % 3 < 2 { BAD } else { GOOD_HEAD }.to_owned();
        let before = c.made(0).len();
        while c.made(0).len() == before {
            c.pass_ms(20);
        }
    }
    assert_eq!((c.says("fails"), c.w.count(Count::ChecksBad)), (0, 20));
}

#[test]
fn good_checks_bring_one_back_early_that_failed_requests_and_it_begins_with_a_small_share() {
    let mut c = checked(&["http://a:1", "http://b:1"], |r| r.set.eject_for = Span::from_secs(60));
    c.pass_secs(5);
    c.w.dial_at.insert(0, Dial::Refuse);
    c.w.pass_ms(0);
    for _ in 0..8 {
        c.w.client_with(GET);
        c.seen = c.w.ups.len();
        c.w.say(c.w.last_up(), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    }
    assert_eq!(c.says("a:1 fails"), 1);
    c.w.dial_at.clear();
    // Good checks before the failure do not count.
    c.pass_ms(900);
    assert_eq!(c.says("gets new requests again"), 0);
    c.pass_ms(1_600);
    assert_eq!(c.says("a:1 gets new requests again"), 1, "{:?}", c.w.notices);
    let share = c.ask(40).iter().filter(|at| **at == 0).count();
    assert!(share < 10, "{share}");
}

/// A check that passes says nothing of what fails: the path of the check is another one.
#[test]
fn good_checks_do_not_bring_one_back_early_that_answered_badly_so_its_time_doubles() {
    const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let mut c = checked(&["http://a:1", "http://b:1"], |r| r.set.slow_start = Span::ZERO);
    c.pass_secs(3);
    for (nth, secs) in [10, 20, 40].into_iter().enumerate() {
        while c.says("a:1 fails (it answered 503)") == nth {
            c.ask_for(1, |at| if at == 0 { BUSY } else { SERVED });
        }
        let since = c.w.now;
        assert_eq!(c.says(&format!("new requests for {secs} s")), 1, "{:?}", c.w.notices);
        while c.says("a:1 gets new requests again") == nth {
            c.pass_ms(100);
            assert!(c.w.now.since(since) < Span::from_secs(secs + 2), "it never comes back");
        }
        assert!(c.w.now.since(since) >= Span::from_secs(secs), "back after {:?} of {secs} s", c.w.now.since(since));
    }
}

#[test]
fn one_that_failed_requests_and_then_its_checks_waits_for_both() {
    const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let fail = |c: &mut Checks| {
        while c.says("a:1 fails (it answered 503)") == 0 {
            c.ask_for(1, |at| if at == 0 { BUSY } else { SERVED });
        }
    };
    // Its checks are good again before its time is over, or only after.
    for (bad, back) in [(5, 10), (25, 25)] {
        let mut c = checked(&["http://a:1", "http://b:1"], |_| {});
        c.pass_secs(3);
        fail(&mut c);
        let since = c.w.now;
        c.answers[0] = BAD.to_owned();
        c.pass_secs(bad);
        c.answers[0] = GOOD_HEAD.to_owned();
        while c.says("a:1 gets new requests again") == 0 {
            c.pass_ms(100);
        }
        let after = c.w.now.since(since).millis() / 1_000;
        assert!((back..back + 4).contains(&after), "bad checks for {bad} s: back after {after} s");
        assert_eq!(c.w.count(Count::UpstreamEjections), 1);
    }
}

#[test]
fn one_whose_checks_cannot_be_made_any_more_comes_back_by_time() {
    let config = |connections| {
        let mut config = to(&["http://a:1", "http://b:1"], |r| {
            r.set.health = Some("/up?k".to_owned());
            r.set.health_every = Span::from_secs(1);
        });
        config.limits.connections = connections;
        config
    };
    let mut c = Checks { w: world_of(config(4)), answers: [GOOD_HEAD; 3].map(str::to_owned), seen: 0 };
    c.answers[0] = BAD.to_owned();
    c.pass_secs(5);
    assert_eq!(c.says("a:1 fails"), 1);
    c.pass_secs(30);
    assert_eq!(c.says("a:1 gets new requests again"), 0, "its checks say that it fails");
    // All connections are taken.
    let clients: Vec<usize> = (0..4).map(|_| c.w.client()).collect();
    let skipped = c.w.count(Count::ChecksSkipped);
    c.pass_secs(2);
    assert_eq!(c.says("a:1 gets new requests again"), 0, "an odd check that is skipped changes nothing");
    c.pass_secs(4);
    assert!(c.w.count(Count::ChecksSkipped) > skipped + 3);
    assert_eq!(c.says("a:1 gets new requests again"), 1, "{:?}", c.w.notices);
    assert_eq!(c.w.count(Count::ReturnsUnchecked), 1);
    // Its next checks put it out again.
    clients.into_iter().for_each(|client| c.w.rst(client));
    c.pass_secs(6);
    assert_eq!((c.says("a:1 fails"), c.says("a:1 gets new requests again")), (2, 1));
}

#[test]
fn each_way_to_fail_is_a_bad_check_and_says_why() {
    let cut = "it closed the connection without an answer";
    for (answer, why) in [
        ("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", "it answered 404"),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\n\r\n", "it answered 503"),
        ("SSH-2.0-x\r\n\r\n", "it broke HTTP: "),
        ("", "it did not answer within `health_timeout`"),
        ("HTTP/1.1 200 OK\r\nSlow: ", "it did not answer within `health_timeout`"),
    ] {
        let mut c = checked(&["http://a:1", "http://b:1"], |r| r.set.health_fall = 1);
        c.answers[0] = answer.to_owned();
        c.pass_secs(8);
        assert_eq!(c.says(&format!("a:1 fails (check of /up?...: {why}")), 1, "{answer}: {:?}", c.w.notices);
    }
    for (said, dial, why) in [
        (Some(Said::Eof), Dial::Accept, cut),
        (Some(Said::Reset), Dial::Accept, cut),
        (None, Dial::Refuse, "connection refused"),
        (None, Dial::Wrong, "its TLS certificate is not accepted"),
        (None, Dial::Hang, "timed out"),
    ] {
        let mut c = checked(&["http://a:1", "http://b:1"], |r| r.set.health_fall = 1);
        c.w.dial_at.insert(0, dial);
        c.answers[0] = String::new();
        c.pass_secs(1);
        if let Some(said) = said {
            let up = c.w.up(c.made(0)[0]);
            c.w.hear(up, said);
        }
        c.pass_secs(6);
        assert_eq!(c.says(&format!("a:1 fails (check of /up?...: {why})")), 1, "{why}: {:?}", c.w.notices);
    }
}

#[test]
fn a_named_status_is_the_only_good_one() {
    let mut c = checked(&["http://a:1", "http://b:1"], |r| (r.set.health_status, r.set.health_fall) = (Some(204), 1));
    c.answers = ["204 Empty", "200 OK", ""].map(|line| format!("HTTP/1.1 {line}\r\n\r\n"));
    c.pass_secs(2);
    assert_eq!((c.says("a:1 fails"), c.says("b:1 fails (check of /up?...: it answered 200)")), (0, 1));
}

#[test]
fn bad_checks_leave_out_no_more_than_their_share_and_where_all_are_out_all_are_tried() {
    let mut c = checked(&["http://a:1", "http://b:1", "http://c:1"], |r| r.set.eject_share = 67);
    c.answers = [BAD; 3].map(str::to_owned);
    c.pass_secs(6);
    assert_eq!((c.says(" fails (check"), c.says("checks of upstream")), (2, 1), "{:?}", c.w.notices);
    let kept = (0..3).find(|at| c.says(&format!("{}:1 fails", ["a", "b", "c"][*at])) == 0).unwrap();
    assert_eq!(c.ask(4), [kept; 4]);
    // Those that cannot be reached may all be left out.
    c.w.dial = Dial::Refuse;
    c.pass_secs(6);
    c.w.dial = Dial::Accept;
    c.answers = [String::new(), String::new(), String::new()];
    let at = c.ask(3);
    assert!((0..3).all(|place| at.contains(&place)), "{at:?}");
}

#[test]
fn the_only_upstream_of_a_route_is_told_of_and_used_on() {
    let mut c = checked(&["http://a:1"], |_| {});
    c.answers[0] = BAD.to_owned();
    c.pass_secs(6);
    assert_eq!((c.says("checks of upstream a:1 fail (check of /up?...: it answered 500)"), c.says(":1 fails")), (1, 0));
    assert_eq!(c.ask(3), [0; 3]);
    c.answers[0] = GOOD_HEAD.to_owned();
    c.pass_secs(4);
    assert_eq!((c.says("are good again"), c.w.count(Count::UpstreamEjections)), (1, 0));
}

#[test]
fn where_no_connection_is_free_a_check_is_skipped_and_says_nothing() {
    let mut config = to(&["http://a:1", "http://b:1"], |r| {
        (r.set.health, r.set.health_fall) = (Some("/up?k".to_owned()), 1);
        r.set.health_every = Span::from_secs(1);
    });
    config.limits.connections = 1;
    let mut w = world_of(config);
    w.client();
    w.pass_secs(4);
    assert!(w.count(Count::ChecksSkipped) >= 6 && w.ups.is_empty());
    assert!(!w.has_notice("fail"), "{:?}", w.notices);
    w.drain();
}

#[test]
fn a_reload_adds_changes_and_drops_checks_and_what_is_out_stays_out_until_its_checks_are_good() {
    let urls = ["http://a:1", "http://b:1"];
    let with = |path: Option<&str>| {
        to(&urls, |r| {
            (r.set.health, r.set.health_every) = (path.map(str::to_owned), Span::from_secs(1));
            r.set.slow_start = Span::ZERO;
        })
    };
    let mut c = checked(&urls, |r| r.set.slow_start = Span::ZERO);
    c.w.reload(with(None));
    c.pass_secs(4);
    assert_eq!(c.w.ups.len(), 0, "none is made any more");
    c.w.reload(with(Some("/up?k")));
    let places: Vec<usize> = c.w.reloaded[1].as_ref().unwrap().to_vec();
    c.answers[places[0]] = BAD.to_owned();
    c.pass_secs(5);
    assert_eq!(c.says("a:1 fails"), 1);
    c.pass_secs(30);
    // Another setting: the same upstream, at a place of its own.
    let mut changed = with(Some("/up?k"));
    changed.routes = vec![Route { window: 9, ..changed.routes[0].clone() }].into();
    c.answers[places[0]] = String::new();
    c.pass_secs(1);
    c.w.reload(changed);
    let places: Vec<usize> = c.w.reloaded[2].as_ref().unwrap().to_vec();
    assert_eq!(c.ask(4), [places[1]; 4], "it is still out");
    c.answers = [GOOD_HEAD; 3].map(str::to_owned);
    c.pass_secs(4);
    assert_eq!(c.says("a:1 gets new requests again"), 1);
    assert!(c.ask(4).contains(&places[0]));
    // One that is out when its checks end comes back by time.
    c.answers[places[0]] = BAD.to_owned();
    c.pass_secs(5);
    c.w.reload(with(None));
    let places: Vec<usize> = c.w.reloaded[3].as_ref().unwrap().to_vec();
    c.w.pass_secs(30);
    assert!(c.ask(4).contains(&places[0]));
}

#[test]
fn a_drain_ends_checks_and_waits_for_none() {
    let mut c = checked(&["http://a:1", "http://b:1"], |_| {});
    c.answers = [String::new(), String::new(), String::new()];
    c.pass_ms(1_500);
    assert_eq!(c.w.machine.connections(), 2);
    c.w.drain();
    assert_eq!(c.w.machine.connections(), 0);
    let before = c.w.ups.len();
    c.w.pass_secs(30);
    assert_eq!(c.w.ups.len(), before);
    c.w.reload(to(&["http://a:1"], |r| r.set.health = Some("/up?k".to_owned())));
    c.w.pass_secs(30);
    assert_eq!(c.w.ups.len(), before);
}

#[test]
fn a_check_counts_for_no_upstream_as_a_request_where_the_fewest_decide() {
    let mut c = checked(&["http://a:1", "http://b:1"], |r| r.set.balance = crate::config::Balance::LeastStreams);
    c.answers = [String::new(), String::new(), String::new()];
    let at: Vec<usize> = (0..20)
        .map(|_| {
            c.pass_ms(300);
            let before = c.w.placed.len();
            c.w.client_with(GET_STREAM);
            c.w.placed[before]
        })
        .collect();
    assert!(at.windows(2).all(|two| two[0] != two[1]), "{at:?}");
}

#[test]
fn a_hundred_upstreams_are_not_checked_at_once() {
    let urls: Vec<String> = (0..50).map(|n| format!("http://h{n}:1")).collect();
    let all = urls.iter().map(|url| Weighted::parse(url).unwrap()).collect();
    let mut config = to(&["http://a:1"], |_| {});
    let mut route = config.routes[0].clone().with_upstreams(all);
    route.set.health = Some("/".to_owned());
    let other = Route { name: "other".to_owned(), path: "/other".to_owned(), ..route.clone() };
    config.routes = vec![route, other].into();
    let mut w = world_of(config);
    let mut most = 0;
    for _ in 0..100 {
        let before = w.ups.len();
        w.pass_ms(100);
        most = most.max(w.ups.len() - before);
    }
    assert!(w.ups.len() >= 100 && most <= 8, "{} checks, {most} at once", w.ups.len());
    w.drain();
}
