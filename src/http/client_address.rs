//! The client's address, where trusted proxies stand in front.
//!
//! In: a request's headers, the peer's address, whom to trust. Out: one address.
//! Laws: what a peer that is not trusted says is never believed; the list is read from its end, which the nearest proxy
//! wrote, and only as far as its writers are trusted.
//! Source: RFC 7239 section 7.4 (how far such a list is worth believing); `X-Forwarded-For` as proxies commonly write
//! it.

use super::headers::{Headers, trim};
use std::net::{IpAddr, SocketAddr};

/// The last address of `X-Forwarded-For` that is not a trusted proxy's own, if the peer is trusted; else the peer's.
/// If all are trusted, the first of them. What is not an address ends the search at the proxy that passed it on. An IPv4
/// address that is written as IPv6 is the IPv4 address.
pub fn client_address(headers: &Headers, peer: IpAddr, is_trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    if !is_trusted(peer) {
        return peer.to_canonical();
    }
    // Read forwards, each entry takes the place of what stands before it, unless its own writer only passed it on.
    let mut found: Option<IpAddr> = None;
    for entry in headers.tokens("X-Forwarded-For").filter(|entry| !entry.is_empty()) {
        found = match (address(entry), found) {
            (Some(address), Some(before)) if is_trusted(address) => Some(before),
            (address, _) => address,
        };
    }
    found.unwrap_or(peer).to_canonical()
}

/// An address, alone or with a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(trim(entry)).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &str, lines: &[&str]) -> String {
        let mut headers = Headers::new();
        lines.iter().for_each(|line| headers.push("x-forwarded-for", line.as_bytes()).unwrap());
        let trusted = |address: IpAddr| address.to_string().starts_with("10.");
        client_address(&headers, peer.parse().unwrap(), trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(of("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(of("::ffff:192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(of("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(of("10.0.0.1", &["203.0.113.9, 198.51.100.7", "10.0.0.2"]), "198.51.100.7");
        assert_eq!(of("10.0.0.1", &["198.51.100.7:4711,10.0.0.2:80"]), "198.51.100.7");
        assert_eq!(of("10.0.0.1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(of("10.0.0.1", &["[2001:db8::1]", "::ffff:10.0.0.4"]), "2001:db8::1");
    }

    #[test]
    fn what_is_no_address_ends_the_search() {
        assert_eq!(of("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &["unknown"]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &["198.51.100.7, _hidden, 10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert_eq!(of("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    }
}
