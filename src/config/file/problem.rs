//! What is wrong with a file, and where.
//!
//! In: byte ranges of the text. Out: lines and columns, counted from one, columns in characters; and the word nearest
//! to a misspelt one.
//! Laws: one mistake gives one problem; problems come in the order of the text; their number is bounded.

use std::fmt;
use std::ops::Range;

/// Problems kept at most: enough for one reading.
const MAX_PROBLEMS: usize = 100;

/// One problem.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Problem {
    /// Line and column. `None`: the problem does not lie in the text.
    pub at: Option<(usize, usize)>,
    /// The problem lies in a flag or a variable, which the text names; no file is at fault.
    pub is_beside: bool,
    /// What is wrong and what to do, in one line.
    pub what: String,
}

impl Problem {
    /// A problem that does not lie in the text.
    pub fn anywhere(what: String) -> Self {
        Self { at: None, is_beside: false, what }
    }

    /// A problem of a flag or a variable.
    pub fn beside(what: String) -> Self {
        Self { at: None, is_beside: true, what }
    }

    /// The problem as `FILE:LINE:COLUMN: what`, or `FILE: what`. Without a file's name, or where no file is at fault:
    /// `what` alone.
    pub fn show(&self, file: Option<&str>) -> String {
        match (file.filter(|_| !self.is_beside), self.at) {
            (Some(file), Some((line, column))) => format!("{file}:{line}:{column}: {}", self.what),
            (Some(file), None) => format!("{file}: {}", self.what),
            (None, _) => self.what.clone(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

pub(super) struct Problems<'t> {
    text: &'t str,
    list: Vec<(usize, Problem)>,
}

impl<'t> Problems<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, list: Vec::new() }
    }

    pub(super) fn add(&mut self, span: Option<Range<usize>>, what: &str) {
        let offset = span.map(|span| span.start);
        let at = offset.map(|offset| self.place(offset));
        self.push(offset, Problem { at, is_beside: false, what: one_line(what) });
    }

    /// Adds a problem of a flag or a variable.
    pub(super) fn add_beside(&mut self, what: &str) {
        self.push(None, Problem::beside(one_line(what)));
    }

    /// Line and column of an offset.
    pub(super) fn place(&self, offset: usize) -> (usize, usize) {
        line_and_column(self.text, offset)
    }

    fn push(&mut self, offset: Option<usize>, problem: Problem) {
        if self.list.len() < MAX_PROBLEMS && !self.list.iter().any(|(_, known)| *known == problem) {
            self.list.push((offset.map_or(0, |offset| offset + 1), problem));
        }
    }

    pub(super) fn any(&self) -> bool {
        !self.list.is_empty()
    }

    pub(super) fn sorted(mut self) -> Vec<Problem> {
        self.list.sort();
        self.list.into_iter().map(|(_, problem)| problem).collect()
    }
}

/// Escapes control characters, since a message may quote the text.
fn one_line(what: &str) -> String {
    let mut line = String::with_capacity(what.len());
    for c in what.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// The known word nearest to a misspelt one, if one is near enough.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    // A long key is not compared: no known one is near it.
    let near = |known: &&'k str| (word.len() <= 64).then(|| strsim::damerau_levenshtein(&word, known));
    known
        .iter()
        .filter_map(|known| near(known).map(|distance| (distance, *known)))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_in_characters() {
        let text = "ab\näöx\r\n";
        assert_eq!(line_and_column(text, 0), (1, 1));
        assert_eq!(line_and_column(text, text.find('x').unwrap()), (2, 3));
        assert_eq!(line_and_column(text, text.len()), (3, 1));
        assert_eq!(line_and_column(text, 1_000), (3, 1));
    }

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let known = ["heartbeat", "heal_for", "linger", "path"];
        assert_eq!(nearest("heartbeet", &known), Some("heartbeat"));
        assert_eq!(nearest("Heal-For", &known), Some("heal_for"));
        assert_eq!(nearest("lingre", &known), Some("linger"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest(&"heartbeat".repeat(100), &known), None);
    }
}
