//! The lock that a command makes a change under: what it is told, or what `locks run` told it by its environment.

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

/// Which lock, and by which session it is held.
#[derive(Debug, Args)]
pub(super) struct Held {
    /// The session that holds the lock of the key
    #[arg(long, value_name = "SESSION", env = "LOCKSTEP_LOCK_SESSION", hide_env_values = true)]
    session: Option<String>,
    /// The lock, as KEY, that the change is made under
    #[arg(long, value_name = "KEY", env = "LOCKSTEP_LOCK_KEY", hide_env_values = true, requires = "token")]
    lock: Option<String>,
    /// The token of that lock
    #[arg(long, value_name = "TOKEN", env = "LOCKSTEP_LOCK_TOKEN", hide_env_values = true)]
    token: Option<u64>,
}

/// The same, as a part of a request's body.
#[derive(Debug, Serialize)]
pub(super) struct Under<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fence: Option<Value>,
}

impl Held {
    /// Whether the change says the lock it is made under.
    pub fn is_told(&self) -> bool {
        self.token.is_some()
    }

    /// What is said with a change of `key`, whose lock is meant if no other is named. Whoever takes the change knows the key
    /// where the command does not.
    pub fn of_change(&self, key: Option<&str>) -> Under<'_> {
        let fence = |token| match self.lock.as_deref().or(key) {
            Some(lock) => json!({ "lock": lock, "token": token }),
            None => json!({ "token": token }),
        };
        Under { session: self.session.as_deref(), fence: self.token.map(fence) }
    }
}
