//! Clients of locks and what must be true of what they saw.
//!
//! `contention.rs` drives sessions of this process, `turns.rs` drives processes that can be stopped, `guide.rs` is a program
//! with a lock of its own; all note every grant by one clock. `history.rs`, `additions.rs` and `audit.rs` judge.

mod history;
mod contention;
mod turns;
mod additions;
mod audit;
mod guide;

pub use additions::{Additions, Stored};
pub use audit::{AuditFaults, LockEntry};
pub use contention::contend;
pub use guide::GuidePeer;
pub use history::{Grant, disorder, monotonic_us, n_overtakings, overlap, repeated};
pub use turns::{Added, Errand, Said, Turn, Turns};
