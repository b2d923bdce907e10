//! What a watcher is told, as lines of JSON.

use super::super::keys::text;
use lockstep_plugin_api::Record;
use serde_json::json;

/// Where a watch begins: everything after this revision follows.
pub(super) fn watching(epoch: &str, revision: u64) -> String {
    format!("{}\n", json!({ "type": "watching", "epoch": epoch, "revision": revision }))
}

/// Everything up to this revision that concerns the watcher was sent.
pub(super) fn bookmark(epoch: &str, revision: u64) -> String {
    format!("{}\n", json!({ "type": "bookmark", "epoch": epoch, "revision": revision }))
}

/// Changes after this revision were left out, and why; of every key that changed, its current value follows.
pub(super) fn resync(epoch: &str, revision: u64, reason: &str) -> String {
    format!("{}\n", json!({ "type": "resync", "epoch": epoch, "revision": revision, "reason": reason }))
}

/// An entry of the log: its own JSON with a `type` before it. A notice's type is what happened.
pub(super) fn entry(record: &Record) -> Option<String> {
    let change = record.known_change()?;
    let kind = if record.is_notice() { change.event_type() } else { "config_sync" };
    let text = text(record);
    Some(format!("{{\"type\":{},{}\n", json!(kind), text.strip_prefix('{')?))
}
