//! What a request's body tells: its hash, by which the same POST is known when it comes again, and its protocol
//! revision.
//!
//! In: the bytes of bodies, as they pass or while they are held back. Out: whether two bodies are the same; a revision.
//! Laws: a body that passes through is not kept; at most [`HELD`] bytes of a body are held back.

use super::identity::{Secret, Token};
use super::meta::MetaScan;
use super::orders::{Order, Try};
use crate::http::{BodyDecoder, Piece};
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;

/// Bytes of a body that are held back at most.
const HELD: usize = 256 << 10;

/// What is learnt from a body as it passes: its hash, and the protocol revision that it tells.
#[derive(Clone)]
pub(in crate::machine) struct HeardBody {
    hash: SipHasher24,
    meta: MetaScan,
    /// The order that the request is, from when its body is whole until it needs to be found no more.
    pub(in crate::machine) order: Option<Order>,
}

impl HeardBody {
    pub(in crate::machine) fn new(secret: &Secret) -> Self {
        Self { hash: secret.body(), meta: MetaScan::default(), order: None }
    }

    pub(in crate::machine) fn add(&mut self, bytes: &[u8]) {
        self.hash.write(bytes);
        self.meta.feed(bytes);
    }

    /// The protocol revision, where the body has told one so far.
    pub(in crate::machine) fn revision(&self) -> Option<&[u8]> {
        self.meta.revision()
    }

    /// The hash of what has come of the body.
    pub(in crate::machine) fn hash(&self) -> u128 {
        self.hash.finish128().as_u128()
    }

    /// Whether a body with this hash is the same. The time of the comparison does not depend on where they differ.
    fn is_same(&self, hash: u128) -> bool {
        self.hash() ^ hash == 0
    }
}

impl std::fmt::Debug for HeardBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HeardBody")
    }
}

/// A POST that is held back until its body is here, since the body tells whether the POST has come before.
#[derive(Debug)]
pub(in crate::machine) struct HeldRequest {
    pub(in crate::machine) why: Held,
    decoder: BodyDecoder,
    heard: HeardBody,
    /// Bytes of the input that the decoder has seen.
    seen: usize,
}

/// Why a POST may be one that has come before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::machine) enum Held {
    /// It names an event by an id of segno's own: some clients resume so.
    Repeats(Token, u64),
    /// It is a try of an order.
    Tries(Try),
}

/// How far a body that is held back has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::machine) enum Progress {
    /// More of it is to come. `came`: some came now.
    Open { came: bool },
    /// All of it is here.
    Whole,
    /// It is too long to hold back, or it breaks HTTP's rules; passing it on will report that.
    Unknown,
}

impl HeldRequest {
    pub(in crate::machine) fn new(why: Held, decoder: BodyDecoder, secret: &Secret) -> Self {
        Self { why, decoder, heard: HeardBody::new(secret), seen: 0 }
    }

    /// Whether a body can be held back, as far as its head tells.
    pub(in crate::machine) fn may_hold(body: &BodyDecoder) -> bool {
        !matches!(body, BodyDecoder::Length(left) if *left > HELD as u64)
    }

    /// Reads what is new of the body. `input`: all of it so far.
    pub(in crate::machine) fn hear(&mut self, input: &[u8]) -> Progress {
        let before = self.seen;
        while !self.decoder.is_done() && input.len() <= HELD {
            let (n, piece) = match self.decoder.next(&input[self.seen..]) {
                Ok(next) => next,
                Err(_) => return Progress::Unknown,
            };
            self.seen += n;
            match piece {
                Piece::Data(data) => self.heard.add(data),
                Piece::End => {}
                Piece::More => return Progress::Open { came: self.seen > before },
            }
        }
        if self.decoder.is_done() && input.len() <= HELD { Progress::Whole } else { Progress::Unknown }
    }

    /// Whether the body is the same as one with this hash, which came before.
    pub(in crate::machine) fn is_repeat_of(&self, first: u128) -> bool {
        self.heard.is_same(first)
    }

    /// What was learnt from the body so far.
    pub(in crate::machine) fn heard(&self) -> &HeardBody {
        &self.heard
    }

    /// What was learnt from the body.
    pub(in crate::machine) fn into_heard(self) -> HeardBody {
        self.heard
    }

    /// How many bytes of the input are the body's.
    pub(in crate::machine) fn len(&self) -> usize {
        self.seen
    }

    /// How many more bytes of a body may be held back, when `held` bytes already are.
    pub(in crate::machine) fn room(held: usize) -> usize {
        HELD.saturating_sub(held).max(1)
    }
}
