//! `state.encryption`: which keys the store may be sealed under, and where each is found.
//!
//! The settings name where a key is and never hold one; reading them is for whoever opens the store.

use std::collections::HashSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::nearest::nearest;
use super::source_text::path;

/// Where the settings of this room stand.
const KEYS: &str = "state.encryption.keys";
const CURRENT: &str = "state.encryption.current";

/// How the values in the store are sealed on the disk; without keys they are not.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EncryptionSettings {
    /// Keys that the store may be sealed under: `{ id, env: NAME }`, `{ id, file: PATH }` or
    /// `{ id, exec: [PROGRAM, ARGUMENT] }`, where 32 bytes are found as base64 or hex, in a file also as they are. With
    /// one or more, a store that is not sealed yet is sealed at the next start.
    pub keys: Vec<KeySettings>,
    /// The `id` of the key that the store is sealed under from the next start on. Default: the first of `keys`.
    pub current: Option<String>,
    /// The other way round: a sealed store is written back unsealed at the next start. `keys` are needed for that, and
    /// can be taken away after it.
    pub unseal: bool,
}

/// A key that the store may be sealed under; exactly one of `env`, `file` and `exec` says where its 32 bytes are found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct KeySettings {
    /// What the key is called: in `current`, in `store.keys` of the data folder, and in messages.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// The environment variable that holds it, as base64 or hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// The file that holds it, as base64 or hex or 32 raw bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The program, with its arguments, that writes it to its output, as base64 or hex, within 10s. No shell is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Vec<String>>,
}

/// What is wrong with the settings beyond their schema.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub at: String,
    pub message: String,
    pub help: Option<String>,
}

impl EncryptionSettings {
    /// The key that the store is to be sealed under; none without keys.
    pub fn current(&self) -> Option<&str> {
        self.current.as_deref().or_else(|| Some(&self.keys.first()?.id))
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut seen = HashSet::new();
        for (n, key) in self.keys.iter().enumerate() {
            let at = path::join(KEYS, &n.to_string());
            if !seen.insert(&key.id) {
                let message = format!("two keys are called `{}`", key.id);
                problems.push(Problem { at: path::join(&at, "id"), message, help: None });
            }
            problems.extend(key.problem(at));
        }
        problems.extend(self.problem_of_current());
        if self.unseal && self.keys.is_empty() {
            let message = "a store cannot be unsealed without the key it is sealed under".to_owned();
            let help = Some(format!("keep `{KEYS}` as it was until the store is unsealed"));
            problems.push(Problem { at: "state.encryption.unseal".to_owned(), message, help });
        }
        problems
    }

    fn problem_of_current(&self) -> Option<Problem> {
        let current = self.current.as_ref()?;
        let ids = || self.keys.iter().map(|key| key.id.as_str());
        if ids().any(|id| id == current) {
            return None;
        }
        let help = match nearest(current, ids()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it names the `id` of one of `{KEYS}`"),
        };
        let message = format!("no key is called `{current}`");
        Some(Problem { at: CURRENT.to_owned(), message, help: Some(help) })
    }

    /// Arguments of a program may be secrets, whatever the documentation says.
    pub(super) fn hide_arguments(settings: &mut Value) {
        let keys = settings.pointer_mut("/state/encryption/keys").and_then(Value::as_array_mut);
        for key in keys.into_iter().flatten() {
            let arguments = key.get_mut("exec").and_then(Value::as_array_mut);
            arguments.into_iter().flat_map(|all| all.iter_mut().skip(1)).for_each(|it| *it = "***".into());
        }
    }
}

impl KeySettings {
    fn problem(&self, at: String) -> Option<Problem> {
        let given = [self.env.is_some(), self.file.is_some(), self.exec.is_some()];
        let message = match given.iter().filter(|is_given| **is_given).count() {
            0 => format!("it is not said where the key `{}` is found", self.id),
            1 => return self.problem_of_source(&at),
            _ => format!("the key `{}` is found in one place, and more than one is given", self.id),
        };
        let help = Some("write one of `env: NAME`, `file: PATH` and `exec: [PROGRAM, ARGUMENT]`".to_owned());
        Some(Problem { at, message, help })
    }

    fn problem_of_source(&self, at: &str) -> Option<Problem> {
        let is_empty = |text: &str| text.is_empty() || text.contains('\0');
        let bad = |field: &str, message: &str| {
            Some(Problem { at: path::join(at, field), message: message.to_owned(), help: None })
        };
        if self.env.as_deref().is_some_and(|name| is_empty(name) || name.contains('=')) {
            return bad("env", "this is no name of an environment variable");
        }
        if self.exec.as_ref().is_some_and(|command| command.first().is_none_or(|program| is_empty(program))) {
            return bad("exec", "the first element is the program, and it is missing");
        }
        None
    }
}
