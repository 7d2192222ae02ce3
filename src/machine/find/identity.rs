//! Who asks, and for what: the keyed hashes by which streams are found again.
//!
//! In: request heads and addresses. Out: an [`Identity`]; tokens that nobody can guess.
//! Laws: only the principal that made a log reads it; no credential is kept, only its hash under a key that nobody
//! outside knows, so that neither a store's file nor the time of a comparison reveals anything about it.
//! Source: `docs/glossary.md` ("principal", "session", "target"); Aumasson and Bernstein, "SipHash: a fast short-input
//! PRF" (INDOCRYPT 2012), with 128 bits of output.

use crate::config::Route;
use crate::http::{Headers, RequestHead};
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
}

/// The key of all hashes.
#[derive(Clone, Copy)]
pub(in crate::machine) struct Secret {
    key: u128,
}

/// Who sent a request, and what it asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::machine) struct Identity {
    /// The session: by the session header, else by principal and target. It is always of one principal and one route.
    pub(in crate::machine) session: u128,
    /// Host, path and query, without the method: a stream that a POST began may be resumed by a GET.
    pub(in crate::machine) target: u64,
    /// The client names a session itself.
    pub(in crate::machine) named: bool,
}

/// The name of a stream whose ids are segno's own: 96 random bits, and 32 bits that show that segno made them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(in crate::machine) struct Token(pub(in crate::machine) u128);

impl Secret {
    pub(in crate::machine) fn new(key: u128) -> Self {
        Self { key }
    }

    /// Who asks for what. `target` is the request's without the parameter that carries a cursor.
    pub(in crate::machine) fn identity(
        &self,
        head: &RequestHead,
        target: &str,
        route: &Route,
        client: IpAddr,
    ) -> Identity {
        let principal = self.principal(&head.headers, route, client);
        let host = head.host.as_deref().unwrap_or_default();
        let wanted = self.hash(Kind::Target, [host.as_bytes(), target.as_bytes()]) as u64;
        let named = head.headers.get(&route.session_header);
        let session = match named {
            Some(session) => self.hash(Kind::Session, [&principal, route.name.as_bytes(), session]),
            None => self.hash(Kind::Session, [&principal, route.name.as_bytes(), &wanted.to_le_bytes(), b""]),
        };
        Identity { session, target: wanted, named: named.is_some() }
    }

    /// Whom a request counts against: its principal, and the address that it comes from. Of IPv6 a whole network of 64
    /// bits counts, since one client may have all of its addresses.
    pub(in crate::machine) fn holders(&self, head: &RequestHead, route: &Route, client: IpAddr) -> Holders {
        let principal = self.principal(&head.headers, route, client);
        let network = match client.to_canonical() {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits() >> 64 << 64 | 1,
        };
        Holders {
            principal: self.hash(Kind::Principal, [&principal]) as u64,
            address: self.hash(Kind::Principal, [&network.to_le_bytes()]) as u64,
        }
    }

    /// The session that all clients of a target share, without regard to their principal.
    pub(in crate::machine) fn public(&self, route: &Route, target: u64) -> u128 {
        self.hash(Kind::Session, [b"", route.name.as_bytes(), &target.to_le_bytes(), b"public"])
    }

    /// All credentials of a request: its cookies if it has no others, and the client's address if it has none at all.
    fn principal(&self, headers: &Headers, route: &Route, client: IpAddr) -> [u8; 16] {
        let mut hash = self.hasher(Kind::Principal);
        let mut any = false;
        for (n, name) in route.principal.iter().enumerate() {
            match name.strip_prefix("cookie:") {
                Some(cookie) => cookies(headers, cookie).for_each(|value| {
                    any = true;
                    field(&mut hash, n as u8, value);
                }),
                None => headers.get_all(name).for_each(|value| {
                    any = true;
                    field(&mut hash, n as u8, value);
                }),
            }
        }
        if !any {
            headers.get_all("Cookie").for_each(|value| {
                any = true;
                field(&mut hash, 0xfe, value);
            });
        }
        if !any {
            field(&mut hash, 0xff, client.to_canonical().to_string().as_bytes());
        }
        hash.finish128().as_u128().to_le_bytes()
    }

    /// The token of the stream with this random number. Each process with the same key makes the same token, so that a
    /// stored stream is found again by it.
    pub(in crate::machine) fn token(&self, number: u64) -> Token {
        let chance = self.hash(Kind::Token, [&number.to_le_bytes()]) >> 32;
        Token(chance << 32 | self.mark(chance))
    }

    /// Whether a token was made under this key.
    pub(in crate::machine) fn made(&self, token: Token) -> bool {
        self.mark(token.0 >> 32) ^ (token.0 & 0xffff_ffff) == 0
    }

    fn mark(&self, chance: u128) -> u128 {
        self.hash(Kind::Mark, [&chance.to_le_bytes()]) & 0xffff_ffff
    }

    fn hash<const N: usize>(&self, kind: Kind, parts: [&[u8]; N]) -> u128 {
        let mut hash = self.hasher(kind);
        parts.into_iter().enumerate().for_each(|(n, part)| field(&mut hash, n as u8, part));
        hash.finish128().as_u128()
    }

    /// A hash of a request's body, to be fed as it passes.
    pub(in crate::machine) fn body(&self) -> SipHasher24 {
        self.hasher(Kind::Body)
    }

    fn hasher(&self, kind: Kind) -> SipHasher24 {
        let mut hash = SipHasher24::new_with_keys(self.key as u64, (self.key >> 64) as u64);
        hash.write_u8(kind as u8);
        hash
    }
}

/// Adds a field so that no two lists of fields look alike.
fn field(hash: &mut SipHasher24, label: u8, value: &[u8]) {
    hash.write_u8(label);
    hash.write_u64(value.len() as u64);
    hash.write(value);
}

/// The values of one cookie.
fn cookies<'h>(headers: &'h Headers, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    let pairs = headers.get_all("Cookie").flat_map(|line| line.split(|&b| b == b';'));
    pairs.filter_map(move |pair| {
        let pair = pair.trim_ascii();
        pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
    })
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Token {
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
