//! The persister as a whole: the worker over a simulated store and clock, and the threads over stores that fail.

mod failures;
#[cfg(feature = "redb")]
mod full_disk;
mod settling;
mod shortage;
mod takeover;
mod threads;
mod windows;
mod world;
