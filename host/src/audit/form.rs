//! How the store lies on the disk, as an auditor has to know it: plain or sealed, and under which key of the settings.
//!
//! Invariant: what the audit was told last lies in the store itself and changes in one commit with the entry. So every
//! change of the form has its entry, also if the host ended in the middle of it, and none has two.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::operator::{Act, Operator, Outcome};
use crate::store::{Commit, Namespace, NewAudit, Store, StoreError};

/// Where the form is that the audit was told last.
const TOLD_KEY: &[u8] = b"audited_form";

/// Absent means plain, as every store begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Form {
    /// The id of the key that the store is sealed under; none if it is plain.
    key: Option<String>,
}

/// Writes down that the store was sealed, was written back in plain, or is sealed under another key, if that is so.
pub(super) fn tell(store: &Store, now_us: fn() -> i64) -> Result<(), StoreError> {
    let told = match store.get(Namespace::Meta, TOLD_KEY)? {
        Some(told) => serde_json::from_slice(&told)
            .map_err(|_| store.damaged("the form that the audit knows of is not JSON"))?,
        None => Form::default(),
    };
    let is = Form { key: store.sealing().map(|sealing| sealing.key) };
    if told == is {
        return Ok(());
    }
    let operator = Operator::of_settings();
    let details = details(&told, &is, store.about_n_values()?);
    let act = Act {
        event_type: event_type(&told, &is),
        target: "state",
        by: &operator.by,
        remote: &operator.remote,
        details: &details,
        outcome: Outcome::Done,
        code: None,
    };
    let mut commit = Commit::default().put(Namespace::Meta, TOLD_KEY, super::json(&is).into_bytes());
    commit.audit.push(NewAudit { at_us: now_us(), entry: super::json(&act), revision_of: None });
    store.commit(commit).map(drop)
}

fn event_type(told: &Form, is: &Form) -> &'static str {
    match (&told.key, &is.key) {
        (None, _) => "admin_seal",
        (Some(_), None) => "admin_unseal",
        (Some(_), Some(_)) => "admin_change_key",
    }
}

fn details(told: &Form, is: &Form, about_n_values: u64) -> Map<String, Value> {
    let keys = [("from_key", &told.key), ("key", &is.key)];
    let keys = keys.into_iter().filter_map(|(name, key)| Some((name.to_owned(), key.clone()?.into())));
    // Under another key values stay as they are.
    let n_values =
        (told.key.is_none() || is.key.is_none()).then(|| ("about_values".to_owned(), about_n_values.into()));
    keys.chain(n_values).collect()
}
