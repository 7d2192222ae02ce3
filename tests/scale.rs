//! The arithmetic of `docs/scale.md`, done again.
//!
//! In: the page. Out: a failure where a figure of its tables does not follow from what was measured.
//! Law: the measured figures come from the page too, so that nobody can change one and forget the others.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic: that is a failed test")]

use std::path::Path;

/// What was measured.
struct Measured {
    event_us: f64,
    stream: f64,
    socket: f64,
    cursor_us: f64,
    cursor_sent: f64,
    record: f64,
    ports: f64,
    buckets: usize,
}

/// How full a core may be.
const SHARE: f64 = 0.6;

/// Two rows that come again and again.
const EVEN: &str = "Redis masters for these, if each has the same share";
const CLUSTER: &str = "masters of one Cluster for these, with even slots";

/// Bytes of an event.
const EVENT: f64 = 256.0;

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scale.md")).unwrap()
}

/// The cells of the rows of a page that begin with these words, without the first.
fn rows(page: &str, words: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let is_it = |line: &&str| line.strip_prefix("| ").is_some_and(|line| line.starts_with(&format!("{words} |")));
    page.lines().filter(is_it).map(|line| cells(line)[2..].to_vec()).collect()
}

/// The figure at the start of a cell.
fn figure(page: &str, words: &str) -> f64 {
    let row = rows(page, words);
    let cell = row.first().unwrap_or_else(|| panic!("no row `{words}`")).first().unwrap().replace(',', "");
    cell.split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("`{words}`: no figure in `{cell}`"))
}

fn measured(page: &str) -> Measured {
    Measured {
        event_us: figure(page, "CPU time of an instance for one event of 256 B"),
        stream: figure(page, "memory of a connected stream in segno, idle"),
        socket: figure(page, "memory of one idle TCP socket in Linux"),
        cursor_us: figure(page, "CPU time of Redis for one cursor"),
        cursor_sent: figure(page, "bytes to Redis for one cursor"),
        record: figure(page, "memory of Redis for one session"),
        ports: figure(page, "source ports of one instance towards one upstream address"),
        buckets: figure(page, "buckets of records in Redis, which a Cluster can spread") as usize,
    }
}

impl Measured {
    fn events_of_an_instance(&self) -> f64 {
        SHARE * 1e6 / self.event_us
    }

    fn cursors_of_a_master(&self) -> f64 {
        SHARE * 1e6 / self.cursor_us
    }

    /// The fewest masters with even slots of which the busiest is not too busy.
    fn cluster(&self, cursors: f64) -> String {
        let suffices = |masters: &usize| {
            busiest(self.buckets, *masters) as f64 / self.buckets as f64 * cursors <= self.cursors_of_a_master()
        };
        (1..=1_000).find(suffices).map_or("none is enough".to_owned(), |masters| masters.to_string())
    }
}

/// The slot of a hash tag in a Cluster: CRC-16 (XMODEM).
fn slot(tag: &str) -> usize {
    let crc = tag.bytes().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| crc << 1 ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 })
    });
    usize::from(crc) % 16_384
}

/// How many of the buckets lie on that one of so many masters that has the most of them.
fn busiest(buckets: usize, masters: usize) -> usize {
    let mut of = vec![0; masters];
    (0..buckets).for_each(|n| of[slot(&format!("{n:02x}")) * masters / 16_384] += 1);
    of.into_iter().max().unwrap_or(0)
}

/// A whole number, with a comma between thousands.
fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn up(number: f64) -> String {
    whole(number.ceil())
}

fn gbit(bytes: f64) -> String {
    format!("{:.1} Gbit/s", bytes * 8.0 / 1e9)
}

/// Holds one of the rows with these words: each cell is what `of` makes of its sessions.
fn check(page: &str, words: &str, nth: usize, of: impl Fn(f64) -> String) {
    let rows = rows(page, words);
    let row = rows.get(nth).unwrap_or_else(|| panic!("no row {nth} `{words}`"));
    let expected = [1e6, 1e7, 1e8].map(of);
    assert_eq!(row[..3], expected, "`{words}`");
}

