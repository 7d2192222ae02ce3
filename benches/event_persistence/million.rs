//! A file of a million sessions: what it takes to open it, to restore one session, to read all.

use super::process::{Scratch, resident_mb};
use segno::base::{EventId, StreamName};
use segno::store::{Record, Write, redb};
use std::fs;
use std::sync::Arc;
use std::time::Instant;

const SESSIONS: u64 = 1_000_000;
const BATCH: u64 = 10_000;
const LOOKS: u64 = 10_000;

pub(crate) fn run() {
    let scratch = Scratch::new("million");
    let begun = Instant::now();
    {
        let mut store = redb::open(&scratch.0).unwrap().sessions;
        for first in (0..SESSIONS).step_by(BATCH as usize) {
            let items: Vec<_> = (first..first + BATCH).map(item).collect();
            assert!(store.store_event_ids_batch(&items).unwrap().iter().all(Result::is_ok));
        }
    }
    let size = fs::metadata(&scratch.0).unwrap().len();
    println!("written in batches of {BATCH}: {:.1} s, {} MB", begun.elapsed().as_secs_f64(), size / 1_000_000);

    let (begun, memory) = (Instant::now(), resident_mb());
    let mut store = redb::open(&scratch.0).unwrap();
    println!("opened: {:.1} ms, {} MB more in RAM", begun.elapsed().as_secs_f64() * 1e3, resident_mb() - memory);

    let begun = Instant::now();
    for n in 0..LOOKS {
        let found = store.lookup.session(&name(n * 7_919 % SESSIONS).session, 64).unwrap();
        assert_eq!(found.len(), 1);
    }
    println!("one session restored: {} us", begun.elapsed().as_micros() / u128::from(LOOKS));

    let (begun, mut seen, mut after) = (Instant::now(), 0, None);
    loop {
        let found = store.lookup.scan(after.as_ref(), BATCH as usize).unwrap();
        seen += found.len();
        let Some((last, _)) = found.into_iter().next_back() else { break };
        after = Some(last);
    }
    assert_eq!(seen as u64, SESSIONS);
    println!("all read through: {:.2} s, {} MB more in RAM", begun.elapsed().as_secs_f64(), resident_mb() - memory);
}

/// Sessions come in no order.
fn name(n: u64) -> StreamName {
    let session = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    StreamName {
        session: format!("{:032x}", u128::from_be_bytes([session, session].concat().try_into().unwrap()))
            .into_bytes()
            .into(),
        stream: 1,
    }
}

fn item(n: u64) -> (Arc<StreamName>, Write) {
    let id = EventId::from_bytes(format!("{n:036}").as_bytes()).unwrap();
    (Arc::new(name(n)), Write::Cursor(Record { epoch: 1, sequence: 1, id, last_seen_ms: n }))
}
