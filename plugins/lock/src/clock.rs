//! Two clocks: one that only runs forward, by which leases end, and the wall's, which people read.

use lockstep_plugin_api::time;
use std::time::{Duration, Instant};

/// One instant on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since the plugin was started; a step of the wall clock does not move it.
    pub mono: Duration,
    /// Microseconds since 1970 (UTC).
    pub wall_us: i64,
}

impl Now {
    /// What the wall clock will show when the other one shows `mono`.
    pub fn wall_us_at(self, mono: Duration) -> i64 {
        let later = mono.saturating_sub(self.mono).as_micros() as i64;
        let earlier = self.mono.saturating_sub(mono).as_micros() as i64;
        self.wall_us + later - earlier
    }
}

/// The real clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub fn now(&self) -> Now {
        Now { mono: self.started.elapsed(), wall_us: time::now_us() }
    }
}
