//! `POST /reload`: what the admin address asks of whoever can reload the configuration.
//!
//! In: a request that was let in. Out: an [`Answerer`] for somebody else's thread, and what it is given.
//! Law: the admin thread reads no file and waits for none.

use std::fmt;
use std::sync::Arc;

/// What came of a reload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reloaded {
    /// 200, 422 where the configuration was not taken over, or 504 where that is not known.
    pub status: u16,
    /// One object, with the end of its line.
    pub json: String,
}

impl Reloaded {
    /// Nobody knows yet whether the configuration is taken over. `why` holds nothing that would have to be escaped.
    pub fn unknown(why: &str) -> Self {
        let json = format!(
            "{{\"outcome\":\"unknown\",\"problems\":[{{\"what\":\"{why}; ask again, or look at the log\"}}]}}\n"
        );
        Self { status: 504, json }
    }
}

/// Takes what came of a reload, on any thread.
pub type Answerer = Box<dyn FnOnce(Reloaded) + Send>;

/// Passes a request for a reload on. False: too many wait.
type Passes = dyn Fn(Answerer) -> bool + Send + Sync;

/// Who reloads the configuration.
#[derive(Clone)]
pub struct Reloads(Arc<Passes>);

impl Reloads {
    /// Passes each request on to this function, which must not wait.
    pub fn by(passes: impl Fn(Answerer) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(passes))
    }

    pub(super) fn ask(&self, answer: Answerer) -> bool {
        (self.0)(answer)
    }
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reloads")
    }
}
