//! The slow, obvious twin of the reader: it takes a header apart word by word, as the text of the protocol tells it.
//!
//! In: whole or cut headers. Out: what they say.
//! Law: it has nothing in common with the reader but the words of the protocol.

use super::proxy_protocol::{self as reader, Announced, PROXY_HEADER, Preface};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the bytes are, by the letter.
pub(crate) fn proxy_header(bytes: &[u8]) -> Preface {
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    if bytes.len() < signature.len() && signature.starts_with(bytes) {
        return Preface::Partial;
    }
    match bytes.strip_prefix(signature) {
        Some(rest) => binary(rest),
        None => text(bytes),
    }
}

/// What the pieces behind the addresses come to.
#[derive(PartialEq)]
enum Sum {
    Malformed,
    None,
    Right,
    Wrong,
}

fn binary(rest: &[u8]) -> Preface {
    let [command, family, high, low, body @ ..] = rest else { return Preface::Partial };
    let length = usize::from(*high) * 256 + usize::from(*low);
    if 16 + length > PROXY_HEADER || !matches!(command, 0x20 | 0x21) {
        return Preface::Wrong;
    }
    let (is_local, needs) = (*command == 0x20, needs(*family));
    if !is_local && (family & 0xf > 2 || needs.is_none_or(|needs| length < needs)) {
        return Preface::Wrong;
    }
    if body.len() < length {
        return Preface::Partial;
    }
    let client = match needs {
        Some(12) => body.first_chunk::<4>().map(|a| IpAddr::V4(Ipv4Addr::from(*a))),
        Some(36) => body.first_chunk::<16>().map(|a| IpAddr::V6(Ipv6Addr::from(*a))),
        _ => None,
    };
    let whom = if is_local { Announced::Itself } else { somebody(client) };
    let sum = sum(rest);
    let would_be_right = || {
        (0..32).any(|bit| {
            let mut other = rest.to_vec();
            other[bit / 8] ^= 1 << (bit % 8);
            sum_of(other) == Sum::Right
        })
    };
    let is_sound = match sum {
        Sum::Right => true,
        Sum::Wrong => false,
        Sum::Malformed if !is_local && needs != Some(0) => false,
        Sum::Malformed | Sum::None => !would_be_right(),
    };
    if is_sound { Preface::Whole { length: 16 + length, whom } } else { Preface::Wrong }
}

/// Bytes of the addresses of a family.
fn needs(family: u8) -> Option<usize> {
    [0, 12, 36, 216].get(usize::from(family / 16)).copied()
}

fn somebody(client: Option<IpAddr>) -> Announced {
    let client = client.map(|client| client.to_canonical()).filter(|client| !client.is_unspecified());
    client.map_or(Announced::Somebody, Announced::Client)
}

/// What the sum of a header says, if it is one of version 2.
fn sum_of(rest: Vec<u8>) -> Sum {
    if rest[0] == 0x20 || rest[0] == 0x21 { sum(&rest) } else { Sum::Malformed }
}

/// What the sum of a header says: bit by bit, over a copy with zeros in the sum's place.
fn sum(rest: &[u8]) -> Sum {
    let end = 4 + usize::from(rest[2]) * 256 + usize::from(rest[3]);
    let Some(needs) = needs(rest[1]) else { return Sum::Malformed };
    if end > rest.len() || 4 + needs > end {
        return Sum::Malformed;
    }
    let header = [b"\r\n\r\n\0\r\nQUIT\n", &rest[..end]].concat();
    let (mut at, mut are_right) = (16 + needs, Vec::new());
    while at != header.len() {
        if at + 3 > header.len() {
            return Sum::Malformed;
        }
        let next = at + 3 + usize::from(header[at + 1]) * 256 + usize::from(header[at + 2]);
        if next > header.len() {
            return Sum::Malformed;
        }
        if header[at] == 3 {
            let mut copy = header.clone();
            copy[at + 3..next].fill(0);
            let mut sum = !0_u32;
            for byte in &copy {
                sum ^= u32::from(*byte);
                for _ in 0..8 {
                    sum = if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
                }
            }
            are_right.push(header[at + 3..next] == (!sum).to_be_bytes());
        }
        at = next;
    }
    match (are_right.is_empty(), are_right.iter().all(|is_right| *is_right)) {
        (true, _) => Sum::None,
        (_, true) => Sum::Right,
        (_, false) => Sum::Wrong,
    }
}

/// A whole line is read; of a part of one it is only said that it may become a header, or is too long for one.
fn text(bytes: &[u8]) -> Preface {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < 107 { Preface::Partial } else { Preface::Wrong };
    };
    let line = std::str::from_utf8(&bytes[..end]).unwrap_or_default();
    let words: Vec<&str> = line.split(' ').collect();
    let is_port = |word: &str| {
        let is_number = !word.is_empty() && word.len() <= 5 && word.bytes().all(|b| b.is_ascii_digit());
        is_number && (word == "0" || !word.starts_with('0')) && word.parse::<u32>().is_ok_and(|n| n <= 65_535)
    };
    let whom = match words[..] {
        ["PROXY", "UNKNOWN", ..] => Announced::Somebody,
        ["PROXY", family @ ("TCP4" | "TCP6"), from, to, a, b] if is_port(a) && is_port(b) => {
            let (from, to): (Option<IpAddr>, Option<IpAddr>) = (from.parse().ok(), to.parse().ok());
            let is_of_family = |address: &IpAddr| address.is_ipv4() == (family == "TCP4");
            match (from.filter(is_of_family), to.filter(is_of_family)) {
                (Some(from), Some(_)) => somebody(Some(from)),
                _ => return Preface::Wrong,
            }
        }
        _ => return Preface::Wrong,
    };
    match end + 2 <= 107 && !line.contains(['\r', '\n']) {
        true => Preface::Whole { length: end + 2, whom },
        false => Preface::Wrong,
    }
}

/// Compares the reader with its twin. Of a part of a line, the reader may know sooner that it will be no header.
pub(crate) fn compare(bytes: &[u8]) {
    let (read, expected) = (reader::proxy_header(bytes), proxy_header(bytes));
    let is_sooner = read == Preface::Wrong && expected == Preface::Partial;
    assert!(read == expected || is_sooner, "{}: {read:?}, and {expected:?} by its twin", bytes.escape_ascii());
    if let Preface::Whole { length, whom } = read {
        assert!(length <= bytes.len().min(PROXY_HEADER));
        for end in 0..length {
            let cut = &bytes[..end];
            assert_eq!(reader::proxy_header(cut), Preface::Partial, "{}", cut.escape_ascii());
        }
        assert_eq!(reader::proxy_header(&bytes[..length]), Preface::Whole { length, whom });
    }
}
