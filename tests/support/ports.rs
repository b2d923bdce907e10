//! Ports for servers that must be told theirs.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// The range lies below the one that the system gives to outgoing connections, so nobody takes a port in between.
const FIRST: u16 = 12_000;
const N_PORTS: u16 = 18_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A loopback port that is free now and that nobody else of this process gets.
///
/// # Panics
/// If there is none in the whole range.
pub fn free_port() -> u16 {
    let start = (std::process::id() as u16).wrapping_mul(97) % N_PORTS;
    let mut candidates =
        std::iter::repeat_with(|| FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % N_PORTS) % N_PORTS);
    candidates
        .by_ref()
        .take(N_PORTS.into())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port below the system's own range")
}
