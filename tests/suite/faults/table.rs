//! The table itself.

use super::cell::{
    Cell::{self, Impossible, Runs},
    Component,
    Frequency::{self, Always, Once},
    Place::{self, AtTheSource, OneDead, Written},
    Scenario,
};

pub const ENTRY_POINTS: [&str; 7] = ["new", "poll", "apply", "put", "acked", "drop", "task"];
pub const FAULTS: [&str; 6] = ["panic", "hang", "nack", "too_few", "unknown_ids", "too_many"];

const NO_IDS_IN_NEW: Cell = Impossible("`new` is given no records and answers none");
const NO_IDS_IN_PUT: Cell = Impossible("`put` answers no ids: what became of a batch is told by `acked`");
const NO_IDS_IN_DROP: Cell = Impossible("`Drop` has no answer");
const NO_IDS_IN_TASK: Cell = Impossible("a task emits records and is asked about none");

/// What happens, or `None` for an empty cell.
pub fn cell(at: &str, how: &str) -> Option<Cell> {
    Some(match (at, how) {
        // A component that never comes up: restarted until the crash loop is noticed, then left failed.
        ("new", "panic") => {
            runs(Component::Sink, "new", "panic", Always, "failed", "panicked in new", AtTheSource)
        }
        ("new", "hang") => runs(Component::Transform, "new", "hang", Once, "running", "hung", Written),
        ("new", "nack") => runs(Component::Source, "new", "nack", Once, "running", "fails in New", Written),
        ("new", _) => NO_IDS_IN_NEW,

        ("poll", "panic") => {
            runs(Component::Source, "poll", "panic", Once, "running", "panicked in poll", Written)
        }
        ("poll", "hang") => runs(Component::Source, "poll", "hang", Once, "running", "hung", Written),
        ("poll", "nack") => {
            runs(Component::Source, "poll", "nack", Once, "running", "fails in Poll", Written)
        }
        // Fewer records than asked for is what a source is allowed to give: nothing is to be complained about.
        ("poll", "too_few") => runs(Component::Source, "poll", "too_few", Always, "running", "", Written),
        ("poll", "unknown_ids") => runs(
            Component::LyingSource,
            "poll",
            "unknown_ids",
            Once,
            "running",
            "`poll` gave a record the id",
            Written,
        ),
        ("poll", "too_many") => {
            runs(Component::LyingSource, "poll", "too_many", Once, "running", "`poll` gave", Written)
        }

        ("apply", "panic") => {
            runs(Component::Transform, "apply", "panic", Once, "running", "panicked in apply", Written)
        }
        ("apply", "hang") => runs(Component::Transform, "apply", "hang", Once, "running", "hung", Written),
        ("apply", "nack") => {
            runs(Component::Transform, "apply", "nack", Always, "running", "fails in Apply", OneDead)
        }
        ("apply", "too_few") => {
            runs(Component::LyingTransform, "apply", "too_few", Once, "running", "`apply` lost 1 of", Written)
        }
        ("apply", "unknown_ids") => runs(
            Component::LyingTransform,
            "apply",
            "unknown_ids",
            Once,
            "running",
            "`apply` gave back 1 records it was not given",
            Written,
        ),
        ("apply", "too_many") => runs(
            Component::LyingTransform,
            "apply",
            "too_many",
            Once,
            "running",
            "`apply` gave back",
            Written,
        ),

        ("put", "panic") => {
            runs(Component::Sink, "put", "panic", Once, "running", "panicked in put", Written)
        }
        ("put", "hang") => runs(Component::Sink, "put", "hang", Once, "running", "hung", Written),
        ("put", "nack") => runs(Component::Sink, "put", "nack", Once, "running", "", Written),
        ("put", _) => NO_IDS_IN_PUT,

        ("acked", "panic") => {
            runs(Component::PipelinedSink, "acked", "panic", Once, "running", "panicked in acked", Written)
        }
        ("acked", "hang") => {
            runs(Component::PipelinedSink, "acked", "hang", Once, "running", "hung", Written)
        }
        ("acked", "nack") => {
            runs(Component::PipelinedSink, "acked", "nack", Always, "running", "fails in Acked", OneDead)
        }
        // A batch that is never acked stays in flight: the source stops at the bound, nothing is committed.
        ("acked", "too_few") => {
            runs(Component::PipelinedSink, "acked", "too_few", Always, "running", "", AtTheSource)
        }
        ("acked", "unknown_ids") => runs(
            Component::PipelinedSink,
            "acked",
            "unknown_ids",
            Once,
            "running",
            "`acked` names 1 failed records",
            Written,
        ),
        ("acked", "too_many") => runs(
            Component::PipelinedSink,
            "acked",
            "too_many",
            Once,
            "running",
            "`acked` names batch",
            Written,
        ),

        ("drop", "panic") => {
            runs(Component::Transform, "drop", "panic", Once, "finished", "dropped", Written)
        }
        ("drop", "hang") => runs(Component::Sink, "drop", "hang", Once, "finished", "hung", Written),
        ("drop", _) => NO_IDS_IN_DROP,

        ("task", "panic") => {
            runs(Component::Task, "task", "panic", Once, "running", "panicked in run", Written)
        }
        // The task blocks the one thread that its library's tasks share, so no new instance can come up either.
        ("task", "hang") => runs(Component::Task, "task", "hang", Always, "failed", "hung", AtTheSource),
        ("task", "nack") => runs(Component::Task, "task", "nack", Once, "running", "fails in Task", Written),
        ("task", _) => NO_IDS_IN_TASK,
        _ => return None,
    })
}

fn runs(
    component: Component,
    at: &'static str,
    how: &'static str,
    frequency: Frequency,
    state: &'static str,
    error: &'static str,
    place: Place,
) -> Cell {
    Runs(Scenario { component, at, how, frequency, state, error, place })
}
