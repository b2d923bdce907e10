//! Events per second by type, over a window: a ring with one bucket for each second, so that any number of events fits.

use super::bounded;
use std::collections::BTreeMap;

/// How many seconds a rate looks back.
pub(super) const WINDOW: u64 = 300;

/// The rings, by event type.
#[derive(Debug, Default)]
pub(super) struct Rates(BTreeMap<String, Ring>);

/// What happened in each of the last seconds. A bucket whose second is another holds nothing any more.
#[derive(Debug, Default)]
struct Ring(Vec<Bucket>);

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    second: u64,
    n_events: u64,
}

impl Rates {
    pub fn add(&mut self, second: u64, event_type: &str) {
        bounded(&mut self.0, event_type).add(second);
    }

    pub fn per_second(&self, now: u64) -> BTreeMap<String, f64> {
        let rate = |(name, ring): (&String, &Ring)| (name.clone(), ring.sum(now) as f64 / WINDOW as f64);
        self.0.iter().map(rate).collect()
    }
}

impl Ring {
    fn add(&mut self, second: u64) {
        if self.0.is_empty() {
            self.0 = vec![Bucket::default(); WINDOW as usize];
        }
        let bucket = &mut self.0[(second % WINDOW) as usize];
        if bucket.second != second {
            *bucket = Bucket { second, n_events: 0 };
        }
        bucket.n_events += 1;
    }

    /// The second that is not over counts as one of the window.
    fn sum(&self, now: u64) -> u64 {
        let is_recent = |bucket: &&Bucket| bucket.second <= now && now - bucket.second < WINDOW;
        self.0.iter().filter(is_recent).map(|bucket| bucket.n_events).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(rates: &Rates, now: u64) -> f64 {
        rates.per_second(now)["config_updated"]
    }

    #[test]
    fn a_rate_may_exceed_one_per_second() {
        let mut rates = Rates::default();
        for n in 0..100_000_u64 {
            rates.add(n % 10, "config_updated");
        }
        assert_eq!(rate(&rates, 9), 100_000.0 / 300.0);
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut rates = Rates::default();
        rates.add(0, "config_updated");
        rates.add(10, "config_updated");
        assert_eq!(rate(&rates, 299), 2.0 / 300.0);
        assert_eq!(rate(&rates, 300), 1.0 / 300.0, "second 0 is out");
        assert_eq!(rate(&rates, 310), 0.0);
        rates.add(310, "config_updated");
        assert_eq!(rate(&rates, 310), 1.0 / 300.0, "its bucket was second 10's");
        assert_eq!(rate(&rates, 10_000), 0.0);
    }
}
