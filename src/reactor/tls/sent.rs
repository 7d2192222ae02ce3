//! Which plain bytes of a TLS connection have arrived, where the system counts those of the wire.
//!
//! In: plain bytes as they are sealed, bytes of the wire as the socket takes them, how many of these have arrived. Out:
//! how many of the last plain bytes may still be on their way.
//! Laws: a plain byte counts as arrived only once the whole batch has that it was sealed with, since a part of a record
//! is of no use to the peer; so the count is never above the truth. At most [`ENDS`] batches are told apart: of more,
//! the newest count as one. Nothing is allocated.

/// Batches that are told apart.
const ENDS: usize = 8;

/// Where a batch ends, counted from the connection's first byte.
#[derive(Clone, Copy, Default, Debug)]
struct End {
    wire: u64,
    plain: u64,
}

/// What one connection has sent.
#[derive(Default, Debug)]
pub(super) struct Sent {
    /// Bytes that the socket has taken.
    wire: u64,
    /// Plain bytes that were sealed.
    sealed: u64,
    /// Plain bytes whose batches the socket has taken as a whole.
    whole: u64,
    /// Plain bytes that have arrived.
    arrived: u64,
    /// Batches that the socket has taken and that are not known to have arrived, the oldest first.
    ends: [End; ENDS],
    count: u8,
}

impl Sent {
    /// Plain bytes were sealed.
    pub(super) fn seal(&mut self, n: usize) {
        self.sealed += n as u64;
    }

    /// The socket has taken bytes.
    pub(super) fn put(&mut self, n: usize) {
        self.wire += n as u64;
    }

    /// The socket has taken all that was sealed.
    pub(super) fn end_batch(&mut self) {
        if self.whole == self.sealed {
            return;
        }
        self.whole = self.sealed;
        let at = usize::from(self.count).min(ENDS - 1);
        self.ends[at] = End { wire: self.wire, plain: self.sealed };
        self.count = (at + 1) as u8;
    }

    /// Bytes that the socket has taken.
    pub(super) fn wire(&self) -> u64 {
        self.wire
    }

    /// How many of the last plain bytes are not known to have arrived, where so many bytes of the wire have.
    pub(super) fn unacknowledged(&mut self, arrived: u64) -> u64 {
        let pending = &self.ends[..usize::from(self.count)];
        let done = pending.iter().take_while(|end| end.wire <= arrived).count();
        if let Some(last) = pending[..done].last() {
            self.arrived = last.plain;
            self.ends.copy_within(done..usize::from(self.count), 0);
            self.count -= done as u8;
        }
        self.sealed - self.arrived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(sent: &mut Sent, plain: usize) {
        sent.seal(plain);
        sent.put(plain + 22);
        sent.end_batch();
    }

    #[test]
    fn a_record_that_has_arrived_in_part_counts_as_on_its_way() {
        let mut sent = Sent::default();
        sent.put(1_000);
        sent.end_batch();
        assert_eq!(sent.unacknowledged(1_000), 0, "a handshake holds no plain byte");
        batch(&mut sent, 100);
        batch(&mut sent, 50);
        assert_eq!(sent.unacknowledged(1_121), 150);
        assert_eq!(sent.unacknowledged(1_122), 50);
        assert_eq!(sent.unacknowledged(1_193), 50);
        assert_eq!(sent.unacknowledged(1_194), 0);
    }

    #[test]
    fn what_the_socket_has_not_taken_is_on_its_way_whatever_has_arrived() {
        let mut sent = Sent::default();
        sent.seal(100);
        sent.put(60);
        assert_eq!(sent.unacknowledged(60), 100);
        sent.put(62);
        sent.end_batch();
        assert_eq!(sent.unacknowledged(122), 0);
    }

    /// Against a list of all batches: never above what has arrived, and exact once all of it has.
    #[test]
    fn however_many_batches_are_on_their_way_none_counts_too_soon() {
        let mut random = crate::base::Random::new(7);
        let (mut sent, mut all, mut acked) = (Sent::default(), Vec::new(), 0);
        for _ in 0..10_000 {
            if random.below(3) > 0 {
                batch(&mut sent, 1 + random.below(40) as usize);
                all.push((sent.wire, sent.sealed));
            } else {
                acked = (acked + random.below(300)).min(sent.wire);
                let truth = all.iter().rev().find(|(wire, _)| *wire <= acked).map_or(0, |(_, plain)| *plain);
                let told = sent.sealed - sent.unacknowledged(acked);
                assert!(told <= truth, "{told} of {truth}");
                assert!(acked < sent.wire || told == truth, "all has arrived, and {told} of {truth} is told");
            }
        }
    }
}
