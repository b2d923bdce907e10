//! A server process that is measured from outside.

use std::{fs, net::SocketAddr, process::Child, time::Duration};

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
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().expect("ticks"))
            .sum();
        // SAFETY: takes a number and gives one.
        let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
        Duration::from_secs_f64(ticks as f64 / per_second)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}
