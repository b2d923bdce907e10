//! What `plugin: encrypt` and `plugin: decrypt` accept under `config:`.

use lockstep_plugin_api::prelude::*;
use std::{collections::BTreeSet, time::Duration};

#[config]
pub struct EncryptConfig {
    /// Globs over the config keys whose values are sealed.
    pub keys: Vec<String>,
    /// Globs over those of them that are not.
    #[serde(default)]
    pub except: Vec<String>,
    /// The keys that data keys are sealed under, the one in use first.
    pub ring: Vec<RingEntry>,
    /// The `id` of the key in use, if that is not the first of the ring.
    #[serde(default)]
    pub current: Option<String>,
    /// How long one data key is used for new values, from 1 s to 30 days.
    #[serde(default = "data_key_lifetime")]
    pub data_key_lifetime: Seconds,
    /// What happens, before the log, to a change of another host whose value is not sealed.
    #[serde(default)]
    pub clear_from_elsewhere: ClearFromElsewhere,
    /// How long a program of the ring may take.
    #[serde(default = "exec_timeout")]
    pub exec_timeout: Seconds,
}

#[config]
pub struct DecryptConfig {
    /// Globs over the config keys whose values are opened.
    #[serde(default = "every_key")]
    pub keys: Vec<String>,
    /// Globs over those of them that are not.
    #[serde(default)]
    pub except: Vec<String>,
    /// The keys that data keys were sealed under.
    pub ring: Vec<RingEntry>,
    /// What happens to a value that was sealed under a key that is not in the ring.
    #[serde(default)]
    pub on_unknown_key: OnUnknownKey,
    /// What happens to a value that is not sealed.
    #[serde(default)]
    pub on_clear: OnClear,
    /// How long a program of the ring may take.
    #[serde(default = "exec_timeout")]
    pub exec_timeout: Seconds,
}

/// A key, or several, and where it is read from: exactly one of `env`, `file` and `exec`.
#[config]
#[derive(Debug, Clone)]
pub struct RingEntry {
    /// The key's name, which every value sealed under it carries. Without one, the source has lines `name: key`, the one
    /// in use first.
    #[serde(default)]
    pub id: Option<String>,
    /// The environment variable that holds it.
    #[serde(default)]
    pub env: Option<String>,
    /// The file that holds it, relative to the pipeline file; read again when it changes.
    #[serde(default)]
    pub file: Option<String>,
    /// The program that prints it, with its arguments; run without a shell, at the start and at `encrypt.rotate`.
    #[serde(default)]
    pub exec: Option<Vec<String>>,
}

/// What happens, before the log, to a change of another host whose value is not sealed.
#[config]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClearFromElsewhere {
    /// It is rejected as `invalid_value`.
    #[default]
    Reject,
    /// It is taken as it is: sealed here, it would no longer be the same change as elsewhere.
    Pass,
}

/// What happens to a value that was sealed under a key that is not in the ring.
#[config]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnUnknownKey {
    /// It is rejected as `invalid_value`.
    #[default]
    Reject,
    /// It passes sealed.
    Pass,
}

/// What happens to a value that is not sealed.
#[config]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnClear {
    /// It passes as it is.
    #[default]
    Pass,
    /// It is rejected as `invalid_value`: nobody without a key can make up a value. A deletion has none, and passes.
    Reject,
}

/// The longest name of a key, in bytes.
pub const MAX_ID_BYTES: usize = 64;

/// The most entries of a ring.
const MAX_ENTRIES: usize = 100;

const LONGEST_LIFETIME: Duration = Duration::from_secs(30 * 86_400);
/// Below the deadline that the host sets plugin calls.
const LONGEST_EXEC: Duration = Duration::from_secs(20);

impl EncryptConfig {
    /// Checks what the types do not.
    pub fn check(&self) -> Result<()> {
        selected(&self.keys, &self.except)?;
        check_ring(&self.ring, self.current.as_deref())?;
        check_exec_timeout(self.exec_timeout)?;
        if !(Duration::from_secs(1)..=LONGEST_LIFETIME).contains(&self.data_key_lifetime.0) {
            let message = "`data_key_lifetime` must lie between 1 s and 30 days";
            return Err(Error::config(message).at("data_key_lifetime"));
        }
        Ok(())
    }
}

