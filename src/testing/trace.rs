//! A fingerprint of everything that a machine did: two machines with the same fingerprint did the same to every socket.
//!
//! In: outputs, bytes that sockets took, checkpoints, as they come. Out: one number; with `SEGNO_TRACE=FILE` a line for
//! each world at its end, and one for each simulated seed.
//! Laws: each output is encoded by hand, so that neither a new name in the code nor other words in a log line change
//! the number; order counts within one connection and within one stream, and not between two of them. Notices count by
//! their kind and by what they are about, not by their order; notices that something is full do not count.

use crate::base::Cursor;
use crate::machine::{Checkpoint, Close, Notice, Output};
use siphasher::sip::SipHasher13;
use std::cell::Cell;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::hash::Hasher;
use std::io::Write;

/// Collects what a machine does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    /// What was done to each connection and to each stream.
    each: Vec<SipHasher13>,
    /// Their places in `each`, by their keys.
    places: HashMap<u64, usize>,
    notices: u64,
}

impl Trace {
    /// Another machine begins, whose keys name other things.
    pub(crate) fn begin_machine(&mut self) {
        self.places.clear();
    }

    pub(crate) fn output(&mut self, output: &Output) {
        match output {
            Output::Adopt { conn } => self.note(1, conn.to_bits(), &[]),
            Output::LetIn { .. } => self.note(28, u64::MAX, &[]),
            Output::Refuse(_) => self.note(2, u64::MAX, &[]),
            Output::Connect { conn, route } => self.note(3, conn.to_bits(), &route.to_le_bytes()),
            Output::Reuse { conn } => self.note(10, conn.to_bits(), &[]),
            Output::Flush { conn } => self.note(4, conn.to_bits(), &[]),
            Output::ReadAgain { conn } => self.note(5, conn.to_bits(), &[]),
            Output::CapSendBuffer { conn, bytes } => self.note(6, conn.to_bits(), &bytes.to_le_bytes()),
            Output::BePatient { conn, patient } => self.note(11, conn.to_bits(), &[u8::from(*patient)]),
            Output::ShutdownWrite { conn } => self.note(7, conn.to_bits(), &[]),
            Output::Close { conn, how } => self.note(8, conn.to_bits(), &[u8::from(*how == Close::Reset)]),
            Output::Lookup(question) => {
                self.note(9, question.exchange.to_bits(), &question.session);
                self.note(9, question.exchange.to_bits(), &question.log_bytes.to_le_bytes());
                self.note(9, question.exchange.to_bits(), &question.wanted);
            }
            Output::Follow { exchange, name, after, fence } => {
                self.note(12, exchange.to_bits(), &name.session);
                self.note(12, exchange.to_bits(), &name.stream.to_le_bytes());
                self.note(12, exchange.to_bits(), &after.to_le_bytes());
                self.note(12, exchange.to_bits(), &fence.to_le_bytes());
            }
            Output::Unfollow { exchange } => self.note(13, exchange.to_bits(), &[]),
            Output::AskUnacknowledged { conn } => self.note(10, conn.to_bits(), &[]),
            Output::Notice(notice) => self.notice(notice),
            // The log has the notices, and the clients have the rest.
            Output::Served(_) | Output::Traced(_) | Output::Reloaded { .. } => {}
        }
    }

    fn notice(&mut self, notice: &Notice) {
        let mut one = SipHasher13::new_with_keys(0, 0);
        match notice {
            Notice::HealBegan { target } => note(&mut one, 20, 0, target.as_bytes()),
            Notice::Healed { target, tries, took } => {
                note(&mut one, 21, u64::from(*tries), target.as_bytes());
                note(&mut one, 21, took.micros(), &[]);
            }
            Notice::NotHealed { target, .. } => note(&mut one, 22, 0, target.as_bytes()),
            Notice::LetGo { target, .. } => note(&mut one, 23, 0, target.as_bytes()),
            Notice::AttemptFailed { target, next, .. } => {
                note(&mut one, 24, next.map_or(u64::MAX, |next| next.micros()), target.as_bytes());
            }
            Notice::Gap { target, reason } => {
                note(&mut one, 25, 0, target.as_bytes());
                note(&mut one, 25, 1, reason.as_str().as_bytes());
            }
            Notice::EncodedStream { target } => note(&mut one, 26, 0, target.as_bytes()),
            Notice::Malformed { target, .. } => note(&mut one, 27, 0, target.as_bytes()),
            Notice::RequestRefused { status, .. } => note(&mut one, 28, u64::from(*status), &[]),
            // What these tell is of the whole machine, and not of one stream.
            Notice::Full { .. }
            | Notice::UpstreamAway { .. }
            | Notice::UpstreamBack { .. }
            | Notice::UpstreamEjected { .. }
            | Notice::UpstreamReturned { .. }
            | Notice::ChecksFail { .. }
            | Notice::ChecksPass { .. }
            | Notice::TriedNext { .. }
            | Notice::Draining { .. } => return,
            Notice::CrowdedOut { target } => note(&mut one, 29, 0, target.as_bytes()),
        }
        self.notices = self.notices.wrapping_add(one.finish());
    }

