//! The guide's record of a conflict that a person decides: a string at `conflict:{conflict_id}`, for 7 days at most.
//!
//! It is written when the conflict is told, and never over one that is there: a notice that comes twice, or from another
//! host, lets it last no longer. What becomes of the conflict is written where the record still stands, and lasts as long.
//! Every value in it is one that the notice told as a change does, so what a transform of this sink sealed is sealed here.

use lockstep_plugin_api::{
    change::CONFIG_DELETED,
    prelude::*,
    time::{now_us, parse_us},
};
use redis::{Cmd, cmd};
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;

/// How long a record lasts, by the contract.
const LONGEST_SECS: i64 = 604_800;

/// What of the notice's metadata is in the record as it is.
const TAKEN: [&str; 9] = [
    "conflict_id",
    "status",
    "created_at",
    "expires_at",
    "assigned_to",
    "conflicts",
    "supersedes",
    "resolution",
    "withheld",
];

/// A record on its way.
#[derive(Debug)]
pub(crate) struct ConflictWrite {
    pub(crate) key: String,
    json: Bytes,
    /// For how long, if there is none yet; otherwise it takes the place of the one that is there.
    lasts_secs: Option<i64>,
}

/// The fields of an object as they are written.
type Fields<'a> = BTreeMap<String, &'a RawValue>;

impl ConflictWrite {
    /// What a notice is to change, in this order: nothing if it tells of no conflict that a person decides.
    ///
    /// # Errors
    /// `Rejected("bad_message")` if it does, and cannot be read.
    pub(crate) fn of(notice: &Change, prefix: &str) -> Result<Vec<Self>> {
        let is_first = match notice.event_type() {
            "conflict_detected" => true,
            "conflict_assigned" | "conflict_resolved" => false,
            _ => return Ok(Vec::new()),
        };
        let Some(metadata) = notice.metadata() else { return Ok(Vec::new()) };
        let told: Fields<'_> = metadata.read()?;
        // Only those that a person decides have a status.
        if !told.contains_key("status") {
            return Ok(Vec::new());
        }
        let mut writes = Vec::new();
        if let Some(old) = told.get("superseded_record") {
            let fields: Fields<'_> = serde_json::from_str(old.get()).map_err(bad)?;
            writes.push(Self { key: key(prefix, &fields)?, json: bytes(old), lasts_secs: None });
        }
        let lasts_secs = if is_first { Some(left(&told)?) } else { None };
        if lasts_secs.is_none_or(|secs| secs > 0) {
            let json = Bytes::from(record(notice, &told)?);
            writes.push(Self { key: key(prefix, &told)?, json, lasts_secs });
        }
        Ok(writes)
    }

    pub(crate) fn command(&self) -> Cmd {
        let mut set = cmd("SET");
        set.arg(&self.key).arg(&self.json[..]);
        match self.lasts_secs {
            Some(secs) => set.arg("EX").arg(secs).arg("NX"),
            None => set.arg("XX").arg("KEEPTTL"),
        };
        set
    }

    /// How many bytes it sends, about.
    pub(crate) fn size(&self) -> usize {
        self.key.len() + self.json.len() + 64
    }
}

fn bad(_: impl std::fmt::Display) -> Error {
    Error::rejected("bad_message", "the notice of a conflict has another form")
}

/// An id that is none would let a notice write any key.
fn key(prefix: &str, fields: &Fields<'_>) -> Result<String> {
    let id = fields.get("conflict_id").and_then(|id| serde_json::from_str::<&str>(id.get()).ok());
    let is_id = |id: &&str| id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let id = id.filter(is_id).ok_or_else(|| bad("no id"))?;
    Ok(format!("{prefix}{id}"))
}

/// For how many seconds the record still has to last.
fn left(told: &Fields<'_>) -> Result<i64> {
    let expires = told.get("expires_at").and_then(|at| serde_json::from_str::<&str>(at.get()).ok());
    let left_us = parse_us(expires.ok_or_else(|| bad("no end"))?)? - now_us();
    // A whole second that has begun counts.
    Ok((left_us.max(0) + 999_999).div_euclid(1_000_000).min(LONGEST_SECS))
}

/// The record: what the notice says of the conflict, with what each author wants where the notice tells it.
fn record(notice: &Change, told: &Fields<'_>) -> Result<Vec<u8>> {
    let mut record: BTreeMap<&str, Box<RawValue>> = BTreeMap::new();
    for name in TAKEN {
        record.extend(told.get(name).map(|value| (name, (*value).to_owned())));
    }
    let siblings: Vec<Fields<'_>> = notice.siblings().map_or(Ok(Vec::new()), Json::read)?;
    let changes: Vec<Fields<'_>> = match told.get("competing_changes") {
        Some(changes) => serde_json::from_str(changes.get()).map_err(bad)?,
        None => Vec::new(),
    };
    let changes: Vec<Fields<'_>> = changes.into_iter().map(|change| with_values(change, &siblings)).collect();
    let mut add = |name, value: serde_json::Result<Box<RawValue>>| -> Result<()> {
        record.insert(name, value.map_err(Error::failed)?);
        Ok(())
    };
    add("config_key", to_raw_value(notice.config_key()))?;
    add("tenant_id", to_raw_value(&notice.tenant_id()))?;
    add("competing_changes", to_raw_value(&changes))?;
    if !siblings.is_empty() {
        add("shown_value", to_raw_value(notice.new_value()))?;
    }
    serde_json::to_vec(&record).map_err(Error::failed)
}

