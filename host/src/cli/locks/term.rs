//! The time of a lease, as its holder counts it: from before the host was asked for it.
//!
//! Invariant: who is told that it goes on has a lease at the server, if clocks run alike there and here.

use super::lease::Lease;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// The last part of a lease's time in which no command runs under it: one in so many.
const MARGIN: u32 = 10;

/// Whoever was not answered asks again after one part in so many of the time that it lets pass otherwise.
const SOONER: u32 = 10;

/// What came of asking for more time.
pub(super) enum Extended {
    Yes,
    /// Somebody else may have the lock now.
    Lost(String),
    /// The host did not answer; the lease has still some time.
    Unanswered,
}

/// Why a lease is over for its holder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The host says so.
    Said(String),
    /// Nobody has; the server may have it still.
    Late(&'static str),
}

/// The lease is asked for more time by calling `E`, on a thread that may wait.
pub(super) struct Term<E> {
    extend: E,
    ttl: Duration,
    heartbeat: Duration,
    /// When the host was asked for the time that the lease has.
    granted: Instant,
    /// When it was asked last.
    asked: Instant,
    /// It has not answered that.
    is_unanswered: bool,
    extending: Option<JoinHandle<Extended>>,
}

impl<E: FnOnce() -> Extended + Clone + Send + 'static> Term<E> {
    pub fn new(lease: &Lease, granted: Instant, extend: E) -> Self {
        let (ttl, heartbeat) = (lease.ttl(), lease.heartbeat());
        Self { extend, ttl, heartbeat, granted, asked: granted, is_unanswered: false, extending: None }
    }

    /// Does what is due: asks, hears, or finds that it is over.
    pub async fn keep(&mut self) -> Result<(), Over> {
        if let Some(done) = self.extending.take_if(|extending| extending.is_finished()) {
            self.hear(done.await.unwrap_or(Extended::Unanswered))?;
        }
        if self.granted.elapsed() >= self.ttl - self.ttl / MARGIN {
            return Err(Over::Late(match self.asked > self.granted {
                true => "the host could not be asked for more time",
                false => "it was not asked for more time, for this process or the machine was stopped",
            }));
        }
        let pause = if self.is_unanswered { self.heartbeat / SOONER } else { self.heartbeat };
        if self.asked.elapsed() >= pause && self.extending.is_none() {
            self.asked = Instant::now();
            self.extending = Some(tokio::task::spawn_blocking(self.extend.clone()));
        }
        Ok(())
    }

    /// Asks now and waits for the answer, after which the lease may still have its old time.
    pub async fn renew(&mut self) -> Result<(), Over> {
        if let Some(earlier) = self.extending.take() {
            // It asked before this process slept.
            drop(earlier.await);
        }
        self.asked = Instant::now();
        let extended = tokio::task::spawn_blocking(self.extend.clone()).await;
        self.hear(extended.unwrap_or(Extended::Unanswered))?;
        self.keep().await
    }

    fn hear(&mut self, extended: Extended) -> Result<(), Over> {
        self.is_unanswered = matches!(extended, Extended::Unanswered);
        match extended {
            Extended::Yes => self.granted = self.asked,
            Extended::Lost(why) => return Err(Over::Said(why)),
            Extended::Unanswered => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    const HOUR: Duration = Duration::from_secs(3600);

    /// A lease of an hour that was granted so long ago.
    fn term(ago: Duration, extended: fn() -> Extended) -> Term<fn() -> Extended> {
        let lease =
            json!({ "config_key": "app.x", "ttl_ms": 3_600_000, "heartbeat_interval": 60, "token": 7 });
        let lease: Lease = serde_json::from_str(&lease.to_string()).expect("a lease");
        Term::new(&lease, Instant::now() - ago, extended)
    }

    #[tokio::test]
    async fn a_lease_is_over_by_its_own_time_and_it_is_said_whether_anybody_asked() {
        let slept = term(HOUR, || Extended::Yes).keep().await;
        assert!(matches!(slept, Err(Over::Late(why)) if why.contains("was stopped")), "{slept:?}");
        let mut unanswered = term(HOUR / 2, || Extended::Unanswered);
        assert_eq!(unanswered.keep().await, Ok(()), "it asks, and its time is not over");
        unanswered.granted -= HOUR / 2;
        let over = unanswered.keep().await;
        assert!(matches!(over, Err(Over::Late(why)) if why.contains("could not be asked")), "{over:?}");
    }

    #[tokio::test]
    async fn a_host_that_does_not_answer_is_asked_again_sooner() {
        let (asks, lease) = (Arc::new(AtomicU32::new(0)), json!({ "config_key": "app.x", "ttl_ms": 60_000 }));
        let asked = asks.clone();
        let extend = move || {
            asked.fetch_add(1, Relaxed);
            Extended::Unanswered
        };
        let lease: Lease = serde_json::from_str(&lease.to_string()).expect("a lease");
        let start = Instant::now();
        let mut term = Term::new(&lease, start, extend);
        term.renew().await.expect("it has its time");
        while asks.load(Relaxed) < 2 {
            term.keep().await.expect("it has its time");
            assert!(start.elapsed() < term.heartbeat, "as late as without a failure");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn after_a_sleep_a_lease_goes_on_only_if_the_host_has_it() {
        assert_eq!(term(HOUR, || Extended::Yes).renew().await, Ok(()));
        let lost = term(HOUR, || Extended::Lost("no".to_owned())).renew().await;
        assert_eq!(lost, Err(Over::Said("no".to_owned())));
        assert!(term(HOUR, || Extended::Unanswered).renew().await.is_err());
    }
}
