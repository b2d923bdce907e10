//! Conflicts as people read them. What is not there is `-`; a value is JSON, cut where it is long.

use super::super::output::without_control;
use super::super::table::Table;
use serde_json::Value;
use std::fmt::Write as _;

/// How much of a value a line shows.
const MOST_CHARS: usize = 80;

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or("-")
}

/// A value in one line.
fn value(value: Option<&Value>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    let json = value.to_string();
    match json.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{}…", &json[..end]),
        None => json,
    }
}

/// A row for each.
pub(super) fn table(conflicts: &[Value]) -> String {
    let mut table = Table::new(&["CONFLICT", "KEY", "TENANT", "CHANGES", "SINCE", "ASSIGNED TO", "STATUS"]);
    for conflict in conflicts {
        let status = match (text(conflict, "status"), conflict.get("escalated_at")) {
            ("pending_manual_resolution", Some(_)) => "waits for long",
            ("pending_manual_resolution", None) => "waits",
            (other, _) => other,
        };
        let cells = [
            text(conflict, "conflict_id"),
            text(conflict, "config_key"),
            text(conflict, "tenant_id"),
            &conflict["n_changes"].to_string(),
            text(conflict, "open_since"),
            text(conflict, "assigned_to"),
            status,
        ];
        table.row(cells.map(without_control));
    }
    table.to_string()
}

/// One, line by line.
pub(super) fn conflict(conflict: &Value) -> String {
    let mut told = String::new();
    for (name, value) in [
        ("conflict", text(conflict, "conflict_id").to_owned()),
        ("key", text(conflict, "config_key").to_owned()),
        ("tenant", text(conflict, "tenant_id").to_owned()),
        ("status", text(conflict, "status").to_owned()),
        ("since", text(conflict, "open_since").to_owned()),
        ("assigned", text(conflict, "assigned_to").to_owned()),
        ("shown", value(conflict.get("shown_value"))),
    ] {
        let _ = writeln!(told, "{name:8}  {}", without_control(&value));
    }
    for (name, field) in [("before", "supersedes"), ("after", "superseded_by")] {
        if let Some(id) = conflict[field].as_str() {
            let _ = writeln!(told, "{name:8}  {}", without_control(id));
        }
    }
    if let Some(resolution) = conflict.get("resolution") {
        let (user, at) = (text(resolution, "user_id"), text(resolution, "resolved_at"));
        let _ = writeln!(told, "{:8}  {}", "decided", without_control(&format!("by {user} at {at}")));
    }
    let changes = conflict["competing_changes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut table = Table::new(&["USE", "USER", "WHEN", "EVENT", "VALUE"]);
    for (i, change) in changes.iter().enumerate() {
        let number = (i + 1).to_string();
        let cells = [
            &number,
            text(change, "user_id"),
            text(change, "timestamp"),
            text(change, "event_id"),
            &wanted(change),
        ];
        table.row(cells.map(without_control));
    }
    let _ = write!(told, "\n{table}");
    told
}

fn wanted(change: &Value) -> String {
    match (change["withheld"].as_str(), change["event_type"].as_str()) {
        (Some(why), _) => format!("({})", why.replace('_', " ")),
        (None, Some("config_deleted")) => "(removed)".to_owned(),
        _ => value(change.get("new_value")),
    }
}

/// What can be done, to whoever reads and not to a program.
pub(super) fn next_steps(conflict: &Value) {
    let id = text(conflict, "conflict_id");
    match (text(conflict, "status"), conflict["superseded_by"].as_str()) {
        ("pending_manual_resolution", _) => eprintln!(
            "see what can be made of it with `lockstep conflicts preview {id}`; decide with `lockstep conflicts resolve {id} \
             --use 1`"
        ),
        (_, Some(other)) => eprintln!("it goes on as {other}"),
        _ => {}
    }
}

/// What each way to decide makes of the key.
pub(super) fn outcomes(preview: &Value) -> String {
    let mut table = Table::new(&["DECIDE BY", "WHOSE, OR HOW", "NOT EVERYBODY'S WAY AT", "VALUE"]);
    for outcome in preview["outcomes"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let (by, how) = match outcome["use"].as_u64() {
            Some(number) => (format!("--use {number}"), text(outcome, "user_id")),
            None => (format!("--strategy {}", text(outcome, "strategy")), text(outcome, "resolution_method")),
        };
        let places = outcome["conflicts"].as_array().into_iter().flatten();
        let places: Vec<&str> = places.filter_map(|one| one["path"].as_str()).map(whole).collect();
        let places = if places.is_empty() { "-".to_owned() } else { places.join(" ") };
        let made = match outcome["deleted"].as_bool() {
            Some(true) => "(removed)".to_owned(),
            _ => value(outcome.get("new_value")),
        };
        table.row([&by, how, &places, &made].map(without_control));
    }
    table.to_string()
}

fn whole(path: &str) -> &str {
    if path.is_empty() { "(the value)" } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_conflict_is_told_with_what_each_author_wants() {
        let told = conflict(&json!({
            "conflict_id": "5f1c", "config_key": "app.x", "tenant_id": null, "status": "pending_manual_resolution",
            "open_since": "S", "assigned_to": "ann", "shown_value": {"a": 1}, "supersedes": "4e0b",
            "competing_changes": [
                {"event_id": "e1", "user_id": "eve", "timestamp": "T", "new_value": "x".repeat(200)},
                {"event_id": "e2", "user_id": "adam", "timestamp": "U", "event_type": "config_deleted"},
                {"event_id": "e3", "user_id": "\u{1b}[2J", "timestamp": "V", "withheld": "too_large"},
            ],
        }));
        for part in [
            "assigned  ann",
            r#"shown     {"a":1}"#,
            "before    4e0b",
            "tenant    -",
            "(removed)",
            "(too large)",
            "…",
        ] {
            assert!(told.contains(part), "`{part}` in\n{told}");
        }
        assert!(!told.contains('\u{1b}') && told.lines().all(|line| line.chars().count() < 130), "{told}");
        let steps = [("2", "adam"), ("3", "\\u{1b}")];
        for (number, user) in steps {
            assert!(told.lines().any(|line| line.starts_with(&format!("{number}    {user}"))), "{told}");
        }
    }

    #[test]
    fn outcomes_say_how_to_come_to_them() {
        let told = outcomes(&json!({ "outcomes": [
            { "use": 1, "user_id": "eve", "new_value": 5 },
            { "strategy": "merge_strategies", "resolution_method": "dictionary_merge", "new_value": {"a": 1},
              "conflicts": [{ "path": "/a" }, { "path": "" }] },
            { "strategy": "first_write_wins", "resolution_method": "first_write_wins", "deleted": true, "new_value": null },
        ]}));
        for part in ["--use 1", "--strategy merge_strategies", "/a (the value)", "(removed)"] {
            assert!(told.contains(part), "`{part}` in\n{told}");
        }
    }
}
