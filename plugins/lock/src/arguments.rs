//! What callers of the operations say, and the limits on it.
//!
//! Invariant: a request made from arguments needs no further check of its own form.

use crate::{
    config::{LONGEST_TTL, SHORTEST_TTL},
    lease::Fields,
    name::{LockName, check_tenant},
    refusal::Refusal,
    request::{Ask, Request, Whose},
};
use lockstep_plugin_api::{change::depth, operations::Caller, prelude::*};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The longest that a call waits for a lock.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The largest `metadata`, in bytes of its JSON text.
const MAX_METADATA_BYTES: usize = 4096;

/// How deep `metadata` may be nested.
const DEEPEST_METADATA: usize = 16;

/// The longest name of a user, a session or a request, and the longest reason, in bytes.
const MAX_TEXT_BYTES: usize = 256;

/// Who takes a lock without saying so.
const ANONYMOUS: &str = "anonymous";

/// What the guide's forced release gives as its reason.
const OVERRIDE: &str = "Administrative override";

/// Takes a lock.
#[config]
pub struct Acquire {
    /// The config key to lock.
    config_key: String,
    /// Whose configuration it is; absent is the configuration without a tenant.
    #[serde(default)]
    tenant_id: Option<String>,
    /// Who takes it; the lock is counted for this user.
    #[serde(default)]
    user_id: Option<String>,
    /// The holder: one handle of one user. Absent makes a new one, which the answer names.
    #[serde(default)]
    session: Option<String>,
    /// How long the lease lasts unless it is extended, 100 ms to 24 h; absent is `default_timeout`.
    #[serde(default)]
    ttl_ms: Option<Millis>,
    /// How long to wait in line if somebody else holds the lock, at most 60 s; absent does not wait.
    #[serde(default)]
    wait_ms: Option<Millis>,
    /// Anything, shown to whoever asks about the lock; at most 4 KiB.
    #[serde(default)]
    #[schemars(with = "Map<String, Value>")]
    metadata: Fields,
    /// Names this attempt: a repeat under the same name does not count twice.
    #[serde(default)]
    request_id: Option<String>,
}

/// Keeps a lock.
#[config]
pub struct Extend {
    /// The locked config key.
    config_key: String,
    /// Whose configuration it is.
    #[serde(default)]
    tenant_id: Option<String>,
    /// The session that holds it.
    session: String,
    /// The token it was granted under.
    token: u64,
    /// How long it lasts from now on, 100 ms to 24 h; absent is the lease's own time.
    #[serde(default)]
    ttl_ms: Option<Millis>,
}

/// Gives a lock back.
#[config]
pub struct Release {
    /// The locked config key.
    config_key: String,
    /// Whose configuration it is.
    #[serde(default)]
    tenant_id: Option<String>,
    /// The session that holds it.
    session: String,
    /// The token it was granted under; absent does not look at it.
    #[serde(default)]
    token: Option<u64>,
    /// Names this attempt: a repeat under the same name does not count twice.
    #[serde(default)]
    request_id: Option<String>,
}

/// Takes a lock away from whoever holds it.
#[config]
pub struct ForceRelease {
    /// The locked config key.
    config_key: String,
    /// Whose configuration it is.
    #[serde(default)]
    tenant_id: Option<String>,
    /// Who does it, for the audit.
    admin_user_id: String,
    /// Why, for the audit.
    #[serde(default)]
    reason: Option<String>,
    /// Only if this is the token that the lock is held under.
    #[serde(default)]
    expected_token: Option<u64>,
}

/// Names a lock.
#[config]
pub struct Info {
    /// The config key.
    config_key: String,
    /// Whose configuration it is.
    #[serde(default)]
    tenant_id: Option<String>,
}

/// Says which locks.
#[config]
pub struct List {
    /// Whose locks; absent are those without a tenant.
    #[serde(default)]
    tenant_id: Option<String>,
    /// The locks of every tenant and those without; for operators only.
    #[serde(default)]
    all_tenants: bool,
}

/// Names a session that nobody will come back to.
#[config]
pub struct SessionClosed {
    /// The session.
    session: String,
}

