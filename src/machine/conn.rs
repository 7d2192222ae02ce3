//! One connection as the machine knows it: who is at its other end, the bytes of an unfinished head, the bytes to send.
//!
//! In: bytes that came, bytes that are to be sent. Out: the same bytes, until they are used or the socket takes them.
//! Laws: an idle connection holds no buffer; what is held is bounded by the head limit on the way in and by
//! [`HIGH_WATER`] and one read on the way out; all connections together keep to `buffer_budget`, but for small parts.

use super::io::Origin;
use super::keys::{ExchangeKey, Seat, Stake, Timer};
use crate::base::Tick;
use crate::http::{BodyDecoder, HeadFinder};
use crate::timer::TimerKey;
use std::ops::{Deref, Range};

/// Bytes waiting to be sent above which the other side is not read any more.
pub(super) const HIGH_WATER: usize = 64 << 10;

/// A buffer that has carried no more than a head is freed at once. A larger one, which carries a body, is kept until
/// the body ends.
const SMALL: usize = 2 << 10;

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) peer: Peer,
    pub(super) exchange: Option<ExchangeKey>,
    /// Bytes read and not used yet: an unfinished head, a pipelined request, what the log had no room for.
    pub(super) input: Unused,
    /// The body that is being read: of the request on a client's connection, of the answer on upstream's.
    pub(super) body: BodyDecoder,
    pub(super) out: Out,
    pub(super) timer: Option<TimerKey<Timer>>,
    /// When the connection is looked after next; the timer may come earlier and is then set again.
    pub(super) deadline: Tick,
    /// The shell was told not to read the connection, and will be told when it may.
    pub(super) paused: bool,
    pub(super) flush_queued: bool,
    /// The other side sends nothing more, and may still read.
    pub(super) ended: bool,
    /// What it holds is to be recounted.
    pub(super) touched: bool,
    /// Bytes that it held when they were counted last.
    pub(super) charged: u32,
    /// It is among those that wait for their sender.
    pub(super) waits: bool,
}

/// Who is at the other end.
#[derive(Debug)]
pub(super) enum Peer {
    Client(Client),
    Upstream(Upstream),
    /// An upstream that is checked. No client's request travels here.
    Check(Check),
}

/// A check of an upstream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    /// The upstream's place.
    pub(super) route: u32,
    /// It is connected, and was asked.
    pub(super) is_asked: bool,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) origin: Origin,
    /// Its connection is TLS.
    pub(super) is_secure: bool,
    /// Its request is told of, in the access log or as a trace, with what its socket takes.
    pub(super) is_noted: bool,
    pub(super) state: ClientState,
    /// Its request has come, and waits for a place. It is read again when there is one, or when its time is up.
    pub(super) is_held: bool,
    /// Which of its exchange's readers it is.
    pub(super) seat: Seat,
    /// What it is counted for. Most are counted for nothing, since bounds of one client are off by default.
    stakes: Option<Box<Stakes>>,
}

/// What a client is counted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stakes {
    /// Its connection, by its address.
    pub(super) connection: Stake,
    /// The event stream that it asks for or reads, by the address that its request comes from.
    pub(super) address: Stake,
    /// The same by its principal.
    pub(super) principal: Stake,
}

impl Client {
    pub(super) fn new(origin: Origin, is_secure: bool, connection: Stake) -> Self {
        let (state, is_held, is_noted) = (ClientState::Head, false, false);
        let mut client = Self { origin, is_secure, is_noted, state, is_held, seat: 0, stakes: None };
        client.set_stakes(Stakes { connection, ..Stakes::NONE });
        client
    }

    pub(super) fn stakes(&self) -> Stakes {
        self.stakes.as_deref().copied().unwrap_or(Stakes::NONE)
    }

    pub(super) fn set_stakes(&mut self, stakes: Stakes) {
        match &mut self.stakes {
            _ if stakes == Stakes::NONE => self.stakes = None,
            Some(before) => **before = stakes,
            None => self.stakes = Some(Box::new(stakes)),
        }
    }

    /// It reads no event stream any more, or asks for one. Returns what it was counted for.
    pub(super) fn take_stream(&mut self) -> [Stake; 2] {
        let Stakes { connection, address, principal } = self.stakes();
        if address.is_some() || principal.is_some() {
            self.set_stakes(Stakes { connection, ..Stakes::NONE });
        }
        [address, principal]
    }
}

impl Stakes {
    pub(super) const NONE: Self = Self { connection: Stake::NONE, address: Stake::NONE, principal: Stake::NONE };
}

