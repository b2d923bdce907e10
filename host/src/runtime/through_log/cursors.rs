//! How far each sink has come in the log.
//!
//! What is known here is newer than what is on disk: it is saved lazily, and a crash re-delivers what was acked since.

use crate::log::{Cursor, Log};
use crate::pipeline::Pipeline;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tracing::{info, warn};

/// How long an ack may be known in memory only.
const SAVE_AFTER: Duration = Duration::from_secs(1);

/// The cursors of one pipeline's sinks.
pub struct Cursors {
    log: Log,
    pipeline: String,
    sinks: Vec<Mutex<Place>>,
}

struct Place {
    sink: String,
    acked: u64,
    saved: u64,
    /// None before the first time: the first ack is saved at once, so that a host which crashes again and again early
    /// goes on.
    saved_at: Option<Instant>,
}

impl Cursors {
    /// Reads where every sink stands. A sink that never ran begins at the beginning, and is kept history for.
    pub fn load(log: &Log, pipeline: &Pipeline) -> Self {
        forget_gone(log, pipeline);
        let cursor = |sink: &str| {
            let known = log.cursors().load(&pipeline.name, sink);
            if known.is_none() {
                log.cursors().save(&pipeline.name, sink, 0);
            }
            let (sink, acked) = (sink.to_owned(), known.unwrap_or(0));
            Mutex::new(Place { sink, acked, saved: acked, saved_at: None })
        };
        let sinks = pipeline.sinks.iter().map(|sink| cursor(&sink.step.name)).collect();
        Self { log: log.clone(), pipeline: pipeline.name.clone(), sinks }
    }

    fn lock(&self, sink: usize) -> MutexGuard<'_, Place> {
        self.sinks[sink].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to where a sink has written.
    pub fn acked(&self, sink: usize) -> u64 {
        self.lock(sink).acked
    }

    /// Whether the sink has never taken anything.
    pub fn is_new(&self, sink: usize) -> bool {
        self.lock(sink).acked == 0
    }

    /// A sink has written everything up to `revision`. Saved if the last time was a while ago.
    pub fn ack(&self, sink: usize, revision: u64) {
        let mut cursor = self.lock(sink);
        cursor.acked = cursor.acked.max(revision);
        if cursor.saved_at.is_none_or(|saved_at| saved_at.elapsed() >= SAVE_AFTER) {
            self.save_moved(&mut cursor);
        }
    }

    /// Nothing was acked for a moment: saves what is due.
    pub fn rest(&self, sink: usize) {
        let mut cursor = self.lock(sink);
        if cursor.saved_at.is_none_or(|saved_at| saved_at.elapsed() >= SAVE_AFTER) {
            self.save_moved(&mut cursor);
        }
    }

    /// Saves the place of a sink that ends.
    pub fn save(&self, sink: usize) {
        self.save_moved(&mut self.lock(sink));
    }

    fn save_moved(&self, cursor: &mut Place) {
        if cursor.acked > cursor.saved {
            self.log.cursors().save(&self.pipeline, &cursor.sink, cursor.acked);
            (cursor.saved, cursor.saved_at) = (cursor.acked, Some(Instant::now()));
        }
    }
}

/// Forgets the places of sinks that are no more, for which history would be kept. Only one pipeline of a host goes through
/// the log, so whatever is not a sink of this one is gone.
fn forget_gone(log: &Log, pipeline: &Pipeline) {
    for cursor in log.cursors().list() {
        let Cursor { pipeline: of, sink, revision } = cursor;
        if of == pipeline.name && pipeline.sinks.iter().any(|step| step.step.name == sink) {
            continue;
        }
        match log.cursors().forget(&of, &sink) {
            Ok(()) => {
                info!(of_pipeline = of, sink, revision, "cursor forgotten, there is no such sink any more")
            }
            Err(error) => {
                warn!(of_pipeline = of, sink, revision, %error, "the cursor of a sink that is gone stays")
            }
        }
    }
}
