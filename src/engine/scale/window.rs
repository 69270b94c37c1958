//! What was measured over a time, in a bounded room: values that lie close together share a place.

use std::collections::VecDeque;

use crate::engine::time::{Span, Time};

/// A window is kept in so many places. Where samples come more often, several share one, and the window is up to one
/// place (a thirtieth) longer than asked for.
const PLACES: u64 = 30;
/// Never more, also while a window is being made longer.
const PLACES_MAX: usize = 64;

/// Values over the latest `length`, each with the moment that it tells of.
#[derive(Clone, Debug, Default)]
pub(super) struct Window<T> {
    places: VecDeque<Place<T>>,
}

#[derive(Clone, Debug)]
struct Place<T> {
    first: Time,
    last: Time,
    value: T,
}

/// Values that can share a place.
pub(super) trait Merge {
    fn merge(&mut self, other: Self);
}

impl<T: Merge> Window<T> {
    /// Adds a value that is newer than all others, and drops what has left the window.
    pub(super) fn add(&mut self, at: Time, value: T, length: Span) {
        let place = Span(length.0 / PLACES);
        match self.places.back_mut() {
            Some(last) if at.since(last.first) < place => {
                last.last = at;
                last.value.merge(value);
            }
            _ => self.places.push_back(Place {
                first: at,
                last: at,
                value,
            }),
        }
        let gone = |place: &Place<T>| at.since(place.last) >= length;
        while self.places.len() > PLACES_MAX || self.places.front().is_some_and(gone) {
            // The newest value stays even where the window has no length.
            if self.places.len() == 1 {
                break;
            }
            self.places.pop_front();
        }
    }

    pub(super) fn clear(&mut self) {
        self.places.clear();
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.places.iter().map(|place| &place.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default, PartialEq)]
    struct Count(u32);

    impl Merge for Count {
        fn merge(&mut self, other: Count) {
            self.0 += other.0;
        }
    }

    #[test]
    fn a_window_holds_what_lies_in_it_and_no_more() {
        let mut window = Window::default();
        for secs in (15..=600).step_by(15) {
            window.add(Time(secs * 1_000), Count(1), Span::mins(1));
        }
        assert_eq!(window.values().map(|count| count.0).sum::<u32>(), 4);
    }

    #[test]
    fn however_long_a_window_is_it_takes_little_room() {
        let mut window = Window::default();
        for secs in 0..200_000 {
            window.add(Time(secs * 1_000), Count(1), Span::mins(24 * 60));
            assert!(window.places.len() <= 32);
        }
        let held = window.values().map(|count| count.0).sum::<u32>();
        assert!((86_400..=86_400 + 2 * 2_880).contains(&held), "{held}");
    }

    #[test]
    fn the_newest_value_stays_in_a_window_without_length() {
        let mut window = Window::default();
        window.add(Time(5), Count(1), Span::ZERO);
        window.add(Time(6), Count(1), Span::ZERO);
        assert_eq!(window.values().count(), 1);
    }

    #[test]
    fn a_window_that_is_made_longer_stays_small() {
        let mut window = Window::default();
        for secs in 0..100_000u64 {
            window.add(Time(secs * 1_000), Count(1), Span::secs(1 + secs));
            assert!(window.places.len() <= PLACES_MAX);
        }
    }
}
