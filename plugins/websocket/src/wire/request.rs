//! What a client may say. Every field is taken as raw JSON first, so that a message of an unknown type is ignored
//! whatever its fields hold, and an answer can carry the `id` of a message whose other fields are wrong.

use super::{BAD_FIELD, METADATA_TOO_LARGE, NOT_JSON, Refusal, TOO_DEEP};
use lockstep_plugin_api::change::depth;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A message and its `id`, echoed in whatever answers it.
pub(crate) struct Incoming<'a> {
    pub(crate) id: Option<&'a RawValue>,
    pub(crate) request: Result<Request<'a>, Refusal>,
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
    /// Absent for a deletion only.
    pub(crate) new_value: Option<&'a RawValue>,
    pub(crate) user_id: Option<String>,
    pub(crate) timestamp: Option<String>,
    pub(crate) tenant_id: Option<String>,
    pub(crate) idempotency_key: Option<String>,
    /// What the author had seen.
    pub(crate) base: Option<SeenAt>,
    /// The lease the author holds.
    pub(crate) fence: Option<&'a RawValue>,
    /// The author sends operations.
    pub(crate) has_ops: bool,
    /// The value is valid JSON that other programs could not read.
    pub(crate) too_deep: bool,
}

/// `config_lock` or `config_unlock`.
pub(crate) struct LockRequest<'a> {
    pub(crate) kind: LockKind,
    pub(crate) config_key: Option<String>,
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

/// The longest `user_id` or `idempotency_key`.
const MAX_NAME_BYTES: usize = 256;
/// The longest `id`, as JSON.
const MAX_ID_BYTES: usize = 128;
/// The most a lock's `metadata` may take.
const MAX_METADATA_BYTES: usize = 4096;
/// As deep as serde_json reads by default; browsers and Python go further, but not without limit.
const MAX_DEPTH: usize = 128;

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
    let request = if fields.id.is_some() && id.is_none() { Err(BAD_FIELD) } else { fields.request() };
    Ok(Incoming { id, request })
}

fn is_id(id: &RawValue) -> bool {
    id.get().len() <= MAX_ID_BYTES && id.get().starts_with(|c: char| matches!(c, '"' | '-' | '0'..='9'))
}

impl<'a> Fields<'a> {
    fn request(&self) -> Result<Request<'a>, Refusal> {
        match text(self.kind)?.as_deref() {
            Some("ping") => Ok(Request::Ping),
            Some("subscribe") => self.subscribe().map(Request::Subscribe),
            Some("config_change") => self.change().map(Request::Change),
            Some("config_lock") => self.lock(LockKind::Lock).map(Request::Lock),
            Some("config_unlock") => self.lock(LockKind::Unlock).map(Request::Lock),
            _ => Ok(Request::Unknown),
        }
    }

    fn subscribe(&self) -> Result<SubscribeRequest, Refusal> {
        Ok(SubscribeRequest {
            patterns: typed(self.patterns)?.unwrap_or_default(),
            tenant_id: text(self.tenant_id)?,
            since: typed(self.since)?,
            snapshot: typed(self.snapshot)?.unwrap_or_default(),
        })
    }

    fn change(&self) -> Result<ChangeRequest<'a>, Refusal> {
        let deletes = match text(self.op)?.as_deref() {
            None => false,
            Some("delete") => true,
            Some(_) => return Err(BAD_FIELD),
        };
        let new_value = if deletes { None } else { Some(self.new_value.ok_or(BAD_FIELD)?) };
        Ok(ChangeRequest {
            config_key: text(self.config_key)?.ok_or(BAD_FIELD)?,
            new_value,
            user_id: name(self.user_id)?,
            timestamp: text(self.timestamp)?,
            tenant_id: text(self.tenant_id)?,
            idempotency_key: name(self.idempotency_key)?,
            base: self.base()?,
            fence: self.fence()?,
            has_ops: self.ops.is_some(),
            too_deep: new_value.is_some_and(|value| depth(value.get()) > MAX_DEPTH),
        })
    }

    fn base(&self) -> Result<Option<SeenAt>, Refusal> {
        match (typed::<SeenAt>(self.base)?, typed::<u64>(self.base_revision)?) {
            (Some(_), Some(_)) => Err(BAD_FIELD),
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
        typed::<Fence>(self.fence).map(|_| self.fence)
    }

    fn lock(&self, kind: LockKind) -> Result<LockRequest<'a>, Refusal> {
        let metadata = self.metadata;
        if metadata.is_some_and(|metadata| !metadata.get().starts_with('{')) {
            return Err(BAD_FIELD);
        }
        if metadata.is_some_and(|metadata| metadata.get().len() > MAX_METADATA_BYTES) {
            return Err(METADATA_TOO_LARGE);
        }
        Ok(LockRequest {
            kind,
            config_key: text(self.config_key)?,
            user_id: name(self.user_id)?,
            tenant_id: text(self.tenant_id)?,
            ttl_ms: typed(self.ttl_ms)?,
            wait_ms: typed(self.wait_ms)?,
            metadata,
            session: name(self.session)?,
        })
    }
}

