//! How many instances a wake brings for the visitors that wait for it.
//!
//! Before a service is awake there is no load to go by: those who wait are all that is known of what is to come. They
//! call for instances only while it wakes; from then on its load decides.

/// What an operator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// One instance for so many of those who wait; at least 1.
    pub each: u32,
    /// Never more for them, the seed among these where it serves.
    pub max: u16,
}

impl Crowd {
    /// The instances that so many visitors call for; at least 1.
    #[must_use]
    pub fn instances(&self, visitors: u32) -> u16 {
        let instances = visitors.div_ceil(self.each.max(1));
        let instances = u16::try_from(instances).unwrap_or(u16::MAX);
        instances.min(self.max).max(1)
    }
}

/// What was called for during one wake: the most of it. Visitors that give up take nothing back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called {
    /// So many waited.
    pub visitors: u32,
    /// So many instances that is, more than one.
    pub instances: u16,
}

impl Called {
    /// What is called for when so many wait now, after what was called for before.
    #[must_use]
    pub fn by(crowd: &Crowd, visitors: u32, before: Option<Called>) -> Option<Called> {
        let instances = crowd.instances(visitors);
        let now = Called {
            visitors,
            instances,
        };
        match before {
            Some(before) if instances <= before.instances => Some(before),
            before => Some(now).filter(|_| instances > 1).or(before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CROWD: Crowd = Crowd { each: 20, max: 3 };

    #[test]
    fn each_share_of_the_crowd_that_has_begun_calls_for_an_instance() {
        let called = [0, 1, 20, 21, 40, 41, 60, 61, u32::MAX];
        let called = called.map(|visitors| CROWD.instances(visitors));
        assert_eq!(called, [1, 1, 1, 2, 2, 3, 3, 3, 3]);
    }

    #[test]
    fn who_gives_up_takes_nothing_back() {
        let mut called = None;
        let mut by = |visitors| {
            called = Called::by(&CROWD, visitors, called);
            called.map(|called| (called.visitors, called.instances))
        };
        assert_eq!(by(20), None);
        assert_eq!(by(25), Some((25, 2)));
        assert_eq!(by(30), Some((25, 2)), "what called for them is told");
        assert_eq!(by(3), Some((25, 2)));
        assert_eq!(by(500), Some((500, 3)));
    }
}
