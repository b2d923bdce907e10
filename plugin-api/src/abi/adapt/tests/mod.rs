//! Components that end, hang and panic where no author means them to, driven as a host drives them.

mod async_source;
mod async_sink;
mod blocking_source;
mod replies;
mod transform;

use std::time::Duration;

/// Long enough for a task to get its turn on a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// A wait that is expected to bring nothing.
const BRIEF: Duration = Duration::from_millis(20);

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        // The drop of a value beside one that panicked is not what is tested.
        if !std::thread::panicking() {
            panic!("a panic in Drop");
        }
    }
}
