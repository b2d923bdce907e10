//! A server as a child process: started until it answers, ended in any way a test wants, started again as it was.

use super::keeper;
use crate::{gate::Busy, lines, wait::eventually};
use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long a server may take until it answers, on a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(180);

/// How long a server may take to end when it is asked to.
const END_LIMIT: Duration = Duration::from_secs(60);

/// How a server is started, and how one sees that it answers.
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) log: PathBuf,
    pub(crate) command: Box<dyn Fn() -> Command + Send + Sync>,
    pub(crate) answers: Box<dyn Fn() -> bool + Send + Sync>,
}

/// A running server. Killed when it is dropped.
pub(crate) struct Daemon {
    recipe: Recipe,
    child: Mutex<Child>,
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon").field("name", &self.recipe.name).field("log", &self.recipe.log).finish()
    }
}

impl Recipe {
    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    /// With the end of its log, if it ends or does not answer in time.
    pub(crate) fn start(self) -> Daemon {
        // A start takes the processors for a while, so it waits for a test that measures.
        let _busy = Busy::new();
        let daemon = Daemon { child: Mutex::new(self.spawn()), recipe: self };
        daemon.wait_until_it_answers();
        daemon
    }

    fn spawn(&self) -> Child {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.unwrap_or_else(|error| panic!("{}: {error}", self.log.display()));
        let mut command = (self.command)();
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        keeper::spawn(command)
    }

    fn log_tail(&self) -> String {
        let log = lines::read(&self.log);
        let lines: Vec<&str> = log.lines().collect();
        format!("--- the end of {}'s log\n{}", self.name, lines[lines.len().saturating_sub(40)..].join("\n"))
    }
}

impl Daemon {
    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.child().id()
    }

    /// Ends it as a crash would (SIGKILL).
    pub(crate) fn kill(&self) {
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// It does nothing from now on, but its connections stay open (SIGSTOP).
    pub(crate) fn stop(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// It goes on where it was stopped (SIGCONT).
    pub(crate) fn cont(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Starts it again with what it has on disk, and waits until it answers. One that still runs is asked to end first.
    pub(crate) fn restart(&self) {
        self.end();
        *self.child() = self.recipe.spawn();
        self.wait_until_it_answers();
    }

    /// Starts it again without waiting until it answers.
    pub(crate) fn restart_unwatched(&self) {
        self.end();
        *self.child() = self.recipe.spawn();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(&self) {
        if self.is_running() {
            self.signal(libc::SIGTERM);
            let ended = eventually(END_LIMIT, || (!self.is_running()).then_some(()));
            assert!(ended.is_some(), "{} did not end\n{}", self.recipe.name, self.recipe.log_tail());
        }
    }

    fn wait_until_it_answers(&self) {
        let name = self.recipe.name;
        let answered = eventually(START_LIMIT, || {
            assert!(self.is_running(), "{name} ended while it started\n{}", self.recipe.log_tail());
            (self.recipe.answers)().then_some(())
        });
        assert!(
            answered.is_some(),
            "{name} did not answer within {START_LIMIT:?}\n{}",
            self.recipe.log_tail()
        );
    }

    fn is_running(&self) -> bool {
        self.child().try_wait().expect("a child can be asked").is_none()
    }

    fn signal(&self, signal: i32) {
        let child = self.child();
        let id = i32::try_from(child.id()).expect("process ids are small");
        // SAFETY: plain system call; whoever waits for the child holds the same lock, so the id is still its own.
        let sent = unsafe { libc::kill(id, signal) };
        assert_eq!(sent, 0, "{} is gone\n{}", self.recipe.name, self.recipe.log_tail());
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.recipe.log_tail());
        }
        self.kill();
    }
}