/// How a client has connected.
#[derive(Clone, Copy, Debug)]
pub(super) enum Link<'a> {
    Plain,
    /// Some time ago: the header was waited for in which its proxy says who it is.
    Announced,
    /// By TLS, and who it is by its certificate, if it has sent one. It was counted when it knocked.
    Secure {
        stake: Stake,
        certificate: Option<&'a [u8]>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ClientState {
    /// Between requests, or in the middle of a head.
    Head,
    /// A request is being served.
    Busy,
    /// The connection carries another protocol from now on.
    Tunnel,
    /// What is in `out` is sent, then the connection closes; further input is dropped.
    Closing,
    /// Everything is sent and our side is shut; input is dropped until the client closes too, or time is up.
    HalfClosed,
}

#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) route: u32,
    pub(super) state: UpstreamState,
    /// The connection has served a request before: upstream may then have closed it while the next one travelled.
    pub(super) reused: bool,
    /// The connection may serve another request after this answer.
    pub(super) keep_alive: bool,
    /// The shell was told that upstream may be slow to take what it is sent.
    pub(super) patient: bool,
    /// Since when the connection has been idle, or has waited for the head of an answer.
    pub(super) since: Tick,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum UpstreamState {
    Connecting,
    /// Was idle, and is looked at before it carries a request again.
    Checked,
    /// Waits for the head of an answer.
    Head,
    /// The body of an answer is being read.
    Body,
    /// The connection carries another protocol from now on.
    Tunnel,
    /// Kept for the next request.
    Idle,
}

impl Conn {
    pub(super) fn new(peer: Peer) -> Self {
        Self {
            peer,
            exchange: None,
            input: Unused::default(),
            body: BodyDecoder::new(crate::http::BodyLength::None),
            out: Out::default(),
            timer: None,
            deadline: Tick::NEVER,
            paused: false,
            flush_queued: false,
            ended: false,
            touched: false,
            charged: 0,
            waits: false,
        }
    }

    /// The exchange and the seat in it, of a client that is being served.
    #[inline]
    pub(super) fn seated(&self) -> Option<(ExchangeKey, Seat)> {
        match &self.peer {
            Peer::Client(c) => Some((self.exchange?, c.seat)),
            Peer::Upstream(_) | Peer::Check(_) => None,
        }
    }

    /// Whether it is a client's whose request is told of.
    #[inline]
    pub(super) fn is_noted(&self) -> bool {
        matches!(&self.peer, Peer::Client(c) if c.is_noted)
    }

    /// Who the client is.
    pub(super) fn origin(&self) -> Option<Origin> {
        match &self.peer {
            Peer::Client(c) => Some(c.origin),
            Peer::Upstream(_) | Peer::Check(_) => None,
        }
    }

    /// Whether it is a client's whose request waits for a place.
    pub(super) fn is_held(&self) -> bool {
        matches!(&self.peer, Peer::Client(c) if c.is_held)
    }

    /// Whether it is a client's, over TLS.
    pub(super) fn is_secure(&self) -> bool {
        matches!(&self.peer, Peer::Client(c) if c.is_secure)
    }

    pub(super) fn client_state(&self) -> Option<ClientState> {
        match &self.peer {
            Peer::Client(c) => Some(c.state),
            Peer::Upstream(_) | Peer::Check(_) => None,
        }
    }

    /// What a client is counted for.
    pub(super) fn stakes(&self) -> Stakes {
        match &self.peer {
            Peer::Client(c) => c.stakes(),
            Peer::Upstream(_) | Peer::Check(_) => Stakes::NONE,
        }
    }

    /// The check that it is for.
    pub(super) fn check(&self) -> Option<Check> {
        match &self.peer {
            Peer::Check(check) => Some(*check),
            Peer::Client(_) | Peer::Upstream(_) => None,
        }
    }

    /// The client's, to be changed.
    pub(super) fn client_mut(&mut self) -> Option<&mut Client> {
        match &mut self.peer {
            Peer::Client(c) => Some(c),
            Peer::Upstream(_) | Peer::Check(_) => None,
        }
    }

    pub(super) fn set_client_state(&mut self, to: ClientState) {
        if let Peer::Client(c) = &mut self.peer {
            c.state = to;
        }
    }

    /// The client reads the answer of this exchange from now on.
    pub(super) fn sit(&mut self, exchange: ExchangeKey, seat: Seat) {
        self.exchange = Some(exchange);
        if let Peer::Client(c) = &mut self.peer {
            c.seat = seat;
        }
    }

    pub(super) fn upstream(&self) -> Option<&Upstream> {
        match &self.peer {
            Peer::Upstream(u) => Some(u),
            Peer::Client(_) | Peer::Check(_) => None,
        }
    }

