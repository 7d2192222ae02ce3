//! Reads the lines of a head: the first line, and the header lines after it.
//!
//! In: a whole head. Out: its first line, and [`Headers`].
//! Laws: httparse reads the header lines. What httparse accepts and RFC 9112 forbids (LF alone in requests) is refused
//! before. If httparse refuses a head, its lines are read again to say which line is wrong and why. A fault of an answer
//! that the RFC tells a proxy to repair is repaired.
//! Source: RFC 9112 sections 2.2, 5.1, 5.2; RFC 9110 section 5.5.

use super::error::{HeadError, excerpt_of_name};
use super::find::HeadLimits;
use super::headers::{Headers, is_forbidden};
use super::method::is_token;

/// What may end a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnds {
    /// CR LF only: for clients.
    Strict,
    /// LF alone as well: for upstreams (RFC 9112 section 2.2 allows it, and old servers send it).
    Lenient,
}

/// Splits a head into its first line, without the line end, and the block of header lines, with the empty line.
pub(super) fn split_head(head: &[u8], ends: LineEnds, limits: HeadLimits) -> Result<(&[u8], &[u8]), HeadError> {
    if head.len() > limits.bytes {
        return Err(limits.too_long(head));
    }
    let mut head = head;
    while let [b'\r', b'\n', rest @ ..] = head {
        head = rest;
    }
    let feed = memchr::memchr(b'\n', head).ok_or(HeadError::Unfinished)?;
    let (line, block) = (&head[..feed], &head[feed + 1..]);
    let line = match line {
        [line @ .., b'\r'] => line,
        _ if ends == LineEnds::Strict => return Err(HeadError::BareLf { line: 1 }),
        _ => line,
    };
    check_controls(line, 1)?;
    Ok((line, block))
}

/// Reads the block of header lines after the first line. A line that breaks the rules is an error in a request. In an
/// answer it is repaired, since clients read such answers, too: see [`repaired`].
pub(super) fn parse_block(block: &[u8], ends: LineEnds, limits: HeadLimits) -> Result<Headers, HeadError> {
    match read_block(block, ends, limits) {
        Err(
            why @ (HeadError::SpaceBeforeColon { .. }
            | HeadError::Folded { .. }
            | HeadError::HeaderName { .. }
            | HeadError::Control { .. }),
        ) if ends == LineEnds::Lenient => read_block(&repaired(block).ok_or(why)?, ends, limits),
        read => read,
    }
}

/// The block in order: without whitespace before a line's first colon (RFC 9112 section 5.1); folded lines joined by a
/// space (section 5.2); a space for each control byte of a value (RFC 9110 section 5.5); and without lines that are no
/// header. `None` if one of this befalls a header that says where the answer ends: those who see such a line and those
/// who do not would see the end in different places.
fn repaired(block: &[u8]) -> Option<Vec<u8>> {
    let mut repaired: Vec<u8> = Vec::with_capacity(block.len());
    let (mut last_frames, mut was_kept) = (true, false);
    for line in block.split_inclusive(|&b| b == b'\n') {
        if line.trim_ascii().is_empty() && !matches!(line, [b' ' | b'\t', ..]) {
            repaired.extend_from_slice(line);
            continue;
        }
        if let [b' ' | b'\t', ..] = line {
            // What goes before the first header, or on with one that frames the body, or may be one.
            if last_frames || names_framing(line) {
                return None;
            }
            if was_kept {
                repaired.truncate(repaired.trim_ascii_end().len());
                repaired.push(b' ');
                push_clean(&mut repaired, line.trim_ascii_start());
                if !repaired.ends_with(b"\n") {
                    repaired.extend_from_slice(b"\r\n");
                }
            }
            continue;
        }
        let colon = memchr::memchr(b':', line).unwrap_or(0);
        let name = line[..colon].trim_ascii_end();
        last_frames = names_framing(line);
        let is_sound = is_token(name) && name.len() == colon && !holds_control(line);
        if last_frames && !is_sound {
            return None;
        }
        was_kept = is_token(name);
        if was_kept {
            repaired.extend_from_slice(name);
            push_clean(&mut repaired, &line[colon..]);
        }
    }
    Some(repaired)
}

