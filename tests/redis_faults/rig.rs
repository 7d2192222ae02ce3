//! A persister in this process, with streams whose events the test publishes.
//!
//! In: the address of a store, a number of streams. Out: what is durable, and what a reader of its own finds stored.
//! Law: a stored cursor is never older than the one that was said to be durable.

use crate::support::redis::Server;
use segno::base::{Cursor, EventId, Span, StreamName, Tick};
use segno::clock::Clock;
use segno::metrics::Metrics;
use segno::persist::{PersistConfig, Persister};
use segno::slot::{SlotKey, SlotWriter, slots};
use segno::store::redis::{Address, open, open_shared};
use segno::store::{Claim, LogBlock, LogBounds, LogWrite, Opened};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// One write-behind window.
pub(crate) const WINDOW: Duration = Duration::from_millis(100);

/// How much later than a window a record may be on this machine, which has other things to do.
pub(crate) const SLACK: Duration = Duration::from_millis(400);

const HOUR: Option<Duration> = Some(Duration::from_secs(3_600));

pub(crate) struct Rig {
    persister: Persister,
    writer: SlotWriter,
    keys: Vec<SlotKey>,
    address: Address,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    /// The sequence that all streams have.
    pub(crate) published: u64,
    /// Events in each log.
    pub(crate) appended: u64,
    /// Reads beside the persister.
    reader: Opened,
}

pub(crate) fn name(n: usize) -> StreamName {
    StreamName { session: format!("session {n}").into_bytes().into(), stream: n as u64 }
}

impl Rig {
    pub(crate) fn start(url: &str, streams: usize) -> Self {
        let rig = Self::start_with(url, streams, false);
        assert_eq!(rig.persister.first_open(Span::from_secs(20), false), Ok(Some(77)));
        rig
    }

    /// The same, and logs are shared.
    pub(crate) fn start_shared(url: &str, streams: usize) -> Self {
        let rig = Self::start_with(url, streams, true);
        assert_eq!(rig.persister.first_open(Span::from_secs(20), false), Ok(Some(77)));
        rig
    }

    fn start_with(url: &str, streams: usize, shared: bool) -> Self {
        let (address, clock) = (Address::parse(url).unwrap(), Clock::start());
        let (mut writer, drain) = slots(streams);
        let (metrics, opening) = (Arc::new(Metrics::default()), address.clone());
        let config = PersistConfig { shared, ..PersistConfig::new(77, 1) };
        let open = if shared { open_shared } else { open };
        let reader = open(&address, HOUR).unwrap();
        let persister =
            Persister::start(config, drain, Box::new(move || open(&opening, HOUR)), Arc::clone(&metrics), clock);
        let keys = (0..streams).map(|n| writer.take(Arc::new(name(n))).unwrap()).collect();
        Self { persister: persister.unwrap(), writer, keys, address, metrics, clock, published: 0, appended: 0, reader }
    }

    /// One more event in each stream.
    pub(crate) fn publish_all(&mut self) {
        self.published += 1;
        let id = EventId::from_bytes(self.published.to_string().as_bytes()).unwrap();
        for key in &self.keys {
            let cursor = Cursor { sequence: self.published, id: id.clone(), at: Tick::ZERO };
            self.writer.publish(*key, &cursor);
        }
    }

    /// One more event in each log.
    pub(crate) fn append_all(&mut self) {
        self.appended += 1;
        let control = self.persister.control();
        for n in 0..self.keys.len() {
            let first = self.appended;
            let block =
                LogBlock { first, at_ms: first, bytes: b"data: 1\n\n"[..].into(), ends: [9].into(), hole: false };
            let bounds = LogBounds { events: 999, bytes: 1 << 20, age_ms: 300_000 };
            let claim = Some(Claim { owner: 1, seen: (first == 1).then_some(0), lease_ms: 60_000 });
            let (name, meta) = (Arc::new(name(n)), Arc::from(&b"m"[..]));
            let write = LogWrite::Append { name, block: Arc::new(block), meta, bounds, claim };
            control.append_log(write).unwrap();
        }
    }

