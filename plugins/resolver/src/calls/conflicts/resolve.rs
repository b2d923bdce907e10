//! `conflicts.resolve`: a decision becomes a change of the key, made by whoever decided.

use super::{MAX_NAME, author, look::waiting};
use crate::{
    calls::{any, given},
    config::Strategies,
    manual::{Choice, Docket, RESOLVES},
    strategy::Strategy,
    value::Value,
};
use lockstep_plugin_api::{
    change::CONFIG_DELETED,
    prelude::*,
    record::SESSION_HEADER,
    schemars::{self, JsonSchema},
    time,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

/// What was decided: one of `use`, `strategy`, `new_value` and `delete`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resolve {
    /// The conflict.
    #[schemars(with = "String")]
    conflict_id: Uuid,
    /// By the change with this event id, or with this place among those that `conflicts.show` has, from 1.
    #[serde(default, rename = "use")]
    change: Option<Which>,
    /// By what a strategy makes of the changes.
    #[serde(default)]
    strategy: Option<String>,
    /// By this value.
    #[serde(default, deserialize_with = "given")]
    #[schemars(schema_with = "any")]
    new_value: Option<Value>,
    /// By removing the key.
    #[serde(default)]
    delete: bool,
    /// Who decided.
    #[serde(default)]
    user_id: Option<String>,
    /// Why, for the audit.
    #[serde(default)]
    reason: Option<String>,
    /// The session that holds the lock of the key.
    #[serde(default)]
    session: Option<String>,
    /// The lock that it is decided under.
    #[serde(default)]
    fence: Option<Fence>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Which {
    Place(usize),
    EventId(String),
}

/// A lock and the token it was granted under.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fence {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lock: Option<String>,
    token: u64,
}

/// A decision on its way.
pub struct Decided {
    conflict_id: Uuid,
    record: Record,
    value: Option<Json>,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Answer {
    conflict_id: Uuid,
    config_key: String,
    tenant_id: Option<String>,
    status: &'static str,
    resolved_value: Option<Json>,
    resolution_method: &'static str,
    /// The event id of the change that decided it.
    winning_change: String,
    resolved_revision: u64,
    epoch: String,
    user_id: String,
}

impl Resolve {
    /// Makes the change. It says what it was made from, so that a lock's token is enough to make it safe.
    pub fn decide(self, context: &Context, strategies: &Strategies, caller: &Caller) -> Result<Decided> {
        let by = author(self.user_id.clone(), caller)?;
        if self.session.as_ref().is_some_and(|name| name.is_empty() || name.len() > MAX_NAME) {
            return Err(bad(format!("`session` must have 1 to {MAX_NAME} bytes")));
        }
        let docket = Docket::new(context);
        let (case, siblings) = waiting(docket, self.conflict_id)?;
        let names: Vec<&str> = siblings.contenders().iter().map(|one| one.event_id.as_str()).collect();
        let (choice, how) = self.choice(&names, &strategies.merging(&case.config_key))?;
        let value = choice.value(&siblings)?.map(|text| Json::parse(&text)).transpose()?;
        let mut change = Change::new(&*case.config_key, value.clone().unwrap_or_else(Json::null));
        if value.is_none() {
            change.set_event_type(CONFIG_DELETED);
        }
        let log = context.log()?;
        let revision = match context.entry_at(case.tenant_id.as_deref(), &case.config_key, u64::MAX)? {
            EntryAt::Entry(mut entry) => entry.change()?.revision(),
            EntryAt::Absent | EntryAt::Compacted => None,
        };
        let base = revision.map(|revision| Json::write(&json!({ "epoch": log.epoch, "revision": revision })));
        change.set_base(base.transpose()?);
        change.set_tenant_id(case.tenant_id.map(Text::from));
        change.set_user_id(Some(by.into()));
        change.set_timestamp_us(Some(time::now_us()));
        change.set_source_node(Some(context.node_id().into()));
        change.set_event_id(Some(Uuid::now_v7().to_string().into()));
        change.set_fence(self.fence.as_ref().map(Json::write).transpose()?);
        change.set_metadata(Some(Json::write(&json!({ RESOLVES: self.conflict_id, "resolution": how }))?));
        let mut record = Record::from_change(change);
        if let Some(session) = &self.session {
            record.set_header(SESSION_HEADER, session.as_bytes());
        }
        Ok(Decided { conflict_id: self.conflict_id, record, value })
    }

    /// What was chosen, and how that is told later; `names` are the event ids of the changes, `merging` is how values of
    /// this key are merged.
    fn choice(&self, names: &[&str], merging: &Strategy) -> Result<(Choice, serde_json::Value)> {
        let given = [self.change.is_some(), self.strategy.is_some(), self.new_value.is_some(), self.delete];
        if given.into_iter().filter(|is_given| *is_given).count() != 1 {
            return Err(bad("say one of `use`, `strategy`, `new_value` and `delete`"));
        }
        let (choice, mut how) = match (&self.change, &self.strategy, &self.new_value) {
            (Some(which), ..) => {
                let at = which.place(names)?;
                (Choice::Change(at), json!({ "use": names[at] }))
            }
            (_, Some(strategy), _) => {
                let strategy: Strategy = strategy.parse().map_err(bad)?;
                let how = json!({ "strategy": strategy.name() });
                // As `conflicts.preview` has shown it.
                let is_merge = strategy.name() == merging.name();
                let strategy = if is_merge { merging.clone() } else { strategy };
                (Choice::Strategy(strategy), how)
            }
            (_, _, Some(value)) => (Choice::Value(Some(value.to_json().into())), json!({ "value": "given" })),
            _ => (Choice::Value(None), json!({ "value": "deleted" })),
        };
        if let Some(reason) = &self.reason {
            how["reason"] = json!(reason);
        }
        Ok((choice, how))
    }
}

impl Which {
    /// The place from 0.
    fn place(&self, names: &[&str]) -> Result<usize> {
        let found = match self {
            Self::Place(place) => place.checked_sub(1).filter(|at| *at < names.len()),
            Self::EventId(id) => names.iter().position(|name| name == id),
        };
        let n = names.len();
        found
            .ok_or_else(|| bad(format!("`use` names none of the {n} changes: say its event id, or 1 to {n}")))
    }
}

impl Decided {
    /// Sends it through the pipeline.
    pub async fn commit(self, context: &Context) -> Result<Answer> {
        let change = self.record.to_change()?;
        let committed = context.submit(self.record).await?;
        let dropped =
            || Error::rejected("no_changes", "a transform dropped the decision: nothing was committed");
        Ok(Answer {
            conflict_id: self.conflict_id,
            config_key: change.config_key().to_owned(),
            tenant_id: change.tenant_id().map(str::to_owned),
            status: "resolved",
            resolved_value: self.value,
            resolution_method: Strategy::ManualResolution.name(),
            winning_change: change.event_id().unwrap_or_default().to_owned(),
            resolved_revision: committed.revision.ok_or_else(dropped)?,
            epoch: context.log()?.epoch,
            user_id: change.user_id().unwrap_or_default().to_owned(),
        })
    }
}

fn bad(message: impl std::fmt::Display) -> Error {
    Error::rejected("bad_message", message)
}
