//! Words that every layer may use: time, keys, random numbers, counts, names of cursors, closed vocabularies.
//!
//! Law: no layer of segno is imported here.

mod access;
mod count;
mod cursor;
#[cfg(any(feature = "net", feature = "redb"))]
mod entropy;
mod fetch;
mod key;
mod pages;
mod random;
mod rare;
mod shown;
mod slab;
mod steps;
mod time;
mod timing;
mod trace;
#[cfg(feature = "net")]
mod vocabulary;

pub use access::Access;
pub use count::{Count, Counts, help_of};
pub use cursor::{Cursor, EventId, NAMED_CURSOR, StreamName};
#[cfg(any(feature = "net", feature = "redb"))]
pub use entropy::entropy;
pub(crate) use fetch::fetch;
pub use key::{Key, Table};
pub use pages::Pages;
pub use random::Random;
pub use rare::Rare;
pub use shown::{LEFT_OUT, shown};
pub use slab::{Place, Slab};
pub(crate) use steps::step;
#[cfg(all(test, feature = "net"))]
pub(crate) use steps::steps;
pub use time::{Rough, Span, Tick};
pub use timing::{BUCKETS, Spans, Timing};
pub use trace::{Fact, TRACEPARENT_HEADER, TraceContext, TraceKind, TraceShare, TraceSpan};
#[cfg(feature = "net")]
pub use vocabulary::{Vocabulary, Word};
