//! A client's connection: heads in, request bodies passed on, one request after the other.
//!
//! In: what the client's socket says. Out: heads of requests, and bytes for upstream.
//! Laws: a head that cannot be read gets a status and a reason, and never reaches upstream; a client that ends its sending behind
//! a whole request gets its answer, but for an event stream: there it is gone, as browsers and proxies are that close
//! one, and upstream is told; input is held back while upstream does not take it.

use crate::base::{Count, Tick};
use crate::http::{self, BodyDecoder, BodyLength, Piece};
use crate::machine::Machine;
use crate::machine::conn::{ClientState, Conn};
use crate::machine::find::body::HeardBody;
use crate::machine::io::Close;
use crate::machine::keys::{ConnKey, ExchangeKey};
use crate::machine::room::upstream_takes;

/// Heads.
impl Machine {
    pub(in crate::machine) fn on_client_data(&mut self, conn: ConnKey, bytes: &[u8]) {
        let Self { cx, conns, .. } = self;
        let Some(c) = conns.get_mut(conn) else { return };
        match c.client_state() {
            Some(ClientState::Closing | ClientState::HalfClosed) => {}
            Some(ClientState::Tunnel) => self.pass_through(conn, bytes),
            // It is read again when its request finds a place.
            Some(ClientState::Head) if c.is_held() => c.input.push(bytes),
            Some(ClientState::Head) => {
                let first = c.input.is_empty();
                c.input.push(bytes);
                if first {
                    let until = cx.now + cx.head_timeout;
                    conns.set_deadline(cx, conn, until);
                }
                self.read_head(conn);
            }
            _ => {
                c.input.push(bytes);
                self.pump_request(conn);
            }
        }
    }

    /// Takes a head off the input, if it is whole.
    pub(in crate::machine) fn read_head(&mut self, conn: ConnKey) {
        let limits = self.cx.request_head();
        let Some(c) = self.conns.get_mut(conn) else { return };
        let Some(found) = c.find_head() else {
            if let Err(e) = limits.check_unfinished(&c.input) {
                self.conns.refuse_head(&mut self.cx, conn, &e);
            } else if c.ended {
                self.conns.close(&mut self.cx, conn, Close::Finish);
            }
            return;
        };
        match http::parse_request(&c.input[found.clone()], limits) {
            // Who has closed reads no event stream.
            Ok(head) if c.ended && http::accepts_event_stream(&head.headers) => {
                self.conns.close(&mut self.cx, conn, Close::Finish);
            }
            Ok(head) => {
                if self.finds_share(conn, &head) {
                    self.conns.get_mut(conn).into_iter().for_each(|c| c.consume_input(found.end));
                    self.on_request(conn, head);
                }
            }
            Err(e) => self.conns.refuse_head(&mut self.cx, conn, &e),
        }
    }
}

