//! A POST that comes again with an id of segno's own: some clients resume so.
//!
//! In: the bytes of request bodies. Out: the log of the stream that the same POST began, or the request upstream as any
//! other, without the id.
//! Laws: such a request is answered from the log only when principal, target and body are the same; its body is held
//! back no further than [`HELD`] until that is known, and then goes upstream whole.

use super::Machine;
use super::client::pass_body;
use super::conn::ConnKey;
use super::exchange::ExchangeKey;
use super::identity::Token;
use super::meta::MetaScan;
use super::resume::Resume;
use crate::http::{BodyDecoder, Method, Piece};
use crate::track::GapReason;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;

/// Bytes of a body that are held back.
const HELD: usize = 256 << 10;

/// What is learnt from a body as it passes: its hash, and the protocol revision that it tells.
#[derive(Clone)]
pub(super) struct HeardBody {
    hash: SipHasher24,
    meta: MetaScan,
}

impl HeardBody {
    pub(super) fn new(hash: SipHasher24) -> Self {
        Self { hash, meta: MetaScan::default() }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.hash.write(bytes);
        self.meta.feed(bytes);
    }

    /// The protocol revision, where the body has told one so far.
    pub(super) fn revision(&self) -> Option<&[u8]> {
        self.meta.revision()
    }

    fn hash(&self) -> u128 {
        self.hash.finish128().as_u128()
    }
}

impl std::fmt::Debug for HeardBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HeardBody")
    }
}

/// A request whose body is awaited before it is known where it belongs.
#[derive(Debug)]
pub(super) struct Repeat {
    token: Token,
    seq: u64,
    decoder: BodyDecoder,
    heard: HeardBody,
    /// Bytes of the input that the decoder has seen.
    seen: usize,
}

impl Machine {
    /// Holds a request back until its body is there.
    pub(super) fn await_body(&mut self, conn: ConnKey, key: ExchangeKey, token: Token, seq: u64) {
        let heard = HeardBody::new(self.secret.body());
        let Some(decoder) = self.conns.get(conn).map(|c| c.body.clone()) else { return };
        if let Some(x) = self.exchanges.get_mut(key) {
            x.repeat = Some(Box::new(Repeat { token, seq, decoder, heard, seen: 0 }));
        }
        self.hear_body(conn, key);
    }

    /// How much more of a body may be held back; `None`: this one is not.
    pub(super) fn repeat_room(&self, key: ExchangeKey, held: usize) -> Option<usize> {
        self.exchanges.get(key)?.repeat.as_ref().map(|_| HELD.saturating_sub(held).max(1))
    }

    /// More of the body has come. True: the request is still held back, or has been answered.
    pub(super) fn hear_body(&mut self, conn: ConnKey, key: ExchangeKey) -> bool {
        let Some(mut repeat) = self.exchanges.get_mut(key).and_then(|x| x.repeat.take()) else { return false };
        let Some(c) = self.conns.get(conn) else { return true };
        let seen = repeat.seen;
        while !repeat.decoder.is_done() && c.input.len() <= HELD {
            match repeat.decoder.next(&c.input[repeat.seen..]) {
                Ok((n, Piece::Data(data))) => {
                    repeat.heard.add(data);
                    repeat.seen += n;
                }
                Ok((n, Piece::End)) => repeat.seen += n,
                Ok((n, Piece::More)) => {
                    repeat.seen += n;
                    let came = repeat.seen > seen;
                    if let Some(x) = self.exchanges.get_mut(key) {
                        x.repeat = Some(repeat);
                    }
                    if came {
                        self.extend_body(conn, key);
                    }
                    return true;
                }
                // Whoever passes the body on says what is wrong with it.
                Err(_) => break,
            }
        }
        let is_whole = repeat.decoder.is_done() && c.input.len() <= HELD;
        if is_whole && self.answer_repeat(conn, key, &repeat) {
            return true;
        }
        let Some(x) = self.exchanges.get(key) else { return true };
        // The client will put the answer behind what it has. MCP has no word for that on a POST.
        let told = !self.refuses_gaps(&x.request, x.route());
        let now = self.now;
        if let Some(x) = self.exchanges.get_mut(key) {
            x.since = now;
            x.request.gap = told.then_some(GapReason::Unknown);
        }
        self.ask(key);
        self.arm(key);
        true
    }

    /// The body is whole: answers from the log of the stream that the same one began. False: there is none.
    fn answer_repeat(&mut self, conn: ConnKey, key: ExchangeKey, repeat: &Repeat) -> bool {
        let Some(x) = self.exchanges.get(key) else { return true };
        let Some(first) = self.tokens.get(&repeat.token.0).and_then(|key| self.exchanges.get(*key)) else {
            return false;
        };
        let same = first.heard_body.as_ref().is_some_and(|first| first.hash() ^ repeat.heard.hash() == 0);
        if !same || first.request.method != Method::Post {
            return false;
        }
        let mut request = x.request.clone();
        request.cursor = request.asked.take();
        let found = self.find_own(&request, repeat.token, repeat.seq);
        if matches!(found, Resume::New | Resume::NewAfter(_)) {
            return false;
        }
        let Some(x) = self.exchanges.get_mut(key) else { return true };
        let Some(reader) = x.readers.leave(0) else { return true };
        self.drop_exchange(key);
        let Some(c) = self.conns.get_mut(conn) else { return true };
        c.exchange = None;
        c.consume_input(repeat.seen);
        c.body = BodyDecoder::Done;
        self.resume_at(conn, request, reader, found);
        true
    }

    /// Passes on a part of a request's body, and notes what it was where that may be asked again.
    pub(super) fn pass_heard(
        &mut self,
        key: ExchangeKey,
        upstream: ConnKey,
        body: &mut BodyDecoder,
        input: &[u8],
    ) -> Result<usize, String> {
        let Some(x) = self.exchanges.get_mut(key) else { return Ok(0) };
        let Some(u) = self.conns.get_mut(upstream) else { return Ok(0) };
        pass_body(body, input, x.request.chunked_body, x.heard_body.as_deref_mut(), u.out.end())
    }
}
