//! The records: changes of 200 bytes, as the guide writes them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// How long a record's value is.
const BYTES: usize = 200;
/// How many keys take turns.
const N_KEYS: u64 = 1000;

/// A change as a program reads it that knows these fields and leaves the value as it is.
#[derive(Deserialize, Serialize)]
pub struct Change<'a> {
    pub event_type: &'a str,
    pub tenant_id: &'a str,
    pub config_key: &'a str,
    #[serde(borrow)]
    pub new_value: &'a RawValue,
    pub user_id: &'a str,
    pub source_node: &'a str,
    pub timestamp: &'a str,
}

/// The config key of one record.
pub fn config_key(n: u64) -> String {
    format!("app.bench.key{:03}", n % N_KEYS)
}

/// The value of one record.
pub fn value(n: u64) -> String {
    let head = format!(
        r#"{{"event_type":"config_updated","tenant_id":"acme","config_key":"{}","new_value":{{"port":5432,"note":""#,
        config_key(n)
    );
    let tail = r#""},"user_id":"eve","source_node":"n1","timestamp":"2026-01-01T12:00:00.000000Z"}"#;
    let note = "x".repeat(BYTES - head.len() - tail.len());
    format!("{head}{note}{tail}")
}
