//! Components that end, hang and panic where no author means them to, driven as a host drives them.

mod async_source;
mod async_sink;
mod blocking_source;
mod replies;
mod transform;

use crate::abi::runtime;
use std::time::Duration;

/// Long enough for a task to get its turn on a busy machine.
const SOON: Duration = Duration::from_secs(120);

/// A wait that is expected to bring nothing.
const BRIEF: Duration = Duration::from_millis(20);

/// Waits until every task has done what it was given and can do now: the runtime has one thread, on which they take turns,
/// and whoever had to give up his turn has had the next before the last of these.
fn settle() {
    for _ in 0..3 {
        let turn = runtime::handle().spawn(async {});
        runtime::handle().block_on(turn).expect("it ends");
    }
}

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
