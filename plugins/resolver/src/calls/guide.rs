//! The guide's call `resolve_conflict(config_key, competing_changes, strategy)`: changes in, its result shape out.
//!
//! It looks at nothing but its arguments and changes no key; the audit gets an entry, as for every resolution.

#[cfg(test)]
mod tests;

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
use serde_json::{Value, json};
use uuid::Uuid;

/// What names a change: which it is, who made it, when and where.
const NAMES: [&str; 5] = ["event_id", "user_id", "source_node", "timestamp", "hlc"];

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
    let (changes, resolution) = resolve_conflict(competing_changes, &strategy)?;
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
///
/// It is made of what names the changes and never of their values: it stays in the audit also where those are not shown,
/// and a short value could be guessed from it.
fn conflict_id(config_key: &str, changes: &[&Value]) -> Uuid {
    let mut names: Vec<_> = changes.iter().map(|change| NAMES.map(|name| named(change, name))).collect();
    names.sort_unstable();
    let name = json!([config_key, names]).to_string();
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
}

/// What a change says of this field; an event id that was made of a message tells of its value.
fn named<'c>(change: &'c Value, name: &str) -> Option<&'c str> {
    let is_derived =
        |text: &str| name == "event_id" && Uuid::parse_str(text).is_ok_and(|id| id.get_version_num() == 5);
    change.get(name).and_then(Value::as_str).filter(|text| !is_derived(text))
}

/// Resolves changes as the guide writes them, and gives them in the order of their stamps.
///
/// # Errors
/// `Rejected("no_changes")` if there are none, `Rejected("bad_message")` if a timestamp cannot be read or operations do
/// not fit what they are based on.
fn resolve_conflict(changes: Vec<Value>, strategy: &Strategy) -> Result<(Vec<Value>, Resolution)> {
    changes.iter().enumerate().try_for_each(|(at, change)| says_something(at, change))?;
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

/// A change that says neither what it makes of the value nor how would be taken for one that makes `null` of it.
fn says_something(at: usize, change: &Value) -> Result<()> {
    let has_ops = change.get("ops").is_some_and(|ops| !ops.is_null());
    match has_ops || change.get("new_value").is_some() {
        true => Ok(()),
        false => {
            let message = format!("`competing_changes[{at}]` needs `new_value` or `ops`");
            Err(Error::rejected("bad_message", message))
        }
    }
}

/// What a change was made from; operations are on the guide's default if the change does not say it.
fn old_value(change: &Value, strategy: &Strategy) -> Option<Text> {
    let given = change.get("old_value").map(|old| old.to_string().into());
    given.or_else(|| (*strategy == Strategy::OperationalTransform).then(|| "{}".into()))
}

fn draft(change: &Value, old: Option<&Text>, strategy: &Strategy) -> Result<Draft> {
    let value = change.get("new_value").map_or_else(|| "null".to_owned(), Value::to_string);
    let ops = change.get("ops").filter(|ops| !ops.is_null()).map(Value::to_string);
    Wish { value: Some(&value), ops: ops.as_deref() }.draft(old.map(Text::as_str), strategy)
}

/// Orders the changes: by `hlc`, else by `timestamp`, else as the guide does without one; then by what names the change,
/// so that the order of the list has no say.
fn stamp(change: &Value, strategy: &Strategy) -> Result<(Hlc, String)> {
    let text = |name: &str| change.get(name).and_then(Value::as_str);
    let hlc = match (text("hlc"), text("timestamp")) {
        (Some(hlc), _) => hlc.parse().map_err(|error| Error::rejected("bad_message", error))?,
        (None, Some(timestamp)) => at(time::parse_us(timestamp)?),
        (None, None) if *strategy == Strategy::FirstWriteWins => Hlc::at(u64::MAX),
        (None, None) => Hlc::default(),
    };
    Ok((hlc, change.to_string()))
}

/// The stamp of an instant; microseconds that differ must not become equal.
fn at(timestamp_us: i64) -> Hlc {
    let timestamp_us = u64::try_from(timestamp_us).unwrap_or(0);
    Hlc::from_bits(Hlc::at(timestamp_us / 1000).bits() + timestamp_us % 1000)
}
