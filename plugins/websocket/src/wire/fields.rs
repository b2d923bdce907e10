//! From the text of a frame to what it asks for. Every field is taken as raw JSON first, so that a message of an unknown type
//! is ignored whatever its fields hold, and an answer can carry the `id` and the key of a message whose other fields are
//! wrong.

use super::{
    METADATA_TOO_LARGE, NOT_JSON, Refusal,
    request::{
        AnsweredBy, ChangeRequest, Incoming, LockKind, LockRequest, Refused, Request, SeenAt,
        SubscribeRequest,
    },
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The longest `user_id` or `idempotency_key`.
const MAX_NAME_BYTES: usize = 256;
/// The longest `id`, as JSON.
const MAX_ID_BYTES: usize = 128;
/// The most a lock's `metadata` may take.
const MAX_METADATA_BYTES: usize = 4096;

/// What is expected of a field.
const TEXT: &str = "must be a text";
const NAME: &str = "must be a text of at most 256 bytes";
const WHOLE_NUMBER: &str = "must be a whole number, 0 or more";
const MILLISECONDS: &str = "must be a whole number of milliseconds, 0 or more";
const MISSING: &str = "is missing";

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    patterns: Option<&'a RawValue>,
    #[serde(borrow, default)]
    config_key: Option<&'a RawValue>,
    /// `null` is a value.
    #[serde(borrow, default, deserialize_with = "present")]
    new_value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tenant_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    idempotency_key: Option<&'a RawValue>,
    #[serde(borrow, default)]
    op: Option<&'a RawValue>,
    #[serde(borrow, default)]
    base: Option<&'a RawValue>,
    #[serde(borrow, default)]
    base_revision: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ops: Option<&'a RawValue>,
    #[serde(borrow, default)]
    fence: Option<&'a RawValue>,
    #[serde(borrow, default)]
    since: Option<&'a RawValue>,
    #[serde(borrow, default)]
    snapshot: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ttl_ms: Option<&'a RawValue>,
    #[serde(borrow, default)]
    wait_ms: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    session: Option<&'a RawValue>,
}

fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads the text of a frame.
///
/// # Errors
/// If it is not one JSON object, or has a field twice.
pub(crate) fn read(text: &str) -> Result<Incoming<'_>, Refusal> {
    // serde would also read an array as the fields in order.
    if !text.trim_start().starts_with('{') {
        return Err(NOT_JSON);
    }
    let fields: Fields<'_> = serde_json::from_str(text).map_err(|_| NOT_JSON)?;
    let id = fields.id.filter(|id| is_id(id));
    let request = if fields.id.is_some() && id.is_none() {
        Err(Refusal::of_field("/id", "must be a text or a number of at most 128 bytes"))
    } else {
        fields.request()
    };
    let request = request.map_err(|refusal| Refused { by: fields.answered_by(), refusal });
    Ok(Incoming { id, request })
}

fn is_id(id: &RawValue) -> bool {
    id.get().len() <= MAX_ID_BYTES && id.get().starts_with(|c: char| matches!(c, '"' | '-' | '0'..='9'))
}

