//! `conflicts.assign`: who is to decide. It is said on this host, and to whoever takes its notices.

use super::{MAX_NAME, author, look::waiting, unknown};
use crate::{
    manual::{Case, Docket, Time},
    notice,
};
use lockstep_plugin_api::{
    prelude::*,
    schemars::{self, JsonSchema},
    time,
};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

/// How often it is tried while others change the case.
const ATTEMPTS: usize = 10;

/// Who is to decide which conflict.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assign {
    /// The conflict.
    #[schemars(with = "String")]
    conflict_id: Uuid,
    /// Who is to decide it; nobody if it is absent or `null`.
    #[serde(default)]
    assigned_to: Option<String>,
    /// Who says so.
    #[serde(default)]
    user_id: Option<String>,
}

impl Assign {
    pub fn answer(self, context: &Context, caller: &Caller) -> Result<Case> {
        let by = author(self.user_id.clone(), caller)?;
        if self.assigned_to.as_ref().is_some_and(|name| name.is_empty() || name.len() > MAX_NAME) {
            let message = format!("`assigned_to` must have 1 to {MAX_NAME} bytes");
            return Err(Error::rejected("bad_message", message));
        }
        let docket = Docket::new(context);
        for _ in 0..ATTEMPTS {
            let (_, siblings) = waiting(docket, self.conflict_id)?;
            let (mut case, bytes) =
                docket.stored(self.conflict_id)?.ok_or_else(|| unknown(self.conflict_id))?;
            let before = std::mem::replace(&mut case.assigned_to, self.assigned_to.clone());
            let (tenant_id, config_key) = case.names();
            let entry = json!({
                "event_type": "conflict_assigned", "config_key": config_key, "tenant_id": tenant_id,
                "conflict_id": case.conflict_id, "assigned_to": case.assigned_to, "assigned_before": before,
                "user_id": by, "timestamp": Time(time::now_us()),
            });
            let told = StateCommit::new().audit(&entry);
            let told = match notice::assigned(&case, &siblings)? {
                Some(notice) => told.notice(notice),
                None => told,
            };
            if docket.commit(bytes, &case, told)? {
                return Ok(case.showing(&siblings, usize::MAX));
            }
        }
        Err(Error::rejected("conflict", "others change this conflict all the time: try again"))
    }
}
