//! HTTP/1.1 bodies: the decoders, fed in pieces, are compared with a slow twin, and written bodies are read back.
//!
//! In: the kind of body, the sizes of the pieces, the body. Out: a panic if a property does not hold.
//! Laws: content, end and error are the same as the twin's, however the bytes are cut; bytes after the body are not
//! used; written content is read back unchanged.

use super::chunks::{Chunks, cut};
use crate::http::body_twin::{End, Outcome, Twin, decode};
use crate::http::{BodyLength, LAST_CHUNK, write_piece};

/// The target's body.
pub fn http1_body(data: &[u8]) {
    let [kind, rest @ ..] = data else { return };
    let chunks = Chunks::new(rest);
    match kind % 4 {
        0 | 1 => read(&chunks),
        2 => fixed(&chunks, u64::from(kind / 4)),
        _ => write_and_read(&chunks, kind / 4),
    }
}

fn read(chunks: &Chunks<'_>) {
    let expected = Twin::run(chunks.text);
    assert_eq!(decode(BodyLength::Chunked, chunks.text, &chunks.cuts()), expected);
    assert_eq!(decode(BodyLength::Chunked, chunks.text, &[]), expected, "in one piece");
}

fn fixed(chunks: &Chunks<'_>, length: u64) {
    let has = chunks.text.len() as u64;
    let end = if has < length { End::Open } else { End::At(length as usize) };
    let data = chunks.text[..has.min(length) as usize].to_vec();
    assert_eq!(decode(BodyLength::Length(length), chunks.text, &chunks.cuts()), Outcome { data, end });
    let whole = Outcome { data: chunks.text.to_vec(), end: End::Open };
    assert_eq!(decode(BodyLength::UntilClose, chunks.text, &chunks.cuts()), whole);
    let nothing = Outcome { data: Vec::new(), end: End::At(0) };
    assert_eq!(decode(BodyLength::None, chunks.text, &chunks.cuts()), nothing);
}

/// Writes each piece of the text as one chunk, and reads the chunks in pieces of the same sizes.
fn write_and_read(chunks: &Chunks<'_>, behind: u8) {
    let (mut wire, mut plain) = (Vec::new(), Vec::new());
    for piece in chunks.pieces() {
        write_piece(piece, true, &mut wire);
        write_piece(piece, false, &mut plain);
    }
    assert_eq!(plain, chunks.text);
    let open = Outcome { data: plain.clone(), end: End::Open };
    assert_eq!(decode(BodyLength::Chunked, &wire, &[]), open, "without its last chunk a body has not ended");
    wire.extend_from_slice(LAST_CHUNK);
    let expected = Outcome { data: plain, end: End::At(wire.len()) };
    wire.extend((0..behind).map(|n| b'0' + n % 16));
    let mut at = 0;
    let cuts = cut(&wire, chunks.sizes).into_iter().map(|piece| {
        at += piece.len();
        at
    });
    assert_eq!(decode(BodyLength::Chunked, &wire, &cuts.collect::<Vec<_>>()), expected);
    assert_eq!(Twin::run(&wire), expected, "the twin");
}
