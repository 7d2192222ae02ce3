//! Checks of upstreams: a request of segno's own, from time to time, to see whether an upstream works.
//!
//! In: the time, what the connections of checks say. Out: connections and requests of checks; upstreams that are left
//! out, or back.
//! Laws: an upstream is checked by at most one request at a time, and each wait has a random part, so that many are not
//! checked at once; a check travels on a connection of its own, never on a pooled one, and counts as no client's; what
//! is wrong on this side says nothing of an upstream; a drain ends all checks.

use crate::base::{Count, Span, Tick};
use crate::config::Route;
use crate::http::{self, Method};
use crate::machine::Machine;
use crate::machine::balancing::{Failure, Found};
use crate::machine::conn::{Check, Conn, Peer};
use crate::machine::cx::Cx;
use crate::machine::flow::several::{arm, left_out};
use crate::machine::io::{Close, Output};
use crate::machine::keys::ConnKey;
use crate::machine::notice::{ConnectError, Notice, target};

/// When upstreams are checked.
impl Machine {
    /// Plans the first check of each upstream that is to be checked and has none planned, and checks no others.
    pub(in crate::machine) fn plan_checks(&mut self) {
        let mut is_current = vec![false; self.cx.routing.all().len()];
        self.cx.routing.current().iter().for_each(|place| is_current[*place] = true);
        for (place, is_current) in is_current.into_iter().enumerate() {
            let Self { cx, .. } = self;
            if is_current {
                cx.balancing.tell(place);
            }
            let set = &cx.routing.at(place).set;
            if set.health.is_none() || !is_current || cx.draining {
                self.stop_checks(place);
                continue;
            }
            let checked = &mut cx.balancing.at(place).checked;
            if checked.at == Tick::NEVER && checked.conn.is_none() {
                checked.at = cx.now + Span::from_micros(cx.random.below(set.health_every.micros().max(1)));
                arm(cx, place);
            }
        }
    }

    /// Ends the check of an upstream that is under way, and plans none.
    pub(super) fn pause_checks(&mut self, place: usize) {
        let Self { cx, conns, .. } = self;
        let checked = &mut cx.balancing.at(place).checked;
        checked.at = Tick::NEVER;
        if let Some(conn) = checked.conn.take() {
            conns.close(cx, conn, Close::Finish);
        }
    }

    /// An upstream is not checked any more. If it was left out, it comes back when its time is over.
    pub(super) fn stop_checks(&mut self, place: usize) {
        self.pause_checks(place);
        let was_down = std::mem::take(&mut self.cx.balancing.at(place).checked).is_down;
        if was_down && !self.cx.balancing.at(place).is_ejected() {
            self.cx.balancing.stand(place, None);
        }
        arm(&mut self.cx, place);
    }

    /// No upstream is checked any more.
    pub(super) fn stop_all_checks(&mut self) {
        (0..self.cx.routing.all().len()).for_each(|place| self.stop_checks(place));
    }

    /// The time of a check has come.
    pub(super) fn begin_check(&mut self, place: usize) {
        let Self { cx, conns, .. } = self;
        cx.balancing.at(place).checked.at = Tick::NEVER;
        let check = Check { route: place as u32, is_asked: false };
        let Some(conn) = conns.insert(Conn::new(Peer::Check(check))) else { return self.skip_check(place) };
        cx.balancing.at(place).checked.conn = Some(conn);
        cx.outputs.push_back(Output::Connect { conn, route: place });
        let until = cx.now + cx.route(place).set.health_timeout;
        conns.set_deadline(cx, conn, until);
    }

    /// A check has ended: the next one comes after the usual time, give or take a tenth.
    fn plan_next_check(&mut self, place: usize) {
        let Self { cx, .. } = self;
        let every = cx.route(place).set.health_every.micros();
        let next = cx.now + Span::from_micros(every - every / 10 + cx.random.below(every / 5 + 1));
        let checked = &mut cx.balancing.at(place).checked;
        (checked.conn, checked.at) = (None, next);
        arm(cx, place);
    }

    /// A check could not be made, which says nothing of the upstream. One that earlier checks have left out is not kept
    /// out for good by that.
    fn skip_check(&mut self, place: usize) {
        let Self { cx, .. } = self;
        cx.counts.one_at(place, Count::ChecksSkipped);
        cx.balancing.at(place).checked.skip(&cx.routing.at(place).set);
        self.plan_next_check(place);
    }
}

/// What becomes of a check.
impl Machine {
    pub(super) fn on_check_connected(&mut self, conn: ConnKey) {
        let Self { cx, conns, .. } = self;
        let Some(c) = conns.get_mut(conn) else { return };
        let Peer::Check(check) = &mut c.peer else { return };
        check.is_asked = true;
        let head = request(cx.routing.at(check.route as usize));
        c.out.push(head.as_bytes());
        conns.flush(cx, conn);
        conns.read_again(cx, conn);
    }

