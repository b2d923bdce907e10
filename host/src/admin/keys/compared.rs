//! Two versions of a key beside each other, for programs and for people.

use super::super::answer::Refusal;
use super::room::Room;
use super::version::{ShownVersion, Version};
use crate::history::{Difference, Operation, TooLarge, Tree, differences, patch};
use serde::Serialize;
use serde_json::value::RawValue;

/// What is different.
#[derive(Serialize)]
pub(super) struct Compared {
    /// In words: path, kind, and the old and the new value.
    pub changes: Box<RawValue>,
    /// The same as a JSON patch.
    pub patch: Box<RawValue>,
}

/// The same where something was to be done about it: there is an answer, also if there is too much to tell.
#[derive(Serialize)]
pub(super) struct Outline {
    #[serde(flatten)]
    told: Option<Compared>,
    /// What is different is not told, for it is too much.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    too_large: bool,
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
        Ok(Self::told(&differences(from.as_ref(), to.as_ref())?)?)
    }

    fn told(found: &[Difference<'_>]) -> Result<Self, TooLarge> {
        let changes: Vec<_> = found.iter().map(ShownDifference::of).collect();
        let operations: Vec<Operation<'_>> = patch(found);
        let mut room = Room::default();
        Ok(Self { changes: room.write(&changes)?, patch: room.write(&operations)? })
    }
}

impl Outline {
    pub fn of(from: &Version, to: &Version) -> Self {
        let (from, to) = (from.tree(), to.tree());
        let found = differences(from.as_ref(), to.as_ref());
        // Where it is too much to be found, there is something.
        let is_empty = found.as_ref().is_ok_and(Vec::is_empty);
        let told = found.and_then(|found| Compared::told(&found)).ok();
        Self { too_large: told.is_none(), told, is_empty }
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
