//! How long changes took: all of them, in a histogram whose error is a thousandth.

use super::Percentiles;
use hdrhistogram::Histogram;
use std::time::Duration;

/// Digits that are kept of each latency.
const DIGITS: u8 = 3;

/// What took longer counts as this long: nobody waits for an answer for an hour.
const MAX_US: u64 = 3_600_000_000;

/// In microseconds, since the last reset.
#[derive(Debug)]
pub(super) struct Latencies {
    histogram: Histogram<u64>,
    /// Exact, where the histogram rounds.
    sum_us: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new(DIGITS).expect("3 digits are in its range");
        Self { histogram, sum_us: 0 }
    }
}

impl Latencies {
    pub fn add(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(MAX_US).min(MAX_US);
        self.sum_us += us;
        // It grows as it needs to; an hour takes some 200 KiB.
        self.histogram.record(us).expect("a histogram that grows has room for an hour");
    }

    pub fn average_ms(&self) -> f64 {
        match self.histogram.len() {
            0 => 0.0,
            n => self.sum_us as f64 / n as f64 / 1000.0,
        }
    }

    /// By nearest rank: the smallest latency that so many percent did not exceed.
    pub fn percentiles(&self) -> Percentiles {
        if self.histogram.is_empty() {
            return Percentiles::default();
        }
        let at = |percentile| {
            let us = self.histogram.value_at_percentile(percentile);
            self.histogram.lowest_equivalent(us) as f64 / 1000.0
        };
        Percentiles { p50: at(50.0), p95: at(95.0), p99: at(99.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percentiles(latencies_us: impl IntoIterator<Item = u64>) -> Percentiles {
        let mut latencies = Latencies::default();
        latencies_us.into_iter().for_each(|us| latencies.add(Duration::from_micros(us)));
        latencies.percentiles()
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        // Below 2,048 the histogram keeps each microsecond apart.
        let exact = Percentiles { p50: 0.050, p95: 0.095, p99: 0.099 };
        assert_eq!(percentiles(1..=100), exact, "the 99th of 100 is not the largest");
        assert_eq!(percentiles([7]), Percentiles { p50: 0.007, p95: 0.007, p99: 0.007 });
        assert_eq!(percentiles([1, 2]).p50, 0.001);
        assert_eq!(percentiles([]), Percentiles::default());
    }

    #[test]
    fn long_latencies_are_right_to_a_thousandth() {
        let found = percentiles((1..=100).map(|n| n * 10_000)).p99;
        assert!((found - 990.0).abs() < 1.0, "{found}");
        assert!((percentiles([u64::MAX]).p50 - 3_600_000.0).abs() < 3_600.0);
    }
}
