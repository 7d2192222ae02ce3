//! Picks the stream that answers a request when people try the flaky upstream by hand.
//!
//! In: a path and a `Last-Event-ID`. Out: a stream: a new one for a request without an id, else the newest one of that
//! path that has sent the id.
//! Laws: a bounded number of streams is remembered, the oldest leaves first; an id that no remembered stream has sent
//! leads nowhere.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::kind::Rule;
use super::lane::Lane;
use super::script::{RESTART_LEN, Script};
use super::world::lock;

/// Streams remembered.
const MAX_STREAMS: usize = 64;
/// Events of a stream that is cut in turn: one minute at 25 a second.
const LONG: usize = 1_500;
/// Events of a stream without ids: two seconds at 50 a second.
const SHORT: usize = 100;

/// The streams that have been asked for.
pub(super) struct Menu {
    seed: u64,
    served: Mutex<Served>,
}

#[derive(Default)]
struct Served {
    /// Streams made so far.
    count: usize,
    /// The newest last.
    streams: VecDeque<(String, Arc<Lane>)>,
}

impl Menu {
    /// No stream yet. Equal seeds give equal streams in equal order.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, served: Mutex::default() }
    }

    /// The stream for a request.
    pub(super) fn find(&self, path: &str, last_id: Option<&str>) -> Option<Arc<Lane>> {
        let mut served = lock(&self.served);
        if let Some(id) = last_id {
            let mut newest_first = served.streams.iter().rev();
            return newest_first.find(|(at, lane)| at == path && lane.has_sent(id)).map(|(_, lane)| Arc::clone(lane));
        }
        let (rule, slot, len) = rule_for(path, served.count)?;
        let lane = Arc::new(Lane::new(Script::new(self.seed, rule, slot, served.count, len)));
        served.count += 1;
        if served.streams.len() == MAX_STREAMS {
            served.streams.pop_front();
        }
        served.streams.push_back((path.to_owned(), Arc::clone(&lane)));
        Some(lane)
    }
}

/// The rule, slot and length of stream number `count`, if the demo serves `path`.
fn rule_for(path: &str, count: usize) -> Option<(Rule, usize, usize)> {
    match path {
        // Odd slots have ids that no two streams share, so an id names one stream also when many clients ask.
        "feed" => Some((Rule::Fleet, count * 2 + 1, LONG)),
        "restart" if count.is_multiple_of(2) => Some((Rule::RestartUuid, count, RESTART_LEN)),
        "restart" => Some((Rule::RestartInt, count, RESTART_LEN)),
        "no-ids" => Some((Rule::NoIds, count, SHORT)),
        "answer" => Some((Rule::BackPost, count, SHORT)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Tick;

    #[test]
    fn an_id_leads_to_the_stream_that_sent_it() {
        let menu = Menu::new(1);
        let (first, second) = (menu.find("feed", None).unwrap(), menu.find("feed", None).unwrap());
        let id = first.script.id(0).unwrap();
        assert!(menu.find("feed", Some(&id)).is_none(), "it was not sent yet");
        first.writes(0, Tick::default());
        assert!(Arc::ptr_eq(&menu.find("feed", Some(&id)).unwrap(), &first));
        assert!(menu.find("restart", Some(&id)).is_none() && menu.find("else", None).is_none());
        assert_ne!(first.script.name, second.script.name);
    }

    #[test]
    fn the_number_of_streams_has_a_bound() {
        let menu = Menu::new(1);
        (0..MAX_STREAMS + 5).for_each(|_| _ = menu.find("no-ids", None));
        assert_eq!(lock(&menu.served).streams.len(), MAX_STREAMS);
    }
}
