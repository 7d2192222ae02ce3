//! The PROXY protocol: a header before all else on a connection, by which a proxy that passes bytes on says who the client
//! is.
//!
//! In: the first bytes of a connection. Out: the client's address and the header's length, or that more bytes are needed,
//! or that this is no such header.
//! Laws: a header is at most [`PROXY_HEADER`] bytes long; of what a proxy adds to the addresses only the checksum is read,
//! and a wrong one makes the header a wrong one; a proxy that speaks for itself (`LOCAL`) is told from one that speaks for
//! a client of whom it gives no IP address.
//! Source: HAProxy's `proxy-protocol.txt`, sections 2.1, 2.2 and 2.2.4. `ppp` reads both versions; what it takes and the
//! text forbids is refused here.

use crc::{CRC_32_ISCSI, Crc};
use ppp::{PartialResult, v1, v2};
use std::net::IpAddr;

/// Bytes of a header at most. The text of version 1 takes up to 107. Version 2 allows 64 KiB, nearly all for what is of
/// no use here; the proxies that add most (certificates' names, cloud tags) stay far below this.
pub const PROXY_HEADER: usize = 2_048;

/// Bytes of a line of version 1 at most.
const LINE: usize = 107;

/// Bytes that stand before the length of version 2, and with it.
const FIXED: usize = 16;

/// The sum of `PP2_TYPE_CRC32C`, and that type.
static SUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
const SUM_TYPE: u8 = 0x03;

/// For whom a proxy has opened a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Announced {
    /// For a client at this address.
    Client(IpAddr),
    /// For itself, as to see whether the other end lives.
    Itself,
    /// For a client whose address it does not know, or that has none.
    Somebody,
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preface {
    /// The beginning of a header.
    Partial,
    /// A whole header.
    Whole {
        /// Its bytes.
        length: usize,
        /// For whom the connection is.
        whom: Announced,
    },
    /// No header, or one that is too long.
    Wrong,
}

/// Reads the header that a connection begins with.
pub fn proxy_header(bytes: &[u8]) -> Preface {
    match bytes.len() {
        n if n < v2::PROTOCOL_PREFIX.len() && v2::PROTOCOL_PREFIX.starts_with(bytes) => Preface::Partial,
        _ if bytes.starts_with(v2::PROTOCOL_PREFIX) => binary(bytes),
        _ => text(bytes),
    }
}

/// Version 2. It says its length before the rest has come.
fn binary(bytes: &[u8]) -> Preface {
    if let Some(&[high, low]) = bytes.get(FIXED - 2..FIXED)
        && FIXED + usize::from(u16::from_be_bytes([high, low])) > PROXY_HEADER
    {
        return Preface::Wrong;
    }
    let read = v2::Header::try_from(bytes);
    if read.is_incomplete() {
        return Preface::Partial;
    }
    let Ok(header) = read else { return Preface::Wrong };
    let whom = match (header.command, header.addresses) {
        (v2::Command::Local, _) => Announced::Itself,
        (v2::Command::Proxy, v2::Addresses::IPv4(pair)) => client(pair.source_address.into()),
        (v2::Command::Proxy, v2::Addresses::IPv6(pair)) => client(pair.source_address.into()),
        (v2::Command::Proxy, _) => Announced::Somebody,
    };
    match is_sound(&header.header, FIXED + header.address_bytes().len()) {
        true => Preface::Whole { length: header.header.len(), whom },
        false => Preface::Wrong,
    }
}

/// Whether a header of version 2 has the sum that it says. What is added to it begins at `at`, each with a type and a
/// length. One without a sum is sound.
fn is_sound(header: &[u8], mut at: usize) -> bool {
    while let Some(&[kind, high, low]) = header.get(at..at + 3) {
        let value = at + 3..at + 3 + usize::from(u16::from_be_bytes([high, low]));
        if kind == SUM_TYPE {
            let Some(said) = header.get(value.clone()) else { return false };
            // It is taken over the whole header, with zeros in its own place.
            let mut digest = SUM.digest();
            digest.update(&header[..value.start]);
            said.iter().for_each(|_| digest.update(&[0]));
            digest.update(&header[value.end..]);
            return said == digest.finalize().to_be_bytes();
        }
        at = value.end;
    }
    true
}

/// Version 1. `ppp` is given whole lines alone: it takes a line that is cut before its last port for a wrong one.
fn text(bytes: &[u8]) -> Preface {
    let Some(feed) = memchr::memchr(b'\n', bytes) else {
        let may_become_one = bytes.len() < LINE && bytes.iter().zip(b"PROXY ").all(|(a, b)| a == b);
        return if may_become_one { Preface::Partial } else { Preface::Wrong };
    };
    match v1::Header::try_from(&bytes[..=feed]) {
        Ok(header) if is_text(&header, feed + 1) => {
            let whom = match header.addresses {
                v1::Addresses::Unknown => Announced::Somebody,
                v1::Addresses::Tcp4(pair) => client(pair.source_address.into()),
                v1::Addresses::Tcp6(pair) => client(pair.source_address.into()),
            };
            Preface::Whole { length: feed + 1, whom }
        }
        _ => Preface::Wrong,
    }
}

/// An IPv4 address that is written as IPv6 is the IPv4 address, and no address of all zeros is anybody's.
fn client(address: IpAddr) -> Announced {
    let address = address.to_canonical();
    if address.is_unspecified() { Announced::Somebody } else { Announced::Client(address) }
}

/// Whether a line of version 1 keeps to its grammar: one CR, before the LF at its end; no sign before a port.
fn is_text(header: &v1::Header<'_>, length: usize) -> bool {
    let line = header.header.as_bytes();
    line.len() == length
        && line.ends_with(b"\r\n")
        && (matches!(header.addresses, v1::Addresses::Unknown) || !line.contains(&b'+'))
}

#[cfg(test)]
mod tests;
