//! Cursors as JSON.
//!
//! In: names and records of the store. Out: objects, each on a line of its own.
//! Law: whatever bytes a client or an upstream has sent, the JSON is valid.

use crate::base::StreamName;
use crate::store::Record;

/// Appends a stored cursor as a JSON object on one line. Bytes that are not UTF-8 become U+FFFD.
pub(crate) fn write_json(name: &StreamName, cursor: &Record, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"session\":");
    write_text(&name.session, out);
    out.extend_from_slice(format!(",\"stream\":\"{:016x}\",\"last_event_id\":", name.stream).as_bytes());
    write_text(cursor.id.as_bytes(), out);
    let Record { epoch, sequence, last_seen_ms, .. } = cursor;
    let rest = format!(",\"sequence\":{sequence},\"epoch\":{epoch},\"last_seen_ms\":{last_seen_ms}}}");
    out.extend_from_slice(rest.as_bytes());
}

pub(super) fn write_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            c if u32::from(c) < 0x20 => out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::EventId;

    #[test]
    fn a_cursor_is_one_line_of_valid_json_whatever_it_holds() {
        let all: Vec<u8> = (0..=255).collect();
        let name = StreamName { session: all.clone().into(), stream: 1 };
        let id = EventId::from_bytes(&all).unwrap();
        let mut line = Vec::new();
        write_json(&name, &Record { epoch: 1, sequence: 2, id, last_seen_ms: 3 }, &mut line);
        let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert!(!line.contains(&b'\n'));
        assert_eq!(
            (json["last_event_id"].as_str().unwrap(), &json["sequence"]),
            (&*String::from_utf8_lossy(&all), &2.into())
        );
    }
}
