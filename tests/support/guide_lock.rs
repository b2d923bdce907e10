//! The guide's own lock, on a store that checks nothing, for the same workers: the control that has to lose additions.
//!
//! `SET key user NX PX ttl`, and to release `GET`, compare the user, `DEL`. Each worker is a user of its own, which is
//! kinder than the guide. A stopped process sends no heartbeat, so there are none.

use crate::counter::{Guarded, THINKING, Tally, Workers, Wrote, work};
use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What Redis and the store hold.
#[derive(Debug, Default)]
struct Server {
    lock: Option<(usize, Instant)>,
    number: u64,
}

struct User {
    user: usize,
    ttl: Duration,
    server: Arc<Mutex<Server>>,
}

/// Threads that stand for processes.
#[derive(Debug)]
pub struct GuideWorkers {
    server: Arc<Mutex<Server>>,
    stopped: Vec<Arc<(Mutex<bool>, Condvar)>>,
    grants: mpsc::Receiver<usize>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Tally>>,
}

/// The number, to be read when the workers have ended.
#[derive(Debug, Clone)]
pub struct Number(Arc<Mutex<Server>>);

impl Number {
    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.lock().expect("nobody panics here").number
    }
}

impl Guarded for User {
    fn acquire(&mut self) -> Option<u64> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            let mut server = self.server.lock().expect("nobody panics here");
            if server.lock.is_none_or(|(_, expires)| expires < Instant::now()) {
                server.lock = Some((self.user, Instant::now() + self.ttl));
                return Some(0);
            }
            drop(server);
            // The guide's lock never waits; its callers ask again.
            thread::sleep(Duration::from_millis(1));
        }
        None
    }

    fn read(&mut self) -> u64 {
        self.server.lock().expect("nobody panics here").number
    }

    fn write(&mut self, number: u64, _: u64) -> Wrote {
        self.server.lock().expect("nobody panics here").number = number;
        Wrote::Accepted
    }

    fn release(&mut self) {
        let mut server = self.server.lock().expect("nobody panics here");
        if server.lock.is_some_and(|(user, _)| user == self.user) {
            server.lock = None;
        }
    }
}

impl GuideWorkers {
    /// Starts so many workers.
    pub fn start(n_workers: usize, ttl: Duration) -> Self {
        let server = Arc::new(Mutex::new(Server::default()));
        let (granted, grants) = mpsc::sync_channel(1_000);
        let is_over = Arc::new(AtomicBool::new(false));
        let stopped: Vec<Arc<(Mutex<bool>, Condvar)>> = (0..n_workers).map(|_| Arc::default()).collect();
        let worker = |(user, stopped): (usize, &Arc<(Mutex<bool>, Condvar)>)| {
            let (server, granted, stopped) = (server.clone(), granted.clone(), stopped.clone());
            let is_over = is_over.clone();
            thread::spawn(move || {
                let say = || {
                    let _ = granted.try_send(user);
                };
                let think = || {
                    thread::sleep(THINKING);
                    let (is_stopped, changed) = &*stopped;
                    let is_stopped = is_stopped.lock().expect("nobody panics here");
                    drop(changed.wait_while(is_stopped, |is_stopped| *is_stopped));
                };
                work(&mut User { user, ttl, server }, say, think, || is_over.load(Ordering::Relaxed))
            })
        };
        let threads = stopped.iter().enumerate().map(worker).collect();
        Self { server, stopped, grants, is_over, threads }
    }

    /// The number that they add to.
    pub fn number(&self) -> Number {
        Number(self.server.clone())
    }

    fn set_stopped(&self, worker: usize, to: bool) {
        let (is_stopped, changed) = &*self.stopped[worker];
        *is_stopped.lock().expect("nobody panics here") = to;
        changed.notify_all();
    }
}

impl Workers for GuideWorkers {
    fn next_grant(&mut self, limit: Duration) -> Option<usize> {
        self.grants.recv_timeout(limit).ok()
    }

    fn stop(&mut self, worker: usize) {
        self.set_stopped(worker, true);
    }

    fn go_on(&mut self, worker: usize) {
        self.set_stopped(worker, false);
    }

    fn finish(self) -> Vec<Tally> {
        self.is_over.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a worker does not panic")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        counter::disturb,
        wait::{LIMIT, eventually},
    };

    #[test]
    fn the_guides_lock_loses_additions_when_holders_are_stopped_and_the_harness_sees_it() {
        // A machine that is slow to stop the holder stops it after it has written.
        let lost = eventually(LIMIT, || {
            let workers = GuideWorkers::start(3, Duration::from_millis(40));
            let number = workers.number();
            let outcome = disturb(workers, Duration::from_millis(1500), LIMIT);
            println!("{outcome:?}, {} lost", outcome.n_lost(number.get()));
            assert!(outcome.n_overtaken > 0);
            (outcome.n_lost(number.get()) > 0).then_some(())
        });
        assert!(lost.is_some(), "a stopped holder wrote over what others had added");
    }
}
