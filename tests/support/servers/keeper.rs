//! Starts children that nothing of this process outlives.
//!
//! The system can end a child when the thread that started it ends, so a thread that never does starts all of them. A
//! test process that is killed takes its servers with it.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command},
    sync::{LazyLock, Mutex, PoisonError, mpsc},
};

type Order = (Command, mpsc::SyncSender<io::Result<Child>>);

static KEEPER: LazyLock<Mutex<mpsc::SyncSender<Order>>> = LazyLock::new(|| {
    let (orders, received) = mpsc::sync_channel::<Order>(0);
    let keep = move || {
        for (mut command, answer) in received {
            let _ = answer.send(command.spawn());
        }
    };
    std::thread::Builder::new().name("keeper".to_owned()).spawn(keep).expect("a thread can be started");
    Mutex::new(orders)
});

/// Starts a child that is killed when this process ends, however it ends.
///
/// # Panics
/// If it cannot be started.
pub fn spawn(mut command: Command) -> Child {
    let shown = format!("{command:?}");
    // SAFETY: `prctl` is safe to call between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let (answer, started) = mpsc::sync_channel(1);
    let orders = KEEPER.lock().unwrap_or_else(PoisonError::into_inner);
    orders.send((command, answer)).expect("the keeper lives as long as the process");
    drop(orders);
    let child = started.recv().expect("the keeper answers");
    child.unwrap_or_else(|error| panic!("{shown}: {error}"))
}
