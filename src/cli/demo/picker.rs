//! Picks the stream that answers a request when people try the flaky upstream by hand.
//!
//! In: a path and a `Last-Event-ID`. Out: a stream. A request without an id gets a new one; a request with an id gets
//! the newest stream of that path that has sent the id.
//! Laws: the number of remembered streams is bounded, and the oldest is forgotten first; an id that no remembered
//! stream has sent finds no stream.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::kind::Rule;
use super::script::{RESTART_LEN, Script};
use super::stream::Stream;
use super::world::lock;

/// Streams remembered.
const MAX_STREAMS: usize = 64;
/// Events of a stream that is cut again and again: one minute at 25 a second.
const LONG: usize = 1_500;
/// Events of a stream without ids: two seconds at 50 a second.
const SHORT: usize = 100;

/// The streams that clients have asked for.
pub(super) struct Picker {
    seed: u64,
    served: Mutex<Served>,
}

#[derive(Default)]
struct Served {
    /// Streams made so far.
    count: usize,
    /// The newest last.
    streams: VecDeque<(String, Arc<Stream>)>,
}

impl Picker {
    /// A picker that has no stream yet. Equal seeds give the same streams in the same order.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, served: Mutex::default() }
    }

    /// The stream for a request; `None` if the path or the id is not known.
    pub(super) fn find(&self, path: &str, last_id: Option<&str>) -> Option<Arc<Stream>> {
        let mut served = lock(&self.served);
        if let Some(id) = last_id {
            let mut newest_first = served.streams.iter().rev();
            return newest_first
                .find(|(at, stream)| at == path && stream.has_sent(id))
                .map(|(_, stream)| Arc::clone(stream));
        }
        let (rule, client, len) = rule_for(path, served.count)?;
        let stream = Arc::new(Stream::new(Script::new(self.seed, rule, client, served.count, len)));
        served.count += 1;
        if served.streams.len() == MAX_STREAMS {
            served.streams.pop_front();
        }
        served.streams.push_back((path.to_owned(), Arc::clone(&stream)));
        Some(stream)
    }
}

/// The rule, client number and length of stream number `count`, if the demo serves `path`.
fn rule_for(path: &str, count: usize) -> Option<(Rule, usize, usize)> {
    match path {
        // Streams of odd client numbers have ids that no other stream has, so an id finds its stream even when many
        // clients ask.
        "feed" => Some((Rule::Fleet, count * 2 + 1, LONG)),
        "restart" if count.is_multiple_of(2) => Some((Rule::RestartUuid, count, RESTART_LEN)),
        "restart" => Some((Rule::RestartInt, count, RESTART_LEN)),
        "no-ids" => Some((Rule::NoIds, count, SHORT)),
        "answer" => Some((Rule::ReturningPost, count, SHORT)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Tick;

    #[test]
    fn an_id_finds_the_stream_that_sent_it() {
        let picker = Picker::new(1);
        let (first, second) = (picker.find("feed", None).unwrap(), picker.find("feed", None).unwrap());
        let id = first.script.id(0).unwrap();
        assert!(picker.find("feed", Some(&id)).is_none(), "the id has not been sent yet");
        first.note_write(0, Tick::default());
        assert!(Arc::ptr_eq(&picker.find("feed", Some(&id)).unwrap(), &first));
        assert!(picker.find("restart", Some(&id)).is_none() && picker.find("else", None).is_none());
        assert_ne!(first.script.name, second.script.name);
    }

    #[test]
    fn the_number_of_streams_has_a_bound() {
        let picker = Picker::new(1);
        (0..MAX_STREAMS + 5).for_each(|_| _ = picker.find("no-ids", None));
        assert_eq!(lock(&picker.served).streams.len(), MAX_STREAMS);
    }
}
