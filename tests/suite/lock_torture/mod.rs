//! Locks on a Redis that two hosts share: what holds while clients, hosts, the network and Redis itself go wrong.
//!
//! That clients never overlap is asserted only where nothing goes wrong: no lock can promise more. What is promised always is
//! that no update is lost, that tokens only grow, and that every lock is free again.

mod pair;
mod nemesis;
mod torture;
mod amnesia;
mod contention;
mod network;
mod foreign;
mod crash;
