//! Another configuration while streams run.
//!
//! In: a configuration that differs in what may change while running. Out: the place of each of its routes, for the
//! shell; or, where streams still hold too many routes of earlier configurations, nothing has changed.
//! Laws: what runs keeps its route to its end; what is asked from now on is treated by the new configuration, and finds
//! the streams that were there before; a change is whole or is not.

use super::admission::Bounds;
use super::several;
use crate::config::Config;
use crate::machine::io::Output;
use crate::machine::{Machine, TooManyRoutes};
use std::collections::HashMap;
use std::sync::Arc;

impl Machine {
    /// Goes over to another configuration.
    pub(in crate::machine) fn on_reload(&mut self, config: Arc<Config>) {
        if self.go_over(config) {
            self.plan_checks();
        }
    }

    /// False: nothing has changed.
    fn go_over(&mut self, config: Arc<Config>) -> bool {
        let Self { cx, conns, exchanges, .. } = self;
        let mut used = vec![false; cx.routing.all().len()];
        for route in exchanges.iter().map(|(_, x)| x.route()).chain(conns.routes_in_use()) {
            used[route] = true;
        }
        cx.balancing.use_whole_groups(&mut used);
        let plan = match cx.routing.plan(&config.routes, &used) {
            Ok(plan) => plan,
            Err(in_use) => {
                let places = Err(TooManyRoutes { in_use });
                cx.outputs.push_back(Output::Reloaded { places });
                return false;
            }
        };
        (0..plan.kept.len()).filter(|place| !plan.kept[*place]).for_each(|place| self.pause_checks(place));
        let Self { cx, conns, .. } = self;
        // An idle connection of a route that has changed may lead elsewhere.
        conns.drop_all_idle(cx, &plan.kept);
        cx.routing.put(&config.routes, &plan);
        conns.make_places(cx.routing.all().len());
        // A stream may go to another upstream where it finds the settings that it has.
        let same = |a: usize, b: usize| cx.routing.at(a).to_one(&cx.routing.at(b).upstream) == *cx.routing.at(b);
        cx.balancing.reload(&config.routes, &plan.places, &plan.fresh, &used, same);
        // What is left out at its new place has no timer there yet.
        plan.fresh.iter().for_each(|(place, _)| several::arm(cx, *place));
        let moved: HashMap<usize, usize> =
            plan.fresh.iter().filter_map(|(place, before)| Some(((*before)?, *place))).collect();
        let stays = |place: usize| plan.kept.get(place).is_some_and(|kept| *kept).then_some(place);
        cx.balancing.names.move_places(|place| moved.get(&place).copied().or_else(|| stays(place)));
        cx.heads.make_places(&plan.fresh);
        cx.counts.make_places(cx.routing.all().len());
        for &place in &*plan.places {
            if let Some(used) = used.get_mut(place) {
                *used = true;
            }
        }
        cx.queues.reload(cx.routing.all(), &plan.places, |place| used.get(place).is_none_or(|used| *used));
        conns.buffers.set_budget(config.limits.buffer_budget);
        let before = Bounds::of(&cx.config.limits);
        cx.reload(config);
        cx.outputs.push_back(Output::Reloaded { places: Ok(plan.places) });
        self.go_by_new_bounds(before);
        true
    }
}
