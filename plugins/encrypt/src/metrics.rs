//! What a component counts.

use lockstep_plugin_api::prelude::*;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A counter that can be read again, for `encrypt.status`.
#[derive(Debug, Clone)]
pub struct Count {
    shown: Counter,
    n: Arc<AtomicU64>,
}

impl Count {
    fn new(shown: Counter) -> Self {
        Self { shown, n: Arc::default() }
    }

    pub fn add(&self, n: u64) {
        self.shown.add(n);
        self.n.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.n.load(Ordering::Relaxed)
    }
}

/// The counters of `encrypt` or `decrypt`; each uses some of them.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub sealed: Count,
    pub opened: Count,
    pub passed: Count,
    pub refused: Count,
    pub data_keys: Gauge,
}

impl Metrics {
    pub fn new(context: &Context, component: &str) -> Self {
        let count = |what: &str| Count::new(context.counter(&format!("{component}_{what}")));
        Self {
            sealed: count("values_sealed"),
            opened: count("values_opened"),
            passed: count("values_passed"),
            refused: count("changes_refused"),
            data_keys: context.gauge(&format!("{component}_data_keys")),
        }
    }
}