    /// Waits until a reader of its own finds all events of these logs, each once and in order.
    pub(crate) fn until_logged(&mut self, streams: &[usize], within: Duration) {
        let begun = Instant::now();
        for n in streams {
            loop {
                let found = self.reader.log_lookup.as_mut().unwrap().read_log(&name(*n), 1 << 20);
                let blocks = found.as_ref().ok().and_then(Option::as_ref).map_or(&[][..], |log| &log.blocks);
                let events: u64 = blocks.iter().map(|block| block.ends.len() as u64).sum();
                assert!(blocks.iter().all(|block| !block.hole), "stream {n} has a hole");
                if events == self.appended {
                    break;
                }
                assert!(begun.elapsed() < within, "stream {n} has {events} of {}: {found:?}", self.appended);
                crate::support::rest(Duration::from_millis(2));
            }
        }
    }

    /// The sequence that the persister says is stored.
    pub(crate) fn durable(&self, n: usize) -> u64 {
        self.writer.handle(self.keys[n]).durable()
    }

    /// Waits until all that was published of these streams is durable.
    pub(crate) fn until_durable(&self, streams: &[usize], within: Duration) {
        let begun = Instant::now();
        while let Some(n) = streams.iter().find(|n| self.durable(**n) < self.published) {
            assert!(
                begun.elapsed() < within,
                "stream {n} has {} of {} after {:?}",
                self.durable(*n),
                self.published,
                begun.elapsed()
            );
            crate::support::rest(Duration::from_millis(2));
        }
    }

    pub(crate) fn all(&self) -> Vec<usize> {
        (0..self.keys.len()).collect()
    }

    /// How old the oldest change is that is not durable.
    pub(crate) fn lag(&self) -> Duration {
        self.metrics.persistence().lag(self.clock.now()).into()
    }

    /// Waits until everything is durable.
    pub(crate) fn flush(&self) -> bool {
        let (done, answer) = mpsc::channel();
        self.persister.control().flush(Box::new(move |all| done.send(all).unwrap())).unwrap();
        answer.recv_timeout(crate::support::PATIENCE).unwrap()
    }

    /// The sequence that a look-up finds.
    pub(crate) fn load(&self, n: usize) -> Result<Option<u64>, String> {
        let (done, answer) = mpsc::channel();
        let reply = Box::new(move |found| done.send(found).unwrap());
        self.persister.control().load(name(n), reply).unwrap();
        let found = answer.recv_timeout(crate::support::PATIENCE).unwrap().map_err(|e| e.to_string())?;
        Ok(found.map(|record: segno::store::Record| record.sequence))
    }

    /// A reader of its own finds at least what was said to be durable. The streams that it has looked at.
    pub(crate) fn check_stored(&self, streams: &[usize]) -> usize {
        let told: Vec<u64> = streams.iter().map(|n| self.durable(*n)).collect();
        let mut store = open(&self.address, HOUR).unwrap();
        for (n, told) in streams.iter().zip(&told) {
            let found = store.lookup.get_last_event_id(&name(*n)).unwrap().map_or(0, |record| record.sequence);
            assert!(found >= *told, "stream {n}: {found} is stored, and {told} was said to be durable");
            assert!(found <= self.published, "stream {n}: {found} is stored, and {} was published", self.published);
        }
        told.len()
    }
}

/// The streams whose records this node of a Cluster has, and the others.
pub(crate) fn names_of(node: &Server, rig: &Rig) -> (Vec<usize>, Vec<usize>) {
    let ports_of = node.cli(&["CLUSTER", "SLOTS"]);
    // Each range is two numbers, then host, port, id.
    let lines: Vec<&str> = ports_of.lines().filter(|line| !line.is_empty()).collect();
    let ranges: Vec<(u16, u16)> = lines
        .windows(4)
        .filter(|at| at[2] == "127.0.0.1" && at[3] == node.port.to_string())
        .filter_map(|at| Some((at[0].parse().ok()?, at[1].parse().ok()?)))
        .collect();
    let is_here = |n: &usize| {
        let slot = slot_of(&name(*n).session);
        ranges.iter().any(|(first, last)| (*first..=*last).contains(&slot))
    };
    rig.all().into_iter().partition(is_here)
}

/// The slot of a session's records, by the layout that `docs/many.md` tells: FNV-1a names the bucket, CRC-16 its slot.
pub(crate) fn slot_of(session: &[u8]) -> u16 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let hash = session.iter().fold(0x811c_9dc5, step);
    let bucket = (hash ^ hash >> 16 ^ hash >> 8) % 64;
    let crc = format!("{bucket:02x}").bytes().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    });
    crc % 16_384
}
