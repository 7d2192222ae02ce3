//! A fingerprint of all that a machine had done: two machines with the same fingerprint did the same to every socket.
//!
//! In: outputs, bytes that sockets took, checkpoints, in the order in which they came. Out: one number; with
//! `SEGNO_TRACE=FILE` a line for each world at its end, and one for each simulated seed.
//! Laws: what is taken in is encoded by hand, so that neither a new name nor another wording changes the number; notices
//! count by their kind and by what they are about. Of the outputs of one input the order counts for each connection;
//! between two connections it has no meaning. That something is full is not counted: it is said at most.

use crate::base::Cursor;
use crate::machine::{Checkpoint, Close, Notice, Output};
use siphasher::sip::SipHasher13;
use std::cell::Cell;
use std::fs::OpenOptions;
use std::hash::Hasher;
use std::io::Write;

/// Collects what a machine does.
#[derive(Clone, Debug)]
pub(crate) struct Trace(SipHasher13);

impl Default for Trace {
    fn default() -> Self {
        Self(SipHasher13::new_with_keys(0, 0))
    }
}

impl Trace {
    /// Takes in what one input led to.
    pub(crate) fn outputs(&mut self, outputs: &[Output]) {
        let mut sorted: Vec<&Output> = outputs.iter().collect();
        sorted.sort_by_key(|output| about(output));
        sorted.into_iter().for_each(|output| self.output(output));
    }

    fn output(&mut self, output: &Output) {
        match output {
            Output::Adopt { conn } => self.note(1, conn.to_bits(), &[]),
            Output::Refuse => self.note(2, 0, &[]),
            Output::Connect { conn, route } => self.note(3, conn.to_bits(), &route.to_le_bytes()),
            Output::Flush { conn } => self.note(4, conn.to_bits(), &[]),
            Output::Resume { conn } => self.note(5, conn.to_bits(), &[]),
            Output::CapSendBuffer { conn, bytes } => self.note(6, conn.to_bits(), &bytes.to_le_bytes()),
            Output::ShutdownWrite { conn } => self.note(7, conn.to_bits(), &[]),
            Output::Close { conn, how } => self.note(8, conn.to_bits(), &[u8::from(*how == Close::Reset)]),
            Output::LookUp(question) => {
                self.note(9, question.exchange.to_bits(), &question.session);
                self.note(9, question.log_bytes as u64, &question.wanted);
            }
            Output::Notice(notice) => self.notice(notice),
        }
    }

    fn notice(&mut self, notice: &Notice) {
        match notice {
            Notice::HealBegan { target } => self.note(20, 0, target.as_bytes()),
            Notice::Healed { target, tries, took } => {
                self.note(21, u64::from(*tries), target.as_bytes());
                self.note(21, took.micros(), &[]);
            }
            Notice::NotHealed { target, .. } => self.note(22, 0, target.as_bytes()),
            Notice::LetGo { target } => self.note(23, 0, target.as_bytes()),
            Notice::AttemptFailed { target, next, .. } => {
                self.note(24, next.map_or(u64::MAX, |next| next.micros()), target.as_bytes());
            }
            Notice::Gap { target, reason } => {
                self.note(25, 0, target.as_bytes());
                self.note(25, 1, reason.as_str().as_bytes());
            }
            Notice::EncodedStream { target } => self.note(26, 0, target.as_bytes()),
            Notice::Malformed { target, .. } => self.note(27, 0, target.as_bytes()),
            Notice::RequestRefused { status, .. } => self.note(28, u64::from(*status), &[]),
            Notice::Full { .. } => {}
        }
    }

    pub(crate) fn sent(&mut self, conn: u64, bytes: &[u8]) {
        self.note(40, conn, bytes);
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        match checkpoint {
            Checkpoint::Began { stream, name } => {
                self.note(50, stream.to_bits(), &name.session);
                self.note(50, name.stream, &[]);
            }
            Checkpoint::Delivered { stream, cursor } => {
                let Cursor { sequence, id, at } = cursor;
                self.note(51, stream.to_bits(), id.as_bytes());
                self.note(51, *sequence, &at.micros().to_le_bytes());
            }
            Checkpoint::Seen { stream, at } => self.note(52, stream.to_bits(), &at.micros().to_le_bytes()),
            Checkpoint::Events { stream, part } => {
                self.note(53, stream.to_bits(), &part.bytes);
                self.note(53, part.first, &part.meta);
                part.ends.iter().for_each(|end| self.note(53, u64::from(*end), &part.route.to_le_bytes()));
            }
            Checkpoint::Ended { stream, keep } => self.note(54, stream.to_bits(), &[u8::from(*keep)]),
            Checkpoint::Forgotten { name } => self.note(55, name.stream, &name.session),
        }
    }

    /// Takes a checkpoint in and hands it back.
    pub(crate) fn with(&mut self, checkpoint: Checkpoint) -> Checkpoint {
        self.checkpoint(&checkpoint);
        checkpoint
    }

    /// The fingerprint of everything so far.
    pub(crate) fn number(&self) -> u64 {
        self.0.finish()
    }

    fn note(&mut self, kind: u8, number: u64, bytes: &[u8]) {
        self.0.write_u8(kind);
        self.0.write(&number.to_le_bytes());
        self.0.write(&(bytes.len() as u64).to_le_bytes());
        self.0.write(bytes);
    }

    /// Writes a line for a world that ends, where one is asked for: the test, which of its worlds, the fingerprint.
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

/// The connection that an output is about, and what is about none behind all that is.
fn about(output: &Output) -> u64 {
    match output {
        Output::Adopt { conn }
        | Output::Connect { conn, .. }
        | Output::Flush { conn }
        | Output::Resume { conn }
        | Output::CapSendBuffer { conn, .. }
        | Output::ShutdownWrite { conn }
        | Output::Close { conn, .. } => conn.to_bits(),
        Output::Refuse => 1 << 63,
        Output::LookUp(_) => (1 << 63) + 1,
        Output::Notice(_) => (1 << 63) + 2,
    }
}

/// Appends a line to the file that `SEGNO_TRACE` names, if it names one.
pub(crate) fn tell(line: &str) {
    let Some(path) = std::env::var_os("SEGNO_TRACE") else { return };
    let file = OpenOptions::new().create(true).append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    assert!(written.is_ok(), "SEGNO_TRACE: {written:?}");
}
