//! `lockstep audit list`.

use super::super::flags::{count, tenant};
use super::super::live::{CommandError, Live};
use super::super::output::{print, print_json, without_control};
use super::super::table::Table;
use super::super::{DONE, FAILED};
use super::entries::{Entries, Wanted};
use crate::admin::{AuditList, AuditShown};
use crate::config::quantity::duration;
use clap::Args;
use lockstep_plugin_api::glob::{Glob, GlobError};
use lockstep_plugin_api::time;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those about keys that this glob matches
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    key: Option<Glob>,
    /// Only those about this tenant's configuration
    #[arg(long, value_name = "TENANT", value_parser = tenant)]
    tenant: Option<String>,
    /// Only those of this type, or of the types that this glob matches: `config_*`, `lock_*`, `admin_*`
    #[arg(long = "type", value_name = "GLOB", value_parser = glob)]
    event_type: Option<Glob>,
    /// Only those from this time on, `2026-01-31T12:00:00Z`, or from so long ago, `10m`; ends where 1,000 in a row are older
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<i64>,
    /// Only those before this number, to go on from an earlier list
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = count)]
    limit: usize,
    /// Print `{entries: [{id, time, hash, entry}], next}`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    live: Live,
}

fn glob(text: &str) -> Result<Glob, GlobError> {
    Glob::new(text)
}

/// Microseconds since 1970.
fn since(text: &str) -> Result<i64, String> {
    if let Ok(at_us) = time::parse_us(text) {
        return Ok(at_us);
    }
    let ago =
        duration::parse(text).map_err(|_| "write `2026-01-31T12:00:00Z`, or `10m` for ten minutes ago")?;
    Ok(time::now_us().saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX)))
}

impl List {
    pub(super) fn run(self) -> u8 {
        super::with_entries(&self.live, FAILED, |entries| self.show(entries))
    }

    fn show(&self, entries: &Entries) -> Result<u8, CommandError> {
        let found = self.find(entries)?;
        if self.json {
            return Ok(print_json(&found));
        }
        if found.entries.is_empty() {
            eprintln!("no entries");
            return Ok(DONE);
        }
        let exit = print(&without_control(&table(&found.entries).to_string()));
        if let Some(next) = found.next {
            eprintln!("there may be more: --before {next}");
        }
        Ok(exit)
    }

    /// The host looks through so much for each answer; what it has not come to is asked for again.
    fn find(&self, entries: &Entries) -> Result<AuditList, CommandError> {
        let wanted = Wanted {
            key: self.key.clone(),
            tenant: self.tenant.clone(),
            event_type: self.event_type.clone(),
            since_us: self.since,
        };
        let mut found = AuditList { entries: Vec::new(), next: self.before };
        loop {
            let page = entries.page(&wanted, found.next, self.limit.saturating_sub(found.entries.len()))?;
            found.entries.extend(page.entries);
            found.next = page.next;
            if found.next.is_none() || found.entries.len() >= self.limit {
                return Ok(found);
            }
        }
    }
}

/// An entry by name, its values as they were written.
type Fields<'e> = BTreeMap<String, &'e RawValue>;

fn table(entries: &[AuditShown]) -> Table {
    let mut table = Table::new(&["NUMBER", "TIME", "TYPE", "TENANT", "KEY", "WHO", "WHAT"]);
    for shown in entries {
        let entry: Fields<'_> = serde_json::from_str(shown.entry.get()).unwrap_or_default();
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.row([
            shown.id.to_string(),
            shown.time.clone(),
            or_dash(plain(&entry, "event_type")),
            or_dash(plain(&entry, "tenant_id")),
            or_dash(plain(&entry, "config_key")),
            who(&entry),
            what(&entry),
        ]);
    }
    table
}

