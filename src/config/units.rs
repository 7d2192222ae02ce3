//! Durations and sizes as people write them.
//!
//! In: `30s`, `250ms`, `5m`, `1h`, `17us`, `0s`; `4096`, `512KiB`, `1MiB`, `2GiB`. Out: a [`Span`], or bytes.
//! Laws: whole numbers only, no spaces, no sign; a duration always has its unit; a value that is too large is an error
//! and never becomes a smaller one.

use std::fmt;

use crate::base::Span;

const SPANS: [(&str, u64); 5] = [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000)];
const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Why a duration or a size could not be read. The message says how to write it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnitError {
    /// Not a duration.
    Span,
    /// A duration without its unit.
    BareSpan,
    /// Not a size.
    Size,
    /// Larger than the number that holds it.
    TooLarge,
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Span => "not a duration: write a whole number and its unit, such as `250ms`, `30s`, `5m` or `1h`",
            Self::BareSpan => "a duration needs its unit: write `250ms`, `30s`, `5m` or `1h`",
            Self::Size => "not a size: write bytes as a whole number, or with a unit, such as `64KiB` or `1MiB`",
            Self::TooLarge => "too large: this is more than can be counted",
        })
    }
}

impl std::error::Error for UnitError {}

/// Reads a duration.
///
/// # Errors
/// [`UnitError`], when the text is not a whole number with a unit, or is 2^64 microseconds or longer.
pub fn parse_span(text: &str) -> Result<Span, UnitError> {
    let (number, unit) = split(text).ok_or(UnitError::Span)?;
    if unit.is_empty() {
        return Err(UnitError::BareSpan);
    }
    let (_, micros) = SPANS.iter().find(|(name, _)| *name == unit).ok_or(UnitError::Span)?;
    scaled(number, *micros).map(Span::from_micros)
}

/// Reads a size in bytes.
///
/// # Errors
/// [`UnitError`], when the text is not a whole number with or without a unit, or does not fit a `usize`.
pub fn parse_size(text: &str) -> Result<usize, UnitError> {
    let (number, unit) = split(text).ok_or(UnitError::Size)?;
    let unit = if unit.is_empty() { "B" } else { unit };
    let (_, bytes) = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or(UnitError::Size)?;
    usize::try_from(scaled(number, *bytes)?).map_err(|_| UnitError::TooLarge)
}

/// Writes a size so that [`parse_size`] reads it back, in its largest whole unit.
pub fn show_size(bytes: usize) -> String {
    let whole = |(_, unit): &&(&str, u64)| bytes > 0 && (bytes as u64).is_multiple_of(*unit);
    match SIZES.iter().skip(1).rev().find(whole) {
        Some((name, unit)) => format!("{}{name}", bytes as u64 / unit),
        None => bytes.to_string(),
    }
}

/// The digits at the front, at least one, and what follows them.
fn split(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn scaled(digits: &str, unit: u64) -> Result<u64, UnitError> {
    // `digits` is not empty and holds digits only, so all that can go wrong is its size.
    let number: u64 = digits.parse().map_err(|_| UnitError::TooLarge)?;
    number.checked_mul(unit).ok_or(UnitError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit() {
        let micros = |text| parse_span(text).unwrap().micros();
        assert_eq!(
            ["17us", "250ms", "30s", "5m", "1h"].map(micros),
            [17, 250_000, 30_000_000, 300_000_000, 3_600_000_000]
        );
        assert_eq!(parse_span("0s"), Ok(Span::ZERO));
    }

    #[test]
    fn a_span_prints_as_it_is_read() {
        for span in [Span::ZERO, Span::from_micros(1), Span::from_millis(90_500), Span::from_secs(300)] {
            assert_eq!(parse_span(&span.to_string()), Ok(span));
        }
    }

    #[test]
    fn a_bare_number_is_no_duration() {
        assert_eq!(parse_span("30"), Err(UnitError::BareSpan));
    }

    #[test]
    fn half_written_values_are_refused() {
        for text in ["", "s", "1.5s", "-1s", "1 s", "1S", "1d", "1m30s", "+1s"] {
            assert_eq!(parse_span(text), Err(UnitError::Span), "{text}");
        }
        for text in ["", "KiB", "1.5MiB", "-1", "1 KiB", "1K", "1MB", "0x10"] {
            assert_eq!(parse_size(text), Err(UnitError::Size), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_counted_is_an_error() {
        assert_eq!(parse_span("18446744073709551616us"), Err(UnitError::TooLarge));
        assert_eq!(parse_span("18446744073709551615h"), Err(UnitError::TooLarge));
        assert_eq!(parse_size("99999999999GiB"), Err(UnitError::TooLarge));
    }

    #[test]
    fn a_size_prints_as_it_is_read() {
        for (text, bytes) in [("0", 0), ("1023", 1023), ("1KiB", 1024), ("1536KiB", 1536 << 10), ("256MiB", 256 << 20)]
        {
            assert_eq!((parse_size(text), show_size(bytes).as_str()), (Ok(bytes), text));
        }
        assert_eq!(parse_size("64kib"), Ok(65_536));
        assert_eq!(parse_size("5B"), Ok(5));
    }
}
