//! `resolver.merge`: the merge by itself, so that anyone can compare it with other implementations.

use super::{any, given};
use crate::{
    clock::Hlc,
    conflict::Conflict,
    merge::{self, Depth, Lists, Numbers, Policy, Strings},
    value::Value,
};
use lockstep_plugin_api::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

/// What is to be merged.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {
    /// Given back with the answer.
    #[serde(default)]
    #[schemars(schema_with = "any")]
    id: Value,
    /// The value that all changes were made from; absent where none is known.
    #[serde(default, deserialize_with = "given")]
    #[schemars(schema_with = "any")]
    base: Option<Value>,
    changes: Vec<Change>,
    #[serde(default)]
    numbers: Option<Numbers>,
    #[serde(default)]
    lists: Lists,
    #[serde(default)]
    strings: Strings,
    #[serde(default)]
    depth: Depth,
}

/// One author's change.
#[derive(Debug, Deserialize, JsonSchema)]
struct Change {
    /// What the author made of the value; absent for a deletion.
    #[serde(default, deserialize_with = "given")]
    #[schemars(schema_with = "any")]
    value: Option<Value>,
    #[serde(default)]
    deleted: bool,
    /// `<milliseconds>-<counter>`, or a number.
    #[serde(default)]
    hlc: Stamp,
    #[serde(default)]
    node: String,
    #[serde(default)]
    seq: u64,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Stamp {
    Number(u64),
    Text(String),
}

impl Default for Stamp {
    fn default() -> Self {
        Self::Number(0)
    }
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Reply {
    id: Value,
    #[serde(flatten)]
    answer: Answer,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer {
    Merged {
        value: Option<Value>,
        /// There only if the value is removed.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        deleted: bool,
        conflicts: Vec<Conflict>,
    },
    Failed {
        error: String,
    },
}

impl Request {
    pub fn answer(mut self) -> Reply {
        let id = std::mem::replace(&mut self.id, Value::Null);
        let answer = self.run().unwrap_or_else(|error| Answer::Failed { error: error.to_string() });
        Reply { id, answer }
    }

    fn run(self) -> Result<Answer, crate::clock::NotAnHlc> {
        let mut stamped = Vec::with_capacity(self.changes.len());
        for change in &self.changes {
            let hlc: Hlc = match &change.hlc {
                Stamp::Number(number) => Hlc::from_bits(*number),
                Stamp::Text(text) => text.parse()?,
            };
            stamped.push((hlc, &change.node, change.seq, change.value.as_ref().filter(|_| !change.deleted)));
        }
        stamped.sort_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)));
        // One change that came twice.
        stamped.dedup_by(|a, b| (a.0, a.1, a.2) == (b.0, b.1, b.2) && a.3 == b.3);
        let values: Vec<Option<&Value>> = stamped.into_iter().map(|(.., value)| value).collect();
        let policy =
            Policy { numbers: self.numbers, lists: self.lists, strings: self.strings, depth: self.depth };
        let merged = merge::merge(self.base.as_ref(), &values, policy);
        // Without a change nothing is removed.
        let deleted = merged.value.is_none() && !values.is_empty();
        Ok(Answer::Merged { value: merged.value, deleted, conflicts: merged.conflicts })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    fn ask(request: &Value) -> Value {
        let request: super::Request = serde_json::from_value(request.clone()).expect("a request");
        serde_json::to_value(request.answer()).expect("JSON")
    }

    #[test]
    fn changes_are_merged_by_their_stamps_wherever_they_stand() {
        let changes = [
            json!({"value": {"a": 2, "b": 1}, "hlc": "20-0", "node": "x", "seq": 1}),
            json!({"value": {"a": 3, "b": 1, "c": 1}, "hlc": "10-1", "node": "y", "seq": 1}),
            json!({"value": {"a": 3, "b": 1, "c": 1}, "hlc": "10-1", "node": "y", "seq": 1}),
        ];
        let reply = json!({"id": 4, "value": {"a": 2, "b": 1, "c": 1},
            "conflicts": [{"path": "/a", "kind": "edit_edit", "base": 1, "values": [3, 2]}]});
        let mut back = changes.to_vec();
        back.reverse();
        for changes in [changes.to_vec(), back] {
            assert_eq!(ask(&json!({"id": 4, "base": {"a": 1, "b": 1}, "changes": changes})), reply);
        }
    }

    #[test]
    fn deletions_and_stamps_that_are_none_are_told() {
        let gone = json!({"deleted": true, "hlc": 1, "node": "x", "seq": 1});
        assert_eq!(
            ask(&json!({"id": 1, "base": 5, "changes": [gone]})),
            json!({"id": 1, "value": null, "deleted": true, "conflicts": []})
        );
        let reply = ask(&json!({"id": 1, "changes": [{"value": 1, "hlc": "soon"}]}));
        assert_eq!(reply, json!({"id": 1, "error": "an HLC is `<milliseconds>-<counter>`"}));
        assert_eq!(
            ask(&json!({"id": 2, "base": 5, "changes": []})),
            json!({"id": 2, "value": 5, "conflicts": []})
        );
    }
}