impl Acquire {
    pub fn request(self, default_ttl: Duration) -> Result<Request> {
        let metadata = serde_json::to_string(&self.metadata).map_err(Error::failed)?;
        if metadata.len() > MAX_METADATA_BYTES || depth(&metadata) > DEEPEST_METADATA {
            return Err(unfit("too_large", "metadata", "has more than 4096 bytes or is nested too deeply"));
        }
        let wait = self.wait_ms.map_or(Duration::ZERO, Duration::from);
        if wait > LONGEST_WAIT {
            return Err(unfit("bad_message", "wait_ms", "is more than 60 s"));
        }
        let ask = Ask {
            user_id: text("user_id", self.user_id.unwrap_or_else(|| ANONYMOUS.to_owned()))?,
            session: text("session", self.session.unwrap_or_else(new_session))?,
            ttl: ttl(self.ttl_ms)?.unwrap_or(default_ttl),
            metadata: self.metadata,
            request_id: request_id('a', self.request_id)?,
        };
        Ok(Request::Acquire { name: name(&self.tenant_id, &self.config_key)?, ask, wait })
    }
}

impl Extend {
    pub fn request(self) -> Result<Request> {
        Ok(Request::Extend {
            name: name(&self.tenant_id, &self.config_key)?,
            session: text("session", self.session)?,
            token: self.token,
            ttl: ttl(self.ttl_ms)?,
        })
    }
}

impl Release {
    pub fn request(self) -> Result<Request> {
        Ok(Request::Release {
            name: name(&self.tenant_id, &self.config_key)?,
            session: text("session", self.session)?,
            token: self.token,
            request_id: request_id('r', self.request_id)?,
        })
    }
}

impl ForceRelease {
    pub fn request(self) -> Result<Request> {
        Ok(Request::ForceRelease {
            name: name(&self.tenant_id, &self.config_key)?,
            admin: text("admin_user_id", self.admin_user_id)?,
            reason: text("reason", self.reason.unwrap_or_else(|| OVERRIDE.to_owned()))?,
            expected_token: self.expected_token,
        })
    }
}

impl List {
    pub fn request(self, caller: &Caller) -> Result<Request> {
        if self.all_tenants && self.tenant_id.is_some() {
            return Err(unfit("bad_message", "all_tenants", "says something else than `tenant_id`"));
        }
        if self.all_tenants && !caller.is_operator {
            return Err(Refusal::OperatorsOnly.to_error());
        }
        check_tenant(self.tenant_id.as_deref())?;
        let of = if self.all_tenants { Whose::Everybodys } else { Whose::Tenant(self.tenant_id) };
        Ok(Request::List { of })
    }
}

impl Info {
    pub fn request(self) -> Result<Request> {
        Ok(Request::Info { name: name(&self.tenant_id, &self.config_key)? })
    }
}

impl SessionClosed {
    pub fn request(self) -> Result<Request> {
        Ok(Request::SessionClosed { session: text("session", self.session)? })
    }
}

fn name(tenant_id: &Option<String>, config_key: &str) -> Result<LockName> {
    LockName::new(tenant_id.as_deref(), config_key)
}

fn ttl(asked: Option<Millis>) -> Result<Option<Duration>> {
    match asked.map(Duration::from) {
        Some(ttl) if !(SHORTEST_TTL..=LONGEST_TTL).contains(&ttl) => {
            Err(unfit("bad_message", "ttl_ms", "does not lie between 100 ms and 24 h"))
        }
        ttl => Ok(ttl),
    }
}

/// A name or a reason: something, on one line, and not too long to be kept.
fn text(field: &str, text: String) -> Result<String> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(unfit("too_large", field, "has more than 256 bytes"));
    }
    if text.is_empty() || text.contains(char::is_control) {
        return Err(unfit("bad_message", field, "is empty or has control characters"));
    }
    Ok(text)
}

/// The name of a request. Taking and giving back are two requests, also where a caller calls both by one name.
fn request_id(kind: char, id: Option<String>) -> Result<Option<String>> {
    Ok(id.map(|id| text("request_id", id)).transpose()?.map(|id| format!("{kind}:{id}")))
}

fn new_session() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn unfit(code: &str, field: &str, reason: &str) -> Error {
    let details = [json!({ "path": format!("/{field}"), "reason": reason })];
    Error::rejected(code, "an argument does not fit").with_details(&details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_stays_as_it_was_written_however_large_its_numbers_are() {
        let written = r#"{"n":[1e400,1.10,9007199254740993]}"#;
        let json = format!(r#"{{"config_key":"app.x","metadata":{written}}}"#);
        let acquire: Acquire = serde_json::from_str(&json).expect("arguments");
        let request = acquire.request(Duration::from_secs(5)).expect("a request");
        let Request::Acquire { ask, .. } = request else { panic!("another request") };
        assert_eq!(serde_json::to_string(&ask.metadata).expect("JSON"), written);
    }
}
