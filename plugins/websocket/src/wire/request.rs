//! What a client may say.

use super::{Refusal, TOO_DEEP};
use lockstep_plugin_api::change::{MAX_DEPTH, depth};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A message and its `id`, echoed in whatever answers it.
pub(crate) struct Incoming<'a> {
    pub(crate) id: Option<&'a RawValue>,
    pub(crate) request: Result<Request<'a>, Refused>,
}

/// A message that is wrong in itself.
pub(crate) struct Refused {
    pub(crate) by: AnsweredBy,
    pub(crate) refusal: Refusal,
}

/// What tells a client that its message was refused.
pub(crate) enum AnsweredBy {
    Error,
    /// A `config_change_response` about this key.
    Change(String),
    /// A `config_lock_response`, about the key if the message has one.
    Lock(Option<String>),
}

/// What a client asks for.
pub(crate) enum Request<'a> {
    Ping,
    Subscribe(SubscribeRequest),
    Change(ChangeRequest<'a>),
    Lock(LockRequest<'a>),
    /// An unknown or missing type.
    Unknown,
}

pub(crate) struct SubscribeRequest {
    pub(crate) patterns: Vec<String>,
    pub(crate) tenant_id: Option<String>,
    /// The last revision the client has seen: it asks for what it missed.
    pub(crate) since: Option<SeenAt>,
    /// The client asks for the current state.
    pub(crate) snapshot: bool,
}

/// A revision the client has seen.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct SeenAt {
    /// Which log it was; `None` is the one of this connection.
    #[serde(default)]
    pub(crate) epoch: Option<String>,
    pub(crate) revision: u64,
}

pub(crate) struct ChangeRequest<'a> {
    pub(crate) config_key: String,
    /// Absent for a deletion, and where there are operations only.
    pub(crate) new_value: Option<&'a RawValue>,
    /// What the author did to the value.
    pub(crate) ops: Option<&'a RawValue>,
    pub(crate) is_deletion: bool,
    pub(crate) user_id: Option<String>,
    pub(crate) timestamp: Option<String>,
    pub(crate) tenant_id: Option<String>,
    pub(crate) idempotency_key: Option<String>,
    /// What the author had seen.
    pub(crate) base: Option<SeenAt>,
    /// The lease the author holds.
    pub(crate) fence: Option<&'a RawValue>,
}

impl ChangeRequest<'_> {
    /// Refuses what other programs could not read. Said apart from reading, so that it costs nothing before the key is known
    /// to be one.
    pub(crate) fn check_depth(&self) -> Result<(), Refusal> {
        for (path, field) in [("/new_value", self.new_value), ("/ops", self.ops)] {
            if field.is_some_and(|json| depth(json.get()) > MAX_DEPTH) {
                return Err(TOO_DEEP.at(path, "is nested more than 128 levels deep"));
            }
        }
        Ok(())
    }
}

/// `config_lock` or `config_unlock`.
pub(crate) struct LockRequest<'a> {
    pub(crate) kind: LockKind,
    pub(crate) config_key: String,
    pub(crate) user_id: Option<String>,
    pub(crate) tenant_id: Option<String>,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) wait_ms: Option<u64>,
    pub(crate) metadata: Option<&'a RawValue>,
    /// The secret of a session that goes on in this connection.
    pub(crate) session: Option<String>,
}

/// What a message about a lock asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockKind {
    Lock,
    Unlock,
}
