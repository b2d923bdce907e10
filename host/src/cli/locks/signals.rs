//! What users and systems tell this process.
//!
//! Invariant: what it was started not to hear (`nohup`, a shell's `&`) it does not, and nor does what it starts.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::ptr::null;
use std::task::Poll;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// That a process is to end, or something like it.
pub(super) const ENDS: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// The signals that are waited for.
pub(super) struct Signals(Vec<(i32, Signal)>);

impl Signals {
    /// # Errors
    /// If they cannot be received.
    pub fn of(signals: impl IntoIterator<Item = i32>) -> std::io::Result<Self> {
        let heard = signals.into_iter().filter(|number| !is_ignored(*number));
        let heard = heard.map(|number| Ok((number, signal(SignalKind::from_raw(number))?)));
        heard.collect::<std::io::Result<_>>().map(Self)
    }

    /// The number of the next one. Loses none if it is given up.
    pub async fn next(&mut self) -> i32 {
        poll_fn(|context| {
            let come = |(number, signal): &mut (i32, Signal)| {
                signal.poll_recv(context).is_ready().then_some(*number)
            };
            self.0.iter_mut().find_map(come).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: the call changes nothing, and fills the place in if it succeeds.
    unsafe {
        libc::sigaction(signal, null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
