//! Reads an event stream in the simplest way: all bytes at once, line by line, in the order of the standard's text.
//!
//! In: all bytes of a stream. Out: what parser and scanner must find in it, however it is cut.
//! Law: the code is as simple as can be.
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>.

/// A dispatched event: type, data, last event ID.
pub type Event = (Vec<u8>, Vec<u8>, Vec<u8>);

/// A finished block, as a scanner without an id cap sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Block {
    /// The offset after the blank line.
    pub end: usize,
    pub id: Option<Vec<u8>>,
    pub has_data: bool,
    pub retry: Option<u64>,
}

/// Everything that a stream holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stream {
    pub events: Vec<Event>,
    pub retry: Option<u64>,
    pub last_id: Vec<u8>,
    pub id_buffer: Vec<u8>,
    pub blocks: Vec<Block>,
    /// The offset after the last blank line, or after the last comment line outside a block.
    pub settled: usize,
}

/// Each line that has ended, without its line end, and the offset after it.
fn lines(bytes: &[u8]) -> Vec<(&[u8], usize)> {
    let mut lines = Vec::new();
    let (mut begin, mut at) = (0, 0);
    while at < bytes.len() {
        let ends = match bytes[at] {
            b'\r' if bytes.get(at + 1) == Some(&b'\n') => 2,
            b'\r' | b'\n' => 1,
            _ => 0,
        };
        if ends == 0 {
            at += 1;
        } else {
            lines.push((&bytes[begin..at], at + ends));
            at += ends;
            begin = at;
        }
    }
    lines
}

fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = std::str::from_utf8(value).ok()?.trim_start_matches('0');
    Some(if digits.is_empty() { 0 } else { digits.parse().unwrap_or(u64::MAX) })
}

/// Reads a whole stream.
pub fn read(bytes: &[u8]) -> Stream {
    let mut s = Stream::default();
    let (mut data, mut event_type) = (Vec::new(), Vec::new());
    let mut block: Option<Block> = None;
    for (n, (line, end)) in lines(bytes).into_iter().enumerate() {
        let line = if n == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        if line.is_empty() {
            s.last_id = s.id_buffer.clone();
            if !data.is_empty() {
                data.pop();
                let name = if event_type.is_empty() { b"message".to_vec() } else { event_type.clone() };
                s.events.push((name, data.clone(), s.last_id.clone()));
            }
            data.clear();
            event_type.clear();
            if let Some(block) = block.take() {
                s.blocks.push(Block { end, ..block });
            }
            s.settled = end;
            continue;
        }
        if line[0] == b':' {
            if block.is_none() {
                s.settled = end;
            }
            continue;
        }
        let block = block.get_or_insert_default();
        let colon = line.iter().position(|&b| b == b':');
        let (name, value) = match colon {
            Some(at) => (&line[..at], line[at + 1..].strip_prefix(b" ").unwrap_or(&line[at + 1..])),
            None => (line, &[][..]),
        };
        match name {
            b"data" => {
                data.extend_from_slice(value);
                data.push(b'\n');
                block.has_data = true;
            }
            b"event" => event_type = value.to_vec(),
            b"id" if !value.contains(&0) => {
                s.id_buffer = value.to_vec();
                block.id = Some(value.to_vec());
            }
            b"retry" if number(value).is_some() => {
                s.retry = number(value);
                block.retry = s.retry;
            }
            _ => {}
        }
    }
    s
}
