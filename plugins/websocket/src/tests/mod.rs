//! The server as clients see it: real sockets, with source and sink driven as a host drives them.

mod support;
mod contract;
mod limits;
mod sharing;
mod closing;
mod history;
mod slow;
mod locks;
mod locking;
mod regressions;
