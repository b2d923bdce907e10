//! The terminal that this process was started at: lent to a command that reads it, and taken back in the end.
//!
//! Only who asks for it gets it, by being stopped when it reads: what stands beside this process in a line of the shell
//! (`| less`) can use it until then, and Ctrl-C reaches this process, which passes it on.

use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;

pub(super) struct Terminal {
    file: File,
    /// The group that it was lent to last.
    lent_to: Option<libc::pid_t>,
}

impl Terminal {
    /// The terminal, if there is one.
    pub fn open() -> Option<Self> {
        let file = File::options().read(true).write(true).open("/dev/tty").ok()?;
        Some(Self { file, lent_to: None })
    }

    /// The group that reads it.
    fn reader(&self) -> libc::pid_t {
        // SAFETY: a plain system call on an open file.
        unsafe { libc::tcgetpgrp(self.file.as_raw_fd()) }
    }

    /// Lends it to a group, if it is this process's own or lent already; whether the group has it.
    pub fn lend_to(&mut self, group: libc::pid_t) -> bool {
        // Asked for again when it can be had.
        self.lent_to = Some(group);
        let reader = self.reader();
        reader == group || (reader == own_group() && self.give_to(group))
    }

    pub fn was_lent(&self) -> bool {
        self.lent_to.is_some()
    }

    fn give_to(&self, group: libc::pid_t) -> bool {
        // Who is not the reader is stopped when it says who is to be, unless it does not hear that.
        without_stop(|| {
            // SAFETY: a plain system call on an open file.
            unsafe { libc::tcsetpgrp(self.file.as_raw_fd(), group) == 0 }
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.lent_to.is_some_and(|group| group == self.reader()) {
            self.give_to(own_group());
        }
    }
}

fn own_group() -> libc::pid_t {
    // SAFETY: a plain system call, which cannot fail.
    unsafe { libc::getpgrp() }
}

/// Does something while this thread does not hear `SIGTTOU`.
fn without_stop<T>(act: impl FnOnce() -> T) -> T {
    let (mut stop, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: the sets are places for what these calls write, and read only after that.
    unsafe {
        libc::sigemptyset(stop.as_mut_ptr());
        libc::sigaddset(stop.as_mut_ptr(), libc::SIGTTOU);
        libc::pthread_sigmask(libc::SIG_BLOCK, stop.as_ptr(), before.as_mut_ptr());
        let done = act();
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), null_mut());
        done
    }
}
