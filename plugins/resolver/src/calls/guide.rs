//! The guide's call `resolve_conflict(config_key, competing_changes, strategy)`: changes in, its result shape out.
//!
//! It looks at nothing but its arguments and changes no key; the audit gets an entry, as for every resolution.

use crate::{
    clock::Hlc,
    draft::{Draft, Wish},
    merge::Policy,
    report::{AuditEntry, CONFLICT_RESOLVED, Fields},
    strategy::{Contender, Resolution, Strategy},
};
use lockstep_plugin_api::{
    prelude::*,
    schemars::{self, JsonSchema},
    time,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// The operation's arguments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveConflict {
    /// The key the changes are about.
    config_key: String,
    /// The changes, each with `new_value` and `timestamp`, or `hlc`; `old_value` is what it was made from, `ops` are
    /// operations on that.
    competing_changes: Vec<Value>,
    /// The strategy to resolve them by; `last_write_wins` if it is absent.
    #[serde(default)]
    strategy: Option<String>,
    /// How `merge_strategies` merges the parts of a value.
    #[serde(default)]
    merge: Policy,
}

/// The guide's result.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    fields: Fields<'a, &'a Value>,
    /// Nothing was committed.
    resolved_revision: Option<u64>,
    /// How many changes were resolved.
    siblings: usize,
}

/// Resolves what it is given.
pub fn answer(context: &Context, arguments: ResolveConflict) -> Result<Json> {
    let ResolveConflict { config_key, competing_changes, strategy, merge } = arguments;
    let strategy = strategy.map_or(Ok(Strategy::default()), |name| name.parse());
    let strategy: Strategy = strategy.map_err(|error| Error::rejected("bad_message", error))?;
    let strategy =
        if strategy.name() == "merge_strategies" { Strategy::MergeStrategies(merge) } else { strategy };
    let (changes, resolution) = resolve_conflict(competing_changes, strategy)?;
    let changes: Vec<&Value> = changes.iter().collect();
    let conflict_id = || conflict_id(&config_key, &changes);
    if context.through_log() {
        context.audit(&AuditEntry {
            event_type: CONFLICT_RESOLVED,
            config_key: &config_key,
            tenant_id: None,
            user_id: None,
            resolution_strategy: strategy.name(),
            competing_changes_count: changes.len(),
            fields: Fields::of(&resolution, &changes, None, conflict_id)?,
            timestamp: time::format_us(time::now_us()),
            conflict_id: None,
        })?;
    }
    let (fields, siblings) = (Fields::of(&resolution, &changes, None, conflict_id)?, changes.len());
    Json::write(&Answer { fields, resolved_revision: None, siblings })
}

/// The name of a conflict of changes without dots: alike whatever the order they are listed in.
fn conflict_id(config_key: &str, changes: &[&Value]) -> Uuid {
    let mut texts: Vec<String> = changes.iter().map(ToString::to_string).collect();
    texts.sort_unstable();
    let name = format!("{config_key} {}", texts.join(" "));
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
}

/// Resolves changes as the guide writes them, and gives them in the order of their stamps.
///
/// # Errors
/// `Rejected("no_changes")` if there are none, `Rejected("bad_message")` if a timestamp cannot be read or operations do
/// not fit what they are based on.
fn resolve_conflict(changes: Vec<Value>, strategy: Strategy) -> Result<(Vec<Value>, Resolution)> {
    let mut stamped = changes
        .into_iter()
        .map(|change| Ok((stamp(&change, strategy)?, change)))
        .collect::<Result<Vec<_>>>()?;
    stamped.sort_by(|(one, _), (other, _)| one.cmp(other));
    let changes: Vec<Value> = stamped.into_iter().map(|(_, change)| change).collect();
    let olds: Vec<Option<Text>> = changes.iter().map(|change| old_value(change, strategy)).collect();
    let drafts = changes.iter().zip(&olds).map(|(change, old)| draft(change, old.as_ref(), strategy));
    let drafts = drafts.collect::<Result<Vec<_>>>()?;
    let contenders: Vec<Contender<'_>> = drafts
        .iter()
        .zip(&olds)
        .map(|(draft, old)| Contender {
            value: draft.value.as_ref(),
            old_value: old.as_ref(),
            base_hash: draft.base_hash.as_ref(),
            ops: draft.ops.as_ref(),
        })
        .collect();
    let resolution = strategy.resolve(&contenders);
    let resolution =
        resolution.ok_or_else(|| Error::rejected("no_changes", "there are no changes to resolve"))?;
    Ok((changes, resolution))
}

