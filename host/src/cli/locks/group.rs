//! A command in a process group of its own, with everything that it starts there.
//!
//! Invariant: it is over only when nobody is left in the group. Who leaves the group (`setsid`, a shell with job control for
//! its jobs) is not known here any more.

use super::terminal::Terminal;
use std::io::{Error, Result};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// How often to look what has become of it.
pub(super) const LOOK: Duration = Duration::from_millis(20);

pub(super) struct Group {
    /// The command's own number, and the group's.
    id: libc::pid_t,
    /// What the command itself ended with.
    status: Option<ExitStatus>,
    terminal: Option<Terminal>,
}

impl Group {
    /// Starts a command. The thread that does has to live as long as the command is to: on Linux, the command is killed with
    /// it, so that it does not go on when this process was killed.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn start(command: &mut Command) -> Result<Self> {
        adopt_orphans();
        command.process_group(0);
        end_with_this_thread(command);
        let child = command.spawn()?;
        let id = libc::pid_t::try_from(child.id()).expect("a process has a number that the system gave");
        Ok(Self { id, status: None, terminal: Terminal::open() })
    }

    /// Takes in what has become of the group; the signal by which it was stopped, if it was just now.
    pub fn look(&mut self) -> Option<i32> {
        let mut stopped = None;
        loop {
            let mut status = 0;
            // This process starts nobody else. Whoever was adopted from outside of the group is waited for too: as long as
            // the command runs, what has ended would stay in the system's table.
            // SAFETY: a plain system call, with a place for its answer.
            let id = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::WUNTRACED) };
            if id <= 0 {
                return stopped;
            }
            if libc::WIFSTOPPED(status) {
                stopped = Some(libc::WSTOPSIG(status)).filter(|_| self.has(id)).or(stopped);
            } else if id == self.id {
                self.status = Some(ExitStatus::from_raw(status));
            }
        }
    }

    /// Whether a child is the command, also where that has gone to another group, or is in its group.
    fn has(&self, child: libc::pid_t) -> bool {
        child == self.id || group_of(child) == self.id
    }

    /// What the command itself ended with, whoever of its group may go on.
    pub fn status(&self) -> Option<ExitStatus> {
        self.status
    }

    /// What the command ended with, if everybody in its group has.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.status.filter(|_| !self.is_there())
    }

    fn is_there(&self) -> bool {
        // SAFETY: a plain system call; no signal is sent.
        let found = unsafe { libc::kill(-self.id, 0) };
        found == 0 || Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
    }

    /// Sends a signal to everybody, and to the command also where it has gone to another group.
    pub fn tell(&self, signal: i32) {
        // SAFETY: plain system calls; while anybody is in the group, its number belongs to nobody else, nor does the
        // command's own before it was waited for.
        unsafe {
            libc::kill(-self.id, signal);
            if self.status.is_none() && group_of(self.id) != self.id {
                libc::kill(self.id, signal);
            }
        }
    }

    /// Waits until everybody has ended, and not longer than this; whether they have.
    pub async fn ends_within(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        loop {
            self.look();
            if self.ended().is_some() {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Lets somebody who was stopped because of the terminal go on with it, if it is this process's to give.
    pub fn has_the_terminal_after(&mut self, stopped_by: i32) -> bool {
        let wants = matches!(stopped_by, libc::SIGTTIN | libc::SIGTTOU);
        let Some(terminal) = self.terminal.as_mut().filter(|_| wants) else { return false };
        let is_lent = terminal.lend_to(self.id);
        if is_lent {
            self.tell(libc::SIGCONT);
        }
        is_lent
    }

    /// Sleeps with the group, which has to be stopped wholly for that, until this process is told to go on.
    pub fn sleep_along(&self, stopped_by: i32) {
        self.tell(libc::SIGSTOP);
        // A stop from the keyboard is caught here, so that it reaches the group.
        let signal = if stopped_by == libc::SIGTSTP { libc::SIGSTOP } else { stopped_by };
        // SAFETY: a plain system call.
        unsafe { libc::raise(signal) };
    }

    /// Goes on, with the terminal if it had that.
    pub fn wake(&mut self) {
        let id = self.id;
        if let Some(terminal) = self.terminal.as_mut().filter(|terminal| terminal.was_lent()) {
            terminal.lend_to(id);
        }
        self.tell(libc::SIGCONT);
    }

    pub fn id(&self) -> libc::pid_t {
        self.id
    }
}

/// The group that a process is in which was not waited for.
fn group_of(process: libc::pid_t) -> libc::pid_t {
    // SAFETY: a plain system call.
    unsafe { libc::getpgid(process) }
}

/// Whoever a command leaves behind becomes a child of this process, which hears of its end; elsewhere that is init's to do.
fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    // SAFETY: a plain system call about this process; it cannot fail since Linux 3.4, and before it changes nothing.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
    };
}

#[cfg(target_os = "linux")]
fn end_with_this_thread(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only system calls are made, which allocate nothing.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(Error::last_os_error());
            }
            // It was killed before that was said.
            match std::os::unix::process::parent_id() == parent {
                true => Ok(()),
                false => Err(Error::from_raw_os_error(libc::ESRCH)),
            }
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_this_thread(_: &mut Command) {}
