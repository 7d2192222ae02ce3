//! A store in one file of this machine, made with the `redb` crate: a copy-on-write B-tree with checksums.
//!
//! In: a path. Out: an [`Opened`] store.
//!
//! # Durability
//! Each commit is durable when it returns: redb writes new pages, syncs, then turns to them by one checksummed header
//! and syncs again (`Durability::Immediate` in two phases). Commits are coalesced, so that costs two syncs per window
//! and not per event. After `kill -9` everything acknowledged is there. After a loss of power so it is, as far as the
//! disk keeps what it has said it synced; what was being written is there as a whole or not at all. The state of the
//! allocator is saved with each commit (`quick_repair`), so opening after a crash takes no scan of the file.
//!
//! # Laws
//! A file that is foreign, newer or damaged is refused and left as it is; only a missing or an empty one is made anew.
//! No step takes longer with more sessions, but for the depth of the tree.

mod file;
mod logs;
mod sessions;
mod tables;
#[cfg(test)]
mod tests;

pub use file::{FORMAT, open, open_backend};
