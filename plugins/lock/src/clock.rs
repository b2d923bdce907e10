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

    /// The same, as it was `said` when it was decided, so that every answer says the same: read one after the other, and by way
    /// of a server that counts milliseconds, the clocks differ a little each time. What differs more is said anew: the wall
    /// clock was set, or another host's goes otherwise.
    pub fn wall_us_as_said(self, said: i64, mono: Duration) -> i64 {
        let counted = self.wall_us_at(mono);
        if counted.abs_diff(said) <= SAME_US { said } else { counted }
    }
}

/// How much apart two times are that mean the same end.
const SAME_US: u64 = 1_000_000;

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
