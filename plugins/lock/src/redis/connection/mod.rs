//! From settings to connections on which commands can be sent: one server, the master that sentinels name, or a cluster;
//! with or without TLS and a login.
//!
//! Knows nothing of locks. Invariant: every command ends within the response timeout, and whatever goes wrong is either
//! [`Fault::Away`], the server cannot be used now, or [`Fault::Refused`], it said no to one command.

mod address;
mod fault;
mod link;
mod server;
mod pool;

pub use address::{Address, Login, ReadUrl, ServerSettings, Timeouts, read_url};
pub use fault::Fault;
pub use link::{Link, Part, bytes};
pub use pool::{Lent, Pool};
pub use server::Server;
