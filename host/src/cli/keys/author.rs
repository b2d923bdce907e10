//! Who makes a change, and what it is told became of it.

use super::super::live::CommandError;
use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Who makes a change, and under which lock.
#[derive(Debug, Args)]
pub(super) struct Author {
    /// Who makes the change [default: the variable USER]
    #[arg(long, value_name = "USER", env = "USER", hide_env = true)]
    user: Option<String>,
    /// A name for this change: sent again within a day, it is answered and not made again
    #[arg(long, value_name = "NAME")]
    idempotency_key: Option<String>,
    /// Anything about the change, as a JSON object
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
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
#[derive(Serialize)]
pub(super) struct Authored<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fence: Option<Value>,
}

impl Author {
    /// What the author says with a change of `key`.
    ///
    /// # Errors
    /// If the metadata is not JSON.
    pub fn of_change(&self, key: &str) -> Result<Authored<'_>, CommandError> {
        let metadata = self.metadata.as_deref().map(serde_json::from_str).transpose();
        let fence = |token| json!({ "lock": self.lock.as_deref().unwrap_or(key), "token": token });
        Ok(Authored {
            user_id: self.user.as_deref().filter(|user| !user.is_empty()),
            idempotency_key: self.idempotency_key.as_deref(),
            metadata: metadata.map_err(|_| CommandError::BadArgument("--metadata takes JSON".to_owned()))?,
            session: self.session.as_deref(),
            fence: self.token.map(fence),
        })
    }
}

/// What became of a change, in a line.
pub(super) fn told(revision: Option<u64>, resolution: &Value) -> String {
    let Some(revision) = revision else {
        return "dropped by a transform: nothing was committed".to_owned();
    };
    if resolution["requires_human_intervention"] == true {
        let id = resolution["conflict_id"].as_str().unwrap_or_default();
        return format!(
            "revision {revision}; it stands against another change, and a person has to decide: `lockstep conflicts show {id}`"
        );
    }
    match (resolution["resolution_method"].as_str(), resolution["won"].as_bool()) {
        (Some(method), Some(false)) => {
            format!("revision {revision}; by {method}, a concurrent change is shown instead")
        }
        (Some(method), Some(true)) => {
            format!("revision {revision}; by {method}, it is shown before concurrent changes")
        }
        (Some(method), None) => {
            let places = resolution["conflicts"].as_array().into_iter().flatten();
            let places: Vec<&str> = places.filter_map(|conflict| conflict["path"].as_str()).collect();
            let conflicts = match places.is_empty() {
                true => String::new(),
                false => format!("; not everybody had their way at: {}", places.join(" ")),
            };
            format!(
                "revision {revision}; by {method}, it is shown together with concurrent changes{conflicts}"
            )
        }
        (None, _) => format!("revision {revision}"),
    }
}