/// The name that was given, and who it was as far as the host knows.
fn who(entry: &Fields<'_>) -> String {
    let name = plain(entry, "admin_user_id").or_else(|| plain(entry, "user_id"));
    match (name, plain(entry, "by")) {
        (Some(name), Some(by)) => format!("{name} ({by})"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "-".to_owned(),
    }
}

/// What else tells entries of a type apart, without saying the key again; `--json` has all of it.
fn what(entry: &Fields<'_>) -> String {
    const FIELDS: [&str; 9] = [
        "target",
        "revision",
        "token",
        "resolution_method",
        "resolved_value",
        "reason",
        "pipeline",
        "outcome",
        "code",
    ];
    let is_key = |name: &&&str| **name == "target" && plain(entry, "target") == plain(entry, "config_key");
    let field = |name: &&str| Some(format!("{name}={}", plain(entry, name)?));
    FIELDS.iter().filter(|name| !is_key(name)).filter_map(field).collect::<Vec<_>>().join(" ")
}

/// A text without its quotes, and whatever else it is as JSON on one line.
fn plain(entry: &Fields<'_>, name: &str) -> Option<String> {
    let value = entry.get(name)?.get();
    match serde_json::from_str::<Option<String>>(value) {
        Ok(text) => text.filter(|text| !text.is_empty()),
        // In JSON a line ends between two parts only.
        Err(_) => Some(value.replace(['\n', '\r', '\t'], " ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn since_is_a_time_or_a_while_ago() {
        assert_eq!(since("2026-01-31T12:00:00Z").ok(), time::parse_us("2026-01-31T12:00:00Z").ok());
        let before = time::now_us();
        let found = since("10m").expect("a while ago") + 600_000_000;
        assert!((before..=time::now_us()).contains(&found), "{found}");
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn what_is_called_is_no_key_and_a_key_is_told_once() {
        let shown = |entry: Value| {
            let entry = serde_json::value::to_raw_value(&entry).expect("JSON");
            let (id, time, hash) = (1, "T".to_owned(), String::new());
            let table = table(&[AuditShown { id, time, hash, entry }]).to_string();
            table.lines().last().expect("a row").split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let act = |target: &str, key: Option<&str>| json!({ "event_type": "E", "target": target, "config_key": key, "outcome": "done" });
        assert_eq!(shown(act("encrypt.rotate", None)), "1 T E - - - target=encrypt.rotate outcome=done");
        let acquired = shown(act("lock.acquire", Some("app.x")));
        assert_eq!(acquired, "1 T E - app.x - target=lock.acquire outcome=done");
        assert_eq!(shown(act("app.x", Some("app.x"))), "1 T E - app.x - outcome=done");
    }

    #[test]
    fn an_entry_with_what_no_number_holds_is_shown_like_every_other() {
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        for value in ["1e400", "123456789012345678901234567890", "{\"a\":\n1.10}", deep.as_str()] {
            let entry = format!(
                r#"{{"event_type":"conflict_resolved","config_key":"app.x","tenant_id":"acme","user_id":"ann","resolved_value":{value}}}"#
            );
            let entry = RawValue::from_string(entry).expect("JSON");
            let shown = AuditShown { id: 7, time: "T".to_owned(), hash: String::new(), entry };
            let told = table(&[shown]).to_string();
            let row: Vec<_> = told.lines().nth(1).expect("a row").split_whitespace().collect();
            assert_eq!(row[..6], ["7", "T", "conflict_resolved", "acme", "app.x", "ann"], "{told}");
            assert!(row[6].starts_with("resolved_value=") && told.lines().count() == 2, "{told}");
            assert!(value.len() > 100 || told.contains(&value.replace('\n', " ")), "{told}");
        }
    }

    #[test]
    fn who_is_the_name_that_was_given_and_what_the_host_knows() {
        let of = |entry: &str| who(&serde_json::from_str(entry).expect("an object"));
        assert_eq!(of(r#"{"user_id":"ann","by":"uid 1000"}"#), "ann (uid 1000)");
        assert_eq!(of(r#"{"user_id":"ann","admin_user_id":"root","by":null}"#), "root");
        assert_eq!(of(r#"{"user_id":""}"#), "-");
    }
}