/// What a change was made from; operations are on the guide's default if the change does not say it.
fn old_value(change: &Value, strategy: Strategy) -> Option<Text> {
    let given = change.get("old_value").map(|old| old.to_string().into());
    given.or_else(|| (strategy == Strategy::OperationalTransform).then(|| "{}".into()))
}

fn draft(change: &Value, old: Option<&Text>, strategy: Strategy) -> Result<Draft> {
    let value = change.get("new_value").map_or_else(|| "null".to_owned(), Value::to_string);
    let ops = change.get("ops").filter(|ops| !ops.is_null()).map(Value::to_string);
    Wish { value: Some(&value), ops: ops.as_deref() }.draft(old.map(Text::as_str), strategy)
}

/// Orders the changes: by `hlc`, else by `timestamp`, else as the guide does without one; then by what names the change,
/// so that the order of the list has no say.
fn stamp(change: &Value, strategy: Strategy) -> Result<(Hlc, String)> {
    let text = |name: &str| change.get(name).and_then(Value::as_str);
    let hlc = match (text("hlc"), text("timestamp")) {
        (Some(hlc), _) => hlc.parse().map_err(|error| Error::rejected("bad_message", error))?,
        (None, Some(timestamp)) => at(time::parse_us(timestamp)?),
        (None, None) if strategy == Strategy::FirstWriteWins => Hlc::at(u64::MAX),
        (None, None) => Hlc::default(),
    };
    Ok((hlc, change.to_string()))
}

