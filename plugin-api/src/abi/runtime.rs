//! One small tokio runtime per plugin library. The host's own runtime is invisible in here: every library has its own
//! copy of tokio's thread-locals, and `Handle::current` would panic.

use crate::{
    record::Record,
    source::{EMITTED_BYTES, OutcomeResult},
};
use std::sync::OnceLock;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::oneshot,
};

/// A record on its way from an async source to `poll`.
#[derive(Debug)]
pub struct Item {
    pub record: Record,
    pub reply: Option<oneshot::Sender<OutcomeResult>>,
    pub n_bytes: usize,
}

impl Item {
    /// What it takes of the emitters' room in bytes: all of it if it is larger.
    pub fn room(&self) -> usize {
        self.n_bytes.min(EMITTED_BYTES)
    }
}

/// Overrides how many worker threads a plugin library has; 1 is enough to drive sockets.
const THREADS: &str = "LOCKSTEP_PLUGIN_THREADS";

/// The library's runtime, started at the first use and never stopped: a library is never unloaded.
pub fn handle() -> &'static Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            let threads =
                std::env::var(THREADS).ok().and_then(|text| text.parse().ok()).unwrap_or(1_usize).max(1);
            Builder::new_multi_thread()
                .worker_threads(threads)
                .thread_name("plugin-runtime")
                .enable_all()
                .build()
                .expect("the system can start one more thread")
        })
        .handle()
}
