//! The clients' own parser: reads an HTTP/1.1 response, its chunks and the event stream in it, byte by byte.
//!
//! In: bytes as they arrive. Out: [`Event`]s, each with the id of its own block, and whether the last chunk came.
//! Laws: the code is separate from segno's parsers, so that one mistake cannot hide in both; the code is slow and
//! plain; a byte order mark is removed only at the start of the body.
//! Source: RFC 9112 section 7.1; WHATWG HTML, server-sent events, "Interpreting an event stream".

/// The longest response head, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// The longest line of a stream, in bytes.
const MAX_LINE: usize = 64 * 1024;

/// One event, as its block gives it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Event {
    /// The id in this block. The id of an earlier block does not carry over.
    pub(super) id: Option<String>,
    pub(super) kind: String,
    pub(super) data: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Framing {
    Head,
    Size,
    Data(usize),
    /// The line end after a chunk.
    DataEnd,
    Trailer,
    Done,
    /// No chunks: the body ends with the connection.
    Close,
}

/// A parser of one response.
pub(super) struct Parser {
    framing: Framing,
    /// The head, or the length line of a chunk.
    text: Vec<u8>,
    /// The status of the response, once the whole head has come.
    pub(super) status: Option<u16>,
    lines: Lines,
}

impl Parser {
    /// A parser before the first byte of a response.
    pub(super) fn new() -> Self {
        Self { framing: Framing::Head, text: Vec::new(), status: None, lines: Lines::default() }
    }

    /// Takes bytes and appends whole events to `events`.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub(super) fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), String> {
        bytes.iter().try_for_each(|&byte| self.byte(byte, events))
    }

    /// Whether the last chunk came.
    pub(super) fn is_clean(&self) -> bool {
        self.framing == Framing::Done
    }

    /// Whether the body has no length and no chunks, so that the connection's end is its end.
    pub(super) fn is_close_delimited(&self) -> bool {
        self.framing == Framing::Close
    }

    /// Whether a block has begun and not ended.
    pub(super) fn is_inside_event(&self) -> bool {
        self.lines.inside
    }

    fn byte(&mut self, byte: u8, events: &mut Vec<Event>) -> Result<(), String> {
        match self.framing {
            Framing::Head => {
                self.text.push(byte);
                if self.text.len() > MAX_HEAD {
                    return Err("the response head is too long".to_owned());
                }
                if self.text.ends_with(b"\r\n\r\n") { self.head() } else { Ok(()) }
            }
            Framing::Size if byte == b'\n' => self.size(),
            Framing::Size => {
                self.text.push(byte);
                if self.text.len() > 64 { Err("a chunk's length line is too long".to_owned()) } else { Ok(()) }
            }
            Framing::Data(left) => {
                self.framing = if left == 1 { Framing::DataEnd } else { Framing::Data(left - 1) };
                self.lines.byte(byte, events)
            }
            Framing::DataEnd => match byte {
                b'\r' => Ok(()),
                b'\n' => {
                    self.framing = Framing::Size;
                    Ok(())
                }
                _ => Err("a chunk is longer than it said".to_owned()),
            },
            Framing::Trailer if byte == b'\n' => {
                let last = self.text.is_empty();
                self.text.clear();
                self.framing = if last { Framing::Done } else { Framing::Trailer };
                Ok(())
            }
            Framing::Trailer => {
                self.text.extend((byte != b'\r').then_some(byte));
                Ok(())
            }
            Framing::Done => Err("bytes came after the last chunk".to_owned()),
            Framing::Close => self.lines.byte(byte, events),
        }
    }

    fn head(&mut self) -> Result<(), String> {
        let head = String::from_utf8_lossy(&self.text).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        self.status = status;
        let chunked = head.contains("\r\ntransfer-encoding: chunked\r\n");
        let empty = head.contains("\r\ncontent-length: 0\r\n") || status == Some(204);
        self.framing = match (chunked, empty) {
            (true, _) => Framing::Size,
            (_, true) => Framing::Done,
            _ => Framing::Close,
        };
        self.text.clear();
        status.map(|_| ()).ok_or_else(|| "the response has no status".to_owned())
    }

    fn size(&mut self) -> Result<(), String> {
        let line = String::from_utf8_lossy(&self.text).into_owned();
        self.text.clear();
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).map_err(|_| format!("{line:?} is not a chunk length"))?;
        self.framing = if size == 0 { Framing::Trailer } else { Framing::Data(size) };
        Ok(())
    }
}

