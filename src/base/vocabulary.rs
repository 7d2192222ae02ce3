//! A closed vocabulary: words that are known when the program starts, each stored once and named by a small number.
//!
//! In: words of the configuration, such as the hosts of upstreams. Out: a [`Word`] for each, and the text behind it.
//! Laws: a vocabulary never holds more words than its bound; equal texts have equal words; a word is never forgotten,
//! which is why nothing that a peer says may enter one (event ids have `track::Interner`, which forgets).

use string_interner::backend::BucketBackend;
use string_interner::symbol::SymbolU32;
use string_interner::{StringInterner, Symbol};

/// Names a word of a [`Vocabulary`]. Its number counts the different words from 0 in the order in which they came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Word(SymbolU32);

impl Word {
    /// The word's number.
    pub fn index(self) -> usize {
        self.0.to_usize()
    }
}

/// Different words, each stored once.
#[derive(Debug)]
pub struct Vocabulary {
    words: StringInterner<BucketBackend<SymbolU32>>,
    capacity: usize,
}

impl Vocabulary {
    /// An empty vocabulary for at most `capacity` different words.
    pub fn new(capacity: usize) -> Self {
        Self { words: StringInterner::new(), capacity }
    }

    /// The word for a text. `None` where the text is new and the vocabulary is full.
    pub fn add(&mut self, text: &str) -> Option<Word> {
        match self.words.get(text) {
            Some(symbol) => Some(Word(symbol)),
            None if self.words.len() >= self.capacity => None,
            None => Some(Word(self.words.get_or_intern(text))),
        }
    }

    /// The text behind a word of this vocabulary. A word of another one has no text here, or a wrong one.
    pub fn text(&self, word: Word) -> &str {
        self.words.resolve(word.0).unwrap_or_default()
    }

    /// How many different words there are.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_one_word_and_a_full_vocabulary_takes_no_other() {
        let mut v = Vocabulary::new(2);
        let (a, b) = (v.add("a").unwrap(), v.add("b").unwrap());
        assert_eq!((v.add("a"), v.add("c"), v.len()), (Some(a), None, 2));
        assert_eq!((a.index(), b.index(), v.text(a), v.text(b)), (0, 1, "a", "b"));
    }

    #[test]
    fn a_foreign_word_has_no_text() {
        let (mut mine, mut other) = (Vocabulary::new(9), Vocabulary::new(9));
        mine.add("a");
        other.add("b");
        let foreign = other.add("c").unwrap();
        assert_eq!(mine.text(foreign), "");
    }
}
