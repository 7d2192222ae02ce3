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

/// The same with a body, and pieces of which one at least is the sum.
fn summed_at_random(random: &mut Random) -> Vec<u8> {
    let mut below = |n: u64| (random.next() % n) as usize;
    let (command, family) =
        [(0x21, 0x11), (0x21, 0x21), (0x21, 0x31), (0x21, 0x12), (0x20, 0x00), (0x20, 0x11), (0x21, 0x00)][below(7)];
    let addresses = [0, 12, 36, 216][usize::from(family >> 4)];
    let mut body: Vec<u8> = (0..addresses).map(|_| below(256) as u8).collect();
    let (before, behind) = (below(3), below(3));
    let mut sum_at = 0;
    for n in 0..=before + behind {
        if n == before {
            sum_at = FIXED + body.len() + 3;
            body.extend([3, 0, 4, 0, 0, 0, 0]);
        } else {
            let length = below(24);
            body.extend([4 + below(40) as u8, 0, length as u8]);
            body.extend((0..length).map(|_| below(256) as u8));
        }
    }
    let mut header = binary(command, family, &body);
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&header).to_be_bytes();
    header[sum_at..sum_at + 4].copy_from_slice(&sum);
    header
}

/// Whichever bit changes on the way, a header with a sum is refused, or read as it was sent. One whose length has grown
/// waits for bytes that do not come, and is closed in time.
#[test]
fn no_bit_that_changes_on_the_way_hides_the_sum() {
    let mut random = Random::new(7);
    let (mut refused, mut same, mut waits) = (0, 0, 0);
    for n in 0..150 {
        let header = if n == 0 { summed() } else { summed_at_random(&mut random) };
        let sent = proxy_header(&header);
        assert!(matches!(sent, Preface::Whole { .. }), "{}", header.escape_ascii());
        // With what the client says behind it, and without.
        let all = [&header[..], b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
        for bytes in [&header, &all] {
            for bit in 0..8 * header.len() {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                match proxy_header(&changed) {
                    Preface::Wrong => refused += 1,
                    Preface::Partial => waits += 1,
                    read => {
                        assert_eq!(read, sent, "bit {bit} of {}", bytes.escape_ascii());
                        same += 1;
                    }
                }
            }
        }
    }
    assert!(refused > 9 * (same + waits) / 10 && same > 0 && waits > 0, "{refused} {same} {waits}");
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
        // Where the sum's own type is changed, there is no sum.
        assert_eq!(proxy_header(&changed) == Preface::Wrong, at != 32, "byte {at}");
        proxy_twin::compare(&changed);
    }
    let at = header.len() - 7;
    let twice = [&header[FIXED..], &header[at..]].concat();
    assert_eq!(proxy_header(&binary(0x21, 0x11, &twice)), Preface::Wrong, "of two sums, one at most is right");
    let long = [&header[FIXED..at], &[3, 0, 5], &header[at + 3..], &[0]].concat();
    assert_eq!(proxy_header(&binary(0x21, 0x11, &long)), Preface::Wrong, "a sum of five bytes");
}

/// What is added to the addresses fills the header to its last byte.
#[test]
fn what_is_added_must_have_its_form() {
    let addresses = [192, 0, 2, 1, 10, 0, 0, 1, 0, 80, 1, 187];
    let with = |added: &[u8]| binary(0x21, 0x11, &[&addresses[..], added].concat());
    for sound in [&[][..], &[4, 0, 0], &[4, 0, 1, 42], &[0xff, 0, 0, 4, 0, 2, 1, 2]] {
        assert!(whole(&with(sound)).is_some(), "{sound:?}");
    }
    for malformed in [&[4][..], &[4, 0], &[4, 0, 1], &[4, 0, 1, 42, 7], &[4, 1, 0, 42], &[3, 0, 9, 0], &[4, 0, 0, 3, 0]]
    {
        assert_eq!(proxy_header(&with(malformed)), Preface::Wrong, "{malformed:?}");
        proxy_twin::compare(&with(malformed));
    }
    // Of a health check, nothing counts; where the family is unknown, nobody knows where anything begins.
    for loose in [binary(0x20, 0x11, &[9; 3]), binary(0x20, 0x40, &[4; 5]), binary(0x21, 0x00, b"any")] {
        assert!(whole(&loose).is_some(), "{}", loose.escape_ascii());
        proxy_twin::compare(&loose);
    }
    // But for a sum.
    for (command, family) in [(0x20, 0x00), (0x21, 0x00)] {
        assert_eq!(proxy_header(&binary(command, family, &[3, 0, 4, 1, 2, 3, 4])), Preface::Wrong);
    }
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
        binary(0x21, 0x11, &[&[7; 12][..], &[4, 0, 1, 42]].concat()),
        binary(0x21, 0x21, &[3; 40]),
        binary(0x20, 0x11, &[3; 17]),
        binary(0x21, 0x00, &[3, 0, 4, 1, 2, 3, 4]),
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
