//! Where another thread stands: the stack of a call that does not come back.
//!
//! The thread is sent a signal and walks its own stack in the handler, storing addresses only; names are looked up
//! afterwards, on the asking thread. Walking allocates nothing, and glibc finds unwind tables without a lock
//! (`_dl_find_object`, since 2.35), so a thread that hangs inside the allocator or the loader can be asked too.

use std::{
    fmt,
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicI32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const MAX_FRAMES: usize = 64;
static FRAMES: [AtomicUsize; MAX_FRAMES] = [const { AtomicUsize::new(0) }; MAX_FRAMES];
static N_FRAMES: AtomicUsize = AtomicUsize::new(0);

/// Whose turn it is to walk: a thread's number, or one of the three below. Only that thread fills the frames, so one that
/// was given up and answers late gives nobody its stack for another's.
static TURN: AtomicI32 = AtomicI32::new(NOBODY);
const NOBODY: i32 = 0;
const WALKING: i32 = -1;
const DONE: i32 = -2;

/// The frames are one buffer for all, so one thread is asked at a time.
static ASKING: Mutex<()> = Mutex::new(());

/// How long to wait for the thread to answer; one that is blocked in the kernel without being interruptible does not. A
/// test's machine may be that busy.
const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 60_000 } else { 500 });

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
    let _asking = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    install_handler();
    if TURN.load(Ordering::Acquire) == WALKING {
        return Stack::Unknown("another thread, which was asked before, has not come to the end of its own");
    }
    TURN.store(thread_id, Ordering::Release);
    // SAFETY: the signal's handler is installed above; a thread that has gone makes this fail, and nothing is sent.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread_id, signal()) };
    if sent != 0 {
        TURN.store(NOBODY, Ordering::Release);
        return Stack::Unknown("the thread has ended");
    }
    let asked_at = Instant::now();
    while TURN.load(Ordering::Acquire) != DONE {
        if asked_at.elapsed() > PATIENCE {
            // Fails where it has just begun, and then it is its turn until it is done.
            let _ = TURN.compare_exchange(thread_id, NOBODY, Ordering::AcqRel, Ordering::Acquire);
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
    // SAFETY: takes nothing and always succeeds; a thread-local of the library may not be touched in a handler.
    let own = unsafe { libc::gettid() };
    if TURN.compare_exchange(own, WALKING, Ordering::AcqRel, Ordering::Acquire).is_err() {
        return;
    }
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
    TURN.store(DONE, Ordering::Release);
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
        let (began, mut stack) = (Instant::now(), String::new());
        while !stack.contains("a_call_that_hangs") && began.elapsed() < Duration::from_secs(60) {
            stack = of_thread(thread).to_string();
        }
        release.send(()).expect("still there");
        hanging.join().expect("no panic");
        assert!(stack.contains("a_call_that_hangs"), "{stack}");
    }

    #[test]
    fn a_thread_that_answers_late_is_not_taken_for_the_one_that_is_asked() {
        let _asking = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
        install_handler();
        TURN.store(i32::MAX, Ordering::Release);
        // SAFETY: the signal's handler is installed.
        assert_eq!(unsafe { libc::raise(signal()) }, 0);
        assert_eq!(TURN.swap(NOBODY, Ordering::AcqRel), i32::MAX, "this one was not asked");
    }
}
