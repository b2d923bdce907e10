//! Waiting for a condition, never for an amount of time.

use std::time::{Duration, Instant};

/// How long a condition that should come at once may take on a loaded machine.
pub const LIMIT: Duration = Duration::from_secs(30);

const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

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
