//! The words that both sides of the façade use: edges between threads, their two ends, and what a desk hears.
//!
//! In: nothing. Out: plain values.
//! Law: each edge says what it carries, so that a model may leave one out and must then fail.

/// Why one thread sees what another did before: a release on one end, an acquire on the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edge {
    /// From setting a dirty flag to clearing it. Carries the value that was published before: a publication that
    /// finds the flag set leaves the queue alone, so only the flag tells the consumer of it.
    Change,
    /// From clearing a dirty flag to setting it again. Carries the pop before, so that the push finds room.
    Room,
    /// From ringing a bell to taking the ring. Carries what was pushed before.
    Rung,
    /// From falling asleep at a bell to ringing it. Carries who is to be woken.
    Asleep,
    /// From giving a place back to taking it. Carries the link to the next free place.
    Free,
    /// From noting what is durable in a slot to reading it. Carries whose it is: by then the stream before has ended.
    Durable,
    /// From counting a write of a cell to reading its words. Carries the words.
    Newest,
    /// From writing a word of a cell over to reading it. Carries the count of writes before: who has read such a word
    /// sees that there were more.
    Over,
    /// Inside `Latest`, from putting a value in to looking at it. Carries the value. Given by arc-swap.
    Value,
    /// Inside `Ring`, from a push to a pop. Carries the entry. Given by crossbeam.
    Entry,
    /// Inside an `Inbox`, from a letter's leaving to its taking. Carries what its sender did before. Given by
    /// crossbeam.
    Letter,
    /// Inside a `Desk`, from telling a word to hearing it. Carries what the word speaks of. Given by crossbeam.
    Word,
}

/// The two sides of an [`Edge`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The side that makes visible.
    Release,
    /// The side that sees.
    Acquire,
}

/// What comes to a `Desk`.
#[derive(Debug)]
pub enum Heard<Q, W> {
    /// It is asked.
    Question(Q),
    /// It is told what answers are to come from.
    Word(W),
    /// It is told nothing more. Comes once.
    Silence,
    /// Nobody can ask any more, and all that was asked has been heard.
    End,
}
