//! The guide's call `resolve_conflict(config_key, competing_changes, strategy)`: changes in, its result shape out.
//!
//! It looks at nothing but its arguments and changes no key; the audit gets an entry, as for every resolution.

use crate::{
    clock::Hlc,
    config::refuse_missing,
    report::{AuditEntry, CONFLICT_RESOLVED},
    strategy::Strategy,
};
use lockstep_plugin_api::{
    prelude::*,
    schemars::{self, JsonSchema},
    time,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The operation's arguments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveConflict {
    /// The key the changes are about.
    config_key: String,
    /// The changes, each with `new_value` and `timestamp`, or `hlc`.
    competing_changes: Vec<Value>,
    /// The strategy to resolve them by; `last_write_wins` if it is absent.
    #[serde(default)]
    strategy: Option<String>,
}

/// The guide's result of `last_write_wins` and `first_write_wins`.
#[derive(Debug, Serialize, PartialEq)]
pub struct Resolution {
    resolved_value: Value,
    resolution_method: &'static str,
    winning_change: Value,
    discarded_changes: Vec<Value>,
}

/// Resolves what it is given.
pub fn answer(context: &Context, arguments: ResolveConflict) -> Result<Resolution> {
    let ResolveConflict { config_key, competing_changes, strategy } = arguments;
    let strategy = strategy.map_or(Ok(Strategy::default()), |name| name.parse());
    let strategy: Strategy = strategy.map_err(|error| Error::rejected("bad_message", error))?;
    refuse_missing(strategy).map_err(|error| Error::rejected("bad_message", error.message()))?;
    let n_changes = competing_changes.len();
    let resolution = resolve_conflict(competing_changes, strategy)?;
    if context.through_log() {
        context.audit(&AuditEntry {
            event_type: CONFLICT_RESOLVED,
            config_key: &config_key,
            tenant_id: None,
            resolution_strategy: strategy.name(),
            competing_changes_count: n_changes,
            resolution_method: resolution.resolution_method,
            resolved_value: Some(Json::write(&resolution.resolved_value)?),
            timestamp: time::format_us(time::now_us()),
            conflict_id: None,
            winning_change: None,
            discarded_changes: Vec::new(),
        })?;
    }
    Ok(resolution)
}

/// Resolves changes as the guide writes them.
///
/// # Errors
/// `Rejected("no_changes")` if there are none, `Rejected("bad_message")` if a timestamp cannot be read.
pub fn resolve_conflict(changes: Vec<Value>, strategy: Strategy) -> Result<Resolution> {
    let stamps = changes.iter().map(|change| stamp(change, strategy)).collect::<Result<Vec<_>>>()?;
    let choice = strategy.choose(&stamps).map_err(|error| Error::rejected("no_changes", error))?;
    let winning_change = changes[choice.winner].clone();
    Ok(Resolution {
        resolved_value: winning_change.get("new_value").cloned().unwrap_or_default(),
        resolution_method: strategy.in_force().name(),
        winning_change,
        discarded_changes: choice.discarded.into_iter().map(|at| changes[at].clone()).collect(),
    })
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
        serde_json::to_value(resolve_conflict(changes.to_vec(), strategy).expect("resolved")).expect("JSON")
    }

    /// The contract's golden vectors; the two forms of a timestamp are compared as instants.
    #[test]
    fn the_contracts_vectors_hold() {
        let (a, b) = (json!({"new_value": "A", "timestamp": T}), json!({"new_value": "B", "timestamp": T5}));
        for changes in [[b.clone(), a.clone()], [a.clone(), b.clone()]] {
            assert_eq!(
                resolved(&changes, Strategy::LastWriteWins),
                json!({"resolved_value": "B", "resolution_method": "last_write_wins",
                    "winning_change": b, "discarded_changes": [a]})
            );
            assert_eq!(
                resolved(&changes, Strategy::FirstWriteWins),
                json!({"resolved_value": "A", "resolution_method": "first_write_wins",
                    "winning_change": a, "discarded_changes": [b]})
            );
        }
    }

    #[test]
    fn a_change_without_a_timestamp_loses_by_either_strategy() {
        let (with, without) = (json!({"new_value": 1, "timestamp": T}), json!({"new_value": 2}));
        for strategy in [Strategy::LastWriteWins, Strategy::FirstWriteWins] {
            assert_eq!(resolved(&[without.clone(), with.clone()], strategy)["resolved_value"], 1);
        }
    }

    #[test]
    fn an_equal_change_of_somebody_else_is_discarded_and_not_forgotten() {
        let twice = json!({"new_value": 1, "timestamp": T});
        let result = resolved(&[twice.clone(), twice.clone()], Strategy::LastWriteWins);
        assert_eq!(result["discarded_changes"], json!([twice]));
    }

    #[test]
    fn equal_timestamps_do_not_leave_the_choice_to_the_list() {
        let (x, y) = (json!({"new_value": "X", "timestamp": T}), json!({"new_value": "Y", "timestamp": T}));
        for strategy in [Strategy::LastWriteWins, Strategy::FirstWriteWins] {
            let forth = resolved(&[x.clone(), y.clone()], strategy);
            assert_eq!(forth, resolved(&[y.clone(), x.clone()], strategy));
        }
    }

    #[test]
    fn one_change_is_a_result_and_none_is_an_error() {
        let alone = json!({"new_value": {"a": 1}});
        let result = resolved(std::slice::from_ref(&alone), Strategy::LastWriteWins);
        assert_eq!(result["winning_change"], alone);
        assert_eq!(result["discarded_changes"], json!([]));
        let error = resolve_conflict(Vec::new(), Strategy::FirstWriteWins).expect_err("nothing");
        assert_eq!(error.code(), Some("no_changes"));
    }
}
