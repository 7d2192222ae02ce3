//! The parts of a cursor: whose it is, where it stands, and the event's id.
//!
//! In: bytes of ids and session names. Out: values that are compared, cloned and stored.
//! Law: an id has at most 1 KiB; an id of at most 64 bytes lies inside the value, without an allocation.

use super::time::Tick;
use std::fmt;

/// What a store keys a cursor by: the session and the stream within it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StreamName {
    /// The session, at most 256 bytes.
    pub session: Box<[u8]>,
    /// The stream's number, unique within its owner's epoch.
    pub stream: u64,
}

/// How the sessions begin whose record stays however rarely it is used: cursors that a user has named. `segno tail`
/// makes them.
pub const NAMED_CURSOR: &[u8] = b"tail ";

impl StreamName {
    /// Whether this is the record of a cursor that a user has named. It stays until somebody removes it by its name.
    pub fn is_named_cursor(&self) -> bool {
        self.stream == 0 && self.session.starts_with(NAMED_CURSOR)
    }
}

/// A cursor at the delivered mark.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// How many events this owner has delivered on the stream, from 1.
    pub sequence: u64,
    /// The last event's id.
    pub id: EventId,
    /// When it was delivered.
    pub at: Tick,
}

/// Ids up to this many bytes need no allocation.
const INSIDE: usize = 64;

/// An event id of at most 1 KiB.
#[derive(Clone)]
pub struct EventId(Bytes);

#[derive(Clone)]
enum Bytes {
    Inside { len: u8, bytes: [u8; INSIDE] },
    Outside(Box<[u8]>),
}

impl EventId {
    /// The longest id that is tracked, in bytes.
    pub const MAX: usize = 1024;

    /// The id made of `bytes`; `None` above [`EventId::MAX`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > Self::MAX {
            return None;
        }
        let mut inside = [0; INSIDE];
        let Some(part) = inside.get_mut(..bytes.len()) else { return Some(Self(Bytes::Outside(bytes.into()))) };
        part.copy_from_slice(bytes);
        Some(Self(Bytes::Inside { len: bytes.len() as u8, bytes: inside }))
    }

    /// The id's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Inside { len, bytes } => &bytes[..usize::from(*len)],
            Bytes::Outside(bytes) => bytes,
        }
    }
}

impl PartialEq for EventId {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for EventId {}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_gives_its_bytes_back_up_to_the_bound() {
        for len in [0, 1, INSIDE - 1, INSIDE, INSIDE + 1, EventId::MAX] {
            let bytes = vec![b'x'; len];
            assert_eq!(EventId::from_bytes(&bytes).unwrap().as_bytes(), bytes);
        }
        assert_eq!(EventId::from_bytes(&[0; EventId::MAX + 1]), None);
    }
}
