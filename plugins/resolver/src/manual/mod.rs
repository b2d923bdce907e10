//! Conflicts that a person decides: one case for each, alike named on every host, kept until somebody has decided.
//!
//! Reading order: `case` (what is known of one, and the record that is shown of it), `docket` (where cases lie, and what a
//! change of a key does to them), `claim` (a change that says which conflict it decides), `choice` (what can be decided),
//! `patience` (who is told again, and when).

mod case;
mod choice;
mod claim;
mod docket;
mod patience;
mod time;

pub use case::{Case, Decision, MOST_BYTES, Status, Wanted, Withheld, withheld};
pub use choice::{Choice, Outlook, outlooks};
pub use claim::{Claim, RESOLVES};
pub use docket::{Docket, Moved};
pub use patience::look_through;
pub use time::Time;