    /// The connection of a check could not be opened, and is gone.
    pub(super) fn on_check_unconnected(&mut self, place: usize, why: ConnectError) {
        match why {
            ConnectError::NoDescriptor | ConnectError::Local => self.skip_check(place),
            _ => self.check_failed(place, Failure::Connect, &why.to_string()),
        }
    }

    pub(super) fn on_check_data(&mut self, conn: ConnKey, bytes: &[u8]) {
        let limits = self.cx.answer_head();
        let Some(c) = self.conns.get_mut(conn) else { return };
        c.input.push(bytes);
        loop {
            let Some(c) = self.conns.get_mut(conn) else { return };
            let Some(found) = c.find_head() else {
                if let Err(e) = limits.check_unfinished(&c.input) {
                    self.end_check(conn, Failure::NoAnswer, &format!("it broke HTTP: {e}"));
                }
                return;
            };
            match http::parse_response(&c.input[found.clone()], &Method::Get, limits) {
                Ok(head) if head.is_interim() => c.consume_input(found.end),
                Ok(head) => return self.on_check_answered(conn, head.status),
                Err(e) => return self.end_check(conn, Failure::NoAnswer, &format!("it broke HTTP: {e}")),
            }
        }
    }

    fn on_check_answered(&mut self, conn: ConnKey, status: u16) {
        let Some(check) = self.conns.get(conn).and_then(Conn::check) else { return };
        let place = check.route as usize;
        if !self.cx.route(place).set.is_healthy(status) {
            return self.end_check(conn, Failure::Status, &format!("it answered {status}"));
        }
        self.conns.close(&mut self.cx, conn, Close::Finish);
        self.check_passed(place);
    }

    /// The connection has ended, with a reset or without.
    pub(super) fn on_check_end(&mut self, conn: ConnKey) {
        self.end_check(conn, Failure::NoAnswer, "it closed the connection without an answer");
    }

    pub(super) fn on_check_timeout(&mut self, conn: ConnKey) {
        let was_asked = self.conns.get(conn).and_then(Conn::check).is_some_and(|check| check.is_asked);
        match was_asked {
            true => self.end_check(conn, Failure::NoAnswer, "it did not answer within `health_timeout`"),
            false => self.end_check(conn, Failure::Connect, &ConnectError::TimedOut.to_string()),
        }
    }

    fn end_check(&mut self, conn: ConnKey, failure: Failure, why: &str) {
        let Some(check) = self.conns.get(conn).and_then(Conn::check) else { return };
        self.conns.close(&mut self.cx, conn, Close::Finish);
        self.check_failed(check.route as usize, failure, why);
    }
}

/// What a check means.
impl Machine {
    fn check_passed(&mut self, place: usize) {
        let Self { cx, .. } = self;
        cx.counts.one_at(place, Count::ChecksGood);
        let set = &cx.routing.at(place).set;
        let found = cx.balancing.at(place).checked.note(true, set);
        let now = cx.now;
        match found {
            Found::Up(_) if cx.balancing.at(place).pass_checks(now) => self.bring_back(place),
            Found::Up(true) if !cx.balancing.at(place).is_ejected() => {
                cx.balancing.stand(place, None);
                cx.notice(Notice::ChecksPass { upstream: name(cx, place) });
            }
            _ => {}
        }
        self.plan_next_check(place);
    }

    fn check_failed(&mut self, place: usize, failure: Failure, why: &str) {
        let Self { cx, .. } = self;
        cx.counts.one_at(place, Count::ChecksBad);
        let route = cx.routing.at(place);
        let path = target(route.set.health.as_deref().unwrap_or_default());
        let why = format!("check of {path}: {why}");
        if let Found::Down(is_news) = cx.balancing.at(place).checked.note(false, &route.set) {
            // One that could not be left out before may be by now.
            if cx.balancing.fail_checks(route, place, failure, cx.now) {
                left_out(cx, place, &why, None);
            } else if is_news && !cx.balancing.at(place).is_ejected() {
                let upstream = name(cx, place);
                cx.balancing.stand(place, Some((cx.now, why.as_str().into())));
                cx.notice(Notice::ChecksFail { upstream, why: why.into() });
            }
        }
        self.plan_next_check(place);
    }
}

fn name(cx: &Cx, place: usize) -> Box<str> {
    cx.route(place).upstream.authority.as_str().into()
}

/// What an upstream is asked.
fn request(route: &Route) -> String {
    let path = route.set.health.as_deref().unwrap_or("/");
    let (host, version) = (route.host_sent(route.host.as_deref()), env!("CARGO_PKG_VERSION"));
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: segno/{version}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
}
