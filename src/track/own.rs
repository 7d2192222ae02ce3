//! Ids of segno's own, for a stream whose upstream sends none.
//!
//! In: a prefix that names the stream and that nobody can guess. Out: `id:` lines, one an event, numbered as the events
//! are; the number of an event that a client names again.
//! Laws: they begin with the first event or not at all, and stop for good with the first id from upstream; they are
//! never asked of upstream.

use crate::base::EventId;

/// Bytes of the prefix that every own id of a stream begins with.
pub const OWN_PREFIX: usize = 26;

/// Whether a stream has ids of its own. Takes a pointer's place while it has none.
#[derive(Default)]
pub(super) struct OwnIds(Option<Box<Given>>);

struct Given {
    prefix: [u8; OWN_PREFIX],
    /// The first event has got one; until then they are offered.
    begun: bool,
    /// Each event up to this one has one: `u64::MAX` while upstream sends none.
    until: u64,
}

impl OwnIds {
    /// Gives ids if the first event has none.
    pub(super) fn offer(prefix: [u8; OWN_PREFIX]) -> Self {
        Self(Some(Box::new(Given { prefix, begun: false, until: u64::MAX })))
    }

    /// Whether the next event gets an id, if upstream gives it none.
    #[inline]
    pub(super) fn is_giving(&self) -> bool {
        self.0.as_ref().is_some_and(|given| given.until == u64::MAX)
    }

    /// Upstream sends ids itself from behind event `seq` on.
    pub(super) fn stop(&mut self, seq: u64) {
        match &mut self.0 {
            Some(given) if given.begun => given.until = given.until.min(seq),
            _ => self.0 = None,
        }
    }

    /// The `id:` line of event `seq`. Begins the ids, where they were offered.
    pub(super) fn line(&mut self, seq: u64, line: &mut Vec<u8>) {
        let Some(given) = &mut self.0 else { return };
        given.begun = true;
        let mut digits = [0; 20];
        line.extend_from_slice(b"id: ");
        line.extend_from_slice(&given.prefix);
        line.extend_from_slice(decimal(seq, &mut digits));
        line.push(b'\n');
    }

    /// The own id of event `seq`, if it has one.
    pub(super) fn id(&self, seq: u64) -> Option<EventId> {
        let given = self.0.as_ref().filter(|given| given.begun && seq > 0 && seq <= given.until)?;
        let (mut id, mut digits) = ([0; OWN_PREFIX + 20], [0; 20]);
        let digits = decimal(seq, &mut digits);
        id[..OWN_PREFIX].copy_from_slice(&given.prefix);
        id[OWN_PREFIX..OWN_PREFIX + digits.len()].copy_from_slice(digits);
        EventId::from_bytes(&id[..OWN_PREFIX + digits.len()])
    }

    /// Whether events have own ids, or had.
    pub(super) fn are_given(&self) -> bool {
        self.0.as_ref().is_some_and(|given| given.begun)
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        if self.0.is_some() { size_of::<Given>() } else { 0 }
    }
}

/// A number in decimal digits.
fn decimal(mut n: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_as_everywhere() {
        for n in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX] {
            assert_eq!(decimal(n, &mut [0; 20]), n.to_string().as_bytes());
        }
    }

    #[test]
    fn ids_begin_with_the_first_event_and_stop_with_upstreams_own() {
        let mut own = OwnIds::offer([b'p'; OWN_PREFIX]);
        assert!(own.is_giving() && own.id(1).is_none());
        let mut line = Vec::new();
        own.line(1, &mut line);
        assert_eq!(line, [b"id: ", &[b'p'; OWN_PREFIX][..], b"1\n"].concat());
        own.stop(3);
        assert!(!own.is_giving() && own.id(3).is_some() && own.id(4).is_none() && own.id(0).is_none());
    }
}
