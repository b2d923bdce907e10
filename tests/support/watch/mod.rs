//! The guarantees that etcd gives to watchers, as an oracle over what a subscriber saw.
//!
//! Ordered, unique, filtered, gap-free or declared, resumable, bookmarked, compaction told. The oracle knows what was
//! committed from elsewhere and nothing about how it was delivered. A conflated message declares what it stands for; a
//! `resync` declares everything, and owes the current state of every key in return.

mod history;
mod observation;
mod oracle;
#[cfg(test)]
mod tests;

pub use history::{Committed, History};
pub use observation::{Observation, Seen, Session};
pub use oracle::{Verdict, Violation, check};
