//! One timer a connection, one an exchange, one the queue of an upstream, one for all sessions, one for all marks: what
//! takes too long.
//!
//! In: the time. Out: at or after a deadline, what is due is done.
//! Laws: a timer that fired is set again to a later time, or not at all; one input fires a bounded number of timers, so
//! that a crowd whose time is over at once does not keep streams waiting. While more are due, the next deadline is now.

use crate::base::Count;
use crate::machine::Machine;
use crate::machine::conn::{ClientState, Peer, UpstreamState};
use crate::machine::deadlines::Deadlines;
use crate::machine::exchange::Phase;
use crate::machine::io::Close;
use crate::machine::keys::{ConnKey, ExchangeKey, Seat, Timer};
use crate::machine::notice::Notice;

/// Timers that fire by one input.
const TIMERS: usize = 16;

impl Machine {
    /// Each timer is a reaction of its own. The work that it leaves is done before the next timer is looked at.
    pub(in crate::machine) fn on_time(&mut self) {
        for _ in 0..TIMERS {
            let Some(timer) = self.cx.wheel.poll(self.cx.now) else { return };
            match timer {
                Timer::Conn(conn) => self.on_conn_timer(conn),
                Timer::Exchange(key) => self.on_exchange_timer(key),
                Timer::Queue(place) => {
                    self.cx.queues.at(place).alarm.fired();
                    self.serve(place);
                }
                Timer::Upstream(place) => self.on_upstream_timer(place),
                Timer::Marks => self.book.ask_marks(&mut self.cx, &mut self.exchanges),
                Timer::Drain => self.on_drain_timer(),
                Timer::Sessions => {
                    let gone = self.book.on_timer(&mut self.cx, &mut self.exchanges);
                    gone.into_iter().for_each(|key| self.drop_exchange(key));
                    self.book.arm(&mut self.cx);
                }
            }
            self.finish();
        }
    }

    fn on_conn_timer(&mut self, conn: ConnKey) {
        let Self { cx, conns, .. } = self;
        let Some(c) = conns.get_mut(conn) else { return };
        c.timer = None;
        let deadline = c.deadline;
        if deadline > cx.now {
            return conns.set_deadline(cx, conn, deadline);
        }
        match &c.peer {
            Peer::Upstream(u) => match u.state {
                UpstreamState::Connecting | UpstreamState::Checked => self.on_connect_timeout(conn),
                UpstreamState::Idle => conns.drop_idle(cx, conn),
                UpstreamState::Head | UpstreamState::Body | UpstreamState::Tunnel => {}
            },
            Peer::Check(_) => self.on_check_timeout(conn),
            Peer::Client(client) => match client.state {
                ClientState::Head if client.is_held => {
                    conns.census.wait_no_more(conn);
                    self.read_head(conn);
                }
                ClientState::Head if c.input.is_empty() => conns.close(cx, conn, Close::Finish),
                ClientState::Head => {
                    cx.counts.one(Count::OverHeadTimeout);
                    self.conns.refuse(&mut self.cx, conn, 408, "the request's head did not arrive in time")
                }
                ClientState::Busy => self.on_body_timeout(conn),
                ClientState::Tunnel => {}
                ClientState::Closing => conns.close(cx, conn, Close::Cut),
                ClientState::HalfClosed => conns.close(cx, conn, Close::Finish),
            },
        }
    }

    fn on_exchange_timer(&mut self, key: ExchangeKey) {
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        x.alarm.fired();
        let d = Deadlines::of(x, cx.route(x.route()));
        let now = cx.now;
        if d.linger <= now {
            self.let_go(key);
        } else if d.give_up <= now && d.attempt > now {
            // `heal_for`, or the time for an answer, is over.
            match x.phase {
                _ if x.search().is_some() => self.give_up_search(key),
                Phase::Following { .. } => self.break_follow(key, "the store could not be asked for too long"),
                Phase::Asked { .. } => self.give_up(key, 504, "upstream did not answer in time"),
                _ => self.give_up(key, 502, "upstream could not be reached in time"),
            }
        } else if d.stalled <= now {
            self.cut_blocked(key);
        } else if d.upstream_silent <= now {
            self.on_upstream_silent(key);
        } else {
            if d.hold <= now {
                self.open_early(key);
            }
            let Self { cx, conns, exchanges, .. } = self;
            if d.heartbeat <= now
                && let Some(x) = exchanges.get_mut(key)
            {
                x.heartbeat(cx, conns, key);
            }
            if d.attempt <= now {
                match self.exchanges.get(key).map(|x| (x.phase, x.search())) {
                    Some((Phase::Parting { .. }, _)) => self.part_some(key),
                    Some((_, Some(search))) => self.on_search_due(key, search),
                    _ => self.on_attempt_due(key),
                }
            }
        }
        self.arm(key);
    }

    /// Cuts the readers whose sockets have been full for longer than `body_timeout`.
    fn cut_blocked(&mut self, key: ExchangeKey) {
        let Self { cx, exchanges, .. } = self;
        let Some(x) = exchanges.get(key) else { return };
        let (limit, now) = (cx.route(x.route()).body_timeout, cx.now);
        let blocked = x.readers().iter().filter(|(_, r)| r.blocked && r.last_sent + limit <= now);
        let blocked: Vec<(Seat, ConnKey)> = blocked.map(|(seat, reader)| (seat, reader.client)).collect();
        for (seat, client) in blocked {
            let Some(x) = self.exchanges.get(key) else { return };
            self.cx.counts.one_at(x.route(), Count::ClientsStalled);
            let why = "the client took nothing for too long".into();
            self.cx.notice(Notice::NotHealed { target: x.target(), why });
            self.on_reader_left(key, seat);
            self.conns.close(&mut self.cx, client, Close::Reset);
        }
        if let Some(x) = self.exchanges.get_mut(key) {
            x.readers_mut().look_who_is_blocked();
        }
    }
}
