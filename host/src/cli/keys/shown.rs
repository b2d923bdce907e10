//! A change as the host shows it, and as one line for people. Values stay as the host wrote them.

use super::super::output::without_control;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What the host shows of a change, and of a notice; further fields are for programs.
#[derive(Debug, Deserialize, Serialize)]
pub(in crate::cli) struct ShownChange {
    #[serde(default)]
    pub revision: u64,
    #[serde(default)]
    pub epoch: String,
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

    pub fn when(&self) -> &str {
        self.timestamp.as_deref().unwrap_or("-")
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
}
