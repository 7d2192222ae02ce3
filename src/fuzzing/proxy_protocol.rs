//! Headers of the PROXY protocol: any bytes are read without a panic, and as their slow twin reads them.
//!
//! In: the first bytes of a connection. Out: a panic if a property does not hold.
//! Laws: a whole header is within its bound, and is one at its last byte and not before; what was refused is refused with
//! more bytes, too.

use crate::http::proxy_twin::compare;
use crate::http::{Preface, proxy_header};

/// The target's body.
pub fn proxy_protocol(data: &[u8]) {
    compare(data);
    let cut = data.get(..data.len() / 2).unwrap_or_default();
    if proxy_header(cut) == Preface::Wrong {
        assert_eq!(proxy_header(data), Preface::Wrong);
    }
}
