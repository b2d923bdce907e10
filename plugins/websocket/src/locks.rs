//! Locks over a connection: what the client asks becomes an operation, and its answer the client's.
//!
//! Answers come as they are decided: a client that waits for one lock may ask for others meanwhile. What it asks about one
//! lock is decided in the order it asked.

use crate::{
    server::Server,
    sessions::{LockName, Names},
    subscriptions::ConnectionNumber,
    wire::{self, About, Granted, LockKind},
};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use lockstep_plugin_api::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// How many messages about locks of one connection may be undecided; with so many, nothing more is read from it.
const MAX_UNDECIDED: usize = 64;

/// The messages about locks that have no answer yet.
#[derive(Default)]
pub(crate) struct Undecided {
    running: FuturesUnordered<BoxFuture<'static, (LockName, Utf8Bytes)>>,
    names: HashSet<LockName>,
    /// Behind another one about the same lock.
    waiting: VecDeque<LockTask>,
}

/// One message about a lock.
pub(crate) struct LockTask {
    pub(crate) server: Arc<Server>,
    pub(crate) connection: ConnectionNumber,
    pub(crate) context: Context,
    pub(crate) id: Option<Box<RawValue>>,
    pub(crate) name: LockName,
    pub(crate) kind: LockKind,
    pub(crate) user_id: String,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) wait_ms: Option<u64>,
    pub(crate) metadata: Option<Box<RawValue>>,
    /// The secret of a session that goes on here.
    pub(crate) session: Option<String>,
}

impl Undecided {
    /// Whether another message may be read.
    pub(crate) fn takes_more(&self) -> bool {
        self.running.len() + self.waiting.len() < MAX_UNDECIDED
    }

    /// Begins with a message, or lets it wait for the ones before it.
    pub(crate) fn push(&mut self, task: LockTask) {
        if self.names.insert(task.name.clone()) {
            self.running.push(Box::pin(task.decide()));
        } else {
            self.waiting.push_back(task);
        }
    }

    /// Waits for the next answer; forever if there is nothing to answer. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Utf8Bytes {
        let Some((name, answer)) = self.running.next().await else { return std::future::pending().await };
        self.names.remove(&name);
        if let Some(at) = self.waiting.iter().position(|task| task.name == name)
            && let Some(task) = self.waiting.remove(at)
        {
            self.push(task);
        }
        answer
    }
}

#[derive(Serialize)]
struct Acquire<'a> {
    #[serde(flatten)]
    name: &'a LockName,
    user_id: &'a str,
    session: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
}

/// A lease as the operations show it.
#[derive(Deserialize)]
struct Lease {
    token: u64,
    session: String,
    depth: u32,
    ttl_ms: u64,
    expires_at: Box<RawValue>,
}

#[derive(Deserialize)]
struct Released {
    depth: u32,
}

impl LockTask {
    async fn decide(self) -> (LockName, Utf8Bytes) {
        let sessions = &self.server.sessions;
        let resumed = self.session.as_deref().map(|secret| sessions.resume(secret, self.connection));
        let is_resumed = resumed.is_some();
        let names = match resumed {
            Some(resumed) => resumed.map(|(names, _)| names),
            None => sessions.open(self.connection),
        };
        let answer = match names {
            Err(refusal) => wire::lock_refused(refusal, self.about()),
            Ok(names) => match self.kind {
                LockKind::Lock => self.lock(&names, is_resumed).await,
                LockKind::Unlock => self.unlock(&names).await,
            },
        };
        (self.name, answer)
    }

    fn about(&self) -> About<'_> {
        About { id: self.id.as_deref(), config_key: Some(&self.name.config_key) }
    }

    async fn lock(&self, names: &Names, is_resumed: bool) -> Utf8Bytes {
        let held = if is_resumed { self.held(names).await } else { None };
        let lease = match held {
            Some(lease) => Ok(lease),
            None => self.acquire(names).await,
        };
        match lease {
            Ok(lease) => self.granted(names, &lease),
            Err(error) => self.failed(&error),
        }
    }

    /// The lease that a session which goes on here holds already; it is not taken a second time.
    async fn held(&self, names: &Names) -> Option<Lease> {
        let lease: Option<Lease> = self.context.call("lock.info", &self.name).await.ok()?;
        let lease = lease.filter(|lease| lease.session == names.public)?;
        let arguments = json!({
            "config_key": self.name.config_key, "tenant_id": self.name.tenant_id, "session": names.public,
            "token": lease.token, "ttl_ms": self.ttl_ms,
        });
        self.context.call("lock.extend", &arguments).await.ok()
    }

    async fn acquire(&self, names: &Names) -> Result<Lease> {
        let arguments = Acquire {
            name: &self.name,
            user_id: &self.user_id,
            session: &names.public,
            ttl_ms: self.ttl_ms,
            wait_ms: self.wait_ms,
            metadata: self.metadata.as_deref(),
        };
        // Only what the call takes with it may live across the wait.
        let call =
            self.context.call("lock.acquire", &serde_json::to_value(&arguments).map_err(Error::failed)?);
        call.await
    }

    fn granted(&self, names: &Names, lease: &Lease) -> Utf8Bytes {
        let third = Duration::from_millis(lease.ttl_ms) / 3;
        let period = self.context.sync().heartbeat_interval.min(third);
        self.server.sessions.hold(&names.public, self.name.clone(), lease.token, period);
        let Lease { token, depth, expires_at, .. } = lease;
        let granted = Granted { token: *token, session: &names.secret, depth: *depth, expires_at };
        wire::lock_granted(granted, self.about())
    }

    async fn unlock(&self, names: &Names) -> Utf8Bytes {
        let arguments = json!({
            "config_key": self.name.config_key, "tenant_id": self.name.tenant_id, "session": names.public,
        });
        let released: Result<Released> = self.context.call("lock.release", &arguments).await;
        let is_gone = match &released {
            Ok(released) => released.depth == 0,
            Err(error) => error.code() == Some("not_found"),
        };
        if is_gone {
            self.server.sessions.let_go(&names.public, &self.name);
        }
        match released {
            Ok(Released { depth }) => wire::lock_released(depth, self.about()),
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&self, error: &Error) -> Utf8Bytes {
        if error.kind() == ErrorKind::UNSUPPORTED {
            return wire::lock_refused(wire::NO_LOCKS, self.about());
        }
        wire::lock_failed(error, self.about())
    }
}
