//! Words that every layer may use: time, keys, random numbers, counts. No layer of segno is imported here.

mod key;
mod random;
mod time;

pub use key::{Key, Table};
pub use random::Random;
pub use time::{Span, Tick};
