//! Where a client goes on that names its session and no event: in the live log of its session.
//!
//! In: a request, the streams of its session. Out: a place in the log of the one that was active last.
//! Laws: a stream that somebody reads is left to its reader; nothing between the delivered mark and the place is left
//! out, so a log that has lost events behind the mark is no place to go on.

use super::{Finder, Found};
use crate::base::Tick;
use crate::config::ResumeFrom;
use crate::http::Method;
use crate::machine::exchange::{Exchange, Phase, Request};
use crate::machine::find::era::Era;
use crate::machine::keys::ExchangeKey;

/// What a search found.
pub(in crate::machine) struct Latest {
    /// The place in the log.
    pub(in crate::machine) found: Found,
    /// Other streams of the session would have done, too.
    pub(in crate::machine) is_one_of_several: bool,
}

impl Finder<'_> {
    /// The delivered mark of the stream that its session has read last, where the route lets clients begin there.
    pub(in crate::machine) fn latest(self, request: &Request, route: usize) -> Option<Latest> {
        let may_begin = self.cx.route(route).resume_from == ResumeFrom::Session && request.identity.named;
        let is_read = request.method == Method::Get && !request.has_body && !self.cx.draining;
        if !may_begin || !is_read || request.wanted().is_some() || request.era == Era::Stateless {
            return None;
        }
        let streams = self.streams_at_its_place(request).filter(|(_, x)| may_go_on(x, request));
        let places = streams.filter_map(|(key, x)| Some((x.readers().last_sent, key, place(x)?)));
        let (mut count, mut latest) = (0, None::<(Tick, ExchangeKey, u64)>);
        for (at, key, offset) in places {
            count += 1;
            if latest.is_none_or(|(newest, ..)| at >= newest) {
                latest = Some((at, key, offset));
            }
        }
        let (_, key, offset) = latest?;
        Some(Latest { found: Found::joins(key, offset, None), is_one_of_several: count > 1 })
    }
}

fn may_go_on(x: &Exchange, request: &Request) -> bool {
    x.is_detached() && (x.request.method == Method::Get || request.is_secret())
}

/// The delivered mark, if the log holds everything after it, and a client that begins there gets something.
fn place(x: &Exchange) -> Option<u64> {
    let tracker = &x.stream()?.tracker;
    let (start, marked) = (tracker.replay_start()?, tracker.marked_offset());
    let is_over = matches!(x.phase, Phase::Ending(_)) && marked == tracker.whole();
    (start <= marked && !is_over).then_some(marked)
}
