//! The protocol revision that a JSON-RPC request tells in its body, found as the body passes.
//!
//! In: the bytes of a body, in parts of any size. Out: the string at `params._meta` under [`KEY`], if there is one.
//! Laws: the body is neither held back nor kept; a byte is looked at once; what is no JSON tells nothing.
//! Source: Model Context Protocol 2026-07-28, basic, `_meta`: each request carries its revision there, and should carry
//! it in `MCP-Protocol-Version`, too.

/// The member of `_meta` that tells the revision.
pub(super) const KEY: &str = "io.modelcontextprotocol/protocolVersion";

/// The names that lead to the revision, from the outermost object in.
const PATH: [&[u8]; 3] = [b"params", b"_meta", KEY.as_bytes()];

/// Bytes of a revision that are kept: one more than a date has.
const KEPT: usize = 11;

/// A reader of JSON that follows one path and counts brackets everywhere else.
#[derive(Clone, Debug, Default)]
pub(super) struct MetaScan {
    at: At,
    /// Open objects and arrays.
    depth: u32,
    /// Open objects that lie on the path. They are the outermost ones: we are on the path while this is `depth`.
    on_path: u32,
    /// On the path, the next string is a name.
    names: bool,
    /// On the path, the last name is the one looked for.
    hit: bool,
    /// Bytes of the present string that agree with what is looked for; `None`: it is another.
    agrees: Option<u8>,
    value: [u8; KEPT],
    value_len: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum At {
    /// Between strings.
    #[default]
    Between,
    /// In a string that says nothing.
    Skipped,
    /// In a name on the path.
    Name,
    /// In the revision.
    Value,
    /// Behind a backslash in a string of this kind.
    Escape(Text),
    /// Nothing more is looked at: it was found, or is not there.
    Over,
}

/// The kinds of strings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Text {
    Skipped,
    Name,
    Value,
}

impl MetaScan {
    /// Looks at the next part of the body.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while self.at != At::Over {
            if self.at == At::Skipped {
                let Some(n) = memchr::memchr2(b'"', b'\\', bytes) else { return };
                bytes = &bytes[n..];
            }
            let Some((&byte, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.step(byte);
        }
    }

    /// The revision, once its last byte has come.
    pub(super) fn revision(&self) -> Option<&[u8]> {
        (self.at == At::Over && self.hit).then(|| &self.value[..usize::from(self.value_len)])
    }

    fn step(&mut self, byte: u8) {
        match (self.at, byte) {
            (At::Between, byte) => self.between(byte),
            (At::Skipped, b'\\') => self.at = At::Escape(Text::Skipped),
            (At::Name, b'\\') => self.at = At::Escape(Text::Name),
            (At::Value, b'\\') => self.at = At::Escape(Text::Value),
            (At::Skipped | At::Name | At::Value, b'"') => self.end_string(),
            (At::Name, byte) => self.compare(byte),
            (At::Value, byte) => self.keep(byte),
            (At::Escape(text), byte) => self.unescape(text, byte),
            (At::Skipped | At::Over, _) => {}
        }
    }

    fn between(&mut self, byte: u8) {
        let here = self.depth == self.on_path;
        match byte {
            b'"' if self.depth == 0 => self.at = At::Over,
            b'"' if here && self.names => {
                self.at = At::Name;
                self.agrees = Some(0);
            }
            b'"' if here && self.hit && self.on_path == PATH.len() as u32 => self.at = At::Value,
            b'"' => self.at = At::Skipped,
            b'{' if self.depth == 0 || here && self.hit && self.on_path < PATH.len() as u32 => {
                self.depth += 1;
                self.on_path += 1;
                (self.names, self.hit) = (true, false);
            }
            b'{' | b'[' if self.depth > 0 => self.depth = self.depth.saturating_add(1),
            b'}' | b']' if self.depth > 0 => {
                if here {
                    self.on_path -= 1;
                    (self.names, self.hit) = (false, false);
                }
                self.depth -= 1;
                if self.depth == 0 {
                    self.at = At::Over;
                }
            }
            b',' if here => (self.names, self.hit) = (true, false),
            b':' if here => self.names = false,
            b' ' | b'\t' | b'\r' | b'\n' => {}
            // Numbers and words; the outermost value is none of them.
            _ if self.depth > 0 => {}
            _ => self.at = At::Over,
        }
    }

    fn end_string(&mut self) {
        match self.at {
            At::Name => self.hit = self.agrees.is_some_and(|n| usize::from(n) == self.wanted().len()),
            At::Value => return self.at = At::Over,
            _ => {}
        }
        self.at = At::Between;
    }

