//! Both versions of the header, what is none, and the slow twin beside the reader.
//!
//! In: headers, whole, changed and cut. Out: what the reader says of them.

use super::*;
use crate::base::Random;
use crate::http::proxy_twin;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2.
fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u16).to_be_bytes();
    [SIGNATURE, &[command, family], &length, body].concat()
}

fn whole(bytes: &[u8]) -> Option<(usize, Announced)> {
    match proxy_header(bytes) {
        Preface::Whole { length, whom } => Some((length, whom)),
        _ => None,
    }
}

#[test]
fn headers_of_both_versions_name_the_client() {
    let some = |length, client: &str| Some((length, Announced::Client(client.parse().unwrap())));
    assert_eq!(whole(b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\nGET /"), some(41, "192.0.2.1"));
    assert_eq!(whole(b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"), some(36, "2001:db8::1"));
    assert_eq!(whole(b"PROXY TCP6 ::ffff:192.0.2.9 ::1 1 2\r\n"), some(37, "192.0.2.9"));
    let four = [&[192, 0, 2, 1, 10, 0, 0, 1, 0, 80, 1, 187][..], &[4, 0, 1, 42]].concat();
    assert_eq!(whole(&[&binary(0x21, 0x11, &four)[..], b"\x16"].concat()), some(32, "192.0.2.1"));
    let mut six = [0; 36];
    six[..16].copy_from_slice(&"2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets());
    assert_eq!(whole(&binary(0x21, 0x21, &six)), some(52, "2001:db8::7"));
}

#[test]
fn a_proxy_that_speaks_for_itself_is_told_from_one_that_does_not_know_for_whom() {
    use Announced::{Itself, Somebody};
    assert_eq!(whole(b"PROXY UNKNOWN\r\n"), Some((15, Somebody)));
    assert_eq!(whole(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"), Some((35, Somebody)));
    assert_eq!(whole(b"PROXY TCP4 0.0.0.0 10.0.0.1 1 2\r\n"), Some((33, Somebody)));
    assert_eq!(whole(b"PROXY TCP6 ::ffff:0.0.0.0 ::1 1 2\r\n"), Some((35, Somebody)));
    assert_eq!(whole(&binary(0x20, 0x00, b"")), Some((16, Itself)));
    assert_eq!(whole(&binary(0x20, 0x11, &[9; 12])), Some((28, Itself)), "LOCAL: what else it says does not count");
    assert_eq!(whole(&binary(0x21, 0x31, &[b'/'; 216])), Some((232, Somebody)));
    assert_eq!(whole(&binary(0x21, 0x00, b"any")), Some((19, Somebody)));
}

/// A header for 192.0.2.1 with a note, and behind it a sum.
fn summed() -> Vec<u8> {
    let addresses = [192, 0, 2, 1, 10, 0, 0, 1, 0, 80, 1, 187];
    let mut header = binary(0x21, 0x11, &[&addresses[..], &[4, 0, 1, 42], &[3, 0, 4, 0, 0, 0, 0]].concat());
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&header).to_be_bytes();
    let end = header.len();
    header[end - 4..].copy_from_slice(&sum);
    header
}

#[test]
fn a_header_with_a_wrong_sum_is_a_wrong_one() {
    let header = summed();
    // Worked out apart from both readers.
    assert_eq!(header[header.len() - 4..], [0x69, 0xdc, 0xd0, 0xc3]);
    assert_eq!(whole(&header), Some((39, Announced::Client("192.0.2.1".parse().unwrap()))));
    for at in FIXED..header.len() {
        let mut changed = header.clone();
        changed[at] ^= 0x40;
        // Where the sum's own type or a length is changed, there is no sum.
        let is_sum_gone = matches!(at, 28..=30 | 32..=34);
        assert!(is_sum_gone || proxy_header(&changed) == Preface::Wrong, "byte {at}");
        proxy_twin::compare(&changed);
    }
    let short = binary(0x21, 0x11, &[&[192, 0, 2, 1, 10, 0, 0, 1, 0, 80, 1, 187][..], &[3, 0, 9, 0]].concat());
    assert_eq!(proxy_header(&short), Preface::Wrong, "a sum that is cut");
}

#[test]
fn what_is_no_header_is_refused_as_soon_as_that_is_known() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
    for wrong in [
        "GET / HTTP/1.1\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 1 +2\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 01 2\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 1 65536\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP4 192.0.2.1  1 2\r\n",
        "PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
        "PROXY UNKNOWN\r\r\n",
        "PROXY UNKNOWN \n",
        "proxy UNKNOWN\r\n",
        "\x16\x03\x01",
        &long,
    ] {
        assert_eq!(proxy_header(wrong.as_bytes()), Preface::Wrong, "{wrong:?}");
    }
    let huge = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
    assert_eq!(proxy_header(&huge), Preface::Wrong, "64 KiB are not waited for");
    assert_eq!(proxy_header(&binary(0x31, 0x11, &[0; 12])), Preface::Wrong, "version 3");
    assert_eq!(proxy_header(&binary(0x21, 0x11, &[0; 11])), Preface::Wrong);
}

/// Headers that are whole, changed in one byte, and cut.
#[test]
fn it_reads_what_its_twin_reads() {
    let mut random = Random::new(3);
    let texts = [
        b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n".to_vec(),
        b"PROXY UNKNOWN x\r\n".to_vec(),
        binary(0x21, 0x11, &[7; 16]),
        binary(0x21, 0x21, &[3; 40]),
        binary(0x20, 0x00, &[]),
        binary(0x21, 0x32, &[1; 220]),
        summed(),
    ];
    for n in 0..20_000 {
        let mut bytes = texts[n % texts.len()].clone();
        if random.next().is_multiple_of(2) {
            let at = random.next() as usize % bytes.len();
            bytes[at] = if n % 2 == 0 { random.next() as u8 } else { b" 0\r\nP"[random.next() as usize % 5] };
        }
        bytes.truncate(1 + random.next() as usize % (bytes.len() + 4));
        proxy_twin::compare(&bytes);
    }
}
