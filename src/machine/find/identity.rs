//! Who asks, and for what: the keyed hashes by which streams are found again.
//!
//! In: request heads and addresses. Out: an [`Identity`]; tokens that nobody can guess.
//! Laws: only the principal that made a log reads it; no credential is kept, only its hash under a key that nobody
//! outside knows, so that neither a store's file nor the time of a comparison reveals anything about it.
//! Source: `docs/glossary.md` ("principal", "session", "target"); Aumasson and Bernstein, "SipHash: a fast short-input
//! PRF" (INDOCRYPT 2012), with 128 bits of output.

use super::principal::{Principal, field};
use crate::base::Random;
use crate::config::{Route, Upstream};
use crate::http::RequestHead;
use crate::machine::book::unread::Holders;
use crate::track::{OWN_MARK, OWN_PREFIX};
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;
use std::net::IpAddr;

/// The kinds of hashes. Hashes of different kinds never collide by having the same fields.
#[derive(Clone, Copy)]
enum Kind {
    Principal = 1,
    Session,
    Target,
    Token,
    Mark,
    Body,
    Place,
    Anonymous,
    Stored,
    Order,
    Certificate,
    Sticky,
    Rendezvous,
    Endpoint,
}

/// Bytes of what a stored stream was asked for, from where, and by whom.
pub(in crate::machine) const ASKED: usize = 48;

/// The key of all hashes.
#[derive(Clone, Copy)]
pub(in crate::machine) struct Secret {
    key: u128,
}

/// Who sent a request, and what it asks for. Aligned to 8 bytes, as all around it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, packed(8))]
pub(in crate::machine) struct Identity {
    /// The session: by the session header, else by principal and target, and by the address where there is no
    /// credential. It is always of one principal and one route.
    pub(in crate::machine) session: u128,
    /// The same without the address: for ids of segno's own, which nobody can guess. Their clients may move.
    owner: u128,
    /// Where the request came from: for an upstream's ids, which can be guessed. 0 where the address does not count.
    place: u64,
    /// Host, path and query, without the method: a stream that a POST began may be resumed by a GET.
    pub(in crate::machine) target: u64,
    /// The client names a session itself.
    pub(in crate::machine) named: bool,
}

impl Identity {
    /// Whether an id of segno's own finds a stream of `other` for this request.
    pub(in crate::machine) fn owns(&self, other: &Self) -> bool {
        self.target == other.target && (self.owner == other.owner || self.session == other.session)
    }

    /// Whether a stream of `other` may be shared with this request.
    pub(in crate::machine) fn shares(&self, other: &Self) -> bool {
        self.target == other.target && self.session == other.session
    }

    /// Whether an id that can be guessed finds a stream of `other` for this request.
    pub(in crate::machine) fn is_at(&self, other: &Self) -> bool {
        self.shares(other) && self.place == other.place
    }

    /// What is stored beside a stream's events: for what it was asked, from where, and by whom.
    pub(in crate::machine) fn stored(&self) -> [u8; ASKED] {
        let mut asked = [0; ASKED];
        let fields = [u128::from(self.place) << 64 | u128::from(self.target), self.owner, self.session];
        for (to, field) in asked.chunks_exact_mut(16).zip(fields) {
            to.copy_from_slice(&field.to_le_bytes());
        }
        asked
    }

    /// The identity of the request that made a stored stream. `None`: the record does not say so much.
    pub(in crate::machine) fn of_stored(meta: &[u8]) -> Option<Self> {
        let field = |n: usize| Some(u128::from_le_bytes(meta.get(16 * n..16 * n + 16)?.try_into().ok()?));
        let asked = field(0)?;
        let (place, target) = ((asked >> 64) as u64, asked as u64);
        Some(Self { place, target, owner: field(1)?, session: field(2)?, named: false })
    }
}

/// The name of a stream whose ids are segno's own: 95 bits of a hash that nobody can guess without the key, one that
/// says whether a POST began the stream, and 32 bits that show that segno made them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(in crate::machine) struct Token(pub(in crate::machine) u128);

impl Secret {
    pub(in crate::machine) fn new(key: u128) -> Self {
        Self { key }
    }

    /// Who sent a request from this address, with this certificate if it has one.
    pub(in crate::machine) fn principal(
        &self,
        head: &RequestHead,
        route: &Route,
        client: IpAddr,
        certificate: Option<[u8; 16]>,
    ) -> Principal {
        let mut who = self.hasher(Kind::Principal);
        if let Some(certificate) = certificate {
            field(&mut who, b"certificate");
            field(&mut who, &certificate);
        }
        let found = Principal::of(head, route, client, &who, &self.hasher(Kind::Place));
        Principal { has_credential: found.has_credential || certificate.is_some(), ..found }
    }

