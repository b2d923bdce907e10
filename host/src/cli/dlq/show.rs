//! `lockstep dlq show`.

use super::super::output::{print, print_json, without_control};
use super::{Common, Queue, QueueError};
use clap::Args;
use serde_json::Value;
use std::fmt::Write as _;

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The number that `dlq list` shows
    number: u64,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Show {
    pub(super) fn show(&self, queue: &Queue) -> Result<u8, QueueError> {
        let letter = queue.get(self.number)?.ok_or(QueueError::NotFound(self.number))?;
        Ok(if self.common.json { print_json(&letter) } else { print(&told(&letter)) })
    }
}

fn told(letter: &Value) -> String {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let (error, record) = (&letter["error"], &letter["record"]);
    let mut lines = vec![
        ("dead letter", text(&letter["id"])),
        ("pipeline", text(&letter["pipeline"])),
        ("failed at", format!("{} {}", text(&letter["kind"]), text(&letter["component"]))),
        ("came from", text(&letter["source"])),
        ("attempts", text(&letter["attempts"])),
        ("first failed", text(&letter["first_failed_at"])),
        ("last failed", text(&letter["last_failed_at"])),
        ("error", format!("{}: {}", text(&error["kind"]), text(&error["message"]))),
    ];
    let more = [("code", &error["code"]), ("details", &error["details"]), ("detail", &error["detail"])];
    lines.extend(more.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (*name, text(value))));
    lines.push(("key", blob(&record["key"])));
    for header in record["headers"].as_array().into_iter().flatten() {
        lines.push(("header", format!("{}: {}", text(&header[0]), blob(&header[1]))));
    }
    lines.push(("value", withheld(&record["withheld"]).unwrap_or_else(|| blob(&record["value"]))));
    let mut told = String::new();
    for (name, value) in lines {
        let _ = writeln!(told, "{name:12}  {}", without_control(&value));
    }
    told
}

/// Why there is no value.
fn withheld(value: &Value) -> Option<String> {
    let (bytes, fingerprint) = (value["bytes"].as_u64()?, value["fingerprint"].as_str()?);
    Some(format!(
        "withheld: {bytes} bytes, fingerprint {fingerprint}. The pipeline seals or opens values of this key and the record \
         failed where its value was open, so it is not written down; with `state.encryption` it would be. Have the change \
         made again."
    ))
}

/// Bytes as they are stored: text, or base64 where they are no text.
fn blob(value: &Value) -> String {
    match (value["text"].as_str(), value["base64"].as_str()) {
        (Some(text), _) => text.to_owned(),
        (_, Some(base64)) => format!("base64 {base64}"),
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_letter_is_told_with_its_record_and_steers_no_terminal() {
        let letter = json!({
            "id": 17, "pipeline": "flow", "component": "out", "kind": "sink", "source": "in", "attempts": 4,
            "first_failed_at": "2026-01-01T00:00:00Z", "last_failed_at": "2026-01-01T00:00:01Z",
            "error": { "kind": "rejected", "code": "invalid_value", "message": "no \u{1b}[31mgood" },
            "record": { "key": { "text": "app.key" }, "value": { "base64": "/w==" }, "headers": [["h", { "text": "x" }]] },
        });
        let told = told(&letter);
        for part in [
            "failed at     sink out",
            "rejected: no \\u{1b}[31mgood",
            "code          invalid_value",
            "h: x",
            "base64 /w==",
        ] {
            assert!(told.contains(part), "`{part}` in\n{told}");
        }
    }
}
