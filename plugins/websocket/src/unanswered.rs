//! The changes of one connection that have no answer yet. Answers come in the order the changes came.

use crate::wire::{self, About, Refusal};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesOrdered};
use lockstep_plugin_api::prelude::*;
use serde_json::value::RawValue;
use std::collections::VecDeque;
use tokio::select;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

/// How many changes of one connection may be unanswered; with so many, nothing more is read from it.
pub(crate) const MAX_UNANSWERED: usize = 64;

/// What an answer has to repeat.
pub(crate) struct Asked {
    /// The change's identity, if it goes into the pipeline.
    pub(crate) event: Option<Uuid>,
    pub(crate) id: Option<Box<RawValue>>,
    pub(crate) config_key: String,
}

/// What became of a change.
pub(crate) enum Fate {
    /// It never went into the pipeline.
    Refused(Refusal),
    /// What the pipeline made of it.
    Decided(OutcomeResult),
}

/// What became of a change, later.
pub(crate) type PendingFate = BoxFuture<'static, Fate>;

/// The text of an answer.
pub(crate) struct Answer {
    pub(crate) event: Option<Uuid>,
    pub(crate) text: Utf8Bytes,
}

/// The changes without an answer.
#[derive(Default)]
pub(crate) struct Unanswered {
    /// One for each of `fates`, and for `entering` at the end.
    asked: VecDeque<Asked>,
    fates: FuturesOrdered<PendingFate>,
    /// The change that waits for room in the pipeline: one at a time, so that none overtakes another.
    entering: Option<BoxFuture<'static, PendingFate>>,
}

impl Unanswered {
    /// Whether another message may be read.
    pub(crate) fn takes_more(&self) -> bool {
        self.entering.is_none() && self.asked.len() < MAX_UNANSWERED
    }

    /// Adds a change that was refused; only if [`Unanswered::takes_more`].
    pub(crate) fn push_refused(&mut self, asked: Asked, refusal: Refusal) {
        self.asked.push_back(asked);
        self.fates.push_back(Box::pin(std::future::ready(Fate::Refused(refusal))));
    }

    /// Adds a change on its way into the pipeline; only if [`Unanswered::takes_more`].
    pub(crate) fn push_entering(&mut self, asked: Asked, entering: BoxFuture<'static, PendingFate>) {
        self.asked.push_back(asked);
        self.entering = Some(entering);
    }

    /// Waits for the next answer, or for a change to be in the pipeline (`None`), after which another may be read.
    /// Waits forever if there is nothing to answer. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Answer> {
        select! {
            biased;
            fate = entered(&mut self.entering) => {
                self.fates.push_back(fate);
                None
            }
            Some(fate) = self.fates.next() => {
                let asked = self.asked.pop_front().expect("every fate was asked for");
                Some(asked.answer(&fate))
            }
        }
    }

    /// Whether everything is answered.
    pub(crate) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Answers whatever is left: nobody will decide it any more.
    pub(crate) fn give_up(&mut self) -> impl Iterator<Item = Answer> {
        self.fates.clear();
        self.entering = None;
        self.asked.drain(..).map(|asked| asked.answer(&Fate::Refused(wire::UNAVAILABLE)))
    }
}

/// Waits for the change to be in the pipeline; forever if there is none.
async fn entered(entering: &mut Option<BoxFuture<'static, PendingFate>>) -> PendingFate {
    let Some(future) = entering else { return std::future::pending().await };
    let fate = future.await;
    *entering = None;
    fate
}

impl Asked {
    fn answer(&self, fate: &Fate) -> Answer {
        let about = About { id: self.id.as_deref(), config_key: Some(&self.config_key) };
        let text = match fate {
            Fate::Refused(refusal) => wire::refused(*refusal, about),
            Fate::Decided(result) => wire::outcome(result, about),
        };
        Answer { event: self.event, text }
    }
}
