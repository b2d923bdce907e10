//! Both transforms through the adapters that a host calls.

use crate::{binding::Layer, decrypt::Decrypt, encrypt::Encrypt};
use lockstep_plugin_api::{
    prelude::*,
    sealed::is_sealed,
    testing::{self, Place, TransformDriver},
};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};
use tempfile::TempDir;

mod sealing;
mod opening;
mod there_and_back;
mod keys;

/// Where a component stands.
#[derive(Clone, Copy)]
enum At {
    BeforeLog,
    BehindLog,
    Direct,
}

/// Writes keys into a file that everybody may read and its owner alone may write, whatever the umask of the tests.
pub(crate) fn write_keys(file: &Path, keys: impl AsRef<[u8]>) {
    fs::write(file, keys).expect("written");
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).expect("set");
}

/// A folder with keys and the components that use them.
struct Bench {
    dir: TempDir,
}

impl Bench {
    /// With one key, `k1`.
    fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().expect("a folder") };
        bench.ring(&[("k1", '1')]);
        bench
    }

    /// Makes these the keys, the first one in use.
    fn ring(&self, keys: &[(&str, char)]) {
        let line = |(id, digit): &(&str, char)| format!("{id}: {}\n", digit.to_string().repeat(64));
        write_keys(&self.dir.path().join("ring"), keys.iter().map(line).collect::<String>());
    }

    fn place(&self, at: At) -> Place {
        let (through_log, behind_log) = match at {
            At::BeforeLog => (true, false),
            At::BehindLog => (true, true),
            At::Direct => (false, false),
        };
        Place { base_dir: self.dir.path().to_owned(), through_log, behind_log, ..Place::default() }
    }

    fn encrypt_with(&self, at: At, more: &Value) -> TransformDriver {
        let mut config = json!({ "keys": ["app.*"], "ring": [{ "file": "ring" }] });
        config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        testing::transform_at::<Encrypt>(&config.to_string(), &self.place(at)).expect("encrypt")
    }

    fn encrypt(&self, at: At) -> TransformDriver {
        self.encrypt_with(at, &json!({}))
    }

    fn decrypt_with(&self, at: At, more: &Value) -> TransformDriver {
        let mut config = json!({ "ring": [{ "file": "ring" }] });
        config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        testing::transform_at::<Decrypt>(&config.to_string(), &self.place(at)).expect("decrypt")
    }

    fn decrypt(&self, at: At) -> TransformDriver {
        self.decrypt_with(at, &json!({}))
    }
}

/// What one component makes of one change.
fn through(driver: &mut TransformDriver, change: &Value) -> Result<Value> {
    let record = record_through(driver, Record::new(change.to_string()))?;
    Ok(serde_json::from_slice(&record.value().expect("a value")).expect("JSON"))
}

fn record_through(driver: &mut TransformDriver, record: Record) -> Result<Record> {
    let mut applied = driver.apply(vec![record]).expect("applied");
    match applied.failed.pop() {
        Some((_, error)) => {
            assert_eq!(error.kind(), ErrorKind::REJECTED, "{error}");
            Err(error)
        }
        None => Ok(applied.out.pop().expect("passed on")),
    }
}

/// The message of a refusal, which shows neither the value nor anything else of the change.
fn refusal(driver: &mut TransformDriver, change: &Value) -> String {
    let error = through(driver, change).expect_err("refused");
    assert_eq!(error.code(), Some("invalid_value"));
    let details = error.details().expect("details");
    assert!(!details.contains("hunter2") && !error.message().contains("hunter2"), "{details}");
    format!("{} {details}", error.message())
}

fn is_envelope(value: &Value) -> bool {
    is_sealed(&value.to_string())
}

fn update(value: &Value) -> Value {
    json!({ "config_key": "app.pin", "event_type": "config_updated", "new_value": value })
}

/// A change that another host has given its place.
fn placed(mut change: Value) -> Value {
    change["dot"] = json!({ "node": "eu-1@a", "seq": 1 });
    change["ctx"] = json!({});
    change["hlc"] = json!("7-1");
    change["event_id"] = json!("e1");
    change
}

/// Which layer an envelope is of, as components that know all keys tell.
fn layer(bench: &Bench, change: &Value) -> Layer {
    let opened = through(&mut bench.decrypt(At::BeforeLog), &placed(change.clone())).expect("it opens");
    if is_envelope(&opened["new_value"]) { Layer::Log } else { Layer::Wire }
}
