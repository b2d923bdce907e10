//! A change that says which conflict it decides: it is taken in only while exactly that conflict stands.
//!
//! Anybody may decide, on any transport that carries `metadata`: `{"resolves_conflict": "<conflict_id>"}`. What else is said
//! there under `resolution` is kept with the case.

use crate::siblings::Siblings;
use lockstep_plugin_api::prelude::*;
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use uuid::Uuid;

/// The field of `metadata` that names the conflict.
pub const RESOLVES: &str = "resolves_conflict";

/// What a change says about the conflict it decides.
#[derive(Debug, Default)]
pub struct Claim {
    id: Option<Uuid>,
    /// What its author says about the decision.
    pub how: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    resolves_conflict: Option<Uuid>,
    #[serde(default)]
    resolution: Option<Box<RawValue>>,
}

impl Claim {
    /// What the change says.
    ///
    /// # Errors
    /// `Rejected("bad_message")` if it names a conflict by something else than a UUID.
    pub fn of(change: &Change) -> Result<Self> {
        let Some(metadata) = change.metadata().filter(|metadata| metadata.as_str().contains(RESOLVES)) else {
            return Ok(Self::default());
        };
        let bad =
            |_| Error::rejected("bad_message", "`metadata.resolves_conflict` is not the id of a conflict");
        let fields: Fields = metadata.read().map_err(bad)?;
        let how = fields.resolution.filter(|_| fields.resolves_conflict.is_some());
        Ok(Self { id: fields.resolves_conflict, how })
    }

    /// Refuses a change that decides another conflict than the one that stands, or has not seen all of it.
    ///
    /// # Errors
    /// `Rejected("conflict")`.
    pub fn check(&self, stands: &Siblings, seen: &Siblings) -> Result<()> {
        let Some(id) = self.id else { return Ok(()) };
        let open = stands.is_conflict().then(|| stands.conflict_id());
        if open == Some(id) && stands.is_known_to(seen) {
            return Ok(());
        }
        let message = "the conflict is not as it was seen: look at it again";
        Err(Error::rejected("conflict", message)
            .with_details(&json!({ "conflict_id": id, "open_conflict_id": open })))
    }
}
