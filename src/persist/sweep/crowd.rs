//! Whether the store has more records than it may, and which of them are too many: those that were active longest ago.
//!
//! In: the last activity of each record that a round looked at. Out: a time; what was active before it goes.
//! Laws: the memory is the same however many records there are; of records that are too many at most an eighth of their
//! age too many goes, and never all for the sake of one.

/// Parts of an octave that are told apart.
const PARTS: u64 = 8;
/// Classes of age: eight for each power of two of milliseconds.
const CLASSES: usize = 64 * PARTS as usize;

/// The ages of the records that a round has found, by class.
#[derive(Debug)]
pub(super) struct Crowd {
    most: u64,
    /// When the round began, in milliseconds since the Unix epoch.
    begun_ms: u64,
    ages: Box<[u64; CLASSES]>,
}

impl Crowd {
    /// At most so many records may stay.
    pub(super) fn new(most: u64) -> Self {
        Self { most, begun_ms: 0, ages: Box::new([0; CLASSES]) }
    }

    /// A round begins.
    pub(super) fn begin(&mut self, now_ms: u64) {
        (self.begun_ms, *self.ages) = (now_ms, [0; CLASSES]);
    }

    /// A record that stays for now.
    pub(super) fn note(&mut self, last_seen_ms: u64) {
        let class = class(self.begun_ms.saturating_sub(last_seen_ms));
        if let Some(count) = self.ages.get_mut(class) {
            *count += 1;
        }
    }

    /// The round is over: what was last active before this time is too much. 0: nothing is.
    pub(super) fn too_old(&self) -> u64 {
        let mut stay = 0;
        for (class, count) in self.ages.iter().enumerate() {
            stay += count;
            if stay > self.most {
                // A class goes as a whole, but for the youngest one.
                return self.begun_ms.saturating_sub(youngest(class.max(1))).saturating_add(1);
            }
        }
        0
    }
}

/// The class of an age: below eight milliseconds each has its own, above that eight share an octave.
fn class(age_ms: u64) -> usize {
    if age_ms < PARTS {
        return age_ms as usize;
    }
    let octave = u64::from(age_ms.ilog2());
    let part = age_ms >> (octave - 3) & (PARTS - 1);
    ((octave - 2) * PARTS + part) as usize
}

/// The youngest age of a class.
fn youngest(class: usize) -> u64 {
    let class = class as u64;
    if class < PARTS {
        return class;
    }
    let (octave, part) = (class / PARTS + 2, class % PARTS);
    (PARTS + part) << (octave - 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_begins_where_the_one_before_ends() {
        for class_of in 1..480 {
            let age = youngest(class_of);
            assert_eq!((class(age), class(age - 1)), (class_of, class_of - 1), "{age}");
        }
        assert!(class(u64::MAX) < CLASSES);
    }

    #[test]
    fn the_oldest_are_too_many_and_few_of_those_that_may_stay_go_with_them() {
        for most in [1, 10, 100, 999, 1_000] {
            let mut crowd = Crowd::new(most);
            crowd.begin(10_000_000);
            (0..1_000).for_each(|n| crowd.note(10_000_000 - n * 1_000));
            let before = crowd.too_old();
            let stay = (0..1_000).filter(|n| 10_000_000 - n * 1_000 >= before).count() as u64;
            assert!(stay <= most && stay * 8 + 8 >= most * 7, "{stay} of {most} stay");
            assert_eq!(before == 0, most == 1_000);
        }
    }
}
