//! One client's change, from what it sent to the record that goes into the pipeline.

use crate::{
    requests::{Handled, anonymous},
    server::{Connection, Intake, MAX_BYTES_IN_PIPELINE},
    unanswered::{Asked, Fate, PendingFate},
    wire::{self, ChangeRequest, Refusal, SeenAt},
};
use lockstep_plugin_api::{prelude::*, record::SESSION_HEADER, time};
use serde_json::{json, value::RawValue};
use std::sync::Arc;
use tokio::sync::Semaphore;
use uuid::Uuid;

impl Connection {
    /// Takes a change in, or says why not.
    pub(crate) fn change(&self, request: ChangeRequest<'_>, id: Option<&RawValue>) -> Handled {
        let (id, config_key) = (id.map(RawValue::to_owned), request.config_key.clone());
        let event = Uuid::now_v7();
        let ready = self.to_change(request, event).and_then(|change| Ok((change, self.emitter()?)));
        match ready {
            Ok((change, emitter)) => {
                self.server.metrics.changes.add(1);
                self.outbox.expect_answer(event);
                let entering = Box::pin(enter(self.to_record(change), emitter, self.server.room.clone()));
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
        Refusal::of_key(&request.config_key).map_or(Ok(()), Err)?;
        request.check_depth()?;
        self.check_size(&request)?;
        let base = self.base(&request)?;
        let not_a_time = Refusal::of_field("/timestamp", "must be a time as ISO 8601 has it");
        let timestamp_us = match &request.timestamp {
            Some(text) => time::parse_us(text).map_err(|_| not_a_time)?,
            None => time::now_us(),
        };
        let tenant = self.tenant(request.tenant_id)?;
        let mut change = Change::new(request.config_key, request.new_value.map_or_else(Json::null, json));
        if request.is_deletion {
            change.set_event_type(lockstep_plugin_api::change::CONFIG_DELETED);
        }
        change.set_ops(request.ops.map(json));
        change.set_base(base);
        change.set_fence(request.fence.map(json));
        change.set_user_id(Some(request.user_id.unwrap_or_else(anonymous).into()));
        change.set_timestamp_us(Some(timestamp_us));
        change.set_source_node(Some(self.server.node_id.as_str().into()));
        change.set_event_id(Some(event.to_string().into()));
        change.set_idempotency_key(request.idempotency_key.map(Text::from));
        change.set_tenant_id(tenant.map(Text::from));
        Ok(change)
    }

    fn check_size(&self, request: &ChangeRequest<'_>) -> Result<(), Refusal> {
        for (path, field) in [("/new_value", request.new_value), ("/ops", request.ops)] {
            if field.is_some_and(|json| json.get().len() > self.server.settings.max_value_bytes) {
                return Err(wire::TOO_LARGE.at(path, "has more bytes than `max_value_bytes`"));
            }
        }
        Ok(())
    }

    /// What the author had seen, as the change carries it.
    fn base(&self, request: &ChangeRequest<'_>) -> Result<Option<Json>, Refusal> {
        if request.base.is_none() && request.fence.is_none() && request.ops.is_none() {
            return Ok(None);
        }
        if self.server.log.source().is_none() {
            return Err(wire::NO_BASE);
        }
        let Some(SeenAt { epoch, revision }) = &request.base else { return Ok(None) };
        let epoch = match epoch {
            Some(epoch) => epoch.clone(),
            None => self.server.log.position().ok_or(wire::UNAVAILABLE)?.epoch,
        };
        let base = Json::write(&json!({ "epoch": epoch, "revision": revision }));
        Ok(Some(base.expect("a text and a number can be written")))
    }

    /// The record of a change, with the name of the session it comes from.
    fn to_record(&self, change: Change) -> Record {
        let mut record = Record::from_change(change);
        if let Some(session) = self.server.sessions.public_name(self.number) {
            record.set_header(SESSION_HEADER, session);
        }
        record
    }
}

fn json(raw: &RawValue) -> Json {
    Json::parse(raw.get()).expect("it was read as JSON")
}

/// Puts a change into the pipeline, waiting for room: in bytes among all connections here, in records in the emitter.
async fn enter(record: Record, emitter: Emitter, room: Arc<Semaphore>) -> PendingFate {
    let n_bytes = record.size().min(MAX_BYTES_IN_PIPELINE) as u32;
    let permit = room.acquire_many_owned(n_bytes).await;
    match emitter.request(record).await {
        Ok(pending) => Box::pin(async move {
            let result = pending.wait().await;
            drop(permit);
            Fate::Decided(result)
        }),
        // The host stopped listening: the change went nowhere.
        Err(_) => Box::pin(std::future::ready(Fate::Refused(wire::UNAVAILABLE))),
    }
}
