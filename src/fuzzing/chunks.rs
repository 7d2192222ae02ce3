//! Reads from a fuzzer's input how to cut its text: one byte that counts the sizes, the sizes, then the text.
//!
//! In: any bytes. Out: a text, and its pieces.
//! Law: for every text, and every way to cut it by up to eight sizes in turn, there is an input.

/// A text and the sizes of its pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks<'a> {
    pub(super) sizes: &'a [u8],
    pub(super) text: &'a [u8],
}

impl<'a> Chunks<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        let (count, rest) = data.split_first().map_or((0, data), |(first, rest)| (usize::from(first % 9), rest));
        let (sizes, text) = rest.split_at(count.min(rest.len()));
        Self { sizes, text }
    }

    /// The text in pieces of the sizes in turn; a size of 0 gives an empty piece. One piece if no size is above 0.
    pub(super) fn pieces(&self) -> Vec<&'a [u8]> {
        cut(self.text, self.sizes)
    }

    /// Where the pieces end.
    #[cfg(feature = "net")]
    pub(super) fn cuts(&self) -> Vec<usize> {
        let ends = self.pieces().into_iter().scan(0, |end, piece| {
            *end += piece.len();
            Some(*end)
        });
        ends.collect()
    }
}

/// `text` in pieces of `sizes` in turn.
pub(super) fn cut<'a>(text: &'a [u8], sizes: &[u8]) -> Vec<&'a [u8]> {
    if sizes.iter().all(|size| *size == 0) {
        return vec![text];
    }
    let (mut pieces, mut rest) = (Vec::new(), text);
    for size in sizes.iter().cycle() {
        let (piece, behind) = rest.split_at(usize::from(*size).min(rest.len()));
        pieces.push(piece);
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    pieces
}
