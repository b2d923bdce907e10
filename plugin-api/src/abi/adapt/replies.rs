//! What a source hears about its records, on whatever thread the host tells it.

use crate::{
    abi::{
        Bytes,
        guard::{Contained, answer},
        vtable::{Answer, OutcomeParts, RepliesBox, SourceReplies, SourceReplies_TO},
    },
    context::Fault,
    source::{Outcome, OutcomeResult, Replies},
};
use abi_stable::{
    sabi_trait::prelude::TD_Opaque,
    std_types::{RArc, RVec},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::sync::oneshot;

/// Who waits for the outcome of which id.
#[derive(Default)]
pub(super) struct PendingReplies(Mutex<HashMap<u64, oneshot::Sender<OutcomeResult>>>);

impl PendingReplies {
    pub(super) fn insert(&self, id: u64, reply: oneshot::Sender<OutcomeResult>) {
        self.lock().insert(id, reply);
    }

    fn settle(&self, outcomes: &[Outcome]) {
        let mut pending = self.lock();
        if pending.is_empty() {
            return;
        }
        for outcome in outcomes {
            if let Some(reply) = pending.remove(&outcome.id) {
                // Nobody waits any more: the author's connection is gone.
                let _ = reply.send(outcome.result.clone());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<OutcomeResult>>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The author's ears, entered by many threads and never again after a panic.
struct ReplyAdapter(Contained<Ears>);

struct Ears {
    replies: Box<dyn Replies>,
    pending: Arc<PendingReplies>,
}

pub(super) fn replies_box(
    replies: Box<dyn Replies>,
    pending: Arc<PendingReplies>,
    component: &str,
) -> RepliesBox {
    // The panic of a spawned task is for the source's next `poll` to tell, so these ears do not look for it.
    let ears = Contained::new(Ears { replies, pending }, component, Fault::default());
    SourceReplies_TO::from_ptr(RArc::new(ReplyAdapter(ears)), TD_Opaque)
}

impl SourceReplies for ReplyAdapter {
    fn outcomes(&self, outcomes: RVec<OutcomeParts>) -> Answer<()> {
        let outcomes: Vec<Outcome> = outcomes.into_iter().map(Outcome::from).collect();
        answer(self.0.enter_shared("outcomes", |ears| {
            ears.pending.settle(&outcomes);
            ears.replies.outcomes(outcomes);
            Ok(())
        }))
    }

    fn commit(&self, lane: u32, position: Bytes) -> Answer<()> {
        answer(self.0.enter_shared("commit", |ears| ears.replies.commit(lane, &position)))
    }
}
