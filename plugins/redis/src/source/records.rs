//! Entries and cells as records.
//!
//! Through the log each is read as a change here, so that what cannot be one is set aside with its bytes and the reason.
//! The name of the stream or cache says whose it is; what the change itself says must not be something else (D-19).

use super::stream::Identity;
use crate::entry::Entry;
use lockstep_plugin_api::{
    names::check_key,
    prelude::*,
    record::TENANT_HEADER,
    wire::{check_says_something, derived_event_id},
};

/// Makes records.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) node_id: String,
    pub(crate) through_log: bool,
}

/// Where a change was found.
struct Found<'a> {
    /// The stream of its tenant, also for a cell: a program that writes both has made one change.
    stream: &'a str,
    tenant: Option<&'a str>,
    /// The key by its place, if the place says one.
    key: Option<&'a str>,
    /// What tells it from the same change made again, if it has no time.
    id: Option<String>,
    timestamp_us: i64,
}

impl Records {
    /// The record of an entry; `None` if it is this host's own word, come back without a dot.
    pub(crate) fn entry(&self, stream: &Identity, entry: Entry) -> Option<Record> {
        if !self.through_log {
            return Some(moved(stream, entry));
        }
        let (id, key) = (entry.id, entry.config_key().map(str::to_owned));
        let mut record = entry.into_change();
        if record.error().is_some() {
            return Some(record);
        }
        let found = Found {
            stream: &stream.name,
            tenant: stream.tenant.as_deref(),
            key: key.as_deref(),
            id: Some(id.to_string()),
            timestamp_us: id.ms.saturating_mul(1000) as i64,
        };
        self.settle(&mut record, &found).map(|error| with(record, error))
    }

    /// The record of a cell; `None` as for an entry.
    pub(crate) fn cell(
        &self,
        stream: &str,
        tenant: Option<&str>,
        key: &Bytes,
        value: Bytes,
    ) -> Option<Record> {
        let mut record = Record::new(value);
        let Ok(key) = std::str::from_utf8(key) else {
            return Some(record.with_error(bad("the cell's name is not UTF-8")));
        };
        let found = Found { stream, tenant, key: Some(key), id: None, timestamp_us: 0 };
        self.settle(&mut record, &found).map(|error| with(record, error))
    }

    /// Completes the record of a change by where it was found: `None` if it is our own word, or else why it is no change,
    /// if it is none.
    fn settle(&self, record: &mut Record, found: &Found<'_>) -> Option<Option<Error>> {
        match self.complete(record, found) {
            Ok(true) => Some(None),
            Ok(false) => None,
            Err(error) => {
                record.set_key(found.key.map(Bytes::from));
                Some(Some(error))
            }
        }
    }

    fn complete(&self, record: &mut Record, found: &Found<'_>) -> Result<bool> {
        // Without bytes it was put together from fields, and those say something.
        let json = record.raw_value().cloned();
        let change = record.change()?;
        json.map_or(Ok(()), |json| check_says_something(&json, change))?;
        if found.id.is_none() && change.is_unapplied() {
            // It is there at every start: what it says would be done again each time.
            return Err(bad("a cell shows a value, and this one has `ops` alone"));
        }
        if found.key.is_some_and(|key| key != change.config_key()) {
            return Err(bad("`config_key` is another one than the place it was found at"));
        }
        check_key(change.config_key())?;
        change.check_depth()?;
        let said = change.tenant_id().filter(|tenant| !tenant.is_empty());
        if said.is_some() && said != found.tenant {
            return Err(bad("`tenant_id` is another one than the place it was found at"));
        }
        let is_dotless = change.dot().is_none();
        if is_dotless && change.source_node() == Some(self.node_id.as_str()) {
            return Ok(false);
        }
        let event_id = if is_dotless && change.event_id().is_none() { event_id(change, found) } else { None };
        let timestamp_us = change.timestamp_us().unwrap_or(found.timestamp_us);
        let key = change.config_key_text().as_bytes().clone();
        if change.tenant_id() != found.tenant || event_id.is_some() {
            let change = record.change_mut()?;
            change.set_tenant_id(found.tenant.map(Text::from));
            if event_id.is_some() {
                change.set_event_id(event_id);
            }
        }
        record.set_timestamp_us(timestamp_us);
        record.set_key(Some(key));
        Ok(true)
    }
}

