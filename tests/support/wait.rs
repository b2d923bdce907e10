//! Waiting for a condition, never for an amount of time.

use std::time::{Duration, Instant};

/// How long a condition that should come at once may take on a loaded machine.
pub const LIMIT: Duration = Duration::from_secs(60);

const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

const N_TRIES: usize = 5;

/// Whether one of a few tries takes no longer than this, by what each says: a machine with much else to do makes some of
/// them slow, a product that is slow all.
pub fn is_quick(limit: Duration, mut attempt: impl FnMut() -> Duration) -> bool {
    (0..N_TRIES).any(|_| {
        let taken = attempt();
        println!("it took {taken:?} of {limit:?}");
        taken <= limit
    })
}

/// Looks until `condition` gives something; `None` if it did not within `limit`.
pub fn eventually<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}
