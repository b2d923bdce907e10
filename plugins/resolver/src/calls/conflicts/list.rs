//! `conflicts.list`: page by page, so that no answer is larger than what was asked for.

use crate::manual::{Case, Decision, Docket, Status, Time};
use lockstep_plugin_api::{
    names::tenant_problem,
    prelude::*,
    schemars::{self, JsonSchema},
};
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use uuid::Uuid;

/// How many are listed unless asked otherwise, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// How many are read from the store at once.
const PAGE: u32 = 256;

/// Which conflicts are wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Whose; without it, those of keys without a tenant.
    #[serde(default)]
    tenant_id: Option<String>,
    /// Those of every tenant.
    #[serde(default)]
    all_tenants: bool,
    /// Where they stand; those that wait for a decision unless it is said.
    #[serde(default)]
    status: Wanted,
    /// A glob over their keys.
    #[serde(default)]
    pattern: Option<String>,
    /// Who is to decide them.
    #[serde(default)]
    assigned_to: Option<String>,
    /// How many at most; 100 unless it is said, 1000 at most.
    #[serde(default)]
    limit: Option<NonZeroUsize>,
    /// What `next` of the page before said.
    #[serde(default)]
    after: Option<String>,
}

/// Where a conflict that is wanted stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    #[default]
    #[serde(alias = "pending_manual_resolution")]
    Pending,
    Resolved,
    Superseded,
    /// Decided or superseded.
    Over,
}

#[derive(Debug, Serialize)]
pub struct Listed {
    conflicts: Vec<Summary>,
    /// Ask for what comes `after` this; absent at the end.
    next: Option<String>,
}

/// A conflict without what its authors want.
#[derive(Debug, Serialize)]
struct Summary {
    conflict_id: Uuid,
    config_key: String,
    tenant_id: Option<String>,
    status: Status,
    n_changes: usize,
    created_at: Time,
    open_since: Time,
    expires_at: Time,
    assigned_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    escalated_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded_by: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<Decision>,
}

impl From<Case> for Summary {
    fn from(case: Case) -> Self {
        Self {
            conflict_id: case.conflict_id,
            config_key: case.config_key,
            tenant_id: case.tenant_id,
            status: case.status,
            n_changes: case.n_changes,
            created_at: case.created_at,
            open_since: case.open_since,
            expires_at: case.expires_at,
            assigned_to: case.assigned_to,
            escalated_at: case.escalated_at,
            superseded_by: case.superseded_by,
            resolution: case.resolution,
        }
    }
}

impl List {
    pub fn answer(self, context: &Context) -> Result<Listed> {
        if let Some(problem) = self.tenant_id.as_deref().and_then(tenant_problem) {
            return Err(Error::rejected("bad_tenant", format!("the tenant {problem}")));
        }
        let keys = self.pattern.as_deref().map(Glob::new).transpose();
        let keys = keys.map_err(|error| Error::rejected("bad_pattern", error))?;
        let limit = self.limit.map_or(LIMIT, NonZeroUsize::get).min(MAX_LIMIT);
        let docket = Docket::new(context);
        let mut after = self.after.as_deref().map(read_place).transpose()?;
        let mut conflicts = Vec::new();
        loop {
            let page = self.page(docket, after.as_deref())?;
            if page.is_empty() {
                return Ok(Listed { conflicts, next: None });
            }
            for (place, id) in page {
                after = Some(place.to_vec());
                let case = docket.case(id)?;
                conflicts.extend(case.filter(|case| self.wants(case, keys.as_ref())).map(Summary::from));
                if conflicts.len() == limit {
                    return Ok(Listed { conflicts, next: Some(write_place(&place)) });
                }
            }
        }
    }

    fn page(&self, docket: Docket<'_>, after: Option<&[u8]>) -> Result<Vec<(Bytes, Uuid)>> {
        match self.status {
            Wanted::Pending => {
                let tenant = format!("{}\0", self.tenant_id.as_deref().unwrap_or_default());
                let prefix = if self.all_tenants { "" } else { &tenant };
                docket.pending_page(prefix.as_bytes(), after, PAGE)
            }
            _ => docket.over_page(after, PAGE),
        }
    }

    fn wants(&self, case: &Case, keys: Option<&Glob>) -> bool {
        let is_status = match self.status {
            Wanted::Pending => case.status == Status::Pending,
            Wanted::Resolved => case.status == Status::Resolved,
            Wanted::Superseded => case.status == Status::Superseded,
            Wanted::Over => case.status != Status::Pending,
        };
        is_status
            && (self.all_tenants || case.tenant_id == self.tenant_id)
            && keys.is_none_or(|keys| keys.matches(&case.config_key))
            && self.assigned_to.as_ref().is_none_or(|who| case.assigned_to.as_ref() == Some(who))
    }
}

fn write_place(place: &[u8]) -> String {
    place.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_place(text: &str) -> Result<Vec<u8>> {
    let bad = || Error::rejected("bad_message", "`after` is not what `next` of a page before said");
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let place: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    place.filter(|place| !place.is_empty() && rest.is_empty()).ok_or_else(bad)
}
