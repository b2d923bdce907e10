//! What the resolver is given: changes of its host's authors, and changes that other hosts have taken in.

use crate::{strategy::hash_of, value::Value};
use serde_json::json;
use std::fmt::Write as _;

/// The value that everybody changes, and what each makes of it.
#[derive(Debug, Clone, Copy)]
pub enum Edit {
    /// A text of its own.
    Text { n_bytes: usize },
    /// An object, five of whose fields are changed: no two change one.
    Fields { n_fields: usize },
    /// A text, into which a word is put: no two at one place.
    Insert { n_bytes: usize },
}

/// What one author makes of the value before.
pub struct Edited {
    pub value: String,
    pub ops: Option<String>,
}

impl Edit {
    pub fn before(self) -> String {
        match self {
            Self::Text { n_bytes } => json!("b".repeat(n_bytes)).to_string(),
            Self::Fields { n_fields } => fields(n_fields, |_| 0),
            Self::Insert { n_bytes } => json!(text(n_bytes)).to_string(),
        }
    }

    /// By the author with this number.
    pub fn by(self, author: usize) -> Edited {
        match self {
            Self::Text { n_bytes } => {
                let value = format!("{author:04}{}", "x".repeat(n_bytes.saturating_sub(4)));
                Edited { value: json!(value).to_string(), ops: None }
            }
            Self::Fields { n_fields } => {
                let own = author * 5..author * 5 + 5;
                let value = fields(n_fields, |at| if own.contains(&at) { 1 } else { 0 });
                Edited { value, ops: None }
            }
            Self::Insert { n_bytes } => {
                let (at, word) = (place(author, n_bytes), word(author));
                let mut value = text(n_bytes);
                value.insert_str(at, &word);
                let ops = json!([{ "es": [at, word] }]).to_string();
                Edited { value: json!(value).to_string(), ops: Some(ops) }
            }
        }
    }
}

fn fields(n_fields: usize, number: impl Fn(usize) -> u64) -> String {
    let fields =
        (0..n_fields).map(|at| format!(r#""field-{at:03}":{{"limit":{},"unit":"MiB"}}"#, number(at)));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

fn text(n_bytes: usize) -> String {
    "all that is known of it ".chars().cycle().take(n_bytes).collect()
}

/// Where an author writes.
pub fn place(author: usize, n_bytes: usize) -> usize {
    (author * 97 + 13) % n_bytes
}

/// What it writes there.
pub fn word(author: usize) -> String {
    format!("<{author}>")
}

/// A change of one of this host's authors, based on what is current.
pub fn plain(key: usize, n_bytes: usize) -> String {
    let value = "x".repeat(n_bytes);
    format!(
        r#"{{"config_key":"app.database.key-{key}","new_value":"{value}","user_id":"eve","tenant_id":"acme"}}"#
    )
}

/// Changes of a key that several hosts take in without having heard of each other.
pub struct Hosts {
    strategy: &'static str,
    edit: Edit,
    before: String,
    hash: String,
}

impl Hosts {
    pub fn of(strategy: &'static str, edit: Edit) -> Self {
        let before = edit.before();
        let hash = hash_of(&Value::parse(&before).expect("JSON")).as_str().to_owned();
        Self { strategy, edit, before, hash }
    }

    /// What the host with this number says of a key.
    pub fn message(&self, host: usize, key: usize) -> String {
        let Edited { value, ops } = self.edit.by(host);
        let Self { strategy, before, hash, .. } = self;
        let mut message = format!(
            r#"{{"config_key":"app.database.key-{key}","new_value":{value},"old_value":{before},"user_id":"eve",
            "tenant_id":"acme","source_node":"host-{host:03}","event_id":"{key}-{host}","strategy":"{strategy}",
            "base_hash":"{hash}","hlc":"1700000000000-{host}","dot":{{"node":"host-{host:03}@1","seq":{}}},"ctx":{{}}"#,
            key + 1,
        );
        if let Some(ops) = ops {
            write!(message, r#","ops":{ops}"#).expect("a String takes everything");
        }
        message + "}"
    }
}
