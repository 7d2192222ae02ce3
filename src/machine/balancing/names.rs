//! Which names are bound to an upstream: sessions that it began, or that it serves.
//!
//! In: names as hashes, and where they belong. Out: the same, for as long as there is room.
//! Laws: at most so many names are kept as sessions may be; of more, those leave first that were not asked for lately;
//! each step costs the same.

use std::collections::HashMap;

/// A name, as a hash under the process's key.
pub(in crate::machine) type Name = u64;

/// Names in two halves: what is new or was asked for lately, and what was there before. When the first is full, it
/// becomes the second.
#[derive(Debug)]
pub(in crate::machine) struct Names {
    lately: HashMap<Name, u32>,
    before: HashMap<Name, u32>,
    half: usize,
}

impl Names {
    pub(super) fn new(most: usize) -> Self {
        Self { lately: HashMap::new(), before: HashMap::new(), half: most.div_ceil(2).max(1) }
    }

    /// The place that a name is bound to.
    pub(in crate::machine) fn find(&mut self, name: Name) -> Option<usize> {
        if let Some(place) = self.lately.get(&name) {
            return Some(*place as usize);
        }
        let place = self.before.remove(&name)? as usize;
        self.bind(name, place);
        Some(place)
    }

    /// A name belongs to an upstream from now on.
    pub(in crate::machine) fn bind(&mut self, name: Name, place: usize) {
        if self.lately.len() >= self.half && !self.lately.contains_key(&name) {
            self.before = std::mem::take(&mut self.lately);
        }
        self.lately.insert(name, place as u32);
    }

    /// A name belongs to no upstream any more.
    pub(in crate::machine) fn forget(&mut self, name: Name) {
        self.lately.remove(&name);
        self.before.remove(&name);
    }

    /// Places have changed: each name goes with its upstream, or goes.
    pub(in crate::machine) fn move_places(&mut self, to: impl Fn(usize) -> Option<usize>) {
        for half in [&mut self.lately, &mut self.before] {
            half.retain(|_, place| match to(*place as usize) {
                Some(to) => {
                    *place = to as u32;
                    true
                }
                None => false,
            });
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(in crate::machine) fn len(&self) -> usize {
        self.lately.len() + self.before.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_those_asked_for_lately_stay() {
        let mut names = Names::new(100);
        names.bind(0, 7);
        for name in 1..10_000 {
            names.bind(name, 1);
            assert_eq!(names.find(0), Some(7), "after {name}");
            assert!(names.len() <= 101, "{}", names.len());
        }
        assert_eq!((names.find(1), names.find(9_999)), (None, Some(1)));
        names.forget(0);
        names.move_places(|place| (place == 1).then_some(2));
        assert_eq!((names.find(0), names.find(9_999)), (None, Some(2)));
    }
}
