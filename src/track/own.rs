//! Ids of segno's own, for a stream whose upstream sends none.
//!
//! In: a prefix, which names the stream and which nobody can guess. Out: one `id:` line for each event, numbered like
//! the events; the id of an event by its number.
//! Laws: own ids begin with the stream's first event or not at all, and stop for good with the first id from upstream;
//! upstream never sees them.

use crate::base::EventId;
use crate::sse::write_id;

/// Bytes of the prefix that every own id of a stream begins with: [`OWN_MARK`], 22 digits that name the stream, a dash.
pub const OWN_PREFIX: usize = 26;

/// What the ids of every stream with own ids begin with.
pub const OWN_MARK: &[u8] = b"sg-";

/// Digits of the largest number of an event.
const DIGITS: usize = 20;

/// Bytes of the longest own id.
const LONGEST: usize = OWN_PREFIX + DIGITS;

/// Bytes of the longest `id:` line: the field's name, a colon and a space, the id, a line end.
pub(super) const OWN_LINE: usize = 4 + LONGEST + 1;

/// The prefix of an id that has the form of an own one: the same for all ids of its stream. `None`: it has another
/// form. Whether segno made the id is not looked at.
pub fn own_prefix(id: &[u8]) -> Option<&[u8]> {
    let prefix = id.get(..OWN_PREFIX)?;
    (prefix.starts_with(OWN_MARK) && prefix.ends_with(b"-")).then_some(prefix)
}

/// The own ids of a stream. Costs no more than a pointer where the stream has none.
#[derive(Default)]
pub(super) struct OwnIds(Option<Box<Given>>);

struct Given {
    prefix: [u8; OWN_PREFIX],
    /// Events of the stream before the first that is counted here. Their numbers come first.
    before: u64,
    /// The first event has got one. Until then they are only offered.
    begun: bool,
    /// The last event that has an own id; `u64::MAX` while upstream sends no ids.
    until: u64,
}

impl OwnIds {
    /// Offers own ids: they are given if the first event has no id.
    pub(super) fn offer(prefix: [u8; OWN_PREFIX]) -> Self {
        Self(Some(Box::new(Given { prefix, before: 0, begun: false, until: u64::MAX })))
    }

    /// Own ids that were given before the stream came here: to `before` events that are not here, and then up to event
    /// `until`. No more are given.
    pub(super) fn given(prefix: [u8; OWN_PREFIX], before: u64, until: u64) -> Self {
        Self(Some(Box::new(Given { prefix, before, begun: true, until: until.min(u64::MAX - 1) })))
    }

    /// Whether the next event gets an own id, if it has none from upstream.
    #[inline]
    pub(super) fn is_giving(&self) -> bool {
        self.0.as_ref().is_some_and(|given| given.until == u64::MAX)
    }

    /// Upstream sends ids itself after event `seq`.
    pub(super) fn stop(&mut self, seq: u64) {
        match &mut self.0 {
            Some(given) if given.begun => given.until = given.until.min(seq),
            _ => self.0 = None,
        }
    }

    /// Appends the `id:` line of event `seq`. The first call turns the offer into ids.
    pub(super) fn line(&mut self, seq: u64, line: &mut Vec<u8>) {
        let Some(given) = &mut self.0 else { return };
        given.begun = true;
        write_id(line, given.id(seq, &mut [0; LONGEST]));
    }

    /// The own id of event `seq`, if it has one.
    pub(super) fn id(&self, seq: u64) -> Option<EventId> {
        let given = self.0.as_ref().filter(|given| given.begun && seq > 0 && seq <= given.until)?;
        EventId::from_bytes(given.id(seq, &mut [0; LONGEST]))
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

impl Given {
    /// The id of event `seq`: the prefix, and the event's number in the whole stream.
    fn id<'i>(&self, seq: u64, id: &'i mut [u8; LONGEST]) -> &'i [u8] {
        let mut digits = [0; DIGITS];
        let digits = decimal(self.before.saturating_add(seq), &mut digits);
        id[..OWN_PREFIX].copy_from_slice(&self.prefix);
        let end = OWN_PREFIX + digits.len();
        id[OWN_PREFIX..end].copy_from_slice(digits);
        &id[..end]
    }
}

/// A number in decimal digits.
fn decimal(mut n: u64, digits: &mut [u8; DIGITS]) -> &[u8] {
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
    fn an_own_id_is_known_by_its_form() {
        let id = b"sg-0123456789012345678901-17";
        assert_eq!(own_prefix(id), Some(&id[..OWN_PREFIX]));
        assert_eq!((own_prefix(&id[1..]), own_prefix(b"sg-1"), own_prefix(&id[..25])), (None, None, None));
    }

    #[test]
    fn a_number_is_written_as_everywhere() {
        for n in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX] {
            assert_eq!(decimal(n, &mut [0; DIGITS]), n.to_string().as_bytes());
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

    #[test]
    fn ids_that_were_given_elsewhere_keep_their_numbers() {
        let own = OwnIds::given([b'p'; OWN_PREFIX], 40, 2);
        let id = |n| own.id(n).map(|id| String::from_utf8_lossy(&id.as_bytes()[OWN_PREFIX..]).into_owned());
        assert_eq!((id(1).as_deref(), id(2).as_deref(), id(3)), (Some("41"), Some("42"), None));
        assert!(own.are_given() && !own.is_giving() && !OwnIds::given([b'p'; OWN_PREFIX], 0, u64::MAX).is_giving());
    }
}
