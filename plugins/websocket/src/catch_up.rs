//! How a client that is behind comes to where the sink is: pages of the log, as fast as it reads, and then the switch.
//!
//! The switch is made while nobody publishes: it is made only if everything that was shown to others was read, so nothing
//! is missing, and what was read is not shown again, so nothing comes twice.

use crate::{
    fanout,
    outbox::{Behind, Reading, Reason, Then},
    server::Connection,
    wire,
};
use lockstep_plugin_api::prelude::*;
use std::{convert::Infallible, time::Duration};
use tokio::{task::spawn_blocking, time::sleep};
use tracing::{debug, warn};

/// How many entries are read at once.
const PAGE: u32 = 256;
/// How many pages are read at the same time, whoever asks.
pub(crate) const MAX_PAGES: usize = 4;
/// When to try again after the log could not be read.
const AGAIN: Duration = Duration::from_secs(1);

/// Brings the client up whenever it is behind. Cancel-safe.
pub(crate) async fn keep_up(connection: &Connection) -> Infallible {
    loop {
        let behind = connection.outbox.behind().await;
        // Boxed, so that an idle connection does not keep the memory this needs.
        Box::pin(connection.catch_up(behind)).await;
    }
}

impl Connection {
    async fn catch_up(&self, behind: Behind) {
        let Some(log) = self.server.log.history() else { return sleep(AGAIN).await };
        match behind.reading {
            Reading::Resync(reason) => self.resync(behind, reason).await,
            Reading::Snapshot { after, through } => {
                if let Some(page) = self.read(log, after, Replay::Current).await {
                    self.push_state(behind, page, through);
                }
            }
            Reading::History { after } => match self.read(log, after, Replay::History).await {
                Some(page) if page.compacted.is_some_and(|compacted| after < compacted) => {
                    self.resync(behind, Reason::Compacted).await;
                }
                Some(page) => self.push_history(behind, page),
                None => {}
            },
        }
    }

    /// Says that something is left out: the state of now comes, and then everything after it.
    async fn resync(&self, behind: Behind, reason: Reason) {
        let Some(LogPosition { epoch, head, .. }) = self.server.log.position() else {
            return sleep(AGAIN).await;
        };
        debug!(connection = self.name(), reason = reason.name(), "resync");
        self.server.metrics.resyncs.add(1);
        let message = wire::resync(&epoch, head, reason.name());
        let reading = Reading::Snapshot { after: 0, through: head };
        self.server.metrics.count(&self.outbox.resync(behind, message, reading));
    }

    /// Waits for room and for its turn, and reads a page. `None` is for trying again.
    async fn read(&self, log: Context, after: u64, what: Replay) -> Option<Replayed> {
        if !self.outbox.has_room(self.server.settings.ping_timeout).await {
            self.server.metrics.count(&self.outbox.give_up());
            return None;
        }
        let turn = self.server.pages.acquire().await.expect("the semaphore is never closed");
        let read = spawn_blocking(move || log.replay(after, what, PAGE)).await;
        drop(turn);
        match read {
            Ok(Ok(page)) => Some(page),
            Ok(Err(error)) => {
                warn!(%error, "cannot read the log for a subscriber");
                sleep(AGAIN).await;
                None
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn push_state(&self, behind: Behind, mut page: Replayed, through: u64) {
        let Replayed { through: read_through, is_end, .. } = page;
        page.records.retain_mut(|record| {
            record.change().is_ok_and(|change| change.revision().is_some_and(|revision| revision <= through))
        });
        let then = if is_end || read_through >= through {
            Reading::History { after: through }
        } else {
            Reading::Snapshot { after: read_through, through }
        };
        self.push_page(behind, page, |_| Then::Read(then));
    }

    fn push_history(&self, behind: Behind, page: Replayed) {
        let Replayed { through, is_end, .. } = page;
        let epoch = self.server.log.position().filter(|_| is_end).map(|position| position.epoch);
        self.push_page(behind, page, |delivered| match epoch {
            Some(epoch) if through >= delivered => {
                Then::Live { after: through, bookmark: wire::bookmark(&epoch, through) }
            }
            _ => Then::Read(Reading::History { after: through }),
        });
    }

    fn push_page(&self, behind: Behind, mut page: Replayed, then: impl FnOnce(u64) -> Then) {
        let state = self.server.fanout.state();
        let naive = self.server.settings.naive_timestamps;
        let wanted = fanout::page(&state, self.number, &mut page.records, naive);
        let pushed = self.outbox.push_page(behind, &wanted, then(state.delivered));
        self.server.metrics.count(&pushed);
    }
}
