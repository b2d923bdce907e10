//! Waiting longer after each failure: one implementation for host and plugins.

use std::time::Duration;

/// Doubling waits between `min` and `max`, each with full jitter above half of itself.
///
/// Jitter keeps many clients of one endpoint from coming back at the same instant; the lower half is fixed so that a
/// wait is never close to nothing (the "equal jitter" of Brooker, *Exponential Backoff and Jitter*, AWS 2015).
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    seed: u64,
}

impl Backoff {
    /// Starts at `min` and doubles up to `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        use std::hash::{BuildHasher, RandomState};
        let max = max.max(min);
        Self { min, max, next: min, seed: RandomState::new().hash_one(0) | 1 }
    }

    /// How long to wait now; the next answer is twice as long.
    pub fn next_wait(&mut self) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.max);
        whole / 2 + (whole / 2).mul_f64(self.random())
    }

    /// Starts again at `min`: call it after a success.
    pub fn reset(&mut self) {
        self.next = self.min;
    }

    /// A number in 0..1 (xorshift64, Marsaglia 2003; spread is all that is asked of it).
    fn random(&mut self) -> f64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_stay_within_their_bounds_and_start_again() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 4 * second);
        for whole in [1, 2, 4, 4] {
            let wait = backoff.next_wait();
            assert!(wait >= whole * second / 2 && wait <= whole * second, "{wait:?} for {whole} s");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= second);
    }
}