/// The event stream, line by line.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    begun: bool,
    after_cr: bool,
    /// Whether a byte has come since the last blank line.
    inside: bool,
    has_data: bool,
    event: Event,
}

impl Lines {
    fn byte(&mut self, byte: u8, events: &mut Vec<Event>) -> Result<(), String> {
        let second = std::mem::take(&mut self.after_cr) && byte == b'\n';
        match byte {
            b'\n' if second => {}
            b'\r' | b'\n' => {
                self.after_cr = byte == b'\r';
                self.end_line(events);
            }
            _ if self.line.len() >= MAX_LINE => return Err("a line is too long".to_owned()),
            _ => {
                self.line.push(byte);
                self.inside = true;
            }
        }
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<Event>) {
        let bytes = std::mem::take(&mut self.line);
        let mut line = String::from_utf8_lossy(&bytes).into_owned();
        if !std::mem::replace(&mut self.begun, true) {
            line = line.trim_start_matches('\u{feff}').to_owned();
        }
        if line.is_empty() {
            self.inside = false;
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                events.push(event);
            }
            return;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            // A comment alone is not part of an event: a proxy may send one between two events.
            "" => self.inside = self.has_data || self.event != Event::default(),
            "id" => self.event.id = Some(value.to_owned()),
            "event" => self.event.kind = value.to_owned(),
            "data" => self.data(value),
            _ => {}
        }
    }

    fn data(&mut self, value: &str) {
        if std::mem::replace(&mut self.has_data, true) {
            self.event.data.push('\n');
        }
        self.event.data.push_str(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parts: &[&[u8]]) -> (Parser, Vec<Event>) {
        let (mut parser, mut events) = (Parser::new(), Vec::new());
        parts.iter().for_each(|part| parser.feed(part, &mut events).unwrap());
        (parser, events)
    }

    fn event(id: Option<&str>, kind: &str, data: &str) -> Event {
        Event { id: id.map(str::to_owned), kind: kind.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn every_split_gives_the_same_events() {
        let text = b"id: 1\r\ndata: a\r\n\r\n\xef\xbb\xbfid: 2\ndata: b\n\nevent: e\rdata: c\rdata\r\r: ping\n";
        let mut body = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for part in text.chunks(7) {
            body.extend_from_slice(format!("{:X};x=y\r\n", part.len()).as_bytes());
            body.extend_from_slice(part);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\nA: b\r\n\r\n");
        let want = vec![event(Some("1"), "", "a"), event(None, "", "b"), event(None, "e", "c\n")];
        for at in 0..body.len() {
            let (parser, events) = read(&[&body[..at], &body[at..]]);
            assert_eq!(events, want);
            assert!(parser.is_clean() && !parser.is_inside_event());
        }
    }

    #[test]
    fn a_byte_order_mark_is_removed_only_at_the_start() {
        let head: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
        let (parser, events) = read(&[head, b"\xef\xbb\xbfid: 1\ndata: a\n\n"]);
        assert_eq!(events, [event(Some("1"), "", "a")]);
        assert!(parser.is_close_delimited() && !parser.is_clean());
    }

    #[test]
    fn a_stream_without_its_last_chunk_is_not_clean() {
        let (parser, _) = read(&[b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nid:\r\n"]);
        assert!(!parser.is_clean() && parser.is_inside_event());
    }

    #[test]
    fn a_malformed_chunk_is_refused() {
        let mut parser = Parser::new();
        let response = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n";
        assert!(parser.feed(response, &mut Vec::new()).is_err());
    }
}
