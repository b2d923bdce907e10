//! What `plugin: lock` accepts under `config:`.

use crate::{
    name::PREFIX,
    redis::{RedisConfig, Settings},
};
use lockstep_plugin_api::prelude::*;
use std::time::Duration;

/// The shortest lease.
pub const SHORTEST_TTL: Duration = Duration::from_millis(100);

/// The longest lease.
pub const LONGEST_TTL: Duration = Duration::from_secs(24 * 60 * 60);

#[config]
pub struct LockConfig {
    /// Where leases lie, and so who shares them. Default: `embedded`.
    #[serde(default)]
    pub backend: Backend,
    /// The server that keeps the leases; with `backend: redis` only, and without it the server on this machine.
    #[serde(default)]
    redis: Option<RedisConfig>,
    /// What the names of locks begin with in Redis; with `backend: redis` only. Default: `config_lock:`, which the guide's
    /// own lock class has.
    #[serde(default)]
    lock_prefix: Option<String>,
    /// How long a lease lasts if whoever takes it does not say; 100 ms to 24 h, default 300 s.
    #[serde(default = "default_timeout")]
    pub default_timeout: Seconds,
    /// How many locks one user of a tenant may hold or wait for at a time, at this host. Default: 100.
    #[serde(default = "max_locks_per_user")]
    max_locks_per_user: u32,
}

/// Where leases lie.
#[config]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Backend {
    /// In this host's own store, for its own clients.
    #[default]
    Embedded,
    /// In a Redis server that several hosts share, and programs with the guide's own lock class.
    Redis,
}

/// What the operator has set.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub longest_heartbeat: Duration,
    /// How many locks one user may hold or wait for.
    pub max_per_user: u32,
}

impl LockConfig {
    /// Checks what the types do not.
    pub fn check(&self) -> Result<()> {
        let is_redis = self.backend == Backend::Redis;
        let only_redis = |field: &str| {
            Error::config(format!("`{field}` is for leases in Redis: write `backend: redis` too")).at(field)
        };
        match (&self.redis, &self.lock_prefix) {
            (Some(_), _) if !is_redis => return Err(only_redis("redis")),
            (_, Some(_)) if !is_redis => return Err(only_redis("lock_prefix")),
            _ => {}
        }
        if is_redis {
            self.redis_settings()?;
        }
        if !(SHORTEST_TTL..=LONGEST_TTL).contains(&self.default_timeout.0) {
            let message = "`default_timeout` must lie between 100 ms and 24 h";
            return Err(Error::config(message).at("default_timeout"));
        }
        if self.max_locks_per_user == 0 {
            return Err(Error::config("`max_locks_per_user` must be at least 1").at("max_locks_per_user"));
        }
        Ok(())
    }

    pub fn rules(&self, longest_heartbeat: Duration) -> Rules {
        Rules { longest_heartbeat, max_per_user: self.max_locks_per_user }
    }

    /// What the names of locks begin with.
    pub fn prefix(&self) -> &str {
        self.lock_prefix.as_deref().unwrap_or(PREFIX)
    }

    /// The server, and what locks are called there.
    ///
    /// # Errors
    /// `Config`, if the fields do not fit together.
    pub fn redis_settings(&self) -> Result<Settings> {
        let prefix = self.prefix();
        if prefix.is_empty()
            || prefix.len() > 200
            || prefix.contains(['{', '}'])
            || prefix.contains(char::is_control)
        {
            let message = "`lock_prefix` has 1 to 200 bytes, no braces and no control characters";
            return Err(Error::config(message).at("lock_prefix"));
        }
        let server = self.redis.clone().unwrap_or_default();
        Settings::new(&server, prefix).map_err(|error| {
            let field = format!("redis.{}", error.detail());
            error.at(field)
        })
    }
}

fn default_timeout() -> Seconds {
    Seconds(Duration::from_secs(300))
}

fn max_locks_per_user() -> u32 {
    100
}