impl DecryptConfig {
    /// Checks what the types do not.
    pub fn check(&self) -> Result<()> {
        selected(&self.keys, &self.except)?;
        check_ring(&self.ring, None)?;
        check_exec_timeout(self.exec_timeout)
    }
}

/// The keys that `keys` names and `except` does not.
///
/// # Errors
/// `Config`, with the field.
pub fn selected(keys: &[String], except: &[String]) -> Result<Keys> {
    if keys.is_empty() {
        return Err(Error::config("name at least one glob, such as `app.security.*`").at("keys"));
    }
    let rules = except.iter().enumerate().map(|(i, text)| (text, format!("except.{i}"), false));
    let rules = rules.chain(keys.iter().enumerate().map(|(i, text)| (text, format!("keys.{i}"), true)));
    let rules: Result<Vec<_>> = rules.map(|(text, at, says)| Ok((glob(text, &at)?, says))).collect();
    Ok(Keys::new(rules?))
}

fn glob(text: &str, at: &str) -> Result<Glob> {
    Glob::new(text).map_err(|error| Error::config(format!("`{text}` is not a glob: {error}")).at(at))
}

fn check_ring(ring: &[RingEntry], current: Option<&str>) -> Result<()> {
    if !(1..=MAX_ENTRIES).contains(&ring.len()) {
        return Err(Error::config("a ring has 1 to 100 entries").at("ring"));
    }
    let mut ids = BTreeSet::new();
    for (i, entry) in ring.iter().enumerate() {
        entry.check(i)?;
        if let Some(id) = &entry.id
            && !ids.insert(id.as_str())
        {
            return Err(Error::config(format!("two keys are called `{id}`")).at(format!("ring.{i}.id")));
        }
    }
    let is_all_named = ids.len() == ring.len();
    match current.filter(|current| is_all_named && !ids.contains(current)) {
        Some(missing) => {
            Err(Error::config(format!("no key of the ring is called `{missing}`")).at("current"))
        }
        None => Ok(()),
    }
}

impl RingEntry {
    fn check(&self, i: usize) -> Result<()> {
        if let Some(problem) = self.id.as_deref().and_then(id_problem) {
            return Err(Error::config(format!("the name of a key {problem}")).at(format!("ring.{i}.id")));
        }
        let named = [self.env.is_some(), self.file.is_some(), self.exec.is_some()];
        if named.iter().filter(|is_named| **is_named).count() != 1 {
            let message = "name one place the key comes from: `env`, `file` or `exec`";
            return Err(Error::config(message).at(format!("ring.{i}")));
        }
        let empty = [("env", &self.env), ("file", &self.file)];
        let empty = empty.into_iter().find(|(_, place)| place.as_ref().is_some_and(String::is_empty));
        match (empty, &self.exec) {
            (Some((field, _)), _) => {
                Err(Error::config(format!("`{field}` is empty")).at(format!("ring.{i}.{field}")))
            }
            (_, Some(program)) if program.first().is_none_or(String::is_empty) => {
                Err(Error::config("name a program: `[program, argument]`").at(format!("ring.{i}.exec")))
            }
            _ => Ok(()),
        }
    }
}

/// Why this cannot be the name of a key.
pub fn id_problem(id: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        Some("must have 1 to 64 characters")
    } else if !id.chars().all(allowed) {
        Some("has a character besides A-Z a-z 0-9 . _ -")
    } else {
        None
    }
}

fn check_exec_timeout(timeout: Seconds) -> Result<()> {
    if (Duration::from_millis(100)..=LONGEST_EXEC).contains(&timeout.0) {
        return Ok(());
    }
    Err(Error::config("`exec_timeout` must lie between 0.1 s and 20 s").at("exec_timeout"))
}

fn data_key_lifetime() -> Seconds {
    Seconds(Duration::from_secs(86_400))
}

fn exec_timeout() -> Seconds {
    Seconds(Duration::from_secs(10))
}

fn every_key() -> Vec<String> {
    vec!["*".to_owned()]
}
