//! A store in one file of this machine, made with the `redb` crate: a copy-on-write B-tree with checksums.
//!
//! In: a path. Out: an [`Opened`](super::Opened) store.
//!
//! # Durability
//! Each commit is durable when it returns: redb writes new pages, syncs, then switches to them with one checksummed
//! header and syncs again (`Durability::Immediate` in two phases). Commits are coalesced, so this costs two syncs per
//! window and not per event. After `kill -9` everything acknowledged is there. After a loss of power too, provided that
//! the disk keeps what it has reported as synced; a write that was under way is there as a whole or not at all. The
//! state of the allocator is saved with each commit (`quick_repair`), so opening the file after a crash needs no scan
//! of it.
//!
//! # Laws
//! A file that is foreign, newer or damaged is refused and left as it is; only a missing or an empty file is created.
//! The store's files are their owner's alone (mode 0600), and the key that names are hashed with lies apart, in a file
//! of its own. Nothing is written into a file that was deleted while it was open: the store ends the opening then.
//! The cost of a step grows with the number of sessions only as the depth of the tree does.

mod file;
mod key;
mod logs;
mod place;
mod sessions;
mod tables;
#[cfg(test)]
mod tests;

pub use file::{FORMAT, Openings, obstacle, open, open_backend};
pub use key::key;
