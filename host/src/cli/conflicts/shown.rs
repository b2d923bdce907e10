//! Conflicts as people read them. What is not there is `-`; a value is JSON as it was written, cut where it is long.

use super::super::output::without_control;
use super::super::table::Table;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How much of a value a line shows.
const MOST_CHARS: usize = 80;

/// What an operation answers, by name.
pub(super) type Fields = BTreeMap<String, Box<RawValue>>;

/// Where somebody did not have their way.
#[derive(Deserialize)]
struct Place {
    path: String,
}

/// An answer by name; nothing, if it is no object.
pub(super) fn fields(answer: &RawValue) -> Fields {
    serde_json::from_str(answer.get()).unwrap_or_default()
}

fn read<T: DeserializeOwned>(of: &Fields, name: &str) -> Option<T> {
    of.get(name).and_then(|value| serde_json::from_str(value.get()).ok())
}

pub(super) fn text(of: &Fields, name: &str) -> String {
    read(of, name).unwrap_or_else(|| "-".to_owned())
}

pub(super) fn number(of: &Fields, name: &str) -> String {
    read(of, name).map_or_else(|| "-".to_owned(), |number: u64| number.to_string())
}

/// A value in one line.
fn value(of: &Fields, name: &str) -> String {
    let Some(value) = of.get(name) else { return "-".to_owned() };
    // In JSON a line ends between two parts only.
    let json = value.get().replace(['\n', '\r', '\t'], " ");
    match json.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{}…", &json[..end]),
        None => json,
    }
}

/// A row for each.
pub(super) fn table(conflicts: &[Box<RawValue>]) -> String {
    let mut table = Table::new(&["CONFLICT", "KEY", "TENANT", "CHANGES", "SINCE", "ASSIGNED TO", "STATUS"]);
    for conflict in conflicts {
        let conflict = &fields(conflict);
        let status = text(conflict, "status");
        let status = match (status.as_str(), conflict.contains_key("escalated_at")) {
            ("pending_manual_resolution", true) => "waits for long",
            ("pending_manual_resolution", false) => "waits",
            (other, _) => other,
        };
        let cells = [
            text(conflict, "conflict_id"),
            text(conflict, "config_key"),
            text(conflict, "tenant_id"),
            number(conflict, "n_changes"),
            text(conflict, "open_since"),
            text(conflict, "assigned_to"),
            status.to_owned(),
        ];
        table.row(cells.map(|cell| without_control(&cell)));
    }
    table.to_string()
}

/// One, line by line.
pub(super) fn conflict(conflict: &Fields) -> String {
    let mut told = String::new();
    let is_over = text(conflict, "status") != "pending_manual_resolution";
    // What the key shows now is another matter.
    let shown = if is_over { "was shown" } else { "shown" };
    for (name, value) in [
        ("conflict", text(conflict, "conflict_id")),
        ("key", text(conflict, "config_key")),
        ("tenant", text(conflict, "tenant_id")),
        ("status", text(conflict, "status")),
        ("since", text(conflict, "open_since")),
        ("assigned", text(conflict, "assigned_to")),
        (shown, value(conflict, "shown_value")),
    ] {
        let _ = writeln!(told, "{name:9}  {}", without_control(&value));
    }
    for (name, field) in [("before", "supersedes"), ("after", "superseded_by")] {
        if let Some(id) = read::<String>(conflict, field) {
            let _ = writeln!(told, "{name:9}  {}", without_control(&id));
        }
    }
    let changes: Vec<Fields> = read(conflict, "competing_changes").unwrap_or_default();
    if let Some(resolution) = read::<Fields>(conflict, "resolution") {
        for (name, value) in decision(&resolution, &changes) {
            let _ = writeln!(told, "{name:9}  {}", without_control(&value));
        }
        if conflict.contains_key("superseded_by") {
            let _ =
                writeln!(told, "{:9}  not any more: another change came that did not know of it", "holds");
        }
    }
    let mut table = Table::new(&["USE", "USER", "WHEN", "EVENT", "VALUE"]);
    for (i, change) in changes.iter().enumerate() {
        let number = (i + 1).to_string();
        let cells = [
            number,
            text(change, "user_id"),
            text(change, "timestamp"),
            text(change, "event_id"),
            wanted(change),
        ];
        table.row(cells.map(|cell| without_control(&cell)));
    }
    let _ = write!(told, "\n{table}");
    told
}

