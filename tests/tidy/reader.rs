//! Reads the names that a file uses, without a parser of the whole language.
//!
//! In: the text of a file. Out: every path as written (a `use` tree gives each leaf with its whole path), the modules
//! around it, the `mod name;` lines, and the modules for tests that are written out. Law: comments, strings, characters
//! and lifetimes hold no names.

use crate::source::{Include, Inline, Name};

/// Walks the tokens of a file and keeps the blocks it is in.
pub(crate) struct Reader<'a> {
    module: &'a [String],
    tokens: Vec<(&'a str, usize)>,
    at: usize,
    blocks: Vec<Block>,
    /// An attribute for tests was read, and its item has not begun.
    test_item: bool,
    /// The same, and its `cfg` holds no `any(…)`.
    tests_alone: bool,
    /// What the last `#[path = "…"]` said.
    elsewhere: Option<&'a str>,
}

/// An open brace: the module that it opens, if one, and whether tests only compile it.
struct Block {
    module: Option<String>,
    tests: bool,
    line: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(module: &'a [String], text: &'a str) -> Self {
        let tokens = tokens(text);
        Self { module, tokens, at: 0, blocks: Vec::new(), test_item: false, tests_alone: false, elsewhere: None }
    }

    pub(crate) fn read(mut self, names: &mut Vec<Name>, includes: &mut Vec<Include>, inline: &mut Vec<Inline>) {
        while self.at < self.tokens.len() {
            let (token, line) = self.tokens[self.at];
            let after = self.peek(2);
            match token {
                "#" => self.attribute(),
                "mod" if after == ";" => {
                    let file = self.elsewhere.take().map(str::to_owned);
                    let tests_alone = self.tests_alone;
                    includes.push(Include { module: self.child(), line, file, tests: self.in_tests(), tests_alone });
                }
                "mod" if after == "{" => {
                    self.blocks.push(Block { module: Some(self.peek(1).to_owned()), tests: self.test_item, line });
                    self.item_begins();
                    self.at += 2;
                }
                "use" if self.peek(1) != "<" => {
                    self.at += 1;
                    self.use_tree(&[], names);
                    continue;
                }
                "{" => {
                    self.blocks.push(Block { module: None, tests: self.test_item, line });
                    self.item_begins();
                }
                "}" => {
                    if let Some(Block { module: Some(name), tests: true, line: first }) = self.blocks.pop() {
                        inline.push(Inline { name, first, last: line });
                    }
                    self.item_begins();
                }
                ";" => self.item_begins(),
                _ if is_word(token) => {
                    self.path(names);
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    /// What the attributes before it said of an item holds no longer.
    fn item_begins(&mut self) {
        self.test_item = false;
        self.tests_alone = false;
    }

    /// Steps to the end of `#[…]` and notes `#[test]`, a `cfg` that asks for tests, and `#[path = "…"]`.
    fn attribute(&mut self) {
        let start = if self.peek(1) == "!" { 2 } else { 1 };
        if self.peek(start) != "[" {
            return;
        }
        let first = self.peek(start + 1);
        let (mut depth, mut step, mut test, mut not, mut any) = (0, start, false, false, false);
        loop {
            match self.peek(step) {
                "[" => depth += 1,
                "]" => depth -= 1,
                "test" => test = true,
                "not" => not = true,
                "any" => any = true,
                text if first == "path" && text.starts_with('"') => self.elsewhere = Some(text.trim_matches('"')),
                _ => {}
            }
            if depth == 0 || self.at + step >= self.tokens.len() {
                break;
            }
            step += 1;
        }
        let for_tests = test && !not && ["cfg", "test"].contains(&first) && start == 1;
        self.test_item |= for_tests;
        self.tests_alone |= for_tests && !any;
        self.at += step;
    }

    /// One path outside of a `use`: `a::b::c`, or a lone word.
    fn path(&mut self, names: &mut Vec<Name>) {
        let line = self.tokens[self.at].1;
        let before = |back: usize| self.at.checked_sub(back).map_or("", |at| self.tokens[at].0);
        let visibility = (before(1), before(2), before(3)) == ("in", "(", "pub");
        let mut path = vec![self.peek(0).to_owned()];
        while self.peek(1) == "::" && is_word(self.peek(2)) {
            path.push(self.peek(2).to_owned());
            self.at += 2;
        }
        self.at += 1;
        let bang = self.peek(0) == "!";
        self.emit(path, line, names);
        if let Some(name) = names.last_mut() {
            (name.bang, name.visibility) = (bang, visibility);
        }
    }

    /// One tree of a `use`, up to the `,`, `}` or `;` behind it; a leaf for each name it brings in.
    fn use_tree(&mut self, before: &[String], names: &mut Vec<Name>) {
        let mut path = before.to_vec();
        let mut alias = None;
        let line = self.tokens.get(self.at).map_or(0, |token| token.1);
        loop {
            match self.peek(0) {
                "::" => {}
                "as" => {
                    self.at += 1;
                    alias = Some(self.peek(0).to_owned());
                }
                "{" => {
                    self.at += 1;
                    while !["}", ";", ""].contains(&self.peek(0)) {
                        self.use_tree(&path, names);
                        if self.peek(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "," | "}" | ";" | "" => break,
                word => path.push(word.to_owned()),
            }
            self.at += 1;
        }
        let leaf = path.iter().rfind(|word| *word != "self").cloned();
        if !path.is_empty() {
            self.emit(path, line, names);
            if let Some(name) = names.last_mut() {
                name.imported_as = alias.or(leaf);
            }
        }
    }

    fn emit(&self, path: Vec<String>, line: usize, names: &mut Vec<Name>) {
        let (in_tests, around) = (self.in_tests(), self.around());
        names.push(Name { path, line, in_tests, bang: false, around, imported_as: None, visibility: false });
    }

    fn in_tests(&self) -> bool {
        self.test_item || self.blocks.iter().any(|block| block.tests)
    }

    fn around(&self) -> Vec<String> {
        self.blocks.iter().filter_map(|block| block.module.clone()).collect()
    }

    /// The module that the `mod` line here includes.
    fn child(&self) -> Vec<String> {
        let mut path = self.module.to_vec();
        path.extend(self.around());
        path.push(self.peek(1).to_owned());
        path
    }

    /// The token `ahead` of here, empty behind the end.
    fn peek(&self, ahead: usize) -> &'a str {
        self.tokens.get(self.at + ahead).map_or("", |token| token.0)
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::`, single signs and plain strings, with their lines. Comments, other strings, characters and lifetimes are
/// left out.
pub(crate) fn tokens(text: &str) -> Vec<(&str, usize)> {
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let skipped = comment(rest).or_else(|| string(rest)).or_else(|| quote(rest));
        let len = skipped.unwrap_or_else(|| {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            if word > 0 {
                word
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            }
        });
        if first == '"' || (skipped.is_none() && !first.is_whitespace()) {
            found.push((&rest[..len], line));
        }
        line += rest[..len].matches('\n').count();
        at += len;
    }
    found
}

/// The length of the comment that `text` begins with; blocks nest.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let mut depth = usize::from(text.starts_with("/*"));
    let mut at = 2;
    while depth > 0 {
        let step = text[at..].find("/*").into_iter().chain(text[at..].find("*/")).min();
        let Some(step) = step else { return Some(text.len()) };
        depth = if text[at + step..].starts_with("/*") { depth + 1 } else { depth - 1 };
        at += step + 2;
    }
    (at > 2).then_some(at)
}

/// The length of the string that `text` begins with, prefix and hashes included.
fn string(text: &str) -> Option<usize> {
    let prefix = text.find(|c: char| !"brc".contains(c)).filter(|len| *len <= 2)?;
    let hashes =
        if text[..prefix].contains('r') { text[prefix..].bytes().take_while(|b| *b == b'#').count() } else { 0 };
    let body = text[prefix + hashes..].strip_prefix('"')?;
    let start = prefix + hashes + 1;
    if text[..prefix].contains('r') {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(body.find(&end).map_or(text.len(), |at| start + at + end.len()));
    }
    let mut escaped = false;
    let end = body.find(|c: char| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    Some(end.map_or(text.len(), |at| start + at + 1))
}

/// The length of the character or lifetime that `text` begins with.
fn quote(text: &str) -> Option<usize> {
    let start = if text.starts_with("b'") { 2 } else { 1 };
    let body = text.get(start..).filter(|_| text.starts_with('\'') || start == 2)?;
    let first = body.chars().next()?;
    if first == '\\' {
        return body[2..].find('\'').map(|at| start + 2 + at + 1);
    }
    let after = first.len_utf8();
    if body[after..].starts_with('\'') {
        return Some(start + after + 1);
    }
    Some(start + body.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(body.len()))
}
