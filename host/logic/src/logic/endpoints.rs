//! Which of several places that serve the same to go to.
//!
//! Counts failures and rests; where the places are, and what a failure is, is `transport`'s.

use std::time::{Duration, Instant};

use super::backoff::LONGEST_WAIT;
use super::later::later;

/// How long a place rests after its first failure; doubled with each in a row, up to [`LONGEST_REST`].
const FIRST_REST: Duration = Duration::from_secs(30);
const LONGEST_REST: Duration = Duration::from_secs(30 * 60);

/// Several places that serve the same, in the order in which they are preferred. Never empty.
#[derive(Clone, Debug)]
pub struct Endpoints {
    places: Vec<Place>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Place {
    failures: u32,
    rests_until: Option<Instant>,
}

impl Endpoints {
    /// So many places; none counts as one.
    pub fn new(count: usize) -> Self {
        Self { places: vec![Place::default(); count.max(1)] }
    }

    /// The place to go to: the first that does not rest; where all rest, the one whose rest ends first. With a single
    /// place that is always it: how long to stay away from a venue as a whole is the backoff's to say.
    pub fn pick(&self, now: Instant) -> usize {
        let rest = |place: &Place| place.rests_until.filter(|until| *until > now);
        let places = self.places.iter().enumerate();
        places.min_by_key(|(index, place)| (rest(place), *index)).map_or(0, |(index, _)| index)
    }

    /// A place failed, and rests; `asked`: for how long the place itself wants to be left alone.
    pub fn failed(&mut self, place: usize, now: Instant, asked: Option<Duration>) {
        let Some(place) = self.places.get_mut(place) else { return };
        let rest = FIRST_REST.saturating_mul(1 << place.failures.min(16)).min(LONGEST_REST);
        place.failures = place.failures.saturating_add(1);
        place.rests_until = Some(later(now, rest.max(asked.unwrap_or_default().min(LONGEST_WAIT))));
    }

    /// A place serves.
    pub fn worked(&mut self, place: usize) {
        if let Some(place) = self.places.get_mut(place) {
            *place = Place::default();
        }
    }

    /// Whether there is somewhere to go that does not rest.
    pub fn has_rested(&self, now: Instant) -> bool {
        self.places.iter().any(|place| place.rests_until.is_none_or(|until| until <= now))
    }
}

#[cfg(test)]
mod tests {
    use super::super::chance::{Chance, beginning};
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_failing_place_rests_longer_and_longer_and_the_others_serve() {
        let start = beginning();
        let mut endpoints = Endpoints::new(3);
        let mut picked = Vec::new();
        // (at, what failed there)
        for (at, failed) in [(0, Some(0)), (0, Some(1)), (0, None), (31, Some(0)), (80, None), (91, None)] {
            let now = start + secs(at);
            if let Some(place) = failed {
                assert_eq!(endpoints.pick(now), place);
                endpoints.failed(place, now, None);
            }
            picked.push(endpoints.pick(now));
        }
        // The first failed again at 31 and rests a minute.
        assert_eq!(picked, [1, 2, 2, 1, 1, 0]);
        endpoints.worked(0);
        endpoints.failed(0, start + secs(100), None);
        assert_eq!(endpoints.pick(start + secs(131)), 0);
    }

    #[test]
    fn where_all_rest_the_first_to_have_rested_is_asked() {
        let start = beginning();
        let mut endpoints = Endpoints::new(2);
        endpoints.failed(0, start, Some(secs(600)));
        assert!(endpoints.has_rested(start));
        endpoints.failed(1, start, None);
        assert!(!endpoints.has_rested(start));
        assert_eq!(endpoints.pick(start), 1);
        endpoints.failed(1, start, Some(secs(9_999)));
        assert_eq!(endpoints.pick(start), 0);
        assert_eq!(Endpoints::new(0).pick(start), 0);
    }

    /// Whatever fails: no place is asked while it rests and another does not.
    #[test]
    fn a_resting_place_is_left_alone_while_another_is_not_resting() {
        for seed in 0..100 {
            let mut chance = Chance::new(seed);
            let count = 1 + chance.below(5) as usize;
            let mut endpoints = Endpoints::new(count);
            let mut now = beginning();
            let (mut rests, mut failures) = (vec![now; count], vec![0; count]);
            for _ in 0..500 {
                now += Duration::from_millis(chance.below(60_000));
                let place = endpoints.pick(now);
                let rested = rests.iter().any(|until| *until <= now);
                assert!(!rested || rests[place] <= now, "seed {seed}: {place} rests");
                assert_eq!(endpoints.has_rested(now), rested, "seed {seed}");
                if chance.one_in(3) {
                    endpoints.worked(place);
                    (rests[place], failures[place]) = (now, 0);
                } else {
                    endpoints.failed(place, now, None);
                    rests[place] = now + (FIRST_REST * (1 << failures[place])).min(LONGEST_REST);
                    failures[place] = (failures[place] + 1).min(10);
                }
            }
        }
    }
}
