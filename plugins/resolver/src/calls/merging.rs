//! `resolver.merge`: the merge by itself, so that anyone can compare it with other implementations.

use super::{any, given, sent::Fields};
use crate::{
    clock::{Hlc, NotAnHlc},
    conflict::Conflict,
    merge::{self, Depth, Lists, Numbers, Paths, Policy, Strings},
    value::Value,
};
use lockstep_plugin_api::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

/// What is to be merged.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The value that all changes were made from; absent where none is known.
    #[serde(default, deserialize_with = "given")]
    #[schemars(schema_with = "any")]
    base: Option<Value>,
    #[schemars(with = "Vec<Change>")]
    changes: Vec<Fields<Change>>,
    /// This and what follows are the fields of the configuration's `merge`.
    #[serde(default)]
    numbers: Option<Numbers>,
    #[serde(default)]
    lists: Lists,
    #[serde(default)]
    strings: Strings,
    #[serde(default)]
    depth: Depth,
    #[serde(default)]
    #[schemars(with = "Vec<merge::PathRule>")]
    paths: Paths,
}

/// One author's change.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    /// What the author made of the value.
    #[serde(default, deserialize_with = "given")]
    #[schemars(schema_with = "any")]
    value: Option<Value>,
    /// Whether the author removed it; then there is no `value`.
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
#[serde(untagged, expecting = "an HLC is `<milliseconds>-<counter>`, or a number")]
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
pub struct Answer {
    value: Option<Value>,
    /// There only if the value is removed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    conflicts: Vec<Conflict>,
    /// There only if `paths` leave one of the conflicts to a person.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    requires_human_intervention: bool,
}

/// Why nothing did.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("`changes[{0}]`: say one of `value` and `deleted: true`")]
    Neither(usize),
    #[error("`changes[{0}]`: there is no `value` beside `deleted: true`")]
    Both(usize),
    #[error("`changes[{0}].hlc`: {1}")]
    Stamp(usize, NotAnHlc),
}

impl Change {
    fn value(&self, at: usize) -> Result<Option<&Value>, Failure> {
        match (&self.value, self.deleted) {
            (None, false) => Err(Failure::Neither(at)),
            (Some(_), true) => Err(Failure::Both(at)),
            (value, _) => Ok(value.as_ref()),
        }
    }

    fn stamp(&self, at: usize) -> Result<(Hlc, &str, u64), Failure> {
        let hlc = match &self.hlc {
            Stamp::Number(number) => Hlc::from_bits(*number),
            Stamp::Text(text) => text.parse().map_err(|error| Failure::Stamp(at, error))?,
        };
        Ok((hlc, &self.node, self.seq))
    }
}

impl Request {
    /// Merges them.
    ///
    /// # Errors
    /// [`Failure`] if a change does not say what its author made of the value, or when.
    pub fn run(self) -> Result<Answer, Failure> {
        let mut stamped = Vec::with_capacity(self.changes.len());
        for (at, Fields(change)) in self.changes.iter().enumerate() {
            stamped.push((change.stamp(at)?, change.value(at)?));
        }
        stamped.sort_by_key(|(stamp, _)| *stamp);
        // One change that came twice.
        stamped.dedup();
        let values: Vec<Option<&Value>> = stamped.into_iter().map(|(_, value)| value).collect();
        let Self { numbers, lists, strings, depth, paths, .. } = self;
        let policy = Policy { numbers, lists, strings, depth, paths };
        let merged = merge::merge(self.base.as_ref(), &values, &policy);
        Ok(Answer {
            // Without a change nothing is removed.
            deleted: merged.value.is_none() && !values.is_empty(),
            value: merged.value,
            conflicts: merged.conflicts,
            requires_human_intervention: merged.is_left,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::calls::sent::Sent;
    use serde_json::{Value, json};

    fn ask(request: &Value) -> Value {
        let sent: Sent<super::Request> = serde_json::from_str(&request.to_string()).expect("JSON");
        serde_json::to_value(sent.answer(super::Request::run)).expect("JSON")
    }

    #[test]
    fn changes_are_merged_by_their_stamps_wherever_they_stand() {
        let changes = [
            json!({"value": {"a": 2, "b": 1}, "hlc": "20-0", "node": "x", "seq": 1}),
            json!({"value": {"a": 3, "b": 1, "c": 1}, "hlc": "10-1", "node": "y", "seq": 1}),
            json!({"value": {"a": 3, "b": 1, "c": 1}, "hlc": "10-1", "node": "y", "seq": 1}),
        ];
        let reply = json!({"id": 4, "ok": true, "value": {"a": 2, "b": 1, "c": 1},
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
            json!({"id": 1, "ok": true, "value": null, "deleted": true, "conflicts": []})
        );
        let reply = ask(&json!({"id": 1, "changes": [{"value": 1, "hlc": "soon"}]}));
        assert_eq!(
            reply,
            json!({"id": 1, "ok": false, "error": "`changes[0].hlc`: an HLC is `<milliseconds>-<counter>`"})
        );
        assert_eq!(
            ask(&json!({"id": 2, "base": 5, "changes": []})),
            json!({"id": 2, "ok": true, "value": 5, "conflicts": []})
        );
    }

    #[test]
    fn a_change_that_says_nothing_or_two_things_and_fields_that_are_none_are_refused() {
        let (plain, other) = (json!({"value": 12, "hlc": 1}), json!({"value": 12, "hlc": 2}));
        for (changes, more, error) in [
            (json!([plain, {"valu": 1}]), json!({}), "`changes[1]`: unknown field `valu`"),
            (json!([{"hlc": 1}]), json!({}), "`changes[0]`: say one of `value` and `deleted: true`"),
            (json!([{"deleted": false}]), json!({}), "`changes[0]`: say one of"),
            (json!([{"value": 1, "deleted": true}]), json!({}), "`changes[0]`: there is no `value`"),
            (json!([{"value": 1, "hlc": {}}]), json!({}), "`changes[0]`: `hlc`: an HLC is"),
            (json!([[5]]), json!({}), "`changes[0]`: it must be an object"),
            (json!([plain, other]), json!({"merge": {"numbers": "delta"}}), "unknown field `merge`"),
            (json!([plain]), json!({"numbers": "sum"}), "`numbers`: unknown variant `sum`"),
        ] {
            let mut request = json!({"id": 9, "base": 10, "changes": changes});
            request.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
            let reply = ask(&request);
            assert_eq!((&reply["id"], &reply["ok"]), (&json!(9), &json!(false)), "{reply}");
            assert!(reply["error"].as_str().is_some_and(|told| told.contains(error)), "{reply}");
        }
        let sum = json!({"id": 9, "base": 10, "changes": [plain, other], "numbers": "delta"});
        assert_eq!(ask(&sum)["value"], 14);
        let left = json!({"base": 10, "changes": [{"value": 1, "seq": 1}, {"value": 2, "seq": 2}], "paths": [{"match": "", "x-merge": "manual"}]});
        assert_eq!(ask(&left)["requires_human_intervention"], true);
    }
}
