//! The gap event: how a client is told that segno knows of events which the client will not get.
//!
//! In: a reason and the ids on both sides. Out: one event, `event: segno.gap`, with JSON data and no id.
//! Law: the data is one line of valid JSON, no matter which bytes the ids hold; bytes that are not UTF-8 become U+FFFD.
//! Source: `docs/behaviour.md`, gaps; RFC 8259 section 7 (strings).

use std::fmt;

/// Why events are lost.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GapReason {
    /// They were older than the log keeps events.
    Expired,
    /// The log was full.
    Evicted,
    /// The id is segno's own, and no log has it.
    Unknown,
    /// Upstream refused the cursor.
    Refused,
    /// Upstream has started again.
    Restarted,
    /// Upstream's ids were consecutive integers, and the healed stream jumps.
    Skipped,
}

impl GapReason {
    /// The word in the header and in the event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
            Self::Restarted => "restarted",
            Self::Skipped => "skipped",
        }
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Appends the gap event to `out`. `after`: the last id before the gap; `resumed_at`: the first id after it; `None`
/// where unknown.
pub fn write_gap(out: &mut Vec<u8>, reason: GapReason, after: Option<&[u8]>, resumed_at: Option<&[u8]>) {
    out.extend_from_slice(b"event: segno.gap\ndata: {\"after\":");
    write_json(out, after);
    out.extend_from_slice(b",\"resumed_at\":");
    write_json(out, resumed_at);
    out.extend_from_slice(b",\"reason\":\"");
    out.extend_from_slice(reason.as_str().as_bytes());
    out.extend_from_slice(b"\"}\n\n");
}

fn write_json(out: &mut Vec<u8>, text: Option<&[u8]>) {
    let Some(text) = text else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'"');
    for byte in String::from_utf8_lossy(text).bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(after: Option<&[u8]>, resumed_at: Option<&[u8]>) -> String {
        let mut out = Vec::new();
        write_gap(&mut out, GapReason::Skipped, after, resumed_at);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_event_has_both_ids_and_the_reason() {
        assert_eq!(
            gap(Some(b"16"), None),
            "event: segno.gap\ndata: {\"after\":\"16\",\"resumed_at\":null,\"reason\":\"skipped\"}\n\n"
        );
    }

    #[test]
    fn any_bytes_give_one_line_of_valid_json() {
        let all: Vec<u8> = (0..=255).collect();
        let text = gap(Some(&all), Some("é\u{2028}".as_bytes()));
        assert_eq!(text.lines().count(), 3);
        let data = text.lines().nth(1).unwrap().strip_prefix("data: ").unwrap();
        let json: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(json["after"].as_str().unwrap(), String::from_utf8_lossy(&all));
        assert_eq!(json["resumed_at"], "é\u{2028}");
    }
}
