//! Writes the chunked transfer coding.
//!
//! In: the length of a chunk. Out: the bytes around its data.
//! Law: [`chunk_head`] allocates nothing and copies no data; the caller sends head, data and [`CHUNK_END`] one after
//! the other.
//! Source: RFC 9112 section 7.1.

/// The longest size line that [`chunk_head`] writes.
pub const CHUNK_HEAD: usize = MOST_DIGITS + CHUNK_END.len();

/// Hexadecimal digits of the largest size.
const MOST_DIGITS: usize = 8;

/// The bytes after the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The end of a chunked body, without trailers. A body without it is cut.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Writes the size line of a chunk, such as `1f4` CR LF, to the end of `out`, and returns the line.
///
/// `len` must not be 0: an empty chunk ends the body.
pub fn chunk_head(len: u32, out: &mut [u8; CHUNK_HEAD]) -> &[u8] {
    debug_assert!(len > 0, "an empty chunk ends the body");
    let digits = (u32::BITS - len.leading_zeros()).div_ceil(4).max(1) as usize;
    for (n, byte) in out[..MOST_DIGITS].iter_mut().enumerate() {
        *byte = b"0123456789abcdef"[(len >> (4 * (MOST_DIGITS - 1 - n)) & 0xf) as usize];
    }
    out[MOST_DIGITS..].copy_from_slice(CHUNK_END);
    &out[MOST_DIGITS - digits..]
}

/// Appends a piece of a body, as a chunk if the body is chunked. An empty piece appends nothing, since an empty chunk
/// would end the body.
pub fn write_piece(data: &[u8], chunked: bool, out: &mut Vec<u8>) {
    if !chunked {
        return out.extend_from_slice(data);
    }
    for part in data.chunks(u32::MAX as usize) {
        out.extend_from_slice(chunk_head(part.len() as u32, &mut [0; CHUNK_HEAD]));
        out.extend_from_slice(part);
        out.extend_from_slice(CHUNK_END);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_line_is_the_length_in_hex() {
        for len in [1, 9, 10, 15, 16, 255, 256, 0x1f4, 65_535, 65_536, u32::MAX >> 1, u32::MAX] {
            assert_eq!(chunk_head(len, &mut [0; CHUNK_HEAD]), format!("{len:x}\r\n").as_bytes());
        }
    }
}
