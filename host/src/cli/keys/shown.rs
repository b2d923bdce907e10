//! A change as the host shows it, and as one line for people. Values stay as the host wrote them.

use super::super::output::without_control;
use lockstep_plugin_api::sealed::is_sealed;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// What the host shows of a change, and of a notice; further fields are for programs.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct ShownChange {
    #[serde(default)]
    pub revision: u64,
    pub config_key: String,
    #[serde(default)]
    pub event_type: String,
    /// Notices have none.
    #[serde(default)]
    pub new_value: Option<Box<RawValue>>,
    #[serde(default)]
    pub user_id: Option<String>,
    #[serde(default)]
    pub timestamp: Option<String>,
    /// When the host committed it, by its own clock.
    #[serde(default)]
    pub committed_at: Option<String>,
    /// The host that first took it in.
    #[serde(default)]
    pub source_node: Option<String>,
    #[serde(default)]
    pub strategy: Option<String>,
    /// The changes that stand, if it is not this one alone.
    #[serde(default)]
    siblings: Vec<Sibling>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

/// A change that stands, as far as it is told.
#[derive(Debug, Deserialize)]
struct Sibling {
    #[serde(default)]
    user_id: Option<String>,
}

/// What a change says about itself: anything, and some of it is known here.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Metadata {
    Rollback { rollback_to: u64 },
    Other(IgnoredAny),
}

/// As much of a value as a line for people has.
const MAX_SHOWN: usize = 400;

/// A JSON text for people: what is sealed is not worth reading, and what is long is cut.
pub(super) fn readable(json: &str) -> String {
    if is_sealed(json) {
        return "(sealed)".to_owned();
    }
    match json.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", without_control(&json[..end]), json.len()),
        None => without_control(json),
    }
}

impl ShownChange {
    /// The value as JSON text.
    pub fn value(&self) -> &str {
        self.new_value.as_deref().map_or("null", RawValue::get)
    }

    /// What happened: a value, a deletion, or the notice's own name.
    pub fn what(&self) -> String {
        match self.event_type.as_str() {
            "" | "config_created" | "config_updated" => format!("= {}", without_control(self.value())),
            "config_deleted" => "deleted".to_owned(),
            other => without_control(other),
        }
    }

    /// The same for a list of changes: long values are cut.
    pub fn what_in_short(&self) -> String {
        let what = match self.event_type.as_str() {
            "" | "config_created" | "config_updated" => format!("= {}", readable(self.value())),
            _ => self.what(),
        };
        match self.metadata {
            Some(Metadata::Rollback { rollback_to }) => format!("{what}  (rollback to {rollback_to})"),
            _ => what,
        }
    }

    /// How the value came about, and whether several changes made it.
    pub fn how(&self) -> String {
        let strategy = self.strategy.as_deref().map_or_else(|| "-".to_owned(), without_control);
        match self.n_standing() {
            0 | 1 => strategy,
            n => format!("{strategy}, conflict of {n}"),
        }
    }

    /// How many changes stand against each other; 0 or 1 if none do.
    pub fn n_standing(&self) -> usize {
        self.siblings.len()
    }

    /// Who made the changes that stand.
    pub fn authors(&self) -> String {
        let names = self.siblings.iter().map(|sibling| sibling.user_id.as_deref().unwrap_or("-"));
        without_control(&names.collect::<Vec<_>>().join(", "))
    }

    pub fn source(&self) -> String {
        self.source_node.as_deref().map_or_else(|| "-".to_owned(), without_control)
    }

    pub fn when(&self) -> &str {
        self.timestamp.as_deref().unwrap_or("-")
    }

    pub fn committed(&self) -> &str {
        self.committed_at.as_deref().unwrap_or("-")
    }

    pub fn who(&self) -> String {
        self.user_id.as_deref().map_or_else(|| "-".to_owned(), without_control)
    }

    /// `42  2026-01-31T12:00:00.195216Z  ann  app.database.host = "db1.example"`
    pub fn line(&self) -> String {
        let key = without_control(&self.config_key);
        format!("{}  {}  {}  {key} {}\n", self.revision, self.when(), self.who(), self.what())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: &str) -> String {
        serde_json::from_str::<ShownChange>(json).expect("a change").line()
    }

    #[test]
    fn a_change_is_a_line() {
        let set = r#"{"revision":7,"config_key":"app.x","event_type":"config_updated","new_value":1.10,"user_id":"ann",
            "timestamp":"2026-01-31T12:00:00.195216Z","dot":{}}"#;
        assert_eq!(line(set), "7  2026-01-31T12:00:00.195216Z  ann  app.x = 1.10\n");
        let deleted = r#"{"revision":8,"config_key":"app.x","event_type":"config_deleted","new_value":null}"#;
        assert_eq!(line(deleted), "8  -  -  app.x deleted\n");
        let locked =
            r#"{"revision":9,"config_key":"app.x","event_type":"config_locked","user_id":"a\u001b[31m"}"#;
        assert_eq!(line(locked), "9  -  a\\u{1b}[31m  app.x config_locked\n");
    }

    #[test]
    fn a_list_tells_how_a_value_came_about() {
        let read = |rest: &str| {
            let json =
                format!(r#"{{"config_key":"app.x","new_value":1,"strategy":"last_write_wins"{rest}}}"#);
            serde_json::from_str::<ShownChange>(&json).expect("a change")
        };
        let plain = read(r#","metadata":{"rollback_to":"x"},"siblings":[{}]"#);
        assert_eq!((plain.how().as_str(), plain.what_in_short().as_str()), ("last_write_wins", "= 1"));
        let several = read(r#","metadata":{"why":1,"rollback_to":7},"siblings":[{"user_id":"ann"},{}]"#);
        assert_eq!(several.how(), "last_write_wins, conflict of 2");
        assert_eq!(
            (several.what_in_short().as_str(), several.authors().as_str()),
            ("= 1  (rollback to 7)", "ann, -")
        );
        assert_eq!(readable(r#"{"$enc":{"v":1}}"#), "(sealed)");
        let long = format!("\"{}\"", "é".repeat(1000));
        assert!(readable(&long).ends_with("… (2002 bytes)") && readable(&long).len() < 1000);
    }
}
