//! Cells on their way into the log: each was handed to the source of its place, and the records that met it wait here until
//! the host has committed it.
//!
//! What a state with a dot showed is joined by then, and the join follows as an entry of its own: the records are done.
//! What a program without dots left says nothing about what it knew: after it is committed the key's newest state is
//! written over it.

use super::{
    job::{Job, Write},
    renewal::Newest,
};
use crate::{
    cell::{Digest, KeyNumber},
    source::inbox::Inbox,
};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use lockstep_plugin_api::tally::Ticket;
use std::{collections::HashMap, sync::Arc};

/// What became of a cell that was handed over.
pub(crate) enum Received {
    /// The log knows it; these records are done.
    Known { tickets: Vec<Ticket> },
    /// The log knows it; this is to be written over it.
    Rewrite { job: Box<Job>, cell: Digest },
    /// The source has ended first.
    Lost { jobs: Vec<Job> },
}

/// The cells that one connection has handed over.
pub(crate) struct Receptions {
    waiting: HashMap<KeyNumber, Vec<Job>>,
    cells: FuturesUnordered<BoxFuture<'static, Heard>>,
    newest: Newest,
}

struct Heard {
    key: KeyNumber,
    is_committed: bool,
    /// The cell, if it was a foreign one, and what is to be written over it.
    rewrite: Option<(Digest, Option<Job>)>,
}

impl Receptions {
    pub(crate) fn new(newest: Newest) -> Self {
        Self { waiting: HashMap::new(), cells: FuturesUnordered::new(), newest }
    }

    /// Lets the job wait for a cell of its key that is on its way already.
    ///
    /// # Errors
    /// The job, if there is none.
    pub(crate) fn join(&mut self, job: Job) -> Result<(), Job> {
        match self.waiting.get_mut(&job.key) {
            Some(jobs) => {
                jobs.push(job);
                Ok(())
            }
            None => Err(job),
        }
    }

    /// Hands a cell over and lets the job wait for it.
    ///
    /// # Errors
    /// The job, if the source takes nothing any more.
    pub(crate) fn begin(
        &mut self,
        job: Job,
        cell: Vec<u8>,
        is_foreign: bool,
        source: &Arc<Inbox>,
    ) -> Result<(), Job> {
        let Write::Change(change) = &job.write else { return Err(job) };
        let (tenant, key) = (change.tenant.clone(), change.config_key.clone());
        let digest = Digest::of(&cell);
        let Some(committed) = source.offer(change.offered(cell)) else { return Err(job) };
        let (number, newest) = (job.key, self.newest.clone());
        self.waiting.insert(number, vec![job]);
        self.cells.push(
            async move {
                let is_committed = committed.await.is_ok();
                let rewrite = match is_committed && is_foreign {
                    true => Some((digest, newest.of(tenant, key).await.ok().flatten())),
                    false => None,
                };
                Heard { key: number, is_committed, rewrite }
            }
            .boxed(),
        );
        Ok(())
    }

    /// Waits for the next cell the host has committed; `None` if none is on its way. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Received> {
        let Heard { key, is_committed, rewrite } = self.cells.next().await?;
        let jobs = self.waiting.remove(&key).unwrap_or_default();
        if !is_committed {
            return Some(Received::Lost { jobs });
        }
        let tickets = jobs.into_iter().flat_map(|job| job.tickets).collect();
        Some(match rewrite {
            Some((cell, Some(job))) => Received::Rewrite { job: Box::new(Job { tickets, ..job }), cell },
            Some((_, None)) | None => Received::Known { tickets },
        })
    }
}