    /// The same, of a client whose address is not known: it is like no other request's that has no credential, nor in
    /// the search for ids that can be guessed. `once` is never given twice.
    pub(in crate::machine) fn out_of_place(&self, who: Principal, once: &str) -> Principal {
        let place = if who.place == 0 { 0 } else { self.hash(Kind::Place, [b"once", once.as_bytes()]) as u64 };
        Principal { place, ..who }
    }

    /// A certificate's owner, as a hash.
    pub(in crate::machine) fn certificate(&self, owner: &[u8]) -> [u8; 16] {
        self.hash(Kind::Certificate, [owner]).to_le_bytes()
    }

    /// Who asks for what. `target` is the request's without the parameter that carries a cursor.
    pub(in crate::machine) fn identity(
        &self,
        who: &Principal,
        head: &RequestHead,
        target: &str,
        route: &Route,
    ) -> Identity {
        let host = head.host.as_deref().unwrap_or_default();
        let target = self.hash(Kind::Target, [host.as_bytes(), target.as_bytes()]) as u64;
        let mut owner = self.hasher(Kind::Session);
        field(&mut owner, &who.hash);
        field(&mut owner, route.name.as_bytes());
        let mut named = false;
        for session in head.headers.get_all(&route.session_header).filter(|session| !session.is_empty()) {
            named = true;
            field(&mut owner, session);
        }
        if !named {
            owner.write_u64(target);
        }
        let owner = owner.finish128().as_u128();
        let session = match named || who.has_credential {
            true => owner,
            false => self.hash(Kind::Anonymous, [&owner.to_le_bytes()[..], &who.place.to_le_bytes()]),
        };
        Identity { session, owner, place: who.place, target, named }
    }

    /// Whom a request counts against: its principal, and the address that it comes from. Of IPv6 a whole network of 64
    /// bits counts, since one client may have all of its addresses.
    pub(in crate::machine) fn holders(&self, who: &Principal, client: IpAddr) -> Holders {
        let place = if who.has_credential { 0 } else { who.place };
        let principal = self.hash(Kind::Principal, [&who.hash[..], &place.to_le_bytes()]) as u64;
        Holders { principal, address: self.network(client) }
    }

    /// The name of an address of clients, or of its network.
    pub(in crate::machine) fn network(&self, client: IpAddr) -> u64 {
        let network = match client.to_canonical() {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits() >> 64 << 64 | 1,
        };
        self.hash(Kind::Place, [&network.to_le_bytes()]) as u64
    }

    /// The identity in which all clients of a target share one session, without regard to their principal.
    pub(in crate::machine) fn public(&self, route: &Route, identity: Identity) -> Identity {
        let target = identity.target.to_le_bytes();
        let session = self.hash(Kind::Session, [b"", route.name.as_bytes(), &target, b"public"]);
        Identity { session, place: 0, ..identity }
    }

    /// The token of the stream with this random number. Each process with the same key makes the same token, so that a
    /// stored stream is found again by it.
    pub(in crate::machine) fn token(&self, number: u64) -> Token {
        let chance = self.hash(Kind::Token, [&number.to_le_bytes()]) >> 32;
        Token(chance << 32 | self.mark(chance))
    }

    /// A random number for a stream, whose token says whether a POST began the stream. So that is known of an id also
    /// when nothing else is.
    pub(in crate::machine) fn draw(&self, random: &mut Random, by_post: bool) -> u64 {
        let mut number = random.next();
        // Every second one will do.
        for _ in 0..DRAWS {
            if self.token(number).is_by_post() == by_post {
                break;
            }
            number = random.next();
        }
        number
    }

    /// What ends the name under which the store has a stream with ids of segno's own. Its token is in the ids that its
    /// clients have, so they find it from anywhere, and among any number of others in one step. The name does not give
    /// the token away.
    pub(in crate::machine) fn stored_by_token(&self, token: Token) -> u128 {
        self.hash(Kind::Stored, [&token.0.to_le_bytes()])
    }

    /// What ends the name under which the store has the other streams of a session. A cursor of one target says nothing
    /// of another.
    pub(in crate::machine) fn stored_by_session(&self, identity: &Identity) -> u128 {
        match identity.named {
            true => self.hash(Kind::Stored, [&identity.session.to_le_bytes(), &identity.target.to_le_bytes()]),
            // The target is a part of it.
            false => identity.session,
        }
    }

    /// Whether a token was made under this key.
    pub(in crate::machine) fn made(&self, token: Token) -> bool {
        self.mark(token.0 >> 32) ^ (token.0 & 0xffff_ffff) == 0
    }

