//! The persister as a whole: the worker over a simulated store and clock, and the threads over stores that fail.

#[cfg(feature = "redb")]
mod full_disk;
mod shortage;
mod threads;
mod worker;