impl<'a> Fields<'a> {
    fn request(&self) -> Result<Request<'a>, Refusal> {
        match text(self.kind, "/type")?.as_deref() {
            Some("ping") => Ok(Request::Ping),
            Some("subscribe") => self.subscribe().map(Request::Subscribe),
            Some("config_change") => self.change().map(Request::Change),
            Some("config_lock") => self.lock(LockKind::Lock).map(Request::Lock),
            Some("config_unlock") => self.lock(LockKind::Unlock).map(Request::Lock),
            _ => Ok(Request::Unknown),
        }
    }

    /// What answers this message if it is refused. A change that says no key, or nothing about it, is none (WS-09).
    fn answered_by(&self) -> AnsweredBy {
        let config_key = text(self.config_key, "").ok().flatten();
        let says_something = self.new_value.or(self.ops).or(self.op).is_some();
        match (text(self.kind, "").ok().flatten().as_deref(), config_key) {
            (Some("config_change"), Some(config_key)) if says_something => AnsweredBy::Change(config_key),
            (Some("config_lock" | "config_unlock"), config_key) => AnsweredBy::Lock(config_key),
            _ => AnsweredBy::Error,
        }
    }

    fn subscribe(&self) -> Result<SubscribeRequest, Refusal> {
        let snapshot = typed(self.snapshot, "/snapshot", "must be true or false")?;
        Ok(SubscribeRequest {
            patterns: typed(self.patterns, "/patterns", "must be a list of texts")?.unwrap_or_default(),
            tenant_id: text(self.tenant_id, "/tenant_id")?,
            since: seen_at(self.since, "/since")?,
            snapshot: snapshot.unwrap_or_default(),
        })
    }

    fn change(&self) -> Result<ChangeRequest<'a>, Refusal> {
        let config_key = text(self.config_key, "/config_key")?;
        let config_key = config_key.ok_or(Refusal::of_field("/config_key", MISSING))?;
        let is_deletion = self.is_deletion()?;
        if !is_deletion && self.new_value.or(self.ops).is_none() {
            return Err(Refusal::of_field("/new_value", "is missing, and there are no `ops`"));
        }
        Ok(ChangeRequest {
            config_key,
            new_value: if is_deletion { None } else { self.new_value },
            ops: self.ops()?,
            is_deletion,
            user_id: name(self.user_id, "/user_id")?,
            timestamp: text(self.timestamp, "/timestamp")?,
            tenant_id: text(self.tenant_id, "/tenant_id")?,
            idempotency_key: name(self.idempotency_key, "/idempotency_key")?,
            base: self.base()?,
            fence: self.fence()?,
        })
    }

    /// Whether the key is to have no value.
    fn is_deletion(&self) -> Result<bool, Refusal> {
        match text(self.op, "/op")?.as_deref() {
            None => Ok(false),
            Some("delete") if self.new_value.is_some_and(|value| value.get() != "null") => {
                Err(Refusal::of_field("/new_value", "a deletion has none"))
            }
            Some("delete") if self.ops.is_some() => Err(Refusal::of_field("/ops", "a deletion has none")),
            Some("delete") => Ok(true),
            Some(_) => Err(Refusal::of_field("/op", "must be `delete`, or absent")),
        }
    }

    fn ops(&self) -> Result<Option<&'a RawValue>, Refusal> {
        if self.ops.is_some_and(|ops| !ops.get().starts_with(['[', '{'])) {
            return Err(Refusal::of_field("/ops", "must be a list, or one operation of the guide's"));
        }
        Ok(self.ops)
    }

    fn base(&self) -> Result<Option<SeenAt>, Refusal> {
        let revision = typed::<u64>(self.base_revision, "/base_revision", WHOLE_NUMBER)?;
        match (seen_at(self.base, "/base")?, revision) {
            (Some(_), Some(_)) => {
                Err(Refusal::of_field("/base_revision", "says the same as `base`: send one of them"))
            }
            (base, None) => Ok(base),
            (None, Some(revision)) => Ok(Some(SeenAt { epoch: None, revision })),
        }
    }

    fn fence(&self) -> Result<Option<&'a RawValue>, Refusal> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fence {
            #[serde(rename = "lock")]
            _lock: String,
            #[serde(rename = "token")]
            _token: u64,
        }
        let expected = "must be an object of `lock`, a text, and `token`, a whole number";
        typed::<Fence>(self.fence, "/fence", expected).map(|_| self.fence)
    }

    fn lock(&self, kind: LockKind) -> Result<LockRequest<'a>, Refusal> {
        let metadata = self.metadata;
        if metadata.is_some_and(|metadata| !metadata.get().starts_with('{')) {
            return Err(Refusal::of_field("/metadata", "must be an object"));
        }
        if metadata.is_some_and(|metadata| metadata.get().len() > MAX_METADATA_BYTES) {
            return Err(METADATA_TOO_LARGE.at("/metadata", "has more than 4096 bytes"));
        }
        let config_key = text(self.config_key, "/config_key")?;
        Ok(LockRequest {
            kind,
            config_key: config_key.ok_or(Refusal::of_field("/config_key", MISSING))?,
            user_id: name(self.user_id, "/user_id")?,
            tenant_id: text(self.tenant_id, "/tenant_id")?,
            ttl_ms: typed(self.ttl_ms, "/ttl_ms", MILLISECONDS)?,
            wait_ms: typed(self.wait_ms, "/wait_ms", MILLISECONDS)?,
            metadata,
            session: name(self.session, "/session")?,
        })
    }
}

/// A field of some type, if it is there.
fn typed<T: for<'de> Deserialize<'de>>(
    field: Option<&RawValue>,
    path: &'static str,
    expected: &'static str,
) -> Result<Option<T>, Refusal> {
    let read = field.map(|raw| serde_json::from_str(raw.get())).transpose();
    read.map_err(|_| Refusal::of_field(path, expected))
}

fn text(field: Option<&RawValue>, path: &'static str) -> Result<Option<String>, Refusal> {
    typed(field, path, TEXT)
}

fn name(field: Option<&RawValue>, path: &'static str) -> Result<Option<String>, Refusal> {
    let name = typed::<String>(field, path, NAME)?;
    if name.as_ref().is_some_and(|name| name.len() > MAX_NAME_BYTES) {
        return Err(Refusal::of_field(path, NAME));
    }
    Ok(name)
}

fn seen_at(field: Option<&RawValue>, path: &'static str) -> Result<Option<SeenAt>, Refusal> {
    typed(field, path, "must be an object of `revision`, a whole number, and, if need be, `epoch`, a text")
}

#[cfg(test)]
mod tests;