/// The stamp of an instant; microseconds that differ must not become equal.
fn at(timestamp_us: i64) -> Hlc {
    let timestamp_us = u64::try_from(timestamp_us).unwrap_or(0);
    Hlc::from_bits(Hlc::at(timestamp_us / 1000).bits() + timestamp_us % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const T: &str = "2024-01-01T12:00:00";
    const T5: &str = "2024-01-01T12:00:05Z";

    fn resolved(changes: &[Value], strategy: Strategy) -> Value {
        let (changes, resolution) = resolve_conflict(changes.to_vec(), strategy).expect("resolved");
        let changes: Vec<&Value> = changes.iter().collect();
        let conflict_id = || conflict_id("app.x", &changes);
        serde_json::to_value(Fields::of(&resolution, &changes, None, conflict_id).expect("JSON"))
            .expect("JSON")
    }

    /// The fields that the guide's result has.
    fn guides(changes: &[Value], strategy: &str, fields: &[&str]) -> Value {
        let result = resolved(changes, strategy.parse().expect("a strategy"));
        let taken = fields.iter().map(|field| ((*field).to_owned(), result[*field].clone()));
        Value::Object(taken.collect())
    }

    fn change(value: Value, timestamp: &str) -> Value {
        json!({"new_value": value, "timestamp": timestamp})
    }

    /// The contract's golden vectors; the two forms of a timestamp are compared as instants.
    #[test]
    fn the_contracts_vectors_hold_for_last_and_first_write() {
        let (a, b) = (change(json!("A"), T), change(json!("B"), T5));
        let fields = ["resolved_value", "resolution_method", "winning_change", "discarded_changes"];
        for changes in [[b.clone(), a.clone()], [a.clone(), b.clone()]] {
            assert_eq!(
                guides(&changes, "last_write_wins", &fields),
                json!({"resolved_value": "B", "resolution_method": "last_write_wins",
                    "winning_change": b, "discarded_changes": [a]})
            );
            assert_eq!(
                guides(&changes, "first_write_wins", &fields),
                json!({"resolved_value": "A", "resolution_method": "first_write_wins",
                    "winning_change": a, "discarded_changes": [b]})
            );
        }
    }

    #[test]
    fn the_contracts_vectors_hold_for_merges() {
        let merged = |values: [Value; 2], fields: &[&str]| {
            let [one, other] = values;
            guides(&[change(one, T), change(other, T5)], "merge", fields)
        };
        assert_eq!(
            merged(
                [json!({"a": 1}), json!({"b": 2})],
                &["resolved_value", "resolution_method", "merged_sources"]
            ),
            json!({"resolved_value": {"a": 1, "b": 2}, "resolution_method": "dictionary_merge", "merged_sources": 2})
        );
        let fields = ["resolved_value", "resolution_method", "original_length", "deduplicated_length"];
        assert_eq!(
            merged([json!([1, 2]), json!([2, 3])], &fields),
            json!({"resolved_value": [1, 2, 3], "resolution_method": "list_merge", "original_length": 4,
                "deduplicated_length": 3})
        );
        let fields = ["resolved_value", "resolution_method", "original_values", "min_value", "max_value"];
        assert_eq!(
            merged([json!(10), json!(20)], &fields),
            json!({"resolved_value": 15, "resolution_method": "numeric_average", "original_values": [10, 20],
                "min_value": 10, "max_value": 20})
        );
        for [one, other] in [[json!(true), json!(false)], [json!(1), json!("x")]] {
            assert_eq!(
                merged([one, other.clone()], &["resolved_value", "resolution_method"]),
                json!({"resolved_value": other, "resolution_method": "last_write_wins"})
            );
        }
    }

    #[test]
    fn the_contracts_vector_holds_for_a_person_who_has_to_decide() {
        let (a, b) = (change(json!("A"), T), change(json!("B"), T5));
        let result = resolved(&[b.clone(), a.clone()], Strategy::ManualResolution);
        let id = result["conflict_id"].as_str().expect("an id").to_owned();
        assert_eq!(id.parse::<Uuid>().expect("a UUID").get_version_num(), 5);
        assert_eq!(
            result,
            json!({"resolved_value": null, "resolution_method": "manual_resolution_pending", "conflict_id": id,
                "requires_human_intervention": true, "shown_change": b, "discarded_changes": [],
                "base_revision": null,
                "conflicts": [{"path": "", "kind": "edit_edit", "values": ["A", "B"]}]})
        );
        let again = resolved(&[a.clone(), b], Strategy::ManualResolution);
        assert_eq!(again, result, "the order of the list has no say");
        let agreed = resolved(&[a.clone(), change(json!("A"), T5)], "manual".parse().expect("an alias"));
        assert_eq!(
            (&agreed["resolved_value"], &agreed["resolution_method"]),
            (&json!("A"), &json!("last_write_wins")),
            "everybody wants the same"
        );
    }

    #[test]
    fn the_contracts_vectors_hold_for_operations() {
        let operated = |old: Value, ops: [Value; 2]| {
            let [one, other] = ops;
            let one = json!({"old_value": old, "ops": one, "timestamp": T});
            let other = json!({"old_value": old, "ops": other, "timestamp": T5});
            let forth = [one.clone(), other.clone()];
            let fields = ["resolved_value", "resolution_method", "operations_applied", "base_value"];
            let result = guides(&forth, "ot", &fields);
            assert_eq!(result, guides(&[other, one], "ot", &fields), "the order of the list has no say");
            result
        };
        let delete = |position: u8| json!({"op_type": "delete", "position": position, "length": 3});
        assert_eq!(
            operated(json!("abcdef"), [delete(0), delete(2)]),
            json!({"resolved_value": "f", "resolution_method": "operational_transform", "operations_applied": 2,
                "base_value": "abcdef"})
        );
        let insert = |content: u8| json!({"op_type": "insert", "position": 1, "content": content});
        let result = operated(json!([1, 2, 3]), [insert(9), insert(8)]);
        assert_eq!(result["resolved_value"], json!([1, 9, 8, 2, 3]));
    }

    /// The guide's own call has whole values and no operations: it took the first of them.
    #[test]
    fn d_36_changes_without_operations_are_compared_with_what_they_were_made_from() {
        let old = json!({"pool": {"min": 1, "max": 5}});
        let one = json!({"old_value": old, "new_value": {"pool": {"min": 2, "max": 5}}, "timestamp": T});
        let other = json!({"old_value": old, "new_value": {"pool": {"min": 1, "max": 9}}, "timestamp": T5});
        let result = resolved(&[one, other], Strategy::OperationalTransform);
        assert_eq!(result["resolved_value"], json!({"pool": {"min": 2, "max": 9}}));
        let whole =
            resolved(&[change(json!("A"), T), change(json!("B"), T5)], Strategy::OperationalTransform);
        assert_eq!((&whole["resolved_value"], &whole["base_value"]), (&json!("B"), &json!({})));
        assert_eq!(whole["resolution_method"], "operational_transform");
    }

    #[test]
    fn d_21_timestamps_of_every_form_are_compared_as_instants() {
        let changes = [
            change(json!("naive"), "2024-01-01T12:00:00.5"),
            change(json!("zulu"), "2024-01-01T12:00:00Z"),
            change(json!("offset"), "2024-01-01T15:00:00+02:00"),
            json!({"new_value": "none"}),
        ];
        assert_eq!(resolved(&changes, Strategy::LastWriteWins)["resolved_value"], "offset");
        assert_eq!(resolved(&changes, Strategy::FirstWriteWins)["resolved_value"], "zulu");
    }

    #[test]
    fn d_23_an_equal_change_of_somebody_else_is_discarded_and_not_forgotten() {
        let twice = json!({"new_value": 1, "timestamp": T});
        let result = resolved(&[twice.clone(), twice.clone()], Strategy::LastWriteWins);
        assert_eq!(result["discarded_changes"], json!([twice]));
    }

    #[test]
    fn d_22_equal_timestamps_do_not_leave_the_choice_to_the_list() {
        let (x, y) = (json!({"new_value": "X", "timestamp": T}), json!({"new_value": "Y", "timestamp": T}));
        for strategy in [Strategy::LastWriteWins, Strategy::FirstWriteWins] {
            let forth = resolved(&[x.clone(), y.clone()], strategy);
            assert_eq!(forth, resolved(&[y.clone(), x.clone()], strategy));
        }
    }

    #[test]
    fn d_41_one_change_is_a_result_and_none_is_an_error() {
        let alone = json!({"old_value": {}, "new_value": {"a": 1}});
        for (strategy, method) in [
            ("last_write_wins", "last_write_wins"),
            ("first_write_wins", "first_write_wins"),
            ("operational_transform", "operational_transform"),
            ("merge_strategies", "dictionary_merge"),
            ("manual_resolution", "last_write_wins"),
        ] {
            let strategy: Strategy = strategy.parse().expect("a strategy");
            let result = resolved(std::slice::from_ref(&alone), strategy);
            assert_eq!(
                (&result["resolved_value"], &result["resolution_method"]),
                (&json!({"a": 1}), &json!(method))
            );
            assert_eq!((&result["discarded_changes"], &result["conflicts"]), (&json!([]), &json!([])));
            let error = resolve_conflict(Vec::new(), strategy).expect_err("nothing");
            assert_eq!(error.code(), Some("no_changes"));
        }
    }
}
