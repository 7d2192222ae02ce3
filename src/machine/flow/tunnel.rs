//! Connections that have gone over to another protocol, such as WebSocket: their bytes pass through as they are.
//!
//! In: a 101 that upstream was asked for, bytes of both sides, their ends. Out: the same bytes at the other side, in
//! order; the same ends.
//! Laws: a side is read no faster than the other takes; an end of one direction leaves the other open; a tunnel has no
//! time limit but that of a client that takes nothing (`body_timeout`), and the system watches both connections; there
//! are at most `tunnels` of them.
//! Source: RFC 9110 sections 7.8 and 15.2.2; RFC 6455 section 4.

use crate::base::{Count, Tick};
use crate::http::{self, HeadError, ResponseFraming, ResponseHead, Version};
use crate::machine::Machine;
use crate::machine::conn::{ClientState, UpstreamState};
use crate::machine::exchange::{Phase, Shut};
use crate::machine::io::{Close, Output};
use crate::machine::keys::{ConnKey, ExchangeKey};
use crate::machine::notice::Notice;

impl Machine {
    /// Upstream goes over to another protocol. What the client has sent since its request is of that protocol.
    pub(super) fn on_switched(&mut self, key: ExchangeKey, conn: ConnKey, head: &ResponseHead) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let offered = x.request.header("Upgrade").and_then(|offered| std::str::from_utf8(offered).ok());
        let was_offered = x.stream().is_none() && offered.is_some_and(|offered| head.switches_to(offered));
        let Some(client) = x.client().filter(|_| was_offered) else {
            return self.malformed(key, &HeadError::SwitchedProtocols.to_string());
        };
        if cx.tunnels >= cx.config.limits.tunnels {
            cx.counts.one(Count::TunnelsRefused);
            cx.notice(Notice::Full { what: "tunnel" });
            return self.refuse_readers(key, "all tunnels are taken; try again later");
        }
        cx.tunnels += 1;
        cx.counts.one(Count::TunnelsOpened);
        cx.end_ask(key, head.status);
        x.phase = Phase::Tunnel { conn, shut: Shut::default() };
        let readers = x.readers_mut();
        (readers.head_sent, readers.last_sent) = (true, cx.now);
        for reader in readers.iter_mut() {
            // A stop must not look like an end of the other side.
            (reader.head_sent, reader.until_close, reader.last_sent) = (true, true, cx.now);
        }
        let protocol =
            String::from_utf8_lossy(&head.headers.tokens("Upgrade").collect::<Vec<_>>().join(&b", "[..])).into_owned();
        let mut sent = Vec::new();
        if let Some(c) = conns.get_mut(client) {
            c.set_client_state(ClientState::Tunnel);
            sent = c.input.take();
            let lines = [("Connection", "Upgrade"), ("Upgrade", protocol.as_str())];
            cx.visits.answer(client, head.status);
            http::write_response(head, ResponseFraming::None, Version::Http11, false, &lines, c.out.end());
        }
        conns.free_stream(cx, client);
        let mut answered = Vec::new();
        if let Some(u) = conns.get_mut(conn) {
            answered = u.input.take();
            if let Some(u) = u.upstream_mut() {
                (u.state, u.keep_alive) = (UpstreamState::Tunnel, false);
            }
        }
        for side in [client, conn] {
            conns.set_deadline(cx, side, Tick::NEVER);
            conns.flush(cx, side);
            conns.read_again(cx, side);
        }
        x.arm(cx, key);
        self.pass_through(client, &sent);
        self.pass_through(conn, &answered);
        self.settle_tunnel(key);
    }

    /// Bytes of one side go to the other.
    pub(super) fn pass_through(&mut self, from: ConnKey, bytes: &[u8]) {
        let Some(to) = self.other_side(from).filter(|_| !bytes.is_empty()) else { return };
        let Self { cx, conns, .. } = self;
        cx.counts.add(Count::TunnelBytes, bytes.len() as u64);
        if let Some(c) = conns.get_mut(to) {
            c.out.push(bytes);
            conns.flush(cx, to);
        }
    }

    /// The connection at the other end of a tunnel.
    fn other_side(&self, conn: ConnKey) -> Option<ConnKey> {
        let c = self.conns.get(conn)?;
        let x = self.exchanges.get(c.exchange?)?;
        match (c.client_state(), x.phase) {
            (Some(_), Phase::Tunnel { conn, .. }) => Some(conn),
            (None, Phase::Tunnel { .. }) => x.client(),
            _ => None,
        }
    }

    /// A side sends nothing more, or its connection broke. A break ends both.
    pub(super) fn on_tunnel_end(&mut self, conn: ConnKey, is_broken: bool) {
        let other = self.other_side(conn);
        let Some(c) = self.conns.get_mut(conn) else { return };
        c.ended = true;
        let Some(key) = c.exchange else { return };
        if !is_broken {
            return self.settle_tunnel(key);
        }
        for side in [Some(conn), other].into_iter().flatten() {
            self.conns.close(&mut self.cx, side, Close::Reset);
        }
        self.drop_exchange(key);
    }

    /// Passes ends on behind the last bytes, and closes a tunnel whose sides have both ended.
    pub(super) fn settle_tunnel(&mut self, key: ExchangeKey) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(x) = exchanges.get_mut(key) else { return };
        let (Phase::Tunnel { conn, shut: before }, Some(client)) = (x.phase, x.client()) else { return };
        let (Some(c), Some(u)) = (conns.get(client), conns.get(conn)) else { return };
        let shut = Shut {
            upstream: before.upstream || c.ended && u.out.is_empty(),
            client: before.client || u.ended && c.out.is_empty(),
        };
        x.phase = Phase::Tunnel { conn, shut };
        if shut.upstream && shut.client {
            self.drop_exchange(key);
            return self.conns.close(&mut self.cx, client, Close::Finish);
        }
        for (side, was, is) in [(client, before.client, shut.client), (conn, before.upstream, shut.upstream)] {
            if is && !was {
                cx.outputs.push_back(Output::ShutdownWrite { conn: side });
            }
        }
    }
}