/// A competing change with its values, as the sibling of the same event has them.
fn with_values<'a>(mut change: Fields<'a>, siblings: &[Fields<'a>]) -> Fields<'a> {
    let text = |fields: &Fields<'a>, name: &str| fields.get(name).map(|value| value.get().to_owned());
    let event_id = text(&change, "event_id");
    let Some(sibling) = siblings.iter().find(|one| text(one, "event_id") == event_id) else { return change };
    let is_deletion =
        sibling.get("event_type").is_some_and(|kind| kind.get().trim_matches('"') == CONFIG_DELETED);
    let values = [("new_value", !is_deletion), ("old_value", true)];
    for (name, _) in values.into_iter().filter(|(_, is_told)| *is_told) {
        change.extend(sibling.get(name).map(|value| (name.to_owned(), *value)));
    }
    change
}

fn bytes(json: &RawValue) -> Bytes {
    Bytes::copy_from_slice(json.get().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_plugin_api::time::format_us;
    use serde_json::{Value, json};

    const ID: &str = "0b6f6d58-6a4e-5c0c-8a1e-0d9d2f0c7b11";

    fn notice(event_type: &str, metadata: Value) -> Change {
        let change = json!({
            "config_key": "app.x", "event_type": event_type, "new_value": "c", "metadata": metadata,
            "siblings": [
                {"event_id": "e1", "event_type": "config_updated", "new_value": "1.10", "old_value": "a"},
                {"event_id": "e2", "event_type": "config_deleted", "new_value": null},
            ],
        });
        let change = change.to_string().replace(r#""1.10""#, "1.10");
        Change::from_json(&Bytes::from(change)).expect("a change")
    }

    fn pending(lasts_secs: i64) -> Value {
        json!({
            "conflict_id": ID, "status": "pending_manual_resolution", "assigned_to": null, "conflicts": [],
            "created_at": format_us(0), "expires_at": format_us(now_us() + lasts_secs * 1_000_000),
            "competing_changes": [{"event_id": "e1", "user_id": "eve"}, {"event_id": "e2", "user_id": null}],
        })
    }

    fn written(event_type: &str, metadata: Value) -> Vec<Vec<String>> {
        let writes = ConflictWrite::of(&notice(event_type, metadata), "conflict:").expect("readable");
        let text = |write: &ConflictWrite| {
            let packed = String::from_utf8(write.command().get_packed_command()).expect("text");
            packed.split("\r\n").skip(2).step_by(2).map(str::to_owned).collect()
        };
        writes.iter().map(text).collect()
    }

    #[test]
    fn the_contracts_record_is_written_once_and_for_seven_days_at_most() {
        for (lasts_secs, told) in [(604_800, 604_800), (900_000, 604_800), (60, 60)] {
            let [command] = &written("conflict_detected", pending(lasts_secs))[..] else {
                panic!("one command")
            };
            assert_eq!((&command[0][..], &command[1][..]), ("SET", &*format!("conflict:{ID}")));
            let ttl: i64 = command[4].parse().expect("seconds");
            assert!((told - 1..=told).contains(&ttl), "{ttl} of {told}");
            assert_eq!((&command[3][..], &command[5][..]), ("EX", "NX"));
            let record: Value = serde_json::from_str(&command[2]).expect("JSON");
            for (field, value) in [
                ("conflict_id", json!(ID)),
                ("config_key", json!("app.x")),
                ("tenant_id", Value::Null),
                ("status", json!("pending_manual_resolution")),
                ("assigned_to", Value::Null),
                ("shown_value", json!("c")),
            ] {
                assert_eq!(record.get(field), Some(&value), "{field}");
            }
            assert!(command[2].contains(r#""new_value":1.10"#), "digits are kept");
            let changes = &record["competing_changes"];
            assert_eq!((&changes[0]["user_id"], &changes[0]["old_value"]), (&json!("eve"), &json!("a")));
            assert!(changes[1].get("new_value").is_none(), "a deletion wants none");
        }
        assert!(written("conflict_detected", pending(-5)).is_empty(), "its time is over");
    }

    #[test]
    fn what_becomes_of_it_takes_the_place_of_what_is_there() {
        let mut metadata = pending(60);
        metadata["status"] = json!("resolved");
        let [command] = &written("conflict_resolved", metadata)[..] else { panic!("one command") };
        assert_eq!(command[3..], ["XX", "KEEPTTL"]);
        let other = ID.replace('0', "1");
        let mut metadata = pending(60);
        metadata["superseded_record"] = json!({ "conflict_id": other, "status": "superseded" });
        let [old, new] = &written("conflict_detected", metadata)[..] else { panic!("two commands") };
        assert_eq!((&old[1][..], &old[3][..]), (&*format!("conflict:{other}"), "XX"));
        assert_eq!((&new[1][..], &new[5][..]), (&*format!("conflict:{ID}"), "NX"));
    }

    #[test]
    fn other_notices_write_nothing_and_no_notice_writes_another_key() {
        for (event_type, metadata) in [
            ("config_locked", pending(60)),
            ("conflict_detected", json!({ "conflict_id": ID })),
            ("conflict_resolved", json!({ "conflict_id": ID, "winning_change": "e" })),
        ] {
            assert!(written(event_type, metadata).is_empty(), "{event_type}");
        }
        for id in [json!("x"), json!(5), json!("../../../../config_lock:global:app.x00"), Value::Null] {
            let mut metadata = pending(60);
            metadata["conflict_id"] = id.clone();
            let error =
                ConflictWrite::of(&notice("conflict_detected", metadata), "conflict:").expect_err("no id");
            assert_eq!(error.code(), Some("bad_message"), "{id}");
        }
    }
}
