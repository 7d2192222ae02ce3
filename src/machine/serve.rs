//! A client's connection outside of an exchange: from its accept to its first request, between two requests, and from
//! its last answer to its close.
//!
//! In: accepts, answers of segno's own, answers that have been sent. Out: the next head, or the connection's end.
//! Laws: what is refused gets a status and a reason; a client reads its last answer before it sees the close.

use super::census::Held;
use super::conn::{Client, ClientState, Conn, Link, Peer, Unused};
use super::cx::{After, Cx};
use super::io::{Close, Origin, Output, Refusal};
use super::keys::{ConnKey, Stake};
use super::notice::Notice;
use super::pool::Conns;
use crate::base::{Count, Span};
use crate::http::{self, HeadError};

/// How long a connection is read after its last answer, so that the client reads the answer before it sees the close.
const HALF_CLOSED_FOR: Span = Span::from_secs(2);

impl Conns {
    /// Gives a client's connection its place, or has it refused.
    pub(super) fn accept(&mut self, cx: &mut Cx, origin: Origin, link: Link<'_>) {
        let is_secure = matches!(link, Link::Secure { .. });
        let stake = match link {
            Link::Plain | Link::Announced => self.knock(cx, origin),
            // One that came to shake hands before its address had a bound counts against it, as all that is open does.
            Link::Secure { stake, .. } if !stake.is_some() => Ok(self.count_connection(cx, origin)),
            Link::Secure { stake, .. } => Ok(stake),
        };
        let stake = match stake {
            // One that shook hands when the drain began, or whose header was under way, may still be served.
            Ok(stake) if !cx.draining || !matches!(link, Link::Plain) => stake,
            Ok(stake) => {
                self.census.remove(stake, Held::Connection);
                cx.counts.one(Count::ConnectionsRefused);
                return cx.outputs.push_back(Output::Refuse(Refusal::Full));
            }
            Err(why) => return cx.outputs.push_back(Output::Refuse(why)),
        };
        let client = Client::new(origin, is_secure, stake);
        match self.insert(Conn::new(Peer::Client(client))) {
            Some(conn) => {
                cx.counts.one(Count::ConnectionsAccepted);
                if let Link::Secure { certificate: Some(certificate), .. } = link {
                    self.certify(conn, cx.secret.certificate(certificate));
                }
                cx.outputs.push_back(Output::Adopt { conn });
                let until = cx.now + cx.head_timeout;
                self.set_deadline(cx, conn, until);
            }
            None => {
                self.census.remove(stake, Held::Connection);
                cx.counts.one(Count::ConnectionsRefused);
                cx.counts.one(Count::OverConnections);
                cx.notice(Notice::Full { what: "connection" });
                cx.outputs.push_back(Output::Refuse(Refusal::Full));
            }
        }
    }

    /// Counts a client's connection by its address, where that has a bound. A proxy that is trusted stands for others.
    pub(super) fn count_connection(&mut self, cx: &Cx, origin: Origin) -> Stake {
        if cx.config.limits.connections_per_address == 0 || origin.is_proxy(&cx.config.trusted_proxies) {
            return Stake::NONE;
        }
        self.census.add(cx.secret.network(origin.address), Held::Connection)
    }

    /// Counts a client's connection, if its address may have another one.
    pub(super) fn knock(&mut self, cx: &mut Cx, origin: Origin) -> Result<Stake, Refusal> {
        let stake = self.count_connection(cx, origin);
        if self.census.count_of(stake, Held::Connection) <= cx.config.limits.connections_per_address {
            return Ok(stake);
        }
        self.census.remove(stake, Held::Connection);
        cx.counts.one(Count::ConnectionsRefused);
        cx.counts.one(Count::OverConnectionsPerAddress);
        cx.notice(Notice::Full { what: "connection of one address" });
        Err(Refusal::Address)
    }

    /// A client reads or asks for no event stream any more. Who has waited for longest for a place of its address or its
    /// principal is looked at again.
    pub(super) fn free_stream(&mut self, cx: &mut Cx, conn: ConnKey) {
        let Some(client) = self.beside_buffers(conn).and_then(Conn::client_mut) else { return };
        for (stake, is_address) in client.take_stream().into_iter().zip([true, false]) {
            let name = self.census.waited_for(stake);
            self.census.remove(stake, Held::Stream);
            cx.after.extend(name.map(|name| After::Place { name, is_address }));
        }
    }

    /// Refuses a request that upstream has not seen.
    pub(super) fn refuse(&mut self, cx: &mut Cx, conn: ConnKey, status: u16, why: &str) {
        cx.counts.one(Count::RequestsRefused);
        cx.notice(Notice::RequestRefused { status, why: why.into() });
        self.answer_and_close(cx, conn, status, why, &[]);
    }

