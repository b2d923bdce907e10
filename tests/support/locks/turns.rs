//! Processes that take a lock, add one to a number under it and end, one after the other, for each of several clients.
//!
//! What a client is, the test says: any command that takes a lock and runs `workers/addition.rs` under it. Every client is a
//! group of processes, stopped and continued as one at the worst moment, which is just after it has read the number.

use super::history::{Grant, monotonic_us};
use crate::{servers::spawn, wait::LIMIT};
use serde::{Deserialize, Serialize};
use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// What a client does next: the key it wants, and the command that takes the lock and adds one under it.
#[derive(Debug)]
pub struct Errand {
    pub key: String,
    pub command: Command,
}

/// A line of `workers/addition.rs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// It was started, so its client holds the lock; the token, if the lock has any.
    Granted { at: u64, token: u64 },
    /// It knows the number.
    Read { number: u64 },
    /// It knows what became of the next number.
    Added { at: u64, added: Added },
}

/// What became of an addition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Added {
    /// As this revision.
    Accepted(u64),
    /// With this code.
    Refused(String),
    /// It may be there or not.
    Unanswered,
}

/// One errand, from its beginning to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    pub client: usize,
    pub key: String,
    pub asked: u64,
    pub ended: u64,
    /// When and under which token it was granted the lock, if it was.
    pub granted: Option<(u64, u64)>,
    pub read: Option<u64>,
    /// When it was told what became of its addition, and what that is.
    pub added: Option<(u64, Added)>,
}

impl Turn {
    /// The grant, if there was one that its client lived to tell of.
    pub fn grant(&self) -> Option<Grant> {
        let (granted, token) = self.granted?;
        let released = self.added.as_ref().map_or(granted, |(at, _)| *at);
        let (client, key, asked) = (self.client, self.key.clone(), self.asked);
        Some(Grant { client, key, asked, granted, released, token })
    }

    /// The number it wrote, and the revision it was told.
    pub fn accepted(&self) -> Option<(u64, u64)> {
        match self.added {
            Some((_, Added::Accepted(revision))) => Some((self.read? + 1, revision)),
            _ => None,
        }
    }
}

/// The clients. Their processes are killed when it is dropped.
#[derive(Debug)]
pub struct Turns {
    clients: Vec<Arc<Client>>,
    reads: Receiver<usize>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Turn>>>,
}

#[derive(Debug, Default)]
struct Client {
    /// The process at present; it leads the group, and is waited for under this lock only.
    child: Mutex<Option<Child>>,
}

impl Client {
    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, signal: i32) {
        let Some(id) = self.child().as_ref().and_then(|child| i32::try_from(child.id()).ok()) else { return };
        // SAFETY: plain system call; the leader was not waited for, so the group is still its own.
        unsafe { libc::killpg(id, signal) };
    }
}

impl Turns {
    /// Starts so many clients, each of which asks for its next errand whenever one has ended.
    pub fn start(n_clients: usize, errand: impl Fn(usize) -> Errand + Send + Sync + 'static) -> Self {
        // Nobody listens most of the time, and whoever does wants to know of this moment.
        let (read, reads) = sync_channel(0);
        let (errand, is_over) = (Arc::new(errand), Arc::new(AtomicBool::new(false)));
        let clients: Vec<Arc<Client>> = (0..n_clients).map(|_| Arc::default()).collect();
        let start = |(number, client): (usize, &Arc<Client>)| {
            let (client, errand, read) = (client.clone(), errand.clone(), read.clone());
            let is_over = is_over.clone();
            thread::spawn(move || {
                let mut turns = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    turns.push(client.turn(number, errand(number), &read));
                }
                turns
            })
        };
        let threads = clients.iter().enumerate().map(start).collect();
        Self { clients, reads, is_over, threads }
    }

    /// A client that reads the number at this moment or is the next to do so, if any is within the limit.
    pub fn next_read(&self, limit: Duration) -> Option<usize> {
        match self.reads.recv_timeout(limit) {
            Ok(client) => Some(client),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the clients have ended"),
        }
    }

    /// From now on this client does nothing.
    pub fn stop(&self, client: usize) {
        self.clients[client].signal(libc::SIGSTOP);
    }

    /// It goes on where it was.
    pub fn go_on(&self, client: usize) {
        self.clients[client].signal(libc::SIGCONT);
    }

    /// Lets every client end its errand, and gives all of them.
    pub fn finish(mut self) -> Vec<Turn> {
        self.is_over.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.threads);
        threads.into_iter().flat_map(|thread| thread.join().expect("a client does not panic")).collect()
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for (client, thread) in self.clients.iter().zip(self.threads.drain(..)) {
            client.signal(libc::SIGKILL);
            drop(thread.join());
        }
    }
}