/// Who decided, when, how and why.
fn decision(resolution: &Fields, changes: &[Fields]) -> Vec<(&'static str, String)> {
    let (user, at) = (text(resolution, "user_id"), text(resolution, "resolved_at"));
    let mut told = vec![("decided", format!("by {user} at {at}"))];
    let how: Fields = read(resolution, "how").unwrap_or_default();
    let place = |id: &String| changes.iter().position(|change| text(change, "event_id") == *id);
    let chosen = match (read::<String>(&how, "use"), read::<String>(&how, "strategy")) {
        (Some(id), _) => Some(place(&id).map_or(id, |at| {
            let (number, user) = (at + 1, text(&changes[at], "user_id"));
            format!("change {number}, of {user} (--use {number})")
        })),
        (None, Some(strategy)) => {
            Some(format!("what {strategy} makes of the changes (--strategy {strategy})"))
        }
        (None, None) => match read::<String>(&how, "value").as_deref() {
            Some("deleted") => Some("the key is removed (--delete)".to_owned()),
            Some("given") => Some("another value (--value)".to_owned()),
            _ => None,
        },
    };
    told.extend(chosen.map(|chosen| ("how", chosen)));
    told.extend(read::<String>(&how, "reason").map(|reason| ("reason", reason)));
    told
}

fn wanted(change: &Fields) -> String {
    match (read::<String>(change, "withheld"), text(change, "event_type").as_str()) {
        (Some(why), _) => format!("({})", why.replace('_', " ")),
        (None, "config_deleted") => "(removed)".to_owned(),
        _ => value(change, "new_value"),
    }
}

/// What can be done, to whoever reads and not to a program.
pub(super) fn next_steps(conflict: &Fields) {
    let id = text(conflict, "conflict_id");
    match (text(conflict, "status").as_str(), read::<String>(conflict, "superseded_by")) {
        ("pending_manual_resolution", _) => eprintln!(
            "see what can be made of it with `lockstep conflicts preview {id}`; decide with `lockstep conflicts resolve {id} \
             --use 1`"
        ),
        (_, Some(other)) => eprintln!("it goes on as {other}"),
        _ => {}
    }
}

/// What each way to decide makes of the key.
pub(super) fn outcomes(preview: &Fields) -> String {
    let mut table = Table::new(&["DECIDE BY", "WHOSE, OR HOW", "NOT EVERYBODY'S WAY AT", "VALUE"]);
    for outcome in &read::<Vec<Fields>>(preview, "outcomes").unwrap_or_default() {
        let (by, how) = match read::<u64>(outcome, "use") {
            Some(number) => (format!("--use {number}"), text(outcome, "user_id")),
            None => (format!("--strategy {}", text(outcome, "strategy")), text(outcome, "resolution_method")),
        };
        let places: Vec<Place> = read(outcome, "conflicts").unwrap_or_default();
        let places: Vec<&str> = places.iter().map(|place| whole(&place.path)).collect();
        let places = if places.is_empty() { "-".to_owned() } else { places.join(" ") };
        let made = match (read(outcome, "deleted"), read::<String>(outcome, "withheld")) {
            (Some(true), _) => "(removed)".to_owned(),
            (_, Some(why)) => format!("({})", why.replace('_', " ")),
            _ => value(outcome, "new_value"),
        };
        table.row([by, how, places, made].map(|cell| without_control(&cell)));
    }
    table.to_string()
}

