//! `conflicts.show` and `conflicts.preview`: what a conflict is about, and what can be made of it.

use super::unknown;
use crate::{
    config::Strategies,
    manual::{Case, Docket, Outlook, Status, outlooks},
    siblings::Siblings,
};
use lockstep_plugin_api::{
    prelude::*,
    schemars::{self, JsonSchema},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

/// Which conflict is wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Show {
    /// The conflict.
    #[schemars(with = "String")]
    conflict_id: Uuid,
}

/// Which conflict may be decided.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Preview {
    /// The conflict.
    #[schemars(with = "String")]
    conflict_id: Uuid,
}

/// What can be decided.
#[derive(Debug, Serialize)]
pub struct Outcomes {
    conflict_id: Uuid,
    config_key: String,
    tenant_id: Option<String>,
    outcomes: Vec<Outlook>,
}

impl Show {
    pub fn answer(self, context: &Context) -> Result<Case> {
        let docket = Docket::new(context);
        let case = docket.case(self.conflict_id)?.ok_or_else(|| unknown(self.conflict_id))?;
        let standing = docket.standing(&case)?;
        // What is shown to whoever has to decide is whole.
        Ok(standing.map_or(case.clone(), |siblings| case.showing(&siblings, usize::MAX)))
    }
}

impl Preview {
    pub fn answer(self, context: &Context, strategies: &Strategies) -> Result<Outcomes> {
        let (case, siblings) = waiting(Docket::new(context), self.conflict_id)?;
        let outcomes = outlooks(&siblings, &case.config_key, strategies);
        let Case { conflict_id, config_key, tenant_id, .. } = case;
        Ok(Outcomes { conflict_id, config_key, tenant_id, outcomes })
    }
}

/// A case that waits for a decision, and what stands against each other.
///
/// # Errors
/// `Rejected("not_found")` if there is none, `Rejected("conflict")` if it is over, with what became of it.
pub fn waiting(docket: Docket<'_>, id: Uuid) -> Result<(Case, Siblings)> {
    let case = docket.case(id)?.ok_or_else(|| unknown(id))?;
    if let Some(siblings) = docket.standing(&case)? {
        return Ok((case, siblings));
    }
    let message = match case.status {
        Status::Superseded => "another change came, and the conflict goes on under another id",
        Status::Pending | Status::Resolved => "the conflict is decided",
    };
    let details =
        json!({ "status": case.status, "superseded_by": case.superseded_by, "resolution": case.resolution });
    Err(Error::rejected("conflict", message).with_details(&details))
}
