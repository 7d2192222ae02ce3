//! Who asks, and for what: the keyed hashes by which streams are found again.
//!
//! In: request heads and addresses. Out: an [`Identity`]; tokens that nobody can guess.
//! Laws: a log is only ever read by the principal that made it; no credential is kept, only its hash under a key that
//! nobody outside knows, so neither a store's file nor the time a comparison takes tells anything of it.
//! Source: DESIGN section 2 ("principal", "session", "target"); Aumasson and Bernstein, "SipHash: a fast short-input
//! PRF" (INDOCRYPT 2012), with 128 bits of output.

use crate::config::Route;
use crate::http::{Headers, RequestHead};
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;
use std::net::IpAddr;

/// What the fields of a hash stand for, so that those of one kind never count as those of another.
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
pub(super) struct Secret {
    key: u128,
}

/// Whose a request is, and what it asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    /// The session: what the session header says, else principal and target; always of one principal and route.
    pub(super) session: u128,
    /// Host, path and query, without the method: a stream that a POST began may be resumed by a GET.
    pub(super) target: u64,
    /// The client names a session itself.
    pub(super) named: bool,
}

/// The name of a stream whose ids are segno's own: 96 bits by chance and 32 that show that segno made them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Token(pub(super) u128);

impl Secret {
    pub(super) fn new(key: u128) -> Self {
        Self { key }
    }

    /// Who asks for what. `target` is the request's without the parameter that carries a cursor.
    pub(super) fn identity(&self, head: &RequestHead, target: &str, route: &Route, client: IpAddr) -> Identity {
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

    /// The session that all clients of a target share, whoever they are.
    pub(super) fn public(&self, route: &Route, target: u64) -> u128 {
        self.hash(Kind::Session, [b"", route.name.as_bytes(), &target.to_le_bytes(), b"public"])
    }

    /// All credentials of a request; cookies where it has no others, the client's address where it has none at all.
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

    /// The token of the stream with this number, which was drawn by chance. The same in each process that has the key,
    /// so that a stream which is stored is found again by it.
    pub(super) fn token(&self, number: u64) -> Token {
        let chance = self.hash(Kind::Token, [&number.to_le_bytes()]) >> 32;
        Token(chance << 32 | self.mark(chance))
    }

    /// Whether a token was made under this key.
    pub(super) fn made(&self, token: Token) -> bool {
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
    pub(super) fn body(&self) -> SipHasher24 {
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
    pub(super) fn prefix(self) -> [u8; 26] {
        let mut text = *b"sg-......................-";
        for (n, place) in text[3..25].iter_mut().enumerate() {
            // 22 digits of 6 bits: the last carries two of the 128 and four zeros.
            let digit = if n == 21 { self.0 << 4 } else { self.0 >> (122 - 6 * n as u32) };
            *place = DIGITS[(digit & 63) as usize];
        }
        text
    }

    /// Reads an own id: the token and the event's number. `None`: it is none.
    pub(super) fn parse(id: &[u8]) -> Option<(Self, u64)> {
        let (token, number) = id.strip_prefix(b"sg-")?.split_at_checked(22)?;
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
mod tests {
    use super::*;
    use crate::base::Random;
    use crate::config::Upstream;
    use crate::http::{HeadLimits, parse_request};
    use std::net::Ipv4Addr;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn identity(request: &str, client: IpAddr, adjust: impl FnOnce(&mut Route)) -> Identity {
        let mut route = Route::new(Upstream::parse("http://up").unwrap());
        adjust(&mut route);
        let head = parse_request(request.as_bytes(), HeadLimits::default()).unwrap();
        Secret::new(5).identity(&head, &head.target, &route, client)
    }

    fn of(lines: &str) -> Identity {
        identity(&format!("GET /rooms/1 HTTP/1.1\r\nHost: h\r\n{lines}\r\n"), HOME, |_| {})
    }

    #[test]
    fn other_credentials_make_another_session() {
        let a = of("Authorization: Bearer a\r\n");
        assert_eq!(a, of("Authorization: Bearer a\r\nCookie: tab=1\r\nAccept: x\r\n"));
        for other in [
            "",
            "Authorization: Bearer b\r\n",
            "X-Api-Key: Bearer a\r\n",
            "Authorization: Bearer a\r\nX-Api-Key: k\r\n",
            "Authorization: Bearer a\r\nMcp-Session-Id: s\r\n",
        ] {
            assert_ne!(a.session, of(other).session, "{other}");
        }
    }

    #[test]
    fn cookies_count_only_where_there_is_nothing_better() {
        assert_ne!(of("Cookie: a=1\r\n").session, of("Cookie: a=2\r\n").session);
        assert_ne!(of("Cookie: a=1\r\n").session, of("").session);
    }

    #[test]
    fn a_cookie_that_is_named_counts_alone() {
        let with = |cookie: &str| {
            let request = format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\n\r\n");
            identity(&request, HOME, |route| route.principal.push("cookie:sid".to_owned())).session
        };
        assert_eq!(with("sid=1; theme=dark"), with("theme=light; sid=1"));
        assert_ne!(with("sid=1"), with("sid=2"));
    }

    #[test]
    fn without_credentials_the_address_counts() {
        let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        let request = "GET /rooms/1 HTTP/1.1\r\nHost: h\r\n\r\n";
        assert_ne!(of("").session, identity(request, other, |_| {}).session);
        let six = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
        assert_eq!(of("").session, identity(request, six, |_| {}).session);
    }

    #[test]
    fn another_target_makes_another_session_unless_the_client_names_it() {
        let get =
            |path: &str, lines: &str| identity(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n{lines}\r\n"), HOME, |_| {});
        assert_ne!(get("/rooms/1", "").session, get("/rooms/2", "").session);
        let (a, b) = (get("/a", "Mcp-Session-Id: s\r\n"), get("/b", "Mcp-Session-Id: s\r\n"));
        assert_eq!((a.session, a.named), (b.session, true));
        assert_ne!(a.target, b.target);
    }

    #[test]
    fn an_own_id_is_read_back_and_nothing_else_is() {
        let mut random = Random::new(3);
        for _ in 0..1_000 {
            let (token, n) = (Token(u128::from(random.next()) << 64 | u128::from(random.next())), random.next());
            let text = [&token.prefix()[..], n.to_string().as_bytes()].concat();
            assert!(text.len() <= 46);
            assert!(text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')));
            assert_eq!(Token::parse(&text), Some((token, n)));
            for id in [&text[1..], &text[..20], &[&text[..], b"x"].concat()] {
                assert_eq!(Token::parse(id), None);
            }
        }
        let prefix = Token(1).prefix();
        for number in ["", "01", "+1", "18446744073709551616"] {
            assert_eq!(Token::parse(&[&prefix[..], number.as_bytes()].concat()), None, "{number}");
        }
    }

    #[test]
    fn a_token_is_known_by_its_maker_alone() {
        let (here, there) = (Secret::new(1), Secret::new(3));
        let again = Secret::new(1);
        for n in 0..100 {
            let token = here.token(n);
            assert!(here.made(token) && again.made(token) && !there.made(token));
            assert!(!here.made(Token(token.0 ^ 1 << (n % 128))));
            assert_eq!(token, again.token(n), "a token outlives the process");
        }
    }
}
