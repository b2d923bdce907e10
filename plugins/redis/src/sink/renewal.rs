//! Cells that are written alone: what another program wrote to the stream is committed in the log, stands in the stream
//! already, and is not given to the sink, for it would tell it where it was read.
//!
//! Invariant: a renewal takes the connection of its key, like every write of it, and what is given to the sink later of
//! an older state leaves the cell as it is.

use super::{
    job::{ChangeWrite, Job, JobMaker},
    queue::Queue,
};
use crate::{cell::Digest, source::inbox::Cell};
use lockstep_plugin_api::{prelude::*, tally::Ticket};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What became of a renewal.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The cell shows the newest state, or nothing is written here of the key.
    Shown,
    /// Something else has to come first.
    NotYet,
    /// The server said no.
    Refused(Error),
}

/// How a renewal is carried by its job.
#[derive(Debug)]
pub(crate) struct Renewal {
    /// The cell it may replace; it was found older.
    pub(crate) expected: Option<Digest>,
    /// Told what became of it; when it is dropped, something else has to come first.
    pub(crate) told: oneshot::Sender<Outcome>,
}

impl Renewal {
    /// Tells what became of it.
    pub(crate) fn tell(self, outcome: Outcome) {
        // Who does not wait any more has ended.
        let _ = self.told.send(outcome);
    }
}

/// Where a source asks for cells.
#[derive(Default)]
pub(crate) struct Renewals {
    newest: Option<Newest>,
    queues: Vec<Arc<Queue>>,
}

impl std::fmt::Debug for Renewals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewals").field("queues", &self.queues.len()).finish_non_exhaustive()
    }
}

impl Renewals {
    pub(crate) fn new(newest: Newest, queues: Vec<Arc<Queue>>) -> Self {
        Self { newest: Some(newest), queues }
    }

    /// Lets the cell of a key show its newest state.
    pub(crate) async fn renew(&self, tenant: Option<&str>, key: &str) -> Outcome {
        let Some(newest) = self.newest.clone() else { return Outcome::Shown };
        let mut job = match newest.of(tenant.map(Text::from), key.into()).await {
            Ok(Some(job)) => job,
            Ok(None) => return Outcome::Shown,
            Err(_) => return Outcome::NotYet,
        };
        let (told, outcome) = oneshot::channel();
        job.renewal = Some(Renewal { expected: None, told });
        self.queues[Queue::place(self.queues.len(), job.key)].push(vec![job]);
        outcome.await.unwrap_or(Outcome::NotYet)
    }
}

impl ChangeWrite {
    /// Whether the cell holds another sight of the very change this job writes: hosts that read the same entry of a
    /// program without dots each make a state of it, and the first one's may stay.
    pub(crate) fn is_shown_by(&self, cell: &[u8]) -> bool {
        let Ok(there) = Change::from_json(&Bytes::copy_from_slice(cell)) else { return false };
        there.dot().is_some() && there.event_id().is_some() && there.event_id() == self.event_id()
    }

    /// The cell of this change as it is handed to the source of the place.
    pub(crate) fn offered(&self, cell: Vec<u8>) -> Cell {
        let tenant = self.tenant.as_deref().map(str::to_owned);
        Cell::new(tenant, self.config_key.as_str().into(), cell)
    }
}

/// Where the newest state of a key is found, as this sink gets it.
#[derive(Clone)]
pub(crate) struct Newest {
    context: Context,
    maker: JobMaker,
}

impl Newest {
    pub(crate) fn new(context: Context, maker: JobMaker) -> Self {
        Self { context, maker }
    }

    /// What is to be written for a key now; `None` if the sink is given nothing of it.
    ///
    /// # Errors
    /// The log cannot be read now.
    pub(crate) async fn of(self, tenant: Option<Text>, key: Text) -> Result<Option<Job>> {
        // The log is read from disk.
        let read = tokio::task::spawn_blocking(move || self.read(tenant.as_deref(), &key));
        read.await.unwrap_or_else(|error| Err(Error::failed(error)))
    }

    fn read(&self, tenant: Option<&str>, key: &str) -> Result<Option<Job>> {
        let EntryAt::Entry(entry) = self.context.entry_at(tenant, key, u64::MAX)? else { return Ok(None) };
        let revision = entry.to_change()?.revision();
        let Some(before) = revision.and_then(|revision| revision.checked_sub(1)) else { return Ok(None) };
        let page = self.context.replay(before, Replay::Current, 1)?;
        let is_it = |record: &&Record| {
            let change = record.known_change();
            change.is_some_and(|change| change.config_key() == key && change.tenant_id() == tenant)
        };
        let Some(record) = page.records.iter().find(is_it) else { return Ok(None) };
        // What cannot be written fails where it is given to the sink.
        Ok(self
            .maker
            .job(Ticket { seq: 0, id: 0 }, record)
            .ok()
            .map(|job| Job { tickets: Vec::new(), ..job }))
    }
}
