//! A lease: who may change a key, until when, under which token.
//!
//! Invariant: a lease ends by the monotonic clock. Its wall time is for people, and after a restart it only says how much
//! of `ttl_ms` is left at most, so no step of the wall clock keeps a lease for ever.

use crate::{clock::Now, name::LockName};
use lockstep_plugin_api::{prelude::*, time::format_us};
use serde::{Deserialize, Serialize, Serializer};
use std::{collections::BTreeMap, time::Duration};

/// The fields of an object, each as somebody wrote it.
pub type Fields = BTreeMap<String, Json>;

/// A lease as it lies in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    pub user_id: String,
    /// The holder: one handle of one user. Another session of the same user is somebody else.
    pub session: String,
    /// The registered token while the lease lasts.
    pub token: u64,
    /// How often the session has taken it and not given it back; at least 1.
    pub depth: u32,
    pub acquired_at_us: i64,
    pub expires_at_us: i64,
    pub ttl_ms: u64,
    pub heartbeat_ms: u64,
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub metadata: Fields,
    /// The holder's last request that counted, so that a repeat of it does not count again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// When it ends, on the monotonic clock of the process that reads it.
    #[serde(skip)]
    pub ends: Duration,
}

impl Lease {
    /// Reads a lease of an earlier process, or of the one before it in this process.
    ///
    /// # Errors
    /// If the stored text is none of this version's.
    pub fn from_stored(stored: &[u8], now: Now) -> Result<Self> {
        let mut lease: Self = serde_json::from_slice(stored).map_err(Error::failed)?;
        let left = lease.expires_at_us.saturating_sub(now.wall_us).max(0) as u64;
        lease.ends = now.mono + Duration::from_micros(left).min(Duration::from_millis(lease.ttl_ms));
        Ok(lease)
    }

    /// The text that the store keeps.
    pub fn to_stored(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).expect("a lease has only fields that JSON has"))
    }

    /// The same lease, ending `ttl` from now.
    pub fn lasting(mut self, ttl: Duration, longest_heartbeat: Duration, now: Now) -> Self {
        self.ttl_ms = ttl.as_millis() as u64;
        self.heartbeat_ms = longest_heartbeat.min(ttl / 3).as_millis() as u64;
        self.ends = now.mono + ttl;
        self.expires_at_us = now.wall_us_at(self.ends);
        self
    }

    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }

    /// What the wall clock will show at its end, for people.
    pub fn shown_end_us(&self, now: Now) -> i64 {
        now.wall_us_as_said(self.expires_at_us, self.ends)
    }
}

/// A lease as callers see it: the guide's fields, then ours.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShownLease {
    config_key: String,
    user_id: String,
    tenant_id: Option<String>,
    acquired_at: String,
    expires_at: String,
    #[serde(rename = "heartbeat_interval", serialize_with = "as_seconds")]
    heartbeat_ms: u64,
    metadata: Fields,
    lock_key: String,
    pub token: u64,
    session: String,
    pub depth: u32,
    ttl_ms: u64,
}

/// A lock that is shown to whoever asks.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Shown {
    Lease(Box<ShownLease>),
    /// What another program wrote there, with its own fields.
    Foreign(Fields),
}

impl ShownLease {
    pub fn new(name: &LockName, lock_key: String, lease: &Lease, now: Now) -> Self {
        Self {
            config_key: name.key().to_owned(),
            user_id: lease.user_id.clone(),
            tenant_id: name.tenant().map(str::to_owned),
            acquired_at: format_us(lease.acquired_at_us),
            expires_at: format_us(lease.shown_end_us(now)),
            heartbeat_ms: lease.heartbeat_ms,
            metadata: lease.metadata.clone(),
            lock_key,
            token: lease.token,
            session: lease.session.clone(),
            depth: lease.depth,
            ttl_ms: lease.ttl_ms,
        }
    }
}

/// The guide has whole seconds here; only what is none is written with a fraction.
pub fn as_seconds<S: Serializer>(millis: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    if millis.is_multiple_of(1000) {
        serializer.serialize_u64(millis / 1000)
    } else {
        serializer.serialize_f64(*millis as f64 / 1000.0)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn lease(session: &str, token: u64, now: Now) -> Lease {
        let lease = Lease {
            user_id: "alice".to_owned(),
            session: session.to_owned(),
            token,
            depth: 1,
            acquired_at_us: now.wall_us,
            expires_at_us: 0,
            ttl_ms: 0,
            heartbeat_ms: 0,
            metadata: Fields::new(),
            request_id: None,
            ends: Duration::ZERO,
        };
        lease.lasting(Duration::from_secs(60), Duration::from_secs(30), now)
    }

    fn at(mono_s: u64, wall_s: i64) -> Now {
        Now { mono: Duration::from_secs(mono_s), wall_us: wall_s * 1_000_000 }
    }

    #[test]
    fn what_is_left_after_a_restart_is_never_more_than_the_ttl() {
        let stored = lease("s", 1, at(0, 10_000)).to_stored();
        let left = |wall_s| Lease::from_stored(&stored, at(5, wall_s)).expect("a lease").ends.as_secs() - 5;
        assert_eq!(left(10_020), 40, "it went on while nobody looked");
        assert_eq!(left(10_000 + 3600), 0, "the clock went ahead");
        assert_eq!(left(10_000 - 3600), 60, "the clock went back");
    }

    #[test]
    fn a_step_of_the_clock_moves_what_is_shown_and_not_the_end() {
        let lease = lease("s", 1, at(0, 10_000));
        assert_eq!(lease.ends, Duration::from_secs(60));
        let name = LockName::new(None, "app.x").expect("a name");
        let shown = ShownLease::new(&name, name.to_string(), &lease, at(20, 13_600));
        assert_eq!(shown.expires_at, format_us(13_640 * 1_000_000));
    }

    #[test]
    fn a_lease_is_shown_with_the_guides_fields() {
        let name = LockName::new(None, "app.x").expect("a name");
        let shown = |ttl| {
            let lease =
                lease("s", 7, at(0, 0)).lasting(Duration::from_secs(ttl), Duration::from_secs(30), at(0, 0));
            serde_json::to_value(ShownLease::new(&name, name.to_string(), &lease, at(0, 0))).expect("JSON")
        };
        let expected = serde_json::json!({
            "config_key": "app.x", "user_id": "alice", "tenant_id": null,
            "acquired_at": "1970-01-01T00:00:00.000000Z", "expires_at": "1970-01-01T00:05:00.000000Z",
            "heartbeat_interval": 30, "metadata": {}, "lock_key": "config_lock:global:app.x",
            "token": 7, "session": "s", "depth": 1, "ttl_ms": 300_000,
        });
        assert_eq!(shown(300), expected);
        assert_eq!(shown(1)["heartbeat_interval"], 0.333);
    }
}
