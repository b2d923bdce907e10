//! What one client asks for, and the answers.

use crate::{
    locks::LockTask,
    outbox::Outbox,
    server::Connection,
    sessions::LockName,
    unanswered::{Asked, PendingFate},
    wire::{self, About, AnsweredBy, LockRequest, Refusal, Refused, Request, Welcome},
};
use futures_util::future::BoxFuture;
use lockstep_plugin_api::{names::tenant_problem, prelude::*, time};
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};

/// What became of a message.
pub(crate) enum Handled {
    /// It was understood, and answered if there was something to answer.
    Done,
    /// The client sent something wrong; it was told so.
    Bad,
    /// It was a change that cannot be taken; its answer has a place among the others.
    Refused { asked: Asked, refusal: Refusal },
    /// It was about a lock, and is to be decided.
    Locking(Box<LockTask>),
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
            Err(refused) => self.refuse_by(refused, id),
            Ok(Request::Unknown) => Handled::Done,
            Ok(Request::Ping) => {
                self.push(wire::pong());
                Handled::Done
            }
            Ok(Request::Subscribe(request)) => match self.subscribe(request, id) {
                Ok(()) => Handled::Done,
                Err(refusal) => self.refuse(refusal, id),
            },
            Ok(Request::Lock(request)) => self.lock(request, id),
            Ok(Request::Change(request)) => self.change(request, id),
        }
    }

    /// Tells the client that its message was wrong.
    pub(crate) fn refuse(&self, refusal: Refusal, id: Option<&RawValue>) -> Handled {
        self.push(wire::error(refusal, id, None));
        if refusal.is_clients_fault() { Handled::Bad } else { Handled::Done }
    }

    /// The same, by the message that the client waits for.
    fn refuse_by(&self, Refused { by, refusal }: Refused, id: Option<&RawValue>) -> Handled {
        match by {
            AnsweredBy::Error => self.refuse(refusal, id),
            AnsweredBy::Change(config_key) => Handled::Refused {
                asked: Asked { event: None, id: id.map(RawValue::to_owned), config_key },
                refusal,
            },
            AnsweredBy::Lock(config_key) => {
                self.push(wire::lock_refused(refusal, About { id, config_key: config_key.as_deref() }));
                if refusal.is_clients_fault() { Handled::Bad } else { Handled::Done }
            }
        }
    }

    fn lock(&self, request: LockRequest<'_>, id: Option<&RawValue>) -> Handled {
        let by = AnsweredBy::Lock(Some(request.config_key.clone()));
        match self.to_lock_task(request, id) {
            Ok(task) => Handled::Locking(Box::new(task)),
            Err(refusal) => self.refuse_by(Refused { by, refusal }, id),
        }
    }

    fn to_lock_task(&self, request: LockRequest<'_>, id: Option<&RawValue>) -> Result<LockTask, Refusal> {
        let context = self.server.log.source().ok_or(wire::NO_LOCKS)?;
        Refusal::of_key(&request.config_key).map_or(Ok(()), Err)?;
        let tenant_id = self.tenant(request.tenant_id)?;
        Ok(LockTask {
            server: self.server.clone(),
            connection: self.number,
            context,
            id: id.map(RawValue::to_owned),
            name: LockName { config_key: request.config_key, tenant_id },
            kind: request.kind,
            user_id: request.user_id.unwrap_or_else(anonymous),
            ttl_ms: request.ttl_ms,
            wait_ms: request.wait_ms,
            metadata: request.metadata.map(RawValue::to_owned),
            session: request.session,
        })
    }

    /// The tenant of a message: the connection's own, or without one the message's.
    pub(crate) fn tenant(&self, asked: Option<String>) -> Result<Option<String>, Refusal> {
        match (&self.tenant, asked) {
            (_, Some(asked)) if let Some(problem) = tenant_problem(&asked) => {
                Err(wire::BAD_TENANT.at("/tenant_id", problem))
            }
            (Some(own), Some(asked)) if *own != asked => Err(wire::OTHER_TENANT),
            (own, asked) => Ok(asked.or_else(|| own.clone())),
        }
    }
}

/// Everything a client subscribes to when it connects (WS-02).
pub(crate) fn everything() -> Vec<Glob> {
    vec![Glob::new("*").expect("`*` is a glob")]
}

/// Sends the message every connection starts with.
pub(crate) fn welcome(outbox: &Arc<Outbox>, welcome: Welcome<'_>, naive: bool) {
    outbox.push(wire::connection_established(welcome, time::now_us(), naive));
}

/// Who makes a change without saying who.
pub(crate) fn anonymous() -> String {
    "anonymous".to_owned()
}
