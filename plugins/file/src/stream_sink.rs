//! Writes to what is not a regular file (standard output, a FIFO, a device) on a thread of its own.
//!
//! Such a write may block for as long as nobody reads. The component then asks the host to come back, and when the same
//! batch comes again it goes on waiting for the write that is under way instead of starting another.

use crate::{config::STANDARD_STREAM, sink_error::refused};
use lockstep_plugin_api::prelude::*;
use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

/// How long one call waits for the reader.
const PATIENCE: Duration = Duration::from_secs(2);

/// A stream that is written to.
#[derive(Debug)]
pub struct StreamSink {
    path: PathBuf,
    batches: SyncSender<Arc<[u8]>>,
    results: Receiver<io::Result<()>>,
    /// The batch the thread is writing.
    under_way: Option<Arc<[u8]>>,
}

impl StreamSink {
    /// Starts the thread; the stream itself is opened by the first write.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub fn open(path: PathBuf) -> Result<Self> {
        let (batches, to_write) = sync_channel(1);
        let (answers, results) = sync_channel(1);
        let stream = path.clone();
        thread::Builder::new()
            .name("file-sink".to_owned())
            .spawn(move || write_batches(&stream, &to_write, &answers))?;
        Ok(Self { path, batches, results, under_way: None })
    }

    /// Writes whole lines.
    ///
    /// # Errors
    /// `Retry` while the reader is behind, `NotConnected` if there is none.
    pub fn write(&mut self, lines: &[u8]) -> Result<()> {
        if let Some(under_way) = &self.under_way {
            let is_same = **under_way == *lines;
            self.wait()?;
            if is_same {
                return Ok(());
            }
        }
        let batch: Arc<[u8]> = Arc::from(lines);
        self.under_way = Some(batch.clone());
        self.batches.send(batch).map_err(|_| Error::fatal("the writing thread has ended"))?;
        self.wait()
    }

    fn wait(&mut self) -> Result<()> {
        match self.results.recv_timeout(PATIENCE) {
            Ok(written) => {
                self.under_way = None;
                written.map_err(|error| refused("write to", &self.path, &error))
            }
            Err(RecvTimeoutError::Timeout) => {
                let message = format!("nobody reads what was written to `{}`", self.path.display());
                Err(Error::retry(Duration::from_millis(100), message))
            }
            Err(RecvTimeoutError::Disconnected) => Err(Error::fatal("the writing thread has ended")),
        }
    }
}

fn write_batches(path: &Path, batches: &Receiver<Arc<[u8]>>, answers: &SyncSender<io::Result<()>>) {
    let mut stream = None;
    while let Ok(batch) = batches.recv() {
        let written = write_batch(path, &mut stream, &batch);
        if written.is_err() {
            // The next try opens it again: a FIFO's reader may have come back.
            stream = None;
        }
        if answers.send(written).is_err() {
            return;
        }
    }
}

fn write_batch(path: &Path, stream: &mut Option<File>, batch: &[u8]) -> io::Result<()> {
    if path == Path::new(STANDARD_STREAM) {
        let mut stdout = io::stdout().lock();
        stdout.write_all(batch)?;
        return stdout.flush();
    }
    let file = match stream {
        Some(file) => file,
        None => stream.insert(File::options().write(true).open(path)?),
    };
    file.write_all(batch)
}
