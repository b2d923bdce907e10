//! Where another thread stands: the stack of a call that does not come back.
//!
//! The thread is sent a signal and walks its own stack in the handler, storing addresses only; names are looked up
//! afterwards, on the asking thread. Walking allocates nothing, and glibc finds unwind tables without a lock
//! (`_dl_find_object`, since 2.35), so a thread that hangs inside the allocator or the loader can be asked too.

use std::{
    fmt,
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const MAX_FRAMES: usize = 64;
static FRAMES: [AtomicUsize; MAX_FRAMES] = [const { AtomicUsize::new(0) }; MAX_FRAMES];
static N_FRAMES: AtomicUsize = AtomicUsize::new(0);
static IS_DONE: AtomicBool = AtomicBool::new(false);

/// How long to wait for the thread to answer; one that is blocked in the kernel without being interruptible does not.
const PATIENCE: Duration = Duration::from_millis(500);

/// The calling thread's number, by which its stack can be asked for. Asked of the system once per thread: every call
/// into a plugin needs it.
pub fn thread_id() -> i32 {
    thread_local! {
        // SAFETY: takes nothing and always succeeds.
        static ID: i32 = unsafe { libc::gettid() };
    }
    ID.with(|id| *id)
}

/// A stack as addresses; its names are looked up when it is written out, which may take longer than a call.
#[derive(Debug)]
pub enum Stack {
    Frames(Vec<usize>),
    /// There is none, and why.
    Unknown(&'static str),
}

/// The stack of one of this process's threads, innermost call first.
pub fn of_thread(thread_id: i32) -> Stack {
    // The frames are one buffer for all, so one thread is asked at a time.
    static ASKING: Mutex<()> = Mutex::new(());
    let _asking = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    install_handler();
    N_FRAMES.store(0, Ordering::Relaxed);
    IS_DONE.store(false, Ordering::Release);
    // SAFETY: the signal's handler is installed above; a thread that has gone makes this fail, and nothing is sent.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread_id, signal()) };
    if sent != 0 {
        return Stack::Unknown("the thread has ended");
    }
    let asked_at = Instant::now();
    while !IS_DONE.load(Ordering::Acquire) {
        if asked_at.elapsed() > PATIENCE {
            return Stack::Unknown("the thread does not answer: it is blocked in the kernel");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let n_frames = N_FRAMES.load(Ordering::Relaxed);
    Stack::Frames(FRAMES[..n_frames].iter().map(|frame| frame.load(Ordering::Relaxed)).collect())
}

fn signal() -> i32 {
    libc::SIGRTMIN() + 5
}

fn install_handler() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: a zeroed sigaction is valid, the handler has the type that SA_SIGINFO is not set for, and it calls
        // only what may be called in a handler (see the module's header).
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = walk as extern "C" fn(i32) as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal(), &action, std::ptr::null_mut());
        }
    });
}

extern "C" fn walk(_signal: i32) {
    let mut n_frames = 0;
    // SAFETY: only one thread walks at a time, which is what the synchronized version would ensure with a lock.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            FRAMES[n_frames].store(frame.ip() as usize, Ordering::Relaxed);
            n_frames += 1;
            n_frames < MAX_FRAMES
        });
    }
    N_FRAMES.store(n_frames, Ordering::Relaxed);
    IS_DONE.store(true, Ordering::Release);
}

/// A line per call.
impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frames = match self {
            Self::Frames(frames) => frames,
            Self::Unknown(reason) => return f.write_str(reason),
        };
        for frame in frames {
            let mut result = Ok(());
            backtrace::resolve(*frame as *mut _, |symbol| {
                let Some(name) = symbol.name() else { return };
                let place = symbol.filename().zip(symbol.lineno());
                let place =
                    place.map(|(file, line)| format!(" at {}:{line}", file.display())).unwrap_or_default();
                result = result.and_then(|()| writeln!(f, "{name:#}{place}"));
            });
            result?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[inline(never)]
    fn a_call_that_hangs(until: &mpsc::Receiver<()>) {
        let _ = until.recv();
    }

    #[test]
    fn the_stack_of_a_hanging_thread_names_the_call() {
        let (release, until) = mpsc::sync_channel(1);
        let (tell, told) = mpsc::sync_channel(1);
        let hanging = std::thread::spawn(move || {
            tell.send(thread_id()).expect("asked");
            a_call_that_hangs(&until);
        });
        let thread = told.recv().expect("started");
        std::thread::sleep(Duration::from_millis(50));
        let stack = of_thread(thread).to_string();
        release.send(()).expect("still there");
        hanging.join().expect("no panic");
        assert!(stack.contains("a_call_that_hangs"), "{stack}");
    }
}
