//! Lines and fields: what the scanner and the parser both need to read a line, whole or in pieces.
//!
//! In: bytes up to a line end. Out: the field that the line sets, and where its value lies.
//! Laws: a line in pieces means what the whole line means; each byte is searched once for a line end. Apart from that
//! search, only a byte order mark, the field's name, its colon, one space, and the values of ids and times are looked
//! at.
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>.

pub(super) const LF: u8 = b'\n';
pub(super) const CR: u8 = b'\r';
const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];

/// The fields that mean something. All others are ignored (`#event-stream-interpretation`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Field {
    Data,
    Event,
    Id,
    Retry,
}

impl Field {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Data => b"data",
            Self::Event => b"event",
            Self::Id => b"id",
            Self::Retry => b"retry",
        }
    }
}

/// What part of a line has been read so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Head {
    /// No byte of the line.
    Start,
    /// No byte of the line, and the line before ended with CR: a LF that comes now belongs to that CR.
    AfterCr,
    /// This many bytes of the byte order mark that may begin a stream. After all three, the line itself begins.
    Bom(u8),
    /// A colon, and perhaps more: the line is a comment.
    Comment,
    /// This many bytes of the field's name, and nothing else.
    Name(Field, u8),
    /// The name and its colon; one space may follow.
    Space(Field),
    /// The name, the colon, and perhaps a part of the value.
    Value(Field),
    /// The start of a line that sets nothing.
    Other,
}

impl Head {
    /// Reads the byte order mark at the front of `input`, and returns how many bytes belong to it. Afterwards the state
    /// is `Bom` if the mark is whole or `input` is used up; `Start` if there is no mark; `Other` if the first bytes
    /// looked like a mark and were not one.
    pub(super) fn read_bom(&mut self, input: &[u8]) -> usize {
        // A byte order mark is ignored at the start of a stream, and is ordinary text anywhere else
        // (#parsing-an-event-stream).
        let Self::Bom(before) = *self else { return 0 };
        let left = &BOM[usize::from(before)..];
        let matched = left.iter().zip(input).take_while(|(a, b)| a == b).count();
        let so_far = before + matched as u8;
        *self = match so_far {
            3 => Self::Bom(3),
            _ if matched == input.len() => Self::Bom(so_far),
            0 => Self::Start,
            _ => Self::Other,
        };
        matched
    }

    /// Reads a piece of a line, without the line end. Returns where in the piece the bytes of the value begin.
    pub(super) fn read(&mut self, piece: &[u8]) -> usize {
        for (at, &byte) in piece.iter().enumerate() {
            match *self {
                Self::Comment | Self::Other => return piece.len(),
                Self::Value(_) => return at,
                // One space after the colon is not part of the value; a second one is (#event-stream-interpretation).
                Self::Space(field) => {
                    *self = Self::Value(field);
                    return at + usize::from(byte == b' ');
                }
                _ => *self = self.step(byte),
            }
            work::count(1);
        }
        piece.len()
    }

    fn step(self, byte: u8) -> Self {
        match self {
            Self::Name(field, n) => match (field.name().get(usize::from(n)), byte) {
                (Some(&expected), _) if expected == byte => Self::Name(field, n + 1),
                (None, b':') => Self::Space(field),
                _ => Self::Other,
            },
            _ => match byte {
                b':' => Self::Comment,
                b'd' => Self::Name(Field::Data, 1),
                b'e' => Self::Name(Field::Event, 1),
                b'i' => Self::Name(Field::Id, 1),
                b'r' => Self::Name(Field::Retry, 1),
                _ => Self::Other,
            },
        }
    }

    /// The field that the line sets if it ends here. A line without a colon is a name with an empty value.
    pub(super) fn field(self) -> Option<Field> {
        match self {
            Self::Space(field) | Self::Value(field) => Some(field),
            Self::Name(field, n) if usize::from(n) == field.name().len() => Some(field),
            _ => None,
        }
    }

    /// Whether the line is empty if it ends here.
    pub(super) const fn is_blank(self) -> bool {
        matches!(self, Self::Start | Self::AfterCr | Self::Bom(_))
    }
}

