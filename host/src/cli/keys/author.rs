//! Who makes a change, and what it is told became of it.

use super::super::acting;
use super::super::held::{Held, Under};
use super::super::live::CommandError;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Who makes a change, and under which lock.
#[derive(Debug, Args)]
pub(super) struct Author {
    /// Who makes the change [default: LOCKSTEP_USER, or USER]
    #[arg(long, value_name = "USER", env = acting::VARIABLE, hide_env = true)]
    user: Option<String>,
    /// A name for this change: sent again within a day, it is answered and not made again
    #[arg(long, value_name = "NAME")]
    idempotency_key: Option<String>,
    /// Anything about the change, as a JSON object
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    #[command(flatten)]
    held: Held,
}

/// The same, as a part of a request's body.
#[derive(Serialize)]
pub(super) struct Authored<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(flatten)]
    under: Under<'a>,
}

impl Author {
    /// Whether the change says the lock it is made under.
    pub fn is_under_lock(&self) -> bool {
        self.held.is_told()
    }

    /// What the author says with a change of `key`.
    ///
    /// # Errors
    /// If the metadata is not JSON.
    pub fn of_change(&self, key: &str) -> Result<Authored<'_>, CommandError> {
        let metadata = self.metadata.as_deref().map(serde_json::from_str).transpose();
        Ok(Authored {
            user_id: acting::user(self.user.as_deref()),
            idempotency_key: self.idempotency_key.as_deref(),
            metadata: metadata.map_err(|_| CommandError::BadArgument("--metadata takes JSON".to_owned()))?,
            under: self.held.of_change(Some(key)),
        })
    }
}

/// What a resolver says, as far as people are told.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Resolution {
    requires_human_intervention: bool,
    conflict_id: Option<String>,
    resolution_method: Option<String>,
    /// Whether the change is shown; none if it is shown together with others.
    won: Option<bool>,
    conflicts: Vec<Place>,
}

/// Where somebody did not have their way.
#[derive(Deserialize)]
struct Place {
    path: String,
}

/// What became of a change, in a line.
pub(super) fn told(revision: Option<u64>, resolution: Option<&RawValue>) -> String {
    let Some(revision) = revision else {
        return "dropped by a transform: nothing was committed".to_owned();
    };
    // Read leniently, as far as it is known: it is committed, whatever it says.
    let resolution = resolution.and_then(|resolution| serde_json::from_str(resolution.get()).ok());
    let Resolution { requires_human_intervention, conflict_id, resolution_method, won, conflicts } =
        resolution.unwrap_or_default();
    if requires_human_intervention {
        let id = conflict_id.unwrap_or_default();
        return format!(
            "revision {revision}; it stands against another change, and a person has to decide: `lockstep conflicts show {id}`"
        );
    }
    match (resolution_method, won) {
        (Some(method), Some(false)) => {
            format!("revision {revision}; by {method}, a concurrent change is shown instead")
        }
        (Some(method), Some(true)) => {
            format!("revision {revision}; by {method}, it is shown before concurrent changes")
        }
        (Some(method), None) => {
            let places: Vec<_> = conflicts.iter().map(|place| place.path.as_str()).collect();
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

/// Says that the change was made before, if it was.
pub(super) fn tell_repeat(is_repeat: bool) {
    if is_repeat {
        eprintln!("it was made before, under the same --idempotency-key; nothing was changed now");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_whatever_numbers_its_resolution_holds() {
        for (resolution, expected) in [
            (r#"{"resolution_method":"m","won":true,"discarded":1e400}"#, "by m, it is shown before"),
            (r#"{"resolution_method":"m","conflicts":[{"path":"/a","n":1e400}]}"#, "their way at: /a"),
            (r#"{"requires_human_intervention":true,"conflict_id":"5f1c"}"#, "conflicts show 5f1c"),
            ("[]", "revision 7"),
        ] {
            let resolution: &RawValue = serde_json::from_str(resolution).expect("JSON");
            let told = told(Some(7), Some(resolution));
            assert!(told.starts_with("revision 7") && told.contains(expected), "{told}");
        }
    }
}