impl Client {
    fn turn(&self, number: usize, errand: Errand, read: &SyncSender<usize>) -> Turn {
        let Errand { key, mut command } = errand;
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
        let asked = monotonic_us();
        let mut child = spawn(command);
        let output = child.stdout.take().expect("piped");
        *self.child() = Some(child);
        let mut turn = Turn { client: number, key, asked, ended: 0, granted: None, read: None, added: None };
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // The command that takes the lock may have something to say as well.
            let Ok(said) = serde_json::from_str(&line) else { continue };
            turn.hear(said, || {
                let _ = read.try_send(number);
            });
        }
        self.wait();
        turn.ended = monotonic_us();
        turn
    }

    /// Waits for a process whose output has ended, so that it has or is about to.
    fn wait(&self) {
        let ended = crate::wait::eventually(LIMIT, || {
            let mut child = self.child();
            let status = child.as_mut().expect("a turn has a process").try_wait();
            let is_over = status.expect("a child can be asked").is_some();
            is_over.then(|| *child = None)
        });
        assert!(ended.is_some(), "a client closes its output and does not end");
    }
}

impl Turn {
    fn hear(&mut self, said: Said, has_read: impl Fn()) {
        match said {
            Said::Granted { at, token } => self.granted = Some((at, token)),
            Said::Read { number } => {
                self.read = Some(number);
                has_read();
            }
            Said::Added { at, added } => self.added = Some((at, added)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::eventually;

    fn shell(script: &str) -> Errand {
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("READ", r#"{"read":{"number":3}}"#);
        Errand { key: "k".to_owned(), command }
    }

    #[test]
    fn a_turn_is_what_its_process_said() {
        let script = r#"echo '{"granted":{"at":1,"token":7}}'; echo anything; echo "$READ"
            echo '{"added":{"at":2,"added":{"accepted":9}}}'"#;
        let turns = Turns::start(2, |_| shell(script));
        for client in 0..2 {
            let reads = || (turns.next_read(LIMIT) == Some(client)).then_some(());
            assert!(eventually(LIMIT, reads).is_some());
        }
        let turns = turns.finish();
        assert!(turns.iter().all(|turn| turn.accepted() == Some((4, 9)) && turn.asked < turn.ended));
        let grant = turns[0].grant().expect("granted");
        assert_eq!((grant.granted, grant.released, grant.token), (1, 2, 7));
    }

    #[test]
    fn a_client_is_stopped_with_all_its_processes_and_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let may_end = folder.path().join("may-end");
        // The group's leader waits for the one that works.
        let work = format!("echo \"$READ\"; while [ ! -e {} ]; do sleep 0.01; done", may_end.display());
        let turns = Turns::start(1, move |_| shell(&format!("sh -c '{work}'; echo x")));
        let client = turns.next_read(LIMIT).expect("it reads");
        turns.stop(client);
        std::fs::write(&may_end, "").expect("written");
        assert_eq!(turns.next_read(Duration::from_millis(300)), None, "it does nothing");
        turns.go_on(client);
        assert!(eventually(LIMIT, || turns.next_read(Duration::from_millis(10))).is_some());
        assert!(turns.finish().len() >= 2);
    }
}
