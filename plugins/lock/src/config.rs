//! What `plugin: lock` accepts under `config:`.

use lockstep_plugin_api::prelude::*;
use std::time::Duration;

/// The shortest lease.
pub const SHORTEST_TTL: Duration = Duration::from_secs(1);

/// The longest lease.
pub const LONGEST_TTL: Duration = Duration::from_secs(24 * 60 * 60);

#[config]
pub struct LockConfig {
    /// Where leases lie, and so who shares them.
    #[serde(default)]
    pub backend: Backend,
    /// How long a lease lasts if whoever takes it does not say; 1 s to 24 h.
    #[serde(default = "default_timeout")]
    pub default_timeout: Seconds,
    /// How many locks one user may hold or wait for at a time.
    #[serde(default = "max_locks_per_user")]
    pub max_locks_per_user: u32,
}

/// Where leases lie.
#[config]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Backend {
    /// In this host's own store.
    #[default]
    Embedded,
    /// In a Redis server that several hosts share; not in this version.
    Redis,
}

impl LockConfig {
    /// Checks what the types do not.
    pub fn check(&self) -> Result<()> {
        if self.backend == Backend::Redis {
            let message =
                "`backend: redis` comes with a later version; `embedded` locks the keys of this host";
            return Err(Error::config(message).at("backend"));
        }
        if !(SHORTEST_TTL..=LONGEST_TTL).contains(&self.default_timeout.0) {
            let message = "`default_timeout` must lie between 1 s and 24 h";
            return Err(Error::config(message).at("default_timeout"));
        }
        if self.max_locks_per_user == 0 {
            return Err(Error::config("`max_locks_per_user` must be at least 1").at("max_locks_per_user"));
        }
        Ok(())
    }
}

fn default_timeout() -> Seconds {
    Seconds(Duration::from_secs(300))
}

fn max_locks_per_user() -> u32 {
    100
}
