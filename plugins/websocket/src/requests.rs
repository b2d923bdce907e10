//! What one client asks for, and the answers.

use crate::{
    outbox::Outbox,
    server::{Connection, Intake, MAX_BYTES_IN_PIPELINE},
    unanswered::{Asked, Fate, PendingFate},
    wire::{self, About, ChangeRequest, Refusal, Request, SubscribeRequest},
};
use futures_util::future::BoxFuture;
use lockstep_plugin_api::{
    names::{key_problem, tenant_problem},
    prelude::*,
    time,
};
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// What became of a message.
pub(crate) enum Handled {
    /// It was understood, and answered if there was something to answer.
    Done,
    /// The client sent something wrong; it was told so.
    Bad,
    /// It was a change that cannot be taken; its answer has a place among the others.
    Refused { asked: Asked, refusal: Refusal },
    /// It was a change, and is on its way into the pipeline.
    Entering { asked: Asked, entering: BoxFuture<'static, PendingFate> },
}

impl Connection {
    /// Handles the text of one frame.
    pub(crate) fn handle(&self, text: &str, rate: Result<(), Duration>) -> Handled {
        let incoming = match wire::read(text) {
            Ok(incoming) => incoming,
            Err(refusal) => return self.refuse(refusal, None),
        };
        let id = incoming.id;
        if let Err(wait) = rate {
            self.push(wire::error(wire::RATE_LIMITED, id, Some(wait)));
            return Handled::Done;
        }
        match incoming.request {
            Err(refusal) => self.refuse(refusal, id),
            Ok(Request::Unknown) => Handled::Done,
            Ok(Request::Ping) => {
                self.push(wire::pong());
                Handled::Done
            }
            Ok(Request::Subscribe(request)) => match self.subscribe(request, id) {
                Ok(()) => Handled::Done,
                Err(refusal) => self.refuse(refusal, id),
            },
            Ok(Request::Lock(request)) => {
                let about = About { id, config_key: request.config_key.as_deref() };
                self.push(wire::lock_refused(wire::NO_LOCKS, about));
                Handled::Done
            }
            Ok(Request::Change(request)) => self.change(request, id),
        }
    }

    /// Tells the client that its message was wrong.
    pub(crate) fn refuse(&self, refusal: Refusal, id: Option<&RawValue>) -> Handled {
        self.push(wire::error(refusal, id, None));
        if refusal.is_clients_fault() { Handled::Bad } else { Handled::Done }
    }

    fn subscribe(&self, request: SubscribeRequest, id: Option<&RawValue>) -> Result<(), Refusal> {
        if request.patterns.len() > self.server.settings.max_patterns {
            return Err(wire::TOO_MANY_PATTERNS);
        }
        let globs = request.patterns.iter().map(|pattern| Glob::new(pattern)).collect::<Result<_, _>>();
        let globs = globs.map_err(|_| wire::BAD_PATTERN)?;
        let tenant = self.tenant(request.tenant_id)?;
        if request.wants_history {
            return Err(wire::NO_HISTORY);
        }
        let mut subscriptions = self.server.subscriptions();
        subscriptions.replace(self.number, &self.outbox, tenant.as_deref(), globs);
        if let Some(id) = id {
            // Before anything of the new patterns, and after everything of the old ones.
            self.push(wire::subscribed(id, &request.patterns));
        }
        Ok(())
    }

    /// The tenant of a message: the connection's own, or without one the message's.
    fn tenant(&self, asked: Option<String>) -> Result<Option<String>, Refusal> {
        match (&self.tenant, asked) {
            (_, Some(asked)) if tenant_problem(&asked).is_some() => Err(wire::BAD_TENANT),
            (Some(own), Some(asked)) if *own != asked => Err(wire::OTHER_TENANT),
            (own, asked) => Ok(asked.or_else(|| own.clone())),
        }
    }

    fn change(&self, request: ChangeRequest<'_>, id: Option<&RawValue>) -> Handled {
        let (id, config_key) = (id.map(RawValue::to_owned), request.config_key.clone());
        let event = Uuid::now_v7();
        let ready = self.to_change(request, event).and_then(|change| Ok((change, self.emitter()?)));
        match ready {
            Ok((change, emitter)) => {
                self.server.metrics.changes.add(1);
                self.outbox.expect_answer(event);
                let entering = Box::pin(enter(change, emitter, self.server.room.clone()));
                Handled::Entering { asked: Asked { event: Some(event), id, config_key }, entering }
            }
            Err(refusal) => Handled::Refused { asked: Asked { event: None, id, config_key }, refusal },
        }
    }

    fn emitter(&self) -> Result<Emitter, Refusal> {
        match self.server.intake() {
            Intake::Open(emitter) => Ok(emitter),
            Intake::ReadOnly => Err(wire::READ_ONLY),
            Intake::Closed => Err(wire::UNAVAILABLE),
        }
    }

    fn to_change(&self, request: ChangeRequest<'_>, event: Uuid) -> Result<Change, Refusal> {
        if key_problem(&request.config_key).is_some() {
            return Err(wire::BAD_KEY);
        }
        request.check_depth()?;
        let value = request.new_value.map_or("null", RawValue::get);
        if value.len() > self.server.settings.max_value_bytes {
            return Err(wire::TOO_LARGE);
        }
        if request.wants_history {
            return Err(wire::NO_BASE);
        }
        let timestamp_us = match &request.timestamp {
            Some(text) => time::parse_us(text).map_err(|_| wire::BAD_FIELD)?,
            None => time::now_us(),
        };
        let tenant = self.tenant(request.tenant_id)?;
        let new_value = Json::parse(value).map_err(|_| wire::BAD_FIELD)?;
        let mut change = Change::new(request.config_key, new_value);
        if request.new_value.is_none() {
            change.set_event_type(lockstep_plugin_api::change::CONFIG_DELETED);
        }
        change.set_user_id(Some(request.user_id.unwrap_or_else(|| "anonymous".to_owned()).into()));
        change.set_timestamp_us(Some(timestamp_us));
        change.set_source_node(Some(self.server.node_id.as_str().into()));
        change.set_event_id(Some(event.to_string().into()));
        change.set_idempotency_key(request.idempotency_key.map(Text::from));
        change.set_tenant_id(tenant.map(Text::from));
        Ok(change)
    }
}

/// Puts a change into the pipeline, waiting for room: in bytes among all connections here, in records in the emitter.
async fn enter(change: Change, emitter: Emitter, room: Arc<Semaphore>) -> PendingFate {
    let n_bytes = change.size().min(MAX_BYTES_IN_PIPELINE) as u32;
    let permit = room.acquire_many_owned(n_bytes).await;
    match emitter.request(Record::from_change(change)).await {
        Ok(pending) => Box::pin(async move {
            let result = pending.wait().await;
            drop(permit);
            Fate::Decided(result)
        }),
        // The host stopped listening: the change went nowhere.
        Err(_) => Box::pin(std::future::ready(Fate::Refused(wire::UNAVAILABLE))),
    }
}

/// Everything a client subscribes to when it connects (WS-02).
pub(crate) fn everything() -> Vec<Glob> {
    vec![Glob::new("*").expect("`*` is a glob")]
}

/// Sends the message every connection starts with.
pub(crate) fn welcome(outbox: &Arc<Outbox>, connection_id: &str, node_id: &str, naive: bool) {
    outbox.push(wire::connection_established(connection_id, node_id, time::now_us(), naive));
}
