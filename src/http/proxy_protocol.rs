//! The PROXY protocol: a header before all else on a connection, by which a proxy that passes bytes on says who the client
//! is.
//!
//! In: the first bytes of a connection. Out: the client's address and the header's length, or that more bytes are needed,
//! or that this is no such header.
//! Laws: a header is at most [`PROXY_HEADER`] bytes long; what a proxy adds to the addresses must have the form that the
//! text gives it, and of it only the checksum is read: a wrong one makes the header a wrong one, and no bit that has changed
//! on the way hides it; a proxy that speaks for itself (`LOCAL`) is told from one that speaks for a client of whom it gives
//! no IP address. Of a `LOCAL` header the family and all behind it are passed over, as the text demands, but for a sum.
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

/// Where version 2 says its version and command, its family, and its length in two bytes.
const SAYS: usize = 12;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

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
    let Some(&says) = bytes.get(SAYS..).and_then(|rest| rest.first_chunk()) else { return unfinished(bytes) };
    let length = length_of(says);
    if length > PROXY_HEADER {
        return Preface::Wrong;
    }
    let whom = match says[0] {
        LOCAL if bytes.len() < length => return Preface::Partial,
        LOCAL => Announced::Itself,
        _ => match v2::Header::try_from(bytes) {
            Ok(header) => match header.addresses {
                v2::Addresses::IPv4(pair) => client(pair.source_address.into()),
                v2::Addresses::IPv6(pair) => client(pair.source_address.into()),
                _ => Announced::Somebody,
            },
            read if read.is_incomplete() => return Preface::Partial,
            _ => return Preface::Wrong,
        },
    };
    // Where nobody can say how long the addresses are, nobody can say where what is added begins.
    let is_loose = says[0] == LOCAL || says[1] >> 4 == 0;
    let is_sound = match sum_of(says, bytes) {
        Sum::Right => true,
        Sum::Wrong => false,
        Sum::None => !hides_a_sum(says, bytes),
        Sum::Malformed => is_loose && !hides_a_sum(says, bytes),
    };
    if is_sound { Preface::Whole { length, whom } } else { Preface::Wrong }
}

/// A header of version 2 whose length has not come. It may be known to be wrong.
fn unfinished(bytes: &[u8]) -> Preface {
    match bytes.get(SAYS) {
        None | Some(&(LOCAL | PROXY)) => Preface::Partial,
        Some(_) => Preface::Wrong,
    }
}

/// The length of a header, all in all.
fn length_of([_, _, high, low]: [u8; 4]) -> usize {
    FIXED + usize::from(u16::from_be_bytes([high, low]))
}

/// What the sum of a header says of it.
enum Sum {
    /// What is added to the addresses has not the form of such things.
    Malformed,
    /// There is none.
    None,
    Right,
    Wrong,
}

/// The sum of a header of version 2 that says this of itself. What is added to its addresses are pieces, each with a type
/// and a length, which fill it to its end.
fn sum_of(says: [u8; 4], bytes: &[u8]) -> Sum {
    let addresses = match says[1] >> 4 {
        0 => 0,
        1 => 12,
        2 => 36,
        3 => 216,
        _ => return Sum::Malformed,
    };
    let Some(header) = bytes.get(..length_of(says)) else { return Sum::Malformed };
    let (mut at, mut sum) = (FIXED + addresses, Sum::None);
    while at < header.len() {
        let Some(&[kind, high, low]) = header.get(at..at + 3) else { return Sum::Malformed };
        let value = at + 3..at + 3 + usize::from(u16::from_be_bytes([high, low]));
        let Some(said) = header.get(value.clone()) else { return Sum::Malformed };
        at = value.end;
        if kind == SUM_TYPE && !matches!(sum, Sum::Wrong) {
            // It is taken over the whole header, with zeros in its own place.
            let mut digest = SUM.digest();
            digest.update(&header[..SAYS]);
            digest.update(&says);
            digest.update(&header[FIXED..value.start]);
            said.iter().for_each(|_| digest.update(&[0]));
            digest.update(&header[value.end..]);
            sum = if said == digest.finalize().to_be_bytes() { Sum::Right } else { Sum::Wrong };
        }
    }
    if at == header.len() { sum } else { Sum::Malformed }
}

/// Whether a header has a sum that is not found, since a bit of its family or its length has changed on the way: with
/// that bit as it was, the sum is right.
fn hides_a_sum(says: [u8; 4], bytes: &[u8]) -> bool {
    (0..u32::BITS).any(|bit| {
        let was = (u32::from_be_bytes(says) ^ (1 << bit)).to_be_bytes();
        matches!(was[0], LOCAL | PROXY) && matches!(sum_of(was, bytes), Sum::Right)
    })
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
