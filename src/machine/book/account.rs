//! A stream as the store sees it.
//!
//! In: what was emitted of the stream. Out: whether something new is to be emitted.
//! Law: a stream's name comes before its first mark, and nothing comes after its end.

use super::shares::Hold;
use crate::machine::keys::SessionKey;

/// The store's side of a stream.
#[derive(Debug)]
pub(in crate::machine) struct Account {
    pub(in crate::machine) session: Option<SessionKey>,
    /// Its place among the streams of the session.
    pub(super) place: u32,
    /// The stream's number within its session, drawn by chance.
    pub(in crate::machine) number: u64,
    /// Events that the stream had in an earlier process, before those that its tracker has counted.
    pub(in crate::machine) before: u64,
    /// Events at the mark that was emitted last; 0: none was.
    pub(super) emitted: u64,
    /// The stream is on the list of streams whose mark may have moved.
    pub(super) queued: bool,
    /// The list of [`super::asking::Asking`] that the stream is on, counted from 1; 0: it is on none.
    pub(super) asking: u8,
    /// How the stream stands to its log in the store.
    pub(in crate::machine) hold: Hold,
    /// Another instance follows its log.
    pub(in crate::machine) watched: bool,
}

impl Account {
    pub(super) fn new(session: SessionKey, place: u32, number: u64) -> Self {
        let session = Some(session);
        Self {
            session,
            place,
            number,
            before: 0,
            emitted: 0,
            queued: false,
            asking: 0,
            hold: Hold::Free,
            watched: false,
        }
    }
}