    /// Refuses a request for its head.
    pub(super) fn refuse_head(&mut self, cx: &mut Cx, conn: ConnKey, why: &HeadError) {
        cx.counts.one(count_of(why));
        match why {
            HeadError::TooManyHeaders { .. } => cx.counts.one(Count::OverHeaderCount),
            HeadError::TooLong { .. } | HeadError::RequestLineTooLong { .. } => cx.counts.one(Count::OverHeaderBytes),
            _ => {}
        }
        self.refuse(cx, conn, why.status(), &why.to_string());
    }

    /// Sends an answer of segno's own, the last one on this connection.
    pub(super) fn answer_and_close(
        &mut self,
        cx: &mut Cx,
        conn: ConnKey,
        status: u16,
        text: &str,
        extra: &[(&str, &str)],
    ) {
        let Some(c) = self.get_mut(conn) else { return };
        cx.visits.answer(conn, status);
        write_own_answer(cx, c, status, text, extra, true, false);
        c.set_client_state(ClientState::Closing);
        c.exchange = None;
        c.input = Unused::default();
        self.free_stream(cx, conn);
        let until = cx.now + cx.body_timeout;
        self.set_deadline(cx, conn, until);
        self.flush(cx, conn);
        self.read_again(cx, conn);
    }

    /// A closing client has been sent everything: shuts our side, and reads on for a while, since a close with unread
    /// input would reset the connection before the client has read the answer (RFC 9112, 9.6).
    pub(super) fn on_closing_flushed(&mut self, cx: &mut Cx, conn: ConnKey) {
        let Some(c) = self.get_mut(conn) else { return };
        if c.ended {
            // The client has closed its side already.
            return self.close(cx, conn, Close::Finish);
        }
        c.set_client_state(ClientState::HalfClosed);
        cx.end_visit(conn, c.out.len(), true);
        c.out.release();
        self.free_stream(cx, conn);
        cx.outputs.push_back(Output::ShutdownWrite { conn });
        let until = cx.now + HALF_CLOSED_FOR;
        self.set_deadline(cx, conn, until);
        self.read_again(cx, conn);
    }

    /// The answer has been sent as a whole: the connection serves the next request, or closes.
    pub(super) fn on_answered(&mut self, cx: &mut Cx, conn: ConnKey, keep_alive: bool) {
        let Some(c) = self.get_mut(conn) else { return };
        c.exchange = None;
        cx.end_visit(conn, c.out.len(), true);
        c.out.release();
        let is_last = c.ended && c.input.is_empty();
        if !keep_alive || cx.draining || is_last || !c.body.is_done() {
            return self.on_closing_flushed(cx, conn);
        }
        c.set_client_state(ClientState::Head);
        let waiting = !c.input.is_empty();
        self.free_stream(cx, conn);
        let until = cx.now + if waiting { cx.head_timeout } else { cx.keep_alive };
        self.set_deadline(cx, conn, until);
        self.read_again(cx, conn);
        if waiting {
            cx.after.push_back(After::ReadHead(conn));
        }
    }
}

/// What a refused head is counted as, by the part of it that is wrong.
fn count_of(why: &HeadError) -> Count {
    use HeadError::*;
    match why {
        TooLong { .. } | RequestLineTooLong { .. } | TooManyHeaders { .. } | TooManyOptions { .. } => {
            Count::RequestsTooLarge
        }
        RequestLine(_) | Version(_) | Method(_) | Connect | Target(_) | Climbs(_) | StatusLine(_)
        | SwitchedProtocols => Count::RequestLinesBad,
        Unfinished
        | BareLf { .. }
        | BareCr { .. }
        | Folded { .. }
        | Control { .. }
        | SpaceBeforeColon { .. }
        | HeaderName { .. } => Count::RequestHeadersBad,
        HostMissing | HostRepeated | Host(_) => Count::RequestHostsBad,
        BothFramings
        | ContentLengthRepeated
        | ContentLength(_)
        | ContentLengthTooLarge
        | TransferCoding(_)
        | ChunkedNotOnce
        | TransferEncodingIn10
        | Expect(_) => Count::RequestFramingsBad,
    }
}

/// Writes an answer of segno's own, with the date.
pub(super) fn write_own_answer(
    cx: &Cx,
    c: &mut Conn,
    status: u16,
    text: &str,
    extra: &[(&str, &str)],
    close: bool,
    head_only: bool,
) {
    let lines: Vec<(&str, &str)> = cx.date.header().into_iter().chain(extra.iter().copied()).collect();
    http::write_answer(status, text, &lines, close, head_only, c.out.end());
}
