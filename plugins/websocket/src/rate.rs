//! How many messages a connection may send: a bucket of tokens that refills with time.

use std::time::Duration;
use tokio::time::Instant;

/// Holds at most one second's worth of tokens.
pub(crate) struct Rate {
    per_second: f64,
    tokens: f64,
    refilled_at: Instant,
}

impl Rate {
    /// A full bucket; `per_second` 0 sets no limit.
    pub(crate) fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, tokens: per_second, refilled_at: Instant::now() }
    }

    /// Takes a token, or says how long it takes until there is one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        if self.per_second == 0.0 {
            return Ok(());
        }
        let refill = now.duration_since(self.refilled_at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + refill).min(self.per_second);
        self.refilled_at = now;
        if self.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - self.tokens) / self.per_second));
        }
        self.tokens -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_the_rate_counts() {
        let mut rate = Rate::new(2);
        let start = Instant::now();
        assert!(rate.take(start).is_ok() && rate.take(start).is_ok());
        let wait = rate.take(start).expect_err("the bucket is empty");
        assert!(wait <= Duration::from_millis(500), "{wait:?}");
        assert!(rate.take(start + Duration::from_millis(501)).is_ok());
        assert!(rate.take(start + Duration::from_millis(501)).is_err());
    }

    #[test]
    fn zero_sets_no_limit() {
        let mut rate = Rate::new(0);
        assert!((0..10_000).all(|_| rate.take(Instant::now()).is_ok()));
    }
}
