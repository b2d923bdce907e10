//! The way of a change to everybody who wants it: its frame is made once, every outbox gets it, and each task that writes
//! is told once for all that has been queued by then.
//!
//! The sink's thread queues, a task beside the writing ones tells them: waking a task from another thread costs more
//! than queueing for it, and while sockets are written, whatever is queued meanwhile needs no waking of its own.

use crate::{
    metrics::Metrics,
    outbox::{Outbox, Pushed},
    publication::Publication,
    subscriptions::Subscriptions,
    wire,
};
use lockstep_plugin_api::prelude::*;
use std::{
    convert::Infallible,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Who wants what, and how far the log's sink has come.
#[derive(Default)]
pub(crate) struct Fanout {
    state: Mutex<State>,
    /// Outboxes that got something and whose tasks do not know yet, each once.
    untold: Mutex<Vec<Arc<Outbox>>>,
    queued: Notify,
}

/// What is consistent in itself: whoever holds it sees each publication queued for everybody or for nobody.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) subscriptions: Subscriptions,
    /// Everything up to this revision of the log was shown to every live client.
    pub(crate) delivered: u64,
    n_published: u64,
}

impl Fanout {
    /// The subscriptions and the place in the log, for a few lines.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn untold(&self) -> MutexGuard<'_, Vec<Arc<Outbox>>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the tasks that write, for as long as it is polled.
    pub(crate) async fn tell(&self) -> Infallible {
        loop {
            self.queued.notified().await;
            mem::take(&mut *self.untold()).iter().for_each(|outbox| outbox.tell());
        }
    }

    /// Begins to show a batch.
    pub(crate) fn begin<'a>(&'a self, metrics: &'a Metrics, naive: bool) -> Delivery<'a> {
        let delivered = self.state().delivered;
        Delivery { fanout: self, metrics, naive, delivered, untold: Vec::new() }
    }
}

/// A batch on its way; when it is dropped, everybody who got something of it is to be told.
pub(crate) struct Delivery<'a> {
    fanout: &'a Fanout,
    metrics: &'a Metrics,
    naive: bool,
    /// What comes again after the sink was started again was shown before.
    delivered: u64,
    untold: Vec<Arc<Outbox>>,
}

impl Delivery<'_> {
    /// Queues a change, or a notice, for everybody who wants to know of its key, whatever it is that they get.
    ///
    /// The subscriptions stay as they are until it is queued everywhere: nobody is told that new patterns count while a
    /// change of the old ones is still on its way to the queue.
    pub(crate) fn publish(&mut self, change: &Change, form: wire::Form) {
        let revision = form.revision(change);
        if revision.is_some_and(|revision| revision <= self.delivered) {
            return;
        }
        let mut state = self.fanout.state();
        state.n_published += 1;
        let number = state.n_published;
        let mut publication = None;
        state.subscriptions.each(change.tenant_id(), change.config_key(), |_, outbox| {
            let publication =
                publication.get_or_insert_with(|| Arc::new(wire::publication(change, form, self.naive)));
            let pushed = outbox.show(publication, number);
            if pushed != Pushed::Skipped && outbox.is_first_untold() {
                self.untold.push(outbox.clone());
            }
            self.metrics.count(&pushed);
        });
        state.delivered = state.delivered.max(revision.unwrap_or(0));
    }
}

impl Drop for Delivery<'_> {
    fn drop(&mut self) {
        if !self.untold.is_empty() {
            self.fanout.untold().append(&mut self.untold);
            self.fanout.queued.notify_one();
        }
    }
}

/// A page of the log, as one client gets it.
pub(crate) fn page(
    state: &State,
    connection: u32,
    records: &mut [Record],
    naive: bool,
) -> Vec<Arc<Publication>> {
    let mut page = Vec::new();
    for record in records {
        let form = wire::Form::of_entry(record.is_notice());
        let Ok(change) = record.change() else { continue };
        if form.revision(change).is_some()
            && state.subscriptions.wants(connection, change.tenant_id(), change.config_key())
        {
            page.push(Arc::new(wire::publication(change, form, naive)));
        }
    }
    page
}
