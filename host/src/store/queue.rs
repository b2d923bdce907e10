//! Commits on their way to the writer. Bounded in commits and bytes: full means wait, or be refused if one must not wait.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use super::commit::{Commit, Committed};
use super::error::StoreError;

/// Bytes that go into one group, unless its first commit alone is larger: bounds the wait of those behind it.
const GROUP_BYTES: usize = 16 << 20;

pub(super) type Answer = Box<dyn FnOnce(Result<Committed, StoreError>) + Send>;

pub(super) struct Job {
    pub commit: Commit,
    pub n_bytes: usize,
    pub answer: Answer,
}

/// What the writer finds.
pub(super) enum Taken {
    /// Everything that waits, up to a size.
    Group(Vec<Job>),
    /// Nothing until then.
    TimeIsUp,
    /// Nothing, and nothing will come.
    Closed,
}

pub(super) struct Queue {
    max_commits: usize,
    max_bytes: usize,
    state: Mutex<State>,
    arrived: Condvar,
    left: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    n_bytes: usize,
    is_closed: bool,
    /// Waking costs a system call, so it is done only for a writer that sleeps.
    is_writer_asleep: bool,
    /// An answer that commits again must not wait for the thread it runs on.
    writer: Option<ThreadId>,
}

impl Queue {
    pub fn new(max_commits: usize, max_bytes: usize) -> Self {
        let (state, arrived, left) = (Mutex::default(), Condvar::new(), Condvar::new());
        Self { max_commits: max_commits.max(1), max_bytes, state, arrived, left }
    }

    /// Waits for room, then queues; a commit that can never be taken is answered here.
    pub fn push(&self, commit: Commit, answer: Answer) {
        let n_bytes = commit.n_bytes();
        if let Err(error) = self.check_sizes(&commit, n_bytes) {
            return answer(Err(error));
        }
        let mut state = self.lock();
        while self.must_wait(&state, n_bytes) {
            state = self.left.wait(state).expect("no holder of the queue panics");
        }
        self.take_in(state, commit, n_bytes, answer);
    }

    /// Never waits: what there is no room for is answered here.
    pub fn try_push(&self, commit: Commit, answer: Answer) {
        let n_bytes = commit.n_bytes();
        if let Err(error) = self.check_sizes(&commit, n_bytes) {
            return answer(Err(error));
        }
        let state = self.lock();
        if self.must_wait(&state, n_bytes) {
            drop(state);
            return answer(Err(StoreError::Busy));
        }
        self.take_in(state, commit, n_bytes, answer);
    }

    fn must_wait(&self, state: &State, n_bytes: usize) -> bool {
        !state.is_closed && self.is_full(state, n_bytes) && !state.is_writer()
    }

    fn take_in(&self, mut state: MutexGuard<'_, State>, commit: Commit, n_bytes: usize, answer: Answer) {
        if state.is_closed {
            drop(state);
            return answer(Err(StoreError::Closed));
        }
        state.n_bytes += n_bytes;
        state.jobs.push_back(Job { commit, n_bytes, answer });
        let wake = std::mem::take(&mut state.is_writer_asleep);
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
    }

    /// The next group; waits for one, but not past `until`.
    pub fn take_group(&self, until: Option<Instant>) -> Taken {
        let mut state = self.lock();
        state.writer = Some(thread::current().id());
        while state.jobs.is_empty() {
            if state.is_closed {
                return Taken::Closed;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                state.is_writer_asleep = false;
                return Taken::TimeIsUp;
            }
            state.is_writer_asleep = true;
            state = self.sleep(state, left);
        }
        let (mut group, mut group_bytes) = (Vec::new(), 0);
        while let Some(job) = state.jobs.pop_front_if(|job| {
            group_bytes += job.n_bytes;
            group.is_empty() || group_bytes <= GROUP_BYTES
        }) {
            state.n_bytes -= job.n_bytes;
            group.push(job);
        }
        drop(state);
        self.left.notify_all();
        Taken::Group(group)
    }

    fn sleep<'a>(&self, state: MutexGuard<'a, State>, limit: Option<Duration>) -> MutexGuard<'a, State> {
        let awake = match limit {
            Some(limit) => self.arrived.wait_timeout(state, limit).map(|(state, _)| state).ok(),
            None => self.arrived.wait(state).ok(),
        };
        awake.expect("no holder of the queue panics")
    }

    /// Refuses what comes from now on; what waits is still taken.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_all();
        self.left.notify_all();
    }

    /// Refuses what comes from now on, and gives what waits to whoever has to refuse it.
    pub fn close_and_empty(&self) -> VecDeque<Job> {
        self.close();
        std::mem::take(&mut self.lock().jobs)
    }

    /// Whether this is the writer's thread.
    pub fn is_writer(&self) -> bool {
        self.lock().is_writer()
    }

    fn check_sizes(&self, commit: &Commit, n_bytes: usize) -> Result<(), StoreError> {
        commit.check_sizes()?;
        match n_bytes > self.max_bytes {
            true => Err(StoreError::TooLarge { what: "commit", n_bytes, limit: self.max_bytes }),
            false => Ok(()),
        }
    }

    fn is_full(&self, state: &State, n_bytes: usize) -> bool {
        state.jobs.len() >= self.max_commits || state.n_bytes + n_bytes > self.max_bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the queue panics")
    }
}

impl State {
    fn is_writer(&self) -> bool {
        self.writer == Some(thread::current().id())
    }
}