    pub(super) fn upstream_mut(&mut self) -> Option<&mut Upstream> {
        match &mut self.peer {
            Peer::Upstream(u) => Some(u),
            Peer::Client(_) | Peer::Check(_) => None,
        }
    }

    /// Whether this connection to upstream is open and takes more bytes.
    pub(super) fn takes_more(&self) -> bool {
        self.upstream().is_none_or(|u| !matches!(u.state, UpstreamState::Connecting | UpstreamState::Checked))
            && self.out.len() < HIGH_WATER
    }

    /// How many bytes of the input lie behind the request that is being served. `None`: some of that request is to come,
    /// or its end cannot be told without taking chunks off.
    pub(super) fn behind_request(&self) -> Option<usize> {
        match self.body {
            BodyDecoder::Length(left) => self.input.len().checked_sub(usize::try_from(left).ok()?),
            ref body => body.is_done().then_some(self.input.len()),
        }
    }

    /// Bytes of memory that its buffers take.
    pub(super) fn held(&self) -> u32 {
        u32::try_from(self.input.capacity() + self.out.capacity()).unwrap_or(u32::MAX)
    }

    /// Where the input's first head lies, once it is whole.
    pub(super) fn find_head(&mut self) -> Option<Range<usize>> {
        let Read { bytes, finder } = self.input.0.as_deref_mut()?;
        let end = finder.find(bytes)?;
        Some(finder.skip()..end)
    }

    /// Takes the first `n` bytes off the input; gives the buffer back when nothing is left.
    pub(super) fn consume_input(&mut self, n: usize) {
        match &mut self.input.0 {
            Some(read) if n < read.bytes.len() => {
                read.bytes.drain(..n);
                read.finder = HeadFinder::default();
            }
            _ => self.input = Unused::default(),
        }
    }
}

/// Bytes that were read and not used yet. Takes a pointer's place while there are none.
#[derive(Default, Debug)]
pub(super) struct Unused(Option<Box<Read>>);

#[derive(Default, Debug)]
struct Read {
    bytes: Vec<u8>,
    /// How far the bytes have been looked through for the end of a head.
    finder: HeadFinder,
}

impl Unused {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.0.get_or_insert_default().bytes.extend_from_slice(bytes);
        }
    }

    /// The next search for a head begins at the front again.
    pub(super) fn search_again(&mut self) {
        if let Some(read) = &mut self.0 {
            read.finder = HeadFinder::default();
        }
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.0.take().map_or_else(Vec::new, |read| read.bytes)
    }

    fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, |read| read.bytes.capacity())
    }
}

impl From<Vec<u8>> for Unused {
    fn from(bytes: Vec<u8>) -> Self {
        Self((!bytes.is_empty()).then(|| Box::new(Read { bytes, finder: HeadFinder::default() })))
    }
}

impl Deref for Unused {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |read| &read.bytes)
    }
}

/// Bytes on their way to a socket. Takes a pointer's place while there are none.
#[derive(Default, Debug)]
pub(super) struct Out(Option<Box<Pending>>);

#[derive(Default, Debug)]
struct Pending {
    bytes: Vec<u8>,
    sent: usize,
}

impl Out {
    /// Where to write what is to be sent next.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.0.get_or_insert_default().bytes
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.end().extend_from_slice(bytes);
    }

    pub(super) fn pending(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |p| &p.bytes[p.sent..])
    }

    fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, |p| p.bytes.capacity())
    }

    /// Whether it has memory of its own.
    pub(super) fn is_held(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |p| p.bytes.len() - p.sent)
    }

    /// Notes that the socket took up to `n` bytes; returns how many of them were of this buffer.
    pub(super) fn consume(&mut self, n: usize) -> usize {
        let Some(p) = &mut self.0 else { return 0 };
        let used = n.min(p.bytes.len() - p.sent);
        p.sent += used;
        // What is sent makes room once it is the larger part: each byte is moved at most once for one that was sent.
        if p.sent > p.bytes.len() - p.sent {
            p.bytes.drain(..p.sent);
            p.sent = 0;
        }
        if p.bytes.is_empty() && p.bytes.capacity() <= SMALL {
            self.0 = None;
        }
        used
    }

    /// Gives the memory of an empty buffer back.
    pub(super) fn release(&mut self) {
        if self.is_empty() {
            self.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_gives_what_the_socket_has_not_taken() {
        let mut out = Out::default();
        out.push(b"hello");
        assert_eq!(out.consume(2), 2);
        assert_eq!(out.pending(), b"llo");
        assert_eq!(out.consume(9), 3);
        assert!(out.is_empty());
    }
}
