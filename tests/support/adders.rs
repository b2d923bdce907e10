//! The processes of `workers/adder.rs`, started, stopped and continued.

use crate::{
    counter::{Tally, Workers},
    wait::LIMIT,
};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// Processes that use the product's lock. Killed when they are dropped.
#[derive(Debug)]
pub struct Adders {
    children: Vec<Child>,
    said: mpsc::Receiver<(usize, String)>,
    tallies: Vec<Tally>,
}

impl Adders {
    /// Starts so many of the program, all on one key.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(program: &Path, n_workers: usize, port: u16, admin: &str, key: &str, ttl: Duration) -> Self {
        let (say, said) = mpsc::sync_channel(100_000);
        let start = |worker: usize| {
            let mut child = Command::new(program)
                .args([&port.to_string(), admin, key, &ttl.as_millis().to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
            let (output, say) = (child.stdout.take().expect("piped"), say.clone());
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _ = say.send((worker, line));
                }
            });
            child
        };
        Self { children: (0..n_workers).map(start).collect(), said, tallies: Vec::new() }
    }

    fn signal(&self, worker: usize, signal: i32) {
        let id = i32::try_from(self.children[worker].id()).expect("process ids are small");
        // SAFETY: plain system call; the child was not waited for, so the id is still its own.
        let sent = unsafe { libc::kill(id, signal) };
        assert_eq!(sent, 0, "worker {worker} is gone");
    }
}

impl Workers for Adders {
    fn next_grant(&mut self, limit: Duration) -> Option<usize> {
        let (worker, line) = self.said.recv_timeout(limit).ok()?;
        assert_eq!(line, "granted", "what a worker says while it works");
        Some(worker)
    }

    fn stop(&mut self, worker: usize) {
        self.signal(worker, libc::SIGSTOP);
    }

    fn go_on(&mut self, worker: usize) {
        self.signal(worker, libc::SIGCONT);
    }

    fn finish(mut self) -> Vec<Tally> {
        self.children.iter_mut().for_each(|child| drop(child.stdin.take()));
        while self.tallies.len() < self.children.len() {
            let (worker, line) = self.said.recv_timeout(LIMIT).expect("every worker ends");
            if line != "granted" {
                let tally = serde_json::from_str(&line);
                self.tallies.push(tally.unwrap_or_else(|error| panic!("worker {worker}: {error}: {line}")));
            }
        }
        std::mem::take(&mut self.tallies)
    }
}

impl Drop for Adders {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