#[test]
fn what_a_core_carries_follows_from_what_was_measured() {
    let page = page();
    let m = measured(&page);
    let of_a_cluster = m.cursors_of_a_master() * m.buckets as f64;
    for figure in [m.events_of_an_instance(), m.cursors_of_a_master(), of_a_cluster] {
        assert!(page.contains(&format!("{} ", whole(figure.floor()))), "{figure}");
    }
}

/// As `CLUSTER KEYSLOT` of Redis counts: 31C3 is the check value of this CRC.
#[test]
fn buckets_lie_on_the_masters_that_the_page_names() {
    assert_eq!(slot("123456789"), 0x31c3);
    assert_eq!([16, 32, 64].map(|masters| busiest(64, masters)), [5, 3, 2]);
    let page = page();
    assert!(page.contains("the busiest of 16 masters has 5 buckets instead of 4, that of 32 has 3 instead\nof 2"));
}

#[test]
fn the_table_of_feeds_follows_from_what_was_measured() {
    let page = page();
    let m = measured(&page);
    let events = |n: f64| n / 10.0;
    check(&page, "events a second", 0, |n| whole(events(n)));
    check(&page, "instances, by CPU time", 0, |n| up(events(n) / m.events_of_an_instance()));
    let memory = m.stream + 2.0 * m.socket;
    check(&page, "memory of all instances and their sockets", 0, |n| format!("{} GB", whole(n * memory / 1e9)));
    check(&page, "bandwidth to clients, without framing", 0, |n| gbit(events(n) * EVENT));
    check(&page, "upstream addresses × instances, by source ports", 0, |n| up(n / m.ports));
    let masters = |cursors: f64| up(cursors / m.cursors_of_a_master());
    check(&page, "cursors a second, `activity_window` 5 s", 0, |n| whole(n / 5.0));
    check(&page, EVEN, 0, |n| masters(n / 5.0));
    check(&page, CLUSTER, 0, |n| m.cluster(n / 5.0));
    check(&page, "cursors a second, `activity_window` 60 s", 0, |n| whole(n / 10.0));
    check(&page, EVEN, 1, |n| masters(n / 10.0));
    check(&page, CLUSTER, 1, |n| m.cluster(n / 10.0));
    check(&page, "bandwidth to Redis for these", 0, |n| gbit(n / 10.0 * m.cursor_sent));
    check(&page, "memory of Redis", 0, |n| format!("{:.1} GB", n * m.record / 1e9));
}

#[test]
fn the_table_of_answers_follows_from_what_was_measured() {
    let page = page();
    let m = measured(&page);
    let streams = |n: f64| n / 50.0;
    let events = |n: f64| streams(n) * 30.0;
    check(&page, "streams at a time", 0, |n| whole(streams(n)));
    check(&page, "events a second", 1, |n| whole(events(n)));
    check(&page, "instances, by CPU time", 1, |n| up(events(n) / m.events_of_an_instance()));
    check(&page, "bandwidth to clients, without framing", 1, |n| gbit(events(n) * EVENT));
    let masters = |cursors: f64| up(cursors / m.cursors_of_a_master());
    check(&page, "cursors a second, `flush_window` 100 ms", 0, |n| whole(streams(n) * 10.0));
    check(&page, EVEN, 2, |n| masters(streams(n) * 10.0));
    check(&page, CLUSTER, 2, |n| m.cluster(streams(n) * 10.0));
    check(&page, "cursors a second, `flush_window` 1 s", 0, |n| whole(streams(n)));
    check(&page, EVEN, 3, |n| masters(streams(n)));
    check(&page, CLUSTER, 3, |n| m.cluster(streams(n)));
    check(&page, "memory of Redis", 1, |n| format!("{:.1} GB", n * m.record / 1e9));
}
