//! Two versions of a key beside each other, for programs and for people.

use super::super::answer::Refusal;
use super::room::Room;
use super::version::{ShownVersion, Version};
use crate::history::{Difference, Operation, Tree, differences, patch};
use serde::Serialize;
use serde_json::value::RawValue;

/// What is different.
#[derive(Serialize)]
pub(super) struct Compared {
    /// In words: path, kind, and the old and the new value.
    pub changes: Box<RawValue>,
    /// The same as a JSON patch.
    pub patch: Box<RawValue>,
    #[serde(skip)]
    pub is_empty: bool,
}

/// One part that is different.
#[derive(Serialize)]
struct ShownDifference<'d> {
    path: &'d str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<&'d RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<&'d RawValue>,
}

/// Two versions and what is different.
#[derive(Serialize)]
pub(super) struct Versus<'v> {
    pub config_key: &'v str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<&'v str>,
    pub epoch: &'v str,
    pub from: ShownVersion<'v>,
    pub to: ShownVersion<'v>,
    #[serde(flatten)]
    pub compared: Compared,
}

impl Compared {
    /// Refused if there is too much to tell.
    pub fn of(from: &Version, to: &Version) -> Result<Self, Refusal> {
        let (from, to) = (from.tree(), to.tree());
        let found = differences(from.as_ref(), to.as_ref())?;
        let changes: Vec<_> = found.iter().map(ShownDifference::of).collect();
        let operations: Vec<Operation<'_>> = patch(&found);
        let mut room = Room::default();
        Ok(Self {
            changes: room.write(&changes)?,
            patch: room.write(&operations)?,
            is_empty: found.is_empty(),
        })
    }
}

impl<'d> ShownDifference<'d> {
    fn of(difference: &'d Difference<'_>) -> Self {
        let written = |tree: &'d Tree<'_>| serde_json::from_str(tree.raw()).ok();
        let kind = match (difference.old, difference.new) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        let (old, new) = (difference.old.and_then(written), difference.new.and_then(written));
        Self { path: &difference.path, kind, old, new }
    }
}
