//! Words that every layer may use: time, keys, random numbers, counts. No layer of segno is imported here.

mod count;
mod key;
mod pages;
mod random;
mod time;

pub use count::{Count, Counts};
pub use key::{Key, Table};
pub use pages::Pages;
pub use random::Random;
pub use time::{Span, Tick};