impl ChangeRequest<'_> {
    /// Whether the value is too deep; said apart from reading, so that the answer can name the key.
    pub(crate) fn check_depth(&self) -> Result<(), Refusal> {
        if self.too_deep { Err(TOO_DEEP) } else { Ok(()) }
    }
}

/// A field of some type, if it is there.
fn typed<T: for<'de> Deserialize<'de>>(field: Option<&RawValue>) -> Result<Option<T>, Refusal> {
    field.map(|raw| serde_json::from_str(raw.get()).map_err(|_| BAD_FIELD)).transpose()
}

fn text(field: Option<&RawValue>) -> Result<Option<String>, Refusal> {
    typed(field)
}

fn name(field: Option<&RawValue>) -> Result<Option<String>, Refusal> {
    text(field)?
        .map_or(Ok(None), |name| if name.len() > MAX_NAME_BYTES { Err(BAD_FIELD) } else { Ok(Some(name)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Result<Request<'_>, Refusal> {
        read(text).and_then(|incoming| incoming.request)
    }

    #[test]
    fn unknown_and_missing_types_are_ignored_whatever_else_they_hold() {
        for text in ["{}", r#"{"type":"hello","patterns":5}"#, r#"{"type":null}"#] {
            assert!(matches!(request(text), Ok(Request::Unknown)), "{text}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in [
            "",
            "ping",
            "[]",
            r#"["ping"]"#,
            "1",
            r#"{"type":"ping""#,
            r#"{"type":"ping"} x"#,
            r#"{"id":1,"id":2}"#,
        ] {
            assert_eq!(read(text).map(drop).expect_err(text), NOT_JSON);
        }
    }

    #[test]
    fn the_id_survives_when_other_fields_are_wrong() {
        for text in [
            r#"{"type":"config_change","id":"7"}"#,
            r#"{"type":"config_change","id":"7","config_key":5,"new_value":1}"#,
            r#"{"type":"config_change","id":"7","config_key":"k","new_value":1,"op":"erase"}"#,
            r#"{"type":"config_change","id":"7","config_key":"k","new_value":1,"user_id":{}}"#,
            r#"{"type":7,"id":"7"}"#,
            r#"{"type":"subscribe","id":"7","patterns":"*"}"#,
            r#"{"type":"subscribe","id":"7","patterns":[1]}"#,
        ] {
            let incoming = read(text).expect(text);
            assert_eq!(incoming.id.map(RawValue::get), Some(r#""7""#), "{text}");
            assert_eq!(incoming.request.map(drop).expect_err(text), BAD_FIELD);
        }
        let incoming = read(r#"{"type":"ping","id":[1]}"#).expect("an object");
        assert!(incoming.id.is_none() && incoming.request.is_err(), "an id is a string or a number");
    }

    #[test]
    fn null_is_a_value_and_absence_is_not() {
        let Ok(Request::Change(change)) =
            request(r#"{"type":"config_change","config_key":"k","new_value":null,"user_id":null}"#)
        else {
            panic!("a change");
        };
        assert_eq!(change.new_value.map(RawValue::get), Some("null"));
        assert_eq!(change.user_id, None);
        let Ok(Request::Change(change)) =
            request(r#"{"type":"config_change","config_key":"k","op":"delete"}"#)
        else {
            panic!("a deletion");
        };
        assert!(change.new_value.is_none());
    }

    #[test]
    fn what_the_author_had_seen_is_said_in_one_of_two_ways() {
        let base = |fields: &str| {
            let text = format!(r#"{{"type":"config_change","config_key":"k","new_value":1,{fields}}}"#);
            match request(&text) {
                Ok(Request::Change(change)) => Ok(change.base),
                Ok(_) => panic!("a change"),
                Err(refusal) => Err(refusal),
            }
        };
        let seen = |epoch: Option<&str>| SeenAt { epoch: epoch.map(str::to_owned), revision: 7 };
        assert_eq!(base(r#""base":{"epoch":"e","revision":7}"#), Ok(Some(seen(Some("e")))));
        assert_eq!(base(r#""base_revision":7"#), Ok(Some(seen(None))));
        assert_eq!(base(r#""base":null"#), Ok(None));
        for both in
            [r#""base":{"epoch":"e","revision":7},"base_revision":7"#, r#""base":7"#, r#""base_revision":-1"#]
        {
            assert_eq!(base(both), Err(BAD_FIELD), "{both}");
        }
        assert_eq!(base(r#""fence":{"lock":"k"}"#), Err(BAD_FIELD));
        assert_eq!(base(r#""fence":{"lock":"k","token":1}"#), Ok(None));
    }

    #[test]
    fn depth_counts_what_is_open_outside_of_strings() {
        let text = |n: usize| {
            format!(
                r#"{{"type":"config_change","config_key":"k","new_value":{}{}}}"#,
                "[".repeat(n),
                "]".repeat(n)
            )
        };
        let is_too_deep = |n| matches!(request(&text(n)), Ok(Request::Change(change)) if change.too_deep);
        assert!(!is_too_deep(128) && is_too_deep(129) && is_too_deep(300_000));
    }
}
