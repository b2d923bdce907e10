//! `fsync: interval`: a thread that brings what was written to the disk every so often, also when nothing more comes.

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use tracing::error;

/// Syncs one file until it is dropped, and a last time then.
#[derive(Debug)]
pub struct Syncer {
    is_dirty: Arc<AtomicBool>,
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub fn start(file: Arc<File>, path: PathBuf, every: Duration) -> io::Result<Self> {
        let is_dirty = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = sync_channel::<()>(0);
        let dirty = is_dirty.clone();
        let run = move || {
            loop {
                let ends = stopped.recv_timeout(every) != Err(RecvTimeoutError::Timeout);
                if dirty.swap(false, Ordering::AcqRel)
                    && let Err(error) = file.sync_data()
                {
                    // The records count as written already; all that is left is to say so and to try again.
                    error!(path = %path.display(), %error, "lines that were written may not reach the disk");
                    dirty.store(true, Ordering::Release);
                }
                if ends {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("file-sync".to_owned()).spawn(run)?;
        Ok(Self { is_dirty, stop: Some(stop), thread: Some(thread) })
    }

    /// Something was written.
    pub fn mark_dirty(&self) {
        self.is_dirty.store(true, Ordering::Release);
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
