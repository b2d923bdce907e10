//! Types for the `config:` of components: durations, sizes, secrets, TLS files.
//!
//! Each reads what operators write and carries its own JSON Schema, so an editor and `lockstep validate` know it too.

mod duration;
mod size;
mod secret;
mod tls;

pub use duration::{Millis, Seconds, parse_duration};
pub use secret::Secret;
pub use size::{Size, parse_size};
pub use tls::{ClientTls, ServerTls};
