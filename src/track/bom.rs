//! The byte order mark: allowed once, at the very front of a stream.
//!
//! In: the first bytes of a body that continues a stream. Out: the same bytes, without a mark at the front.
//! Law: at most two bytes are held back, until it is known whether they begin a mark.

/// The mark: U+FEFF in UTF-8.
pub(super) const BOM: &[u8; 3] = b"\xef\xbb\xbf";

/// Takes one byte order mark out of the front of a body, also when it is split over reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BomFilter {
    /// No mark is looked for, or not any more.
    Off,
    /// This many bytes of a mark have come, and are held back.
    Seen(u8),
}

impl BomFilter {
    /// What is to be scanned: first the bytes held back, where they turned out not to be a mark, then the rest of the
    /// input.
    pub(super) fn strip<'b>(&mut self, bytes: &'b [u8]) -> (&'static [u8], &'b [u8]) {
        let Self::Seen(_) = *self else { return (&[], bytes) };
        let seen = self.held();
        let more = BOM[seen..].iter().zip(bytes).take_while(|(a, b)| a == b).count();
        if seen + more == BOM.len() {
            *self = Self::Off;
            (&[], &bytes[more..])
        } else if more == bytes.len() {
            *self = Self::Seen((seen + more) as u8);
            (&[], &[])
        } else {
            *self = Self::Off;
            (&BOM[..seen], bytes)
        }
    }

    /// Bytes held back.
    pub(super) fn held(self) -> usize {
        match self {
            Self::Off => 0,
            Self::Seen(n) => usize::from(n).min(BOM.len() - 1),
        }
    }

    /// The bytes held back, for a body that ends with them.
    pub(super) fn bytes(self) -> &'static [u8] {
        &BOM[..self.held()]
    }
}
