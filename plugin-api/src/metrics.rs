//! A component's metrics: cells that it shares with the host, so that counting is no call.

use crate::abi::vtable::{CounterCell, GaugeCell, HistogramCell};
use abi_stable::std_types::RArc;
use std::{sync::atomic::Ordering, time::Duration};

/// Counts up. Adding costs 3-4 ns and no call.
#[derive(Debug, Clone)]
pub struct Counter(pub(crate) RArc<CounterCell>);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.value.fetch_add(n, Ordering::Relaxed);
    }
}

/// Goes up and down.
#[derive(Debug, Clone)]
pub struct Gauge(pub(crate) RArc<GaugeCell>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.value.store(value, Ordering::Relaxed);
    }

    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.value.fetch_add(n, Ordering::Relaxed);
    }
}

/// Upper bounds of a histogram's buckets, in microseconds: doubling from 50 us to 13 s.
pub const HISTOGRAM_BOUNDS_US: [u64; 19] = {
    let mut bounds = [0; 19];
    let mut i = 0;
    while i < bounds.len() {
        bounds[i] = 50 << i;
        i += 1;
    }
    bounds
};

/// Counts durations by size.
#[derive(Debug, Clone)]
pub struct Histogram(pub(crate) RArc<HistogramCell>);

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let us = duration.as_micros() as u64;
        let bucket = HISTOGRAM_BOUNDS_US.partition_point(|bound| *bound < us);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.sum_us.fetch_add(us, Ordering::Relaxed);
    }
}
