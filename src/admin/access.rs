//! Who may read the pages that are not for everyone.
//!
//! In: the `Host` and the `Authorization` of a request. Out: whether it is let in, or the status that it gets.
//! Laws: a page in a browser cannot read anything here by a name of its own that it lets point to this address (DNS
//! rebinding), so a name must be known, while an address can only be itself; the time of a comparison tells nothing of
//! the token; a token is never shown.
//! Source: RFC 9110 section 7.4 (421), RFC 6750 sections 2.1 and 3 (`Bearer`).

use crate::http::RequestHead;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use subtle::ConstantTimeEq;

/// The longest token.
const LONGEST: usize = 4_096;

/// Who may read the pages: by default everyone who reaches the address and calls it by an address or `localhost`.
#[derive(Clone, Default)]
pub struct Access {
    hosts: Vec<String>,
    token: Option<Box<[u8]>>,
}

/// Why a text is no token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenError;

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a token: write 1 to {LONGEST} visible ASCII characters on one line")
    }
}

impl std::error::Error for TokenError {}

/// Why a request is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shut {
    /// Its `Host` is a name that is not known here.
    Foreign,
    /// It lacks the token, or has another one.
    NoToken,
    /// It wants to change something, from another machine and without a token.
    Remote,
    /// It wants to change something, and a page of another site sent it.
    OtherSite,
}

impl Access {
    /// Lets in requests that call the address by one of these names, too. Names have no port; their case does not
    /// count.
    #[must_use]
    pub fn hosts(self, hosts: Vec<String>) -> Self {
        Self { hosts, ..self }
    }

    /// Lets in only those who send this token, as `Authorization: Bearer TOKEN`. White space around it does not count.
    ///
    /// # Errors
    /// [`TokenError`], when nobody could send it.
    pub fn token(self, token: &str) -> Result<Self, TokenError> {
        let token = token.trim_ascii().as_bytes();
        let is_sound = (1..=LONGEST).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic);
        if is_sound { Ok(Self { token: Some(token.into()), ..self }) } else { Err(TokenError) }
    }

    /// Whether a request names this address as its owner does, which is all that a page without numbers asks for.
    pub(super) fn check_host(&self, head: &RequestHead) -> Result<(), Shut> {
        // A browser always sends a `Host`, and so does everything that speaks HTTP/1.1.
        if head.host.as_deref().is_none_or(|host| self.knows(host)) { Ok(()) } else { Err(Shut::Foreign) }
    }

    /// Whether a request is let in.
    pub(super) fn check(&self, head: &RequestHead) -> Result<(), Shut> {
        self.check_host(head)?;
        // Another site's page may read nothing here, and could still hold the places of those who may.
        if head.headers.get_all("Sec-Fetch-Site").any(|site| site.eq_ignore_ascii_case(b"cross-site")) {
            return Err(Shut::OtherSite);
        }
        match &self.token {
            Some(token) if !sends(head, token) => Err(Shut::NoToken),
            _ => Ok(()),
        }
    }

    /// Whether a request that [`Access::check`] has let in may change something. A browser says which site's page sends
    /// a POST; a token is none that it would send by itself.
    pub(super) fn check_order(&self, head: &RequestHead, peer: IpAddr) -> Result<(), Shut> {
        if self.token.is_none() && !peer.to_canonical().is_loopback() {
            return Err(Shut::Remote);
        }
        let own = head.host.as_deref().map(|host| format!("http://{host}"));
        let is_own = |origin: &[u8]| own.as_ref().is_some_and(|own| own.as_bytes().eq_ignore_ascii_case(origin));
        if head.headers.get_all("Origin").all(is_own) { Ok(()) } else { Err(Shut::OtherSite) }
    }

    fn knows(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        if name.parse::<IpAddr>().is_ok() || address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()) {
            return true;
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_local = name.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("localhost"));
        is_local || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// Whether the request sends this token, and no other credentials.
fn sends(head: &RequestHead, token: &[u8]) -> bool {
    let mut all = head.headers.get_all("Authorization");
    let (Some(sent), None) = (all.next(), all.next()) else { return false };
    let Some((scheme, sent)) = sent.split_at_checked(b"Bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(sent.trim_ascii().ct_eq(token))
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "hidden");
        f.debug_struct("Access").field("hosts", &self.hosts).field("token", &token).finish()
    }
}

#[cfg(test)]
mod tests;
