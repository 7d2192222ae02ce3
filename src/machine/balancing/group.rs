//! The upstreams of one route, and whose turn it is.
//!
//! In: how much of its share each may have now. Out: the one that a request goes to.
//! Laws: over time each gets its part of the requests, evenly mixed; what is equal goes in turn, so that one seed
//! replays a whole run; a choice looks at each upstream once.
//! Sources: the smooth weighted round robin of nginx; Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit
//! Rates" (IEEE/ACM Transactions on Networking, 1998), and for weights Schindelhauer and Schomaker, "Weighted
//! Distributed Hash Tables" (SPAA 2005).

/// One upstream of a group.
#[derive(Clone, Debug)]
pub(in crate::machine) struct Member {
    /// Its place.
    pub(in crate::machine) place: usize,
    pub(in crate::machine) weight: u32,
    /// By how much it has had less than its part.
    owed: i64,
}

/// The upstreams of one route.
#[derive(Clone, Debug)]
pub(in crate::machine) struct Group {
    pub(in crate::machine) members: Box<[Member]>,
    /// Where the next choice among equals begins.
    turn: usize,
}

impl Group {
    pub(super) fn new(members: impl Iterator<Item = (usize, u32)>) -> Self {
        Self { members: members.map(|(place, weight)| Member { place, weight, owed: 0 }).collect(), turn: 0 }
    }

    /// The one whose turn it is. `part`: the part of the requests that a member may have now; 0: none.
    pub(super) fn in_turn(&mut self, part: impl Fn(&Member) -> u64) -> Option<usize> {
        let (mut total, mut best): (i64, Option<usize>) = (0, None);
        for n in 0..self.members.len() {
            let part = i64::try_from(part(&self.members[n])).unwrap_or(i64::MAX >> 16);
            if part == 0 {
                continue;
            }
            total += part;
            self.members[n].owed += part;
            if best.is_none_or(|best| self.members[n].owed > self.members[best].owed) {
                best = Some(n);
            }
        }
        let best = &mut self.members[best?];
        best.owed -= total;
        Some(best.place)
    }

    /// The one with the fewest requests for its part. `busy`: how many a member has.
    pub(super) fn least(&mut self, part: impl Fn(&Member) -> u64, busy: impl Fn(&Member) -> u64) -> Option<usize> {
        let mut best: Option<(usize, u128, u128)> = None;
        for step in 0..self.members.len() {
            let n = (self.turn + step) % self.members.len();
            let (part, busy) = (u128::from(part(&self.members[n])), u128::from(busy(&self.members[n])) + 1);
            if part > 0 && best.is_none_or(|(_, least, of)| busy * of < least * part) {
                best = Some((n, busy, part));
            }
        }
        let (n, ..) = best?;
        self.turn = (n + 1) % self.members.len();
        Some(self.members[n].place)
    }

    /// The one that a name belongs to among those that may have a part. `score`: a hash of the name and the member. If
    /// one goes, only its names move.
    pub(super) fn by_name(&self, part: impl Fn(&Member) -> u64, score: impl Fn(&Member) -> u64) -> Option<usize> {
        let cost = |member: &Member| {
            // In (0, 1], and evenly spread.
            let chance = ((score(member) >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
            -chance.ln() / f64::from(member.weight)
        };
        let allowed = self.members.iter().filter(|member| part(member) > 0);
        allowed.map(|member| (cost(member), member.place)).min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, place)| place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Random;

    fn group(weights: &[u32]) -> Group {
        Group::new(weights.iter().copied().enumerate())
    }

    #[test]
    fn turns_follow_the_weights_and_are_evenly_mixed() {
        let mut group = group(&[5, 1, 1]);
        let turns: Vec<_> = (0..7).map(|_| group.in_turn(|m| u64::from(m.weight)).unwrap()).collect();
        assert_eq!(turns, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(group.in_turn(|_| 0), None);
        let without: Vec<_> = (0..4).filter_map(|_| group.in_turn(|m| u64::from(m.place != 0))).collect();
        assert_eq!(without, [1, 2, 1, 2]);
    }

    #[test]
    fn the_one_with_the_fewest_for_its_weight_is_next_and_equals_take_turns() {
        let mut group = group(&[1, 1, 2]);
        let mut busy = [0_u64; 3];
        for _ in 0..40 {
            let place = group.least(|m| u64::from(m.weight), |m| busy[m.place]).unwrap();
            busy[place] += 1;
        }
        assert_eq!(busy, [10, 10, 20]);
    }

    #[test]
    fn names_spread_by_weight_and_only_those_of_one_that_goes_move() {
        let group = group(&[1, 1, 2]);
        let score = |name: u64| move |m: &Member| Random::new(name ^ (m.place as u64) << 32).next();
        let at = |name, gone: usize| group.by_name(|m| u64::from(m.place != gone), score(name)).unwrap();
        let before: Vec<usize> = (0..4_000).map(|name| at(name, 9)).collect();
        let share = |place| before.iter().filter(|at| **at == place).count();
        assert!((900..1_100).contains(&share(0)) && (1_880..2_120).contains(&share(2)), "{} {}", share(0), share(2));
        for (name, before) in (0..4_000).zip(&before) {
            assert!(at(name, 1) == *before || *before == 1, "name {name} has moved");
        }
    }
}
