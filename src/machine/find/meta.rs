//! The protocol revision that a JSON-RPC request tells in its body, found as the body passes.
//!
//! In: the bytes of a body, in parts of any size. Out: the string at `params._meta` under [`KEY`], if there is one.
//! Laws: the body is neither held back nor kept; each byte is looked at once; a body that is not JSON has no revision.
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
    /// Bytes of the present string that agree with the name looked for; `None`: it is another name.
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
    /// Nothing more is looked at: the revision was found, or is not there.
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
    pub(in crate::machine) fn feed(&mut self, mut bytes: &[u8]) {
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
    pub(in crate::machine) fn revision(&self) -> Option<&[u8]> {
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
mod tests;
