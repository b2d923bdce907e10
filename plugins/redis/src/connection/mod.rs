//! From settings to a connection on which commands can be sent: one server, the master that sentinels name, or a cluster;
//! with or without TLS and a login.
//!
//! Knows nothing of streams, caches or records. Invariant: every command is counted and ends within the response
//! timeout, and whatever goes wrong is either [`Fault::Away`], the server cannot be used now, or [`Fault::Refused`], it
//! said no to one command.

mod address;
mod fault;
mod link;
mod server;

pub(crate) use address::{Address, Login, ServerSettings, Timeouts};
pub(crate) use fault::{Away, Fault, Refusal};
pub(crate) use link::{Link, Placed};
pub(crate) use server::Server;