    /// The name that is looked for in the innermost open object.
    fn wanted(&self) -> &'static [u8] {
        PATH[(self.on_path as usize).saturating_sub(1).min(PATH.len() - 1)]
    }

    fn compare(&mut self, byte: u8) {
        self.agrees = self.agrees.filter(|n| self.wanted().get(usize::from(*n)) == Some(&byte)).map(|n| n + 1);
    }

    fn keep(&mut self, byte: u8) {
        if let Some(place) = self.value.get_mut(usize::from(self.value_len)) {
            *place = byte;
            self.value_len += 1;
        }
    }

    /// Some encoders write `\/` for a slash. No byte of the path needs another escape.
    fn unescape(&mut self, text: Text, byte: u8) {
        match (text, byte) {
            (Text::Skipped, _) => {}
            (Text::Name, b'/') => self.compare(byte),
            (Text::Name, _) => self.agrees = None,
            (Text::Value, _) => self.keep(byte),
        }
        self.at = match text {
            Text::Skipped => At::Skipped,
            Text::Name => At::Name,
            Text::Value => At::Value,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Random;
    use serde_json::{Map, Value, json};

    /// The slow twin: the whole body, by a JSON parser.
    fn twin(body: &[u8]) -> Option<String> {
        let value: Value = serde_json::from_slice(body).ok()?;
        Some(value.get("params")?.get("_meta")?.get(KEY)?.as_str()?.to_owned())
    }

    fn scan(body: &[u8], step: usize) -> Option<String> {
        let mut scan = MetaScan::default();
        body.chunks(step.max(1)).for_each(|part| scan.feed(part));
        scan.revision().map(|r| String::from_utf8(r.to_vec()).unwrap())
    }

    #[test]
    fn a_request_tells_its_revision_however_it_is_cut() {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "x", "_meta": {"other": {"a": [1, {}]}, KEY: "2026-07-28"}}});
        for text in [body.to_string(), serde_json::to_string_pretty(&body).unwrap()] {
            for step in 1..=text.len() {
                assert_eq!(scan(text.as_bytes(), step).as_deref(), Some("2026-07-28"), "{text} by {step}");
            }
        }
    }

    #[test]
    fn what_is_longer_than_a_date_is_not_cut_to_one() {
        let body = json!({"params": {"_meta": {KEY: "2026-07-28".repeat(9)}}}).to_string();
        assert_eq!(scan(body.as_bytes(), 3).as_deref(), Some("2026-07-282"));
    }

    #[test]
    fn a_slash_may_be_escaped() {
        let body = br#"{"params":{"_meta":{"io.modelcontextprotocol\/protocolVersion":"2026-07-28"}}}"#;
        assert_eq!(scan(body, 7).as_deref(), Some("2026-07-28"));
    }

    #[test]
    fn the_same_words_elsewhere_tell_nothing() {
        let pair = format!("\"{KEY}\":\"2026-07-28\"");
        for body in [
            String::new(),
            format!("{{{pair}}}"),
            format!("{{\"_meta\":{{{pair}}}}}"),
            format!("{{\"params\":[{{\"_meta\":{{{pair}}}}}]}}"),
            format!("{{\"params\":{{\"x\":{{\"_meta\":{{{pair}}}}}}}}}"),
            format!("{{\"params\":{{\"_meta\":[{{{pair}}}]}}}}"),
            format!("{{\"params\":{{\"_meta\":{{\"x\":{{{pair}}}}}}}}}"),
            format!("{{\"params\":{{\"text\":\"{{\\\"_meta\\\":{{\\\"{KEY}\\\":\\\"2026-07-28\\\"}}}}\"}}}}"),
            format!("{{\"params\":{{\"_meta\":{{\"{KEY}\":20260728}}}}}}"),
            format!("{{\"params\":{{\"_meta\":{{\"{KEY}\":{{{pair}}}}}}}}}"),
            format!("\"{{\" {{\"params\":{{\"_meta\":{{{pair}}}}}}}"),
        ] {
            assert_eq!(scan(body.as_bytes(), 3), None, "{body}");
        }
    }

    /// A value by chance, in which the path's names come often, each mostly where it belongs.
    fn value(random: &mut Random, depth: u64) -> Value {
        let names = ["params", "_meta", KEY, "a", "x\"\\y", "", ["", KEY, "_meta", "params"][depth as usize]];
        match random.below(if depth == 0 { 3 } else { 10 }) {
            0 => json!(random.below(100)),
            1 => json!(["2026-07-28", "2025-11-25", "\\\"{", ""][random.below(4) as usize]),
            2 => Value::Null,
            3 => (0..random.below(3)).map(|_| value(random, depth - 1)).collect(),
            _ => {
                let mut map = Map::new();
                for _ in 0..random.below(5) {
                    map.insert(names[random.below(12).min(6) as usize].to_owned(), value(random, depth - 1));
                }
                Value::Object(map)
            }
        }
    }

    #[test]
    fn it_agrees_with_a_parser_on_any_json() {
        let mut random = Random::new(11);
        let mut found = 0;
        for _ in 0..50_000 {
            let body = value(&mut random, 3).to_string();
            let (seen, expected) = (scan(body.as_bytes(), 1 + random.below(20) as usize), twin(body.as_bytes()));
            // What is longer than a date is cut; none here is.
            assert_eq!(seen, expected, "{body}");
            found += u32::from(seen.is_some());
        }
        assert!(found > 500, "{found} tell one");
    }

    #[test]
    fn any_bytes_are_borne_alike_whole_and_in_parts() {
        let mut random = Random::new(12);
        let alphabet = br#"{}[]",:\/ 1params_metaio.x"#;
        for _ in 0..50_000 {
            let n = random.below(60);
            let body: Vec<u8> = (0..n).map(|_| alphabet[random.below(alphabet.len() as u64) as usize]).collect();
            assert_eq!(scan(&body, 1), scan(&body, 60), "{:?}", String::from_utf8_lossy(&body));
        }
    }
}