/// Whether a line begins with the letters of a header that frames the body, whatever stands among them.
fn names_framing(line: &[u8]) -> bool {
    let letters = line.iter().filter(|b| b.is_ascii_alphabetic()).map(u8::to_ascii_lowercase);
    let letters: Vec<u8> = letters.take(16).collect();
    letters.starts_with(b"contentlength") || letters.starts_with(b"transferencoding")
}

/// Appends a part of a line, with a space for each control byte that may not stand there. A carriage return alone stays,
/// and is refused later.
fn push_clean(out: &mut Vec<u8>, line: &[u8]) {
    out.extend(line.iter().map(|&b| if is_forbidden(b) && !matches!(b, b'\r' | b'\n') { b' ' } else { b }));
}

fn holds_control(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line).iter().any(|&b| is_forbidden(b))
}

fn read_block(block: &[u8], ends: LineEnds, limits: HeadLimits) -> Result<Headers, HeadError> {
    let lines = check_ends(block, ends)?;
    if lines > limits.headers {
        return Err(HeadError::TooManyHeaders { limit: limits.headers });
    }
    let mut parsed = vec![httparse::EMPTY_HEADER; lines];
    match httparse::parse_headers(block, &mut parsed) {
        Ok(httparse::Status::Complete((used, parsed))) if used == block.len() => collect(parsed, block.len()),
        Ok(_) => Err(HeadError::Unfinished),
        Err(_) => Err(diagnose(block)),
    }
}

/// Counts the header lines. Refuses folded lines and, if `ends` is strict, line ends other than CR LF.
fn check_ends(block: &[u8], ends: LineEnds) -> Result<usize, HeadError> {
    let (mut start, mut lines) = (0, 0);
    for feed in memchr::memchr_iter(b'\n', block) {
        let line = &block[start..feed];
        let number = lines + 2;
        if ends == LineEnds::Strict && line.last() != Some(&b'\r') {
            return Err(HeadError::BareLf { line: number });
        }
        if matches!(line, [b' ' | b'\t', ..]) {
            return Err(HeadError::Folded { line: number });
        }
        start = feed + 1;
        if matches!(line, b"" | b"\r") {
            break;
        }
        lines += 1;
    }
    Ok(lines)
}

fn collect(parsed: &[httparse::Header<'_>], bytes: usize) -> Result<Headers, HeadError> {
    let mut headers = Headers::with_capacity(parsed.len(), bytes.saturating_sub(4 * parsed.len() + 2));
    for (n, field) in parsed.iter().enumerate() {
        if let Some(&byte) = field.value.iter().find(|&&b| is_forbidden(b)) {
            return Err(HeadError::Control { line: n + 2, byte });
        }
        headers.push_checked(field.name, field.value)?;
    }
    Ok(headers)
}

/// Says which line is wrong, and why. For blocks that httparse has refused.
fn diagnose(block: &[u8]) -> HeadError {
    let lines = block.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let wrong = lines.enumerate().find_map(|(n, line)| (!line.is_empty()).then(|| check_line(line, n + 2).err())?);
    wrong.unwrap_or(HeadError::Unfinished)
}

fn check_line(line: &[u8], number: usize) -> Result<(), HeadError> {
    check_controls(line, number)?;
    let colon = memchr::memchr(b':', line).unwrap_or(0);
    let name = &line[..colon];
    if matches!(name, [.., b' ' | b'\t']) {
        return Err(HeadError::SpaceBeforeColon { line: number });
    }
    if !is_token(name) {
        return Err(HeadError::HeaderName { line: number, text: excerpt_of_name(line) });
    }
    Ok(())
}

fn check_controls(line: &[u8], number: usize) -> Result<(), HeadError> {
    match line.iter().find(|&&b| is_forbidden(b)) {
        None => Ok(()),
        Some(b'\r') => Err(HeadError::BareCr { line: number }),
        Some(&byte) => Err(HeadError::Control { line: number, byte }),
    }
}

#[cfg(test)]
mod tests;
