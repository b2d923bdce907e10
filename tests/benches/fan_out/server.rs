//! A server process that is measured from outside.

use crate::measure;
use std::{net::SocketAddr, process::Child, time::Duration};

pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    pub fn new(child: Child, address: SocketAddr) -> Self {
        Self { child, address }
    }

    /// CPU time of all its threads, in user and kernel mode.
    pub fn cpu(&self) -> Duration {
        measure::cpu_of(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}
