//! Ports for servers that must be told theirs.
//!
//! The invariant: a port is given to one test of one process. Processes share the range out in blocks; whoever has a UDP
//! socket on a block's first port has the block, and the system gives it back when the process ends, however it ends.

use std::{
    net::{TcpListener, UdpSocket},
    ops::Range,
    sync::{Mutex, PoisonError},
};

/// The range lies below the one that the system gives to outgoing connections, so nobody takes a port in between.
const FIRST: u16 = 12_000;
const END: u16 = 30_000;
const BLOCK: u16 = 100;

/// What this process may still give out, and what it has claimed.
static PORTS: Mutex<(Range<u16>, Vec<UdpSocket>)> = Mutex::new((0..0, Vec::new()));

/// A loopback port that is free and that nobody else gets who asks here.
///
/// # Panics
/// If there is none in the whole range.
pub fn free_port() -> u16 {
    let mut ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    let (left, claims) = &mut *ports;
    loop {
        if let Some(port) = left.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()) {
            return port;
        }
        let (first, claim) = blocks().find_map(claim).expect("a free port below the system's own range");
        *left = first..first + BLOCK;
        claims.push(claim);
    }
}

/// The first ports of all blocks, beginning somewhere else in each process.
fn blocks() -> impl Iterator<Item = u16> {
    let n_blocks = (end() - FIRST) / BLOCK;
    let start = (std::process::id() % u32::from(n_blocks)) as u16;
    (0..n_blocks).map(move |block| FIRST + (start + block) % n_blocks * BLOCK)
}

fn claim(first: u16) -> Option<(u16, UdpSocket)> {
    Some((first, UdpSocket::bind(("127.0.0.1", first)).ok()?))
}

/// Where the range ends: before the system's own, unless that leaves next to nothing.
fn end() -> u16 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let own = text.split_whitespace().next().and_then(|first| first.parse().ok());
    own.filter(|own| (FIRST + 20 * BLOCK..END).contains(own)).unwrap_or(END)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_port_is_given_twice_and_no_block_is_claimed_by_two() {
        let n = usize::from(BLOCK) + 1;
        assert_eq!((0..n).map(|_| free_port()).collect::<BTreeSet<_>>().len(), n);
        let ports = PORTS.lock().expect("nobody panics with it");
        let ours = ports.1.iter().map(|claim| claim.local_addr().expect("an address").port());
        assert!(ours.into_iter().all(|first| claim(first).is_none()));
    }
}