/// The record of an entry that nobody reads here. The value need not say whose it is, for the stream's name does.
fn moved(stream: &Identity, entry: Entry) -> Record {
    let mut record = entry.into_record();
    if let Some(tenant) = &stream.tenant {
        record.set_header(TENANT_HEADER, tenant.as_str());
    }
    record
}

fn with(record: Record, error: Option<Error>) -> Record {
    match error {
        Some(error) => record.with_error(error),
        None => record,
    }
}

fn bad(why: &str) -> Error {
    Error::rejected("bad_message", why)
}

/// The name of a change without one: what it says and when, or else which entry it was. A cell without a time has none,
/// for the same value may be written there twice.
fn event_id(change: &Change, found: &Found<'_>) -> Option<Text> {
    let time = change.timestamp_us().map(|us| us.to_string()).or_else(|| found.id.clone())?;
    let said = [
        found.stream,
        change.source_node().unwrap_or_default(),
        &time,
        change.config_key(),
        change.event_type(),
        change.new_value().as_str(),
    ];
    let parts: Vec<_> = said.into_iter().chain(change.ops().map(Json::as_str)).map(str::as_bytes).collect();
    Some(derived_event_id(&parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryId;

    fn records() -> Records {
        Records { node_id: "node-1".to_owned(), through_log: true }
    }

    fn stream(tenant: Option<&str>) -> Identity {
        let name = format!("apg-config:log:{}", tenant.unwrap_or("global"));
        Identity { name, tenant: tenant.map(str::to_owned), lane: 1 }
    }

    fn entry(ms: u64, fields: &[(&str, &str)]) -> Entry {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        Entry::new(EntryId { ms, number: 0 }, fields.collect())
    }

    fn read(tenant: Option<&str>, data: &str) -> Option<Record> {
        records().entry(&stream(tenant), entry(7, &[("data", data)]))
    }

    #[test]
    fn the_place_says_whose_a_change_is_and_what_says_otherwise_is_set_aside() {
        let tenant = |record: &mut Record| record.change().expect("a change").tenant_id().map(str::to_owned);
        let plain = r#"{"config_key":"k","new_value":1}"#;
        assert_eq!(tenant(&mut read(Some("acme"), plain).expect("a record")).as_deref(), Some("acme"));
        assert_eq!(tenant(&mut read(None, plain).expect("a record")), None);
        for said in ["null", r#""""#] {
            let data = format!(r#"{{"config_key":"k","new_value":1,"tenant_id":{said}}}"#);
            assert_eq!(
                tenant(&mut read(Some("acme"), &data).expect("a record")).as_deref(),
                Some("acme"),
                "{said}"
            );
        }
        let other = r#"{"config_key":"k","new_value":1,"tenant_id":"umbrella"}"#;
        for place in [Some("acme"), None] {
            let record = read(place, other).expect("a record");
            assert_eq!(record.error().and_then(Error::code), Some("bad_message"));
            assert_eq!(&*record.value().expect("its bytes"), other.as_bytes());
        }
    }

    #[test]
    fn what_is_moved_as_it_is_says_whose_it_is() {
        let direct = Records { through_log: false, ..records() };
        let moved = |tenant| {
            let entry = entry(7, &[("data", r#"{"config_key":"k","new_value":1}"#)]);
            let mut record = direct.entry(&stream(tenant), entry).expect("a record");
            record.change().expect("a change").tenant_id().map(str::to_owned)
        };
        assert_eq!((moved(Some("acme")).as_deref(), moved(None)), (Some("acme"), None));
    }

    #[test]
    fn what_is_no_change_is_handed_over_with_its_bytes_and_a_code() {
        for (data, code) in [
            ("{", "bad_message"),
            (r#"{"new_value":1}"#, "bad_message"),
            (r#"{"config_key":7}"#, "bad_message"),
            (r#"{"config_key":"a","newvalue":1}"#, "bad_message"),
            (r#"{"config_key":"a","ops":null}"#, "bad_message"),
            (r#"{"config_key":"a..b","new_value":1}"#, "bad_key"),
            (&format!(r#"{{"config_key":"{}","new_value":1}}"#, "k".repeat(513)), "too_large"),
        ] {
            let record = read(None, data).expect("a record");
            assert_eq!(record.error().and_then(Error::code), Some(code), "{data}");
            assert_eq!(&*record.value().expect("its bytes"), data.as_bytes());
        }
        let fields = [("config_key", "a"), ("data", r#"{"config_key":"b"}"#)];
        let record = records().entry(&stream(None), entry(1, &fields)).expect("a record");
        assert!(record.error().is_some(), "the field names another key");
    }

    #[test]
    fn our_own_word_without_a_dot_is_dropped_and_with_one_it_is_not() {
        let own = r#"{"config_key":"k","new_value":1,"source_node":"node-1"}"#;
        assert!(read(None, own).is_none());
        assert!(read(None, &own.replace("node-1", "node-2")).is_some());
        let dotted = own.replace('}', r#","dot":{"node":"node-1@a","seq":1}}"#);
        assert!(read(None, &dotted).is_some(), "the dot decides");
    }

    #[test]
    fn a_change_without_a_name_gets_the_same_one_at_every_sight() {
        let name = |ms: u64, fields: &[(&str, &str)]| {
            let mut record = records().entry(&stream(None), entry(ms, fields)).expect("a record");
            record.change().expect("a change").event_id().expect("a name").to_owned()
        };
        let plain = [("config_key", "k"), ("new_value", "1")];
        assert_eq!(name(1, &plain), name(1, &plain));
        assert_ne!(name(1, &plain), name(2, &plain), "made again");
        let timed = [("config_key", "k"), ("new_value", "1"), ("timestamp", "2024-01-01T12:00:00Z")];
        assert_eq!(name(1, &timed), name(2, &timed));

        let cell = |value: &str| {
            let record = records().cell("apg-config:log:global", None, &"k".into(), value.into());
            record.expect("a record").change().expect("a change").event_id().map(str::to_owned)
        };
        let same = r#"{"config_key":"k","new_value":1,"timestamp":"2024-01-01T12:00:00Z"}"#;
        assert_eq!(cell(same), Some(name(1, &timed)), "the cell of the same change is no second one");
        assert_eq!(cell(r#"{"config_key":"k","new_value":1}"#), None);
    }

    #[test]
    fn operations_need_no_value_and_two_of_one_moment_are_two_changes() {
        let name = |ops: &str| {
            let time = ("timestamp", "2024-01-01T12:00:00Z");
            let mut record =
                records().entry(&stream(None), entry(1, &[("config_key", "k"), ("ops", ops), time]));
            let change = record.as_mut().expect("a record").change().expect("a change");
            assert_eq!((change.ops().map(Json::as_str), change.is_unapplied()), (Some(ops), true));
            change.event_id().expect("a name").to_owned()
        };
        assert_ne!(name(r#"[1,"x"]"#), name(r#"[1,"y"]"#));
        let data = r#"{"config_key":"k","ops":[1,"x"],"base":{"revision":7}}"#;
        let mut record = read(None, data).expect("a record");
        assert!(record.error().is_none(), "{:?}", record.error());
        assert_eq!(record.change().expect("a change").base().map(Json::as_str), Some(r#"{"revision":7}"#));
        let cell = records().cell("s", None, &"k".into(), data.into()).expect("one");
        assert_eq!(cell.error().and_then(Error::code), Some("bad_message"), "a cell has a value");
    }

    #[test]
    fn a_cell_of_another_key_is_set_aside() {
        let value = r#"{"config_key":"k","new_value":1}"#;
        let cell = |key: &[u8]| records().cell("s", None, &key.into(), value.into()).expect("one");
        assert!(cell(b"k").error().is_none());
        assert!(cell(b"j").error().is_some() && cell(b"\xff").error().is_some());
    }

    #[test]
    fn a_direct_pipeline_is_handed_what_is_there() {
        let records = Records { node_id: "node-1".to_owned(), through_log: false };
        let record =
            records.entry(&stream(None), entry(7, &[("data", "{"), ("config_key", "k")])).expect("one");
        assert!(record.error().is_none());
        assert_eq!((&*record.value().expect("bytes"), record.key_str()), (&b"{"[..], Some("k")));
    }
}
