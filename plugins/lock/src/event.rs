//! What happened to a lease, told three times: to subscribers, to the audit and to the log's reader.

use crate::{lease::Lease, name::LockName};
use lockstep_plugin_api::{prelude::*, time::format_us};
use serde::Serialize;
use std::sync::Arc;
use tracing::{info, warn};

/// The beginning or the end of a lease.
#[derive(Debug, Clone)]
pub struct Event {
    pub name: LockName,
    pub lease: Arc<Lease>,
    pub what: What,
}

/// What happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Acquired,
    Released,
    Expired,
    /// The holder was not told in time that it holds it still, or was told that it does not.
    Lost,
    Forced {
        admin: String,
        reason: String,
    },
}

/// `event_type` of the notice that a lock was taken.
const CONFIG_LOCKED: &str = "config_locked";
/// `event_type` of the notice that a lock is free.
const CONFIG_UNLOCKED: &str = "config_unlocked";

/// What a notice says beside key, tenant and user, in its `metadata`.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    acquired_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// An entry of the audit.
#[derive(Debug, Serialize)]
pub struct AuditEntry<'a> {
    event_type: &'static str,
    config_key: &'a str,
    tenant_id: Option<&'a str>,
    user_id: &'a str,
    /// Another program's lock has neither.
    #[serde(skip_serializing_if = "str::is_empty")]
    session: &'a str,
    #[serde(skip_serializing_if = "is_none")]
    token: u64,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl What {
    /// Why the lock is free, as others are told; `None` if it is not.
    pub fn unlocked_because(&self) -> Option<&'static str> {
        match self {
            What::Acquired => None,
            What::Released => Some("released"),
            What::Expired => Some("expired"),
            What::Lost => Some("lost"),
            What::Forced { .. } => Some("forced"),
        }
    }
}

fn is_none(token: &u64) -> bool {
    *token == 0
}

impl Event {
    /// What subscribers are told.
    ///
    /// # Errors
    /// None that can happen: the notice has only fields that JSON has.
    pub fn to_notice(&self, node_id: &str, wall_us: i64) -> Result<Record> {
        let lease = &self.lease;
        let is_locked = self.what == What::Acquired;
        let told = Told {
            acquired_at: is_locked.then(|| format_us(lease.acquired_at_us)),
            expires_at: is_locked.then(|| format_us(lease.expires_at_us)),
            reason: self.what.unlocked_because(),
        };
        let mut change = Change::new(self.name.key(), Json::null());
        change.set_event_type(if is_locked { CONFIG_LOCKED } else { CONFIG_UNLOCKED });
        change.set_tenant_id(self.name.tenant().map(Into::into));
        change.set_user_id(Some(lease.user_id.as_str().into()));
        change.set_source_node(Some(node_id.into()));
        change.set_timestamp_us(Some(wall_us));
        change.set_metadata(Some(Json::write(&told)?));
        Ok(Record::notice(change))
    }

    /// What the audit keeps.
    pub fn to_audit(&self, wall_us: i64) -> AuditEntry<'_> {
        let (event_type, admin_user_id, reason) = match &self.what {
            What::Acquired => ("lock_acquired", None, None),
            What::Released => ("lock_released", None, None),
            What::Expired => ("lock_expired", None, None),
            What::Lost => ("lock_lost", None, None),
            What::Forced { admin, reason } => {
                ("lock_force_released", Some(admin.as_str()), Some(reason.as_str()))
            }
        };
        AuditEntry {
            event_type,
            config_key: self.name.key(),
            tenant_id: self.name.tenant(),
            user_id: &self.lease.user_id,
            session: &self.lease.session,
            token: self.lease.token,
            timestamp: format_us(wall_us),
            admin_user_id,
            reason,
        }
    }

    /// Writes the guide's line into the log.
    pub fn log(&self) {
        let (key, user, lock, token) = (self.name.key(), &self.lease.user_id, &self.name, self.lease.token);
        match &self.what {
            What::Acquired => info!(%lock, token, "Lock acquired for {key} by {user}"),
            What::Released => info!(%lock, token, "Lock released for {key} by {user}"),
            What::Expired => info!(%lock, token, "lock expired"),
            What::Lost => warn!(%lock, token, "lock lost: {user} holds it no more"),
            What::Forced { admin, reason } => warn!(
                %lock,
                token,
                "Lock forcibly released for {key} by admin {admin}. Reason: {reason}. Original owner: {user}"
            ),
        }
    }
}

/// Writes the guide's line about a request that was refused because somebody else holds the lock.
pub fn log_refused(name: &LockName, user_id: &str) {
    info!(lock = %name, "Failed to acquire lock for {} by {user_id}", name.key());
}