    pub(crate) fn sent(&mut self, conn: u64, bytes: &[u8]) {
        self.note(40, conn, bytes);
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        match checkpoint {
            Checkpoint::Began { stream, name } => {
                self.note(50, stream.to_bits(), &name.session);
                self.note(50, stream.to_bits(), &name.stream.to_le_bytes());
            }
            Checkpoint::Delivered { stream, cursor } => {
                let Cursor { sequence, id, at } = cursor;
                self.note(51, stream.to_bits(), id.as_bytes());
                self.note(51, stream.to_bits(), &sequence.to_le_bytes());
                self.note(51, stream.to_bits(), &at.micros().to_le_bytes());
            }
            Checkpoint::Seen { stream, at } => self.note(52, stream.to_bits(), &at.micros().to_le_bytes()),
            Checkpoint::Events { stream, part } => {
                self.note(53, stream.to_bits(), &part.bytes);
                self.note(53, stream.to_bits(), &part.first.to_le_bytes());
                self.note(53, stream.to_bits(), &part.meta);
                self.note(53, stream.to_bits(), &part.bounds.events.to_le_bytes());
                part.ends.iter().for_each(|end| self.note(53, stream.to_bits(), &end.to_le_bytes()));
                part.claim.iter().for_each(|seen| self.note(53, stream.to_bits(), &seen.to_le_bytes()));
            }
            Checkpoint::LogEnded { stream, whole } => self.note(56, stream.to_bits(), &[u8::from(*whole)]),
            Checkpoint::Ended { stream, keep } => self.note(54, stream.to_bits(), &[u8::from(*keep)]),
            Checkpoint::Forgotten { name, sequence } => {
                self.note(55, name.stream, &name.session);
                self.note(55, *sequence, &[]);
            }
        }
    }

    /// Takes a checkpoint in and hands it back.
    pub(crate) fn with(&mut self, checkpoint: Checkpoint) -> Checkpoint {
        self.checkpoint(&checkpoint);
        checkpoint
    }

    /// The fingerprint of everything so far.
    pub(crate) fn number(&self) -> u64 {
        let each = self.each.iter().enumerate();
        each.fold(self.notices, |sum, (n, hash)| sum.wrapping_add(hash.finish().rotate_left(n as u32 % 64)))
    }

    /// `kind` says what was done. `key` names a connection where `kind` is below 50 and not 9, else a stream.
    fn note(&mut self, kind: u8, key: u64, bytes: &[u8]) {
        let key = key << 1 | u64::from(kind == 9 || kind >= 50);
        let next = self.each.len();
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            self.each.push(SipHasher13::new_with_keys(0, 0));
        }
        note(&mut self.each[place], kind, place as u64, bytes);
    }

    /// Writes a line for a world that ends, if lines are asked for: the test, which of its worlds, the fingerprint.
    pub(crate) fn tell_world(&self) {
        thread_local! {
            static WORLDS: Cell<u64> = const { Cell::new(0) };
        }
        let world = WORLDS.get();
        WORLDS.set(world + 1);
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("?").rsplit("::").next().unwrap_or_default();
        tell(&format!("{test} {world:06} {:016x}", self.number()));
    }
}

fn note(hash: &mut SipHasher13, kind: u8, number: u64, bytes: &[u8]) {
    hash.write_u8(kind);
    hash.write(&number.to_le_bytes());
    hash.write(&(bytes.len() as u64).to_le_bytes());
    hash.write(bytes);
}

/// Appends a line to the file that `SEGNO_TRACE` names, if it names one.
pub(crate) fn tell(line: &str) {
    let Some(path) = std::env::var_os("SEGNO_TRACE") else { return };
    let file = OpenOptions::new().create(true).append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    assert!(written.is_ok(), "SEGNO_TRACE: {written:?}");
}