    /// Whether an id was made under this key.
    pub(in crate::machine) fn made_id(&self, id: &[u8]) -> bool {
        Token::parse(id).is_some_and(|(token, _)| self.made(token))
    }

    fn mark(&self, chance: u128) -> u128 {
        self.hash(Kind::Mark, [&chance.to_le_bytes()]) & 0xffff_ffff
    }

    fn hash<const N: usize>(&self, kind: Kind, parts: [&[u8]; N]) -> u128 {
        let mut hash = self.hasher(kind);
        parts.into_iter().for_each(|part| field(&mut hash, part));
        hash.finish128().as_u128()
    }

    /// The name of an order: who asks for what, from where, with which body, by which key, and whether by name.
    pub(in crate::machine) fn order(&self, identity: &Identity, body: u128, by_name: bool, key: Option<&[u8]>) -> u128 {
        let key_given = [u8::from(by_name), u8::from(key.is_some())];
        let (session, place) = (identity.session.to_le_bytes(), identity.place.to_le_bytes());
        let (target, body) = (identity.target.to_le_bytes(), body.to_le_bytes());
        self.hash(Kind::Order, [&session[..], &place, &target, &body, &key_given, key.unwrap_or_default()])
    }

    /// A hash of a request's body, to be fed as it passes.
    pub(in crate::machine) fn body(&self) -> SipHasher24 {
        self.hasher(Kind::Body)
    }

    /// The name of a session of a route, by which it is led to its upstream.
    pub(in crate::machine) fn sticky(&self, route: &Route, session: &[u8]) -> u64 {
        self.hash(Kind::Sticky, [route.name.as_bytes(), session]) as u64
    }

    /// The name of a target of a route to which the client of a stream sends messages, by the client's principal: what
    /// one client is told leads nobody else's requests.
    pub(in crate::machine) fn endpoint(&self, route: &Route, target: &str, principal: u64) -> u64 {
        let principal = principal.to_le_bytes();
        self.hash(Kind::Endpoint, [route.name.as_bytes(), target.as_bytes(), &principal[..]]) as u64
    }

    /// How well a name and an upstream fit together: the same in each process with this key.
    pub(in crate::machine) fn rendezvous(&self, name: u64, upstream: &Upstream) -> u64 {
        self.hash(Kind::Rendezvous, [&name.to_le_bytes()[..], upstream.authority.as_bytes()]) as u64
    }

    fn hasher(&self, kind: Kind) -> SipHasher24 {
        let mut hash = SipHasher24::new_with_keys(self.key as u64, (self.key >> 64) as u64);
        hash.write_u8(kind as u8);
        hash
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Random numbers that are drawn for a stream at most.
const DRAWS: usize = 64;

impl Token {
    /// Whether a POST began the stream. Nobody vouches for it: a client that changes it in its id deceives itself alone.
    pub(in crate::machine) fn is_by_post(self) -> bool {
        self.0 >> 32 & 1 == 1
    }

    /// What every own id of the stream begins with: `sg-`, the token in base64url, a dash.
    pub(in crate::machine) fn prefix(self) -> [u8; OWN_PREFIX] {
        let mut text = [b'-'; OWN_PREFIX];
        text[..OWN_MARK.len()].copy_from_slice(OWN_MARK);
        for (n, place) in text[OWN_MARK.len()..OWN_PREFIX - 1].iter_mut().enumerate() {
            // 22 digits of 6 bits: the last carries two of the 128 and four zeros.
            let digit = if n == 21 { self.0 << 4 } else { self.0 >> (122 - 6 * n as u32) };
            *place = DIGITS[(digit & 63) as usize];
        }
        text
    }

    /// Reads an own id: the token and the event's number. `None`: it is none.
    pub(in crate::machine) fn parse(id: &[u8]) -> Option<(Self, u64)> {
        let (token, number) = id.strip_prefix(OWN_MARK)?.split_at_checked(OWN_PREFIX - OWN_MARK.len() - 1)?;
        let number = number.strip_prefix(b"-")?;
        let mut bits = 0u128;
        for (n, digit) in token.iter().enumerate() {
            let value = DIGITS.iter().position(|d| d == digit)? as u128;
            // The last digit carries two bits.
            bits = match n {
                21 => (value & 0xf == 0).then_some(bits << 2 | value >> 4)?,
                _ => bits << 6 | value,
            };
        }
        let canonical = matches!(number, [b'0'] | [b'1'..=b'9', ..]) && number.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(number).ok().filter(|_| canonical)?.parse().ok()?;
        Some((Self(bits), number))
    }
}

#[cfg(test)]
mod tests;