/// Bodies.
impl Machine {
    /// Passes on as much of the request's body as upstream takes. What follows the body waits for its turn.
    pub(super) fn pump_request(&mut self, conn: ConnKey) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(c) = conns.get_mut(conn) else { return };
        let Some(key) = c.exchange.filter(|_| !c.body.is_done() && !c.input.is_empty()) else { return };
        let Some(x) = exchanges.get_mut(key) else { return };
        if x.is_held() {
            return self.hear_body(conn, key);
        }
        let Some(upstream) = x.phase.upstream() else { return };
        let input = c.input.take();
        let mut body = std::mem::replace(&mut c.body, BodyDecoder::new(BodyLength::None));
        let passed = match conns.get_mut(upstream).filter(|u| u.takes_more()) {
            Some(u) => {
                let (chunked, heard) = (x.request.chunked_body, x.heard_body.as_deref_mut());
                pass_body(&mut body, &input, chunked, heard, u.out.end())
            }
            None => Ok(0),
        };
        let done = body.is_done();
        let Some(c) = conns.get_mut(conn) else { return };
        c.body = body;
        match passed {
            Ok(0) => c.input = input.into(),
            Ok(used) => {
                c.input = input[used..].to_vec().into();
                if !x.is_stream_request()
                    && let Some(wait) = x.phase.wait_mut()
                {
                    // Upstream's time for an answer runs from the last of what it was asked.
                    wait.restart_clock(cx.now);
                }
                conns.flush(cx, upstream);
                let until = if done { Tick::NEVER } else { cx.body_deadline(x.route()) };
                conns.set_deadline(cx, conn, until);
                conns.read_again(cx, conn);
            }
            Err(why) => self.refuse_body(conn, key, 400, &why),
        }
    }

    /// Ends a request whose body is of no use: with a status, or with a reset where an answer has begun.
    fn refuse_body(&mut self, conn: ConnKey, key: ExchangeKey, status: u16, why: &str) {
        match self.exchanges.get(key).is_some_and(|x| x.readers().head_sent) {
            true => self.cut_readers(key),
            false => {
                self.drop_exchange(key);
                self.cx.counts.one(Count::RequestBodiesBad);
                self.conns.refuse(&mut self.cx, conn, status, why);
            }
        }
    }

    /// Upstream takes more of a request's body: the client's connection is read again, and its time limit starts again.
    pub(super) fn read_body_again(&mut self, conn: ConnKey) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(c) = conns.get(conn) else { return };
        if c.paused
            && !c.body.is_done()
            && let Some(x) = c.exchange.and_then(|k| exchanges.get(k))
        {
            let until = cx.body_deadline(x.route());
            conns.set_deadline(cx, conn, until);
        }
        conns.read_again(cx, conn);
    }

    pub(super) fn on_body_timeout(&mut self, conn: ConnKey) {
        let Some(c) = self.conns.get(conn) else { return };
        let Some(key) = c.exchange.filter(|_| !c.body.is_done()) else { return };
        let Some(x) = self.exchanges.get(key) else { return };
        if !x.is_held() && (!c.input.is_empty() || !upstream_takes(&self.conns, Some(x))) {
            // The client is not slow: segno is not reading it.
            let until = self.cx.body_deadline(x.route());
            return self.conns.set_deadline(&mut self.cx, conn, until);
        }
        self.refuse_body(conn, key, 408, "the request's body did not arrive in time");
    }
}

/// Ends of requests.
impl Machine {
    /// The client sends nothing more. Behind a whole request it may still read.
    pub(in crate::machine) fn on_client_end(&mut self, conn: ConnKey) {
        let Self { cx, conns, exchanges, .. } = self;
        let Some(c) = conns.get_mut(conn) else { return };
        let x = c.exchange.and_then(|key| exchanges.get(key));
        match c.client_state() {
            Some(ClientState::Tunnel) => self.on_tunnel_end(conn, false),
            Some(ClientState::Busy) if c.behind_request().is_some() && x.is_some_and(|x| x.may_outlive_fin(cx)) => {
                c.ended = true;
            }
            _ => self.on_client_gone(conn),
        }
    }

    /// An event stream comes. The readers that have ended their side count as gone, since nothing but a write would
    /// show that they are, and they would keep others from the stream until then.
    pub(super) fn see_off_ended(&mut self, key: ExchangeKey) {
        let Some(x) = self.exchanges.get(key) else { return };
        let ended = |client: &ConnKey| self.conns.get(*client).is_some_and(|c| c.ended);
        let gone: Vec<ConnKey> = x.readers().iter().map(|(_, reader)| reader.client).filter(ended).collect();
        gone.into_iter().for_each(|client| self.on_client_gone(client));
    }

    /// The client has closed or lost its connection: nobody reads any more.
    pub(in crate::machine) fn on_client_gone(&mut self, conn: ConnKey) {
        if self.conns.get(conn).and_then(Conn::client_state) == Some(ClientState::Tunnel) {
            return self.on_tunnel_end(conn, true);
        }
        if let Some((key, seat)) = self.conns.get(conn).and_then(Conn::seated) {
            self.on_reader_left(key, seat);
        }
        self.conns.close(&mut self.cx, conn, Close::Finish);
    }
}

/// Re-frames a part of a request's body, and feeds it to `heard` if a later POST may have to be compared with it.
/// Returns how many bytes of the input were used.
///
/// # Errors
/// What is wrong with the body, in words.
fn pass_body(
    body: &mut BodyDecoder,
    input: &[u8],
    chunked: bool,
    mut heard: Option<&mut HeardBody>,
    out: &mut Vec<u8>,
) -> Result<usize, String> {
    let mut used = 0;
    while !body.is_done() {
        let (n, piece) = body.next(&input[used..]).map_err(|e| e.to_string())?;
        used += n;
        match piece {
            Piece::Data(data) => {
                if let Some(heard) = &mut heard {
                    heard.add(data);
                }
                http::write_piece(data, chunked, out);
            }
            Piece::End => {
                if chunked {
                    out.extend_from_slice(http::LAST_CHUNK);
                }
                break;
            }
            Piece::More => break,
        }
    }
    Ok(used)
}