/// The field that a whole line sets, and its value. Names are compared byte by byte, "with no case folding". The value
/// follows the first colon, without one leading space. A line without a colon is a name with an empty value.
pub(super) fn field_of(line: &[u8]) -> Option<(Field, &[u8])> {
    let field = match line.first()? {
        b'd' => Field::Data,
        b'e' => Field::Event,
        b'i' => Field::Id,
        b'r' => Field::Retry,
        _ => return None,
    };
    match line.strip_prefix(field.name())? {
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some((field, value)),
        [] => Some((field, &[])),
        _ => None,
    }
}

/// The field that a line sets, and the number of bytes before its value, for the three beginnings that nearly all lines
/// have. Looks only at the front of the line.
#[inline(always)]
pub(super) fn usual_front(line: &[u8]) -> Option<(Field, usize)> {
    match line.first()? {
        b'd' if line.starts_with(b"data: ") => Some((Field::Data, 6)),
        b'i' if line.starts_with(b"id: ") => Some((Field::Id, 4)),
        b'e' if line.starts_with(b"event: ") => Some((Field::Event, 7)),
        _ => None,
    }
}

/// Where the first CR or LF is. CRLF, LF and CR each end a line.
#[inline(always)]
pub(super) fn line_end(bytes: &[u8]) -> Option<usize> {
    let end = match bytes.split_first_chunk() {
        Some((near, far)) => near_line_end(*near).or_else(|| memchr::memchr2(LF, CR, far).map(|n| n + near.len())),
        None => memchr::memchr2(LF, CR, bytes),
    };
    work::count(end.map_or(bytes.len(), |n| n + 1));
    end
}

/// The same for the first 8 bytes only. Many values are short, and a call to memchr costs more than a test of one word.
#[inline(always)]
fn near_line_end(bytes: [u8; 8]) -> Option<usize> {
    let word = u64::from_le_bytes(bytes);
    let found = zero_bytes(word ^ (LOW * LF as u64)) | zero_bytes(word ^ (LOW * CR as u64));
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

/// The lowest bit of each byte.
const LOW: u64 = 0x0101_0101_0101_0101;

/// Sets the highest bit of each byte that is zero. Above the lowest zero byte, other bytes may get that bit too; below
/// it, none does.
#[inline(always)]
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(LOW) & !word & (LOW << 7)
}

/// Whether an id is valid: it holds no NUL (`#event-stream-interpretation`). Ids are short, so this tests whole words
/// instead of calling memchr; the last word may overlap the one before.
#[inline(always)]
pub(super) fn is_id(value: &[u8]) -> bool {
    if let Some(last) = value.last_chunk() {
        let (words, _) = value.as_chunks();
        let zeros = words.iter().fold(0, |zeros, word| zeros | zero_bytes(u64::from_le_bytes(*word)));
        zeros | zero_bytes(u64::from_le_bytes(*last)) == 0
    } else if let (Some(first), Some(last)) = (value.first_chunk(), value.last_chunk()) {
        let both = u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last));
        zero_bytes(both) == 0
    } else {
        value.iter().all(|&byte| byte != 0)
    }
}

/// The number of a `retry` value, which is made of digits alone (`#event-stream-interpretation`). The standard does not
/// say what an empty value means; here it is not a number. Saturates.
pub(super) fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0, |n, &byte| push_digit(n, byte))
}

/// The number with one more digit, saturating; `None` if the byte is not a digit.
pub(super) fn push_digit(number: u64, byte: u8) -> Option<u64> {
    byte.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
}

/// Counts, in tests only, the bytes that are searched, stepped through or copied.
pub(super) mod work {
    #[cfg(test)]
    thread_local! {
        static BYTES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    #[cfg(test)]
    pub(in super::super) fn count(bytes: usize) {
        BYTES.set(BYTES.get() + bytes);
    }

    #[cfg(not(test))]
    #[inline(always)]
    pub(in super::super) fn count(_bytes: usize) {}

    /// The count since the last call.
    #[cfg(test)]
    pub(in super::super) fn take() -> usize {
        BYTES.replace(0)
    }
}