fn whole(path: &str) -> &str {
    if path.is_empty() { "(the value)" } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn fields(answer: &Value) -> Fields {
        super::fields(&serde_json::value::to_raw_value(answer).expect("JSON"))
    }

    #[test]
    fn a_conflict_is_told_with_what_each_author_wants() {
        let told = conflict(&fields(&json!({
            "conflict_id": "5f1c", "config_key": "app.x", "tenant_id": null, "status": "pending_manual_resolution",
            "open_since": "S", "assigned_to": "ann", "shown_value": {"a": 1}, "supersedes": "4e0b",
            "competing_changes": [
                {"event_id": "e1", "user_id": "eve", "timestamp": "T", "new_value": "x".repeat(200)},
                {"event_id": "e2", "user_id": "adam", "timestamp": "U", "event_type": "config_deleted"},
                {"event_id": "e3", "user_id": "\u{1b}[2J", "timestamp": "V", "withheld": "too_large"},
            ],
        })));
        for part in [
            "assigned   ann",
            r#"shown      {"a":1}"#,
            "before     4e0b",
            "tenant     -",
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
    fn a_decision_is_told_with_how_and_why_and_whether_it_holds() {
        let case = |how: Value, more: Value| {
            let mut case = json!({
                "status": "resolved", "shown_value": 4, "resolution": { "user_id": "zoe", "resolved_at": "T", "how": how },
                "competing_changes": [{ "event_id": "e1", "user_id": "bob" }, { "event_id": "e2", "user_id": "eve" }],
            });
            case.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            conflict(&fields(&case))
        };
        let told = case(json!({ "use": "e2", "reason": "agreed" }), json!({}));
        for part in [
            "was shown  4",
            "decided    by zoe at T",
            "how        change 2, of eve (--use 2)",
            "reason     agreed",
        ] {
            assert!(told.contains(part), "`{part}` in\n{told}");
        }
        assert!(!told.contains("holds"), "{told}");
        for (how, part) in [
            (json!({ "use": "gone" }), "how        gone"),
            (json!({ "strategy": "merge_strategies" }), "--strategy merge_strategies"),
            (json!({ "value": "given" }), "--value"),
            (json!({ "value": "deleted" }), "--delete"),
        ] {
            let told = case(how, json!({ "status": "superseded", "superseded_by": "5f1c" }));
            assert!(told.contains(part) && told.contains("holds      not any more"), "`{part}` in\n{told}");
        }
        assert!(!case(Value::Null, json!({})).contains("how "), "nobody said");
    }

    #[test]
    fn outcomes_say_how_to_come_to_them() {
        let told = outcomes(&fields(&json!({ "outcomes": [
            { "use": 1, "user_id": "eve", "new_value": 5 },
            { "strategy": "merge_strategies", "resolution_method": "dictionary_merge", "new_value": {"a": 1},
              "conflicts": [{ "path": "/a" }, { "path": "" }] },
            { "strategy": "first_write_wins", "resolution_method": "first_write_wins", "deleted": true, "new_value": null },
            { "use": 2, "user_id": "adam", "withheld": "sealed", "new_value": null },
        ]})));
        for part in ["(sealed)", "--use 1", "--strategy merge_strategies", "/a (the value)", "(removed)"] {
            assert!(told.contains(part), "`{part}` in\n{told}");
        }
    }

    #[test]
    fn values_are_shown_as_they_were_written() {
        let answer = r#"{"shown_value":{"n":1e400,
            "m":123456789012345678901234567890},"competing_changes":[{"new_value":1.10}]}"#;
        let told = conflict(&serde_json::from_str(answer).expect("an object"));
        for part in ["1e400", "123456789012345678901234567890", "1.10"] {
            assert!(told.contains(part), "`{part}` in\n{told}");
        }
        assert_eq!(told.lines().filter(|line| line.contains("shown")).count(), 1, "{told}");
    }
}
