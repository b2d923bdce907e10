//! Calls into plugins that do not come back.
//!
//! Every call runs inside [`Watched::call`], which notes when it began. One thread per host looks at all of them; a call
//! that outlives the limit is reported with its stack, its component is dead, and what it answers later is ignored.

use super::stack;
use crate::telemetry::Histogram;
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tracing::warn;

/// A call into a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Call {
    New = 1,
    Poll,
    Apply,
    Put,
    Acked,
    Flush,
    Outcomes,
    Commit,
    Drop,
}

impl Call {
    const ALL: [Self; 9] = [
        Self::New,
        Self::Poll,
        Self::Apply,
        Self::Put,
        Self::Acked,
        Self::Flush,
        Self::Outcomes,
        Self::Commit,
        Self::Drop,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Poll => "poll",
            Self::Apply => "apply",
            Self::Put => "put",
            Self::Acked => "acked",
            Self::Flush => "flush",
            Self::Outcomes => "outcomes",
            Self::Commit => "commit",
            Self::Drop => "drop",
        }
    }
}

/// A call that outlived the watchdog.
#[derive(Debug, Clone)]
pub struct Hung {
    pub call: Call,
    pub after: Duration,
    pub stack: String,
}

/// The call came back after its component had been given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenUp;

/// The calls of one component, one at a time, watched.
pub struct Watched {
    component: String,
    durations: Option<Histogram>,
    call: AtomicU8,
    /// When the call began, in nanoseconds since `epoch`; 0 when none is under way.
    began: AtomicU64,
    epoch: Instant,
    thread: AtomicI32,
    is_slow: AtomicBool,
    is_given_up: AtomicBool,
    on_hung: Box<dyn Fn(Hung) + Send + Sync>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watched({})", self.component)
    }
}

impl Watched {
    /// Runs a call; its answer counts only if it comes within the limit.
    pub fn call<T>(&self, call: Call, run: impl FnOnce() -> T) -> Result<T, GivenUp> {
        if self.is_given_up.load(Ordering::Acquire) {
            return Err(GivenUp);
        }
        let began = Instant::now();
        self.thread.store(stack::thread_id(), Ordering::Relaxed);
        self.call.store(call as u8, Ordering::Relaxed);
        let since_epoch = began.duration_since(self.epoch).as_nanos() as u64;
        self.began.store(since_epoch.max(1), Ordering::Release);
        let answer = run();
        self.began.store(0, Ordering::Release);
        if let Some(durations) = &self.durations {
            durations.observe(began.elapsed());
        }
        if self.is_given_up.load(Ordering::Acquire) { Err(GivenUp) } else { Ok(answer) }
    }

    pub fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Acquire)
    }

    fn look(&self, limits: Limits) {
        let began = self.began.load(Ordering::Acquire);
        if began == 0 || self.is_given_up() {
            self.is_slow.store(false, Ordering::Relaxed);
            return;
        }
        let after = self.epoch.elapsed().saturating_sub(Duration::from_nanos(began));
        let number = self.call.load(Ordering::Relaxed);
        let Some(call) = Call::ALL.into_iter().find(|call| *call as u8 == number) else { return };
        if after >= limits.watchdog {
            self.give_up(call, after, began);
        } else if after >= limits.call_timeout && !self.is_slow.swap(true, Ordering::Relaxed) {
            warn!(
                component = self.component,
                call = call.name(),
                seconds = after.as_secs(),
                "a plugin call is slow"
            );
        }
    }

    fn give_up(&self, call: Call, after: Duration, began: u64) {
        let stack = stack::of_thread(self.thread.load(Ordering::Relaxed));
        // It may have come back while its stack was taken.
        if self.began.load(Ordering::Acquire) == began {
            self.is_given_up.store(true, Ordering::Release);
            (self.on_hung)(Hung { call, after, stack: stack.to_string() });
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    watchdog: Duration,
    call_timeout: Duration,
}

/// The thread that looks at every call. Cheap to clone; the thread ends when the last handle is gone.
#[derive(Debug, Clone)]
pub struct Watchdog {
    watched: Arc<Mutex<Vec<Weak<Watched>>>>,
}

impl Watchdog {
    /// Starts looking: a call that takes `call_timeout` is logged, one that takes `watchdog` is given up.
    pub fn start(watchdog: Duration, call_timeout: Duration) -> Self {
        let watched = Arc::new(Mutex::new(Vec::new()));
        let weak = Arc::downgrade(&watched);
        let limits = Limits { watchdog, call_timeout };
        let pace = (watchdog / 8).clamp(Duration::from_millis(10), Duration::from_millis(500));
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || look_at_all(&weak, limits, pace))
            .expect("the system can start one more thread");
        Self { watched }
    }

    /// Watches the calls of one component; `on_hung` is called at most once, from the watchdog's thread.
    pub fn watch(
        &self,
        component: impl Into<String>,
        durations: Option<Histogram>,
        on_hung: impl Fn(Hung) + Send + Sync + 'static,
    ) -> Arc<Watched> {
        let watched = Arc::new(Watched {
            component: component.into(),
            durations,
            call: AtomicU8::new(0),
            began: AtomicU64::new(0),
            epoch: Instant::now(),
            thread: AtomicI32::new(0),
            is_slow: AtomicBool::new(false),
            is_given_up: AtomicBool::new(false),
            on_hung: Box::new(on_hung),
        });
        let mut all = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|watched| watched.strong_count() > 0);
        all.push(Arc::downgrade(&watched));
        watched
    }
}

fn look_at_all(all: &Weak<Mutex<Vec<Weak<Watched>>>>, limits: Limits, pace: Duration) {
    while let Some(all) = all.upgrade() {
        let watched: Vec<_> =
            all.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect();
        drop(all);
        for watched in watched {
            watched.look(limits);
        }
        std::thread::sleep(pace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_call_that_hangs_is_reported_with_its_stack_and_its_answer_ignored() {
        let patient = Watchdog::start(Duration::from_secs(3600), Duration::from_secs(60));
        assert_eq!(patient.watch("quick", None, |hung| panic!("{hung:?}")).call(Call::New, || 1), Ok(1));
        let watchdog = Watchdog::start(Duration::from_millis(100), Duration::from_millis(50));
        let (tell, told) = mpsc::sync_channel(1);
        let watched = watchdog.watch("slow", None, move |hung| tell.send(hung).expect("somebody listens"));
        let mut hung = None;
        let until_told = || hung = told.recv_timeout(Duration::from_secs(120)).ok();
        assert_eq!(watched.call(Call::Apply, until_told), Err(GivenUp));
        let hung = hung.expect("reported");
        assert_eq!(hung.call, Call::Apply);
        assert!(hung.after >= Duration::from_millis(100) && hung.stack.contains("recv_timeout"), "{hung:?}");
        assert_eq!(watched.call(Call::Apply, || 1), Err(GivenUp), "it is not entered again");
    }
}
