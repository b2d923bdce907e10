//! What an entry of a stream looks like, written and read.
//!
//! A change is `event_id`, `event_type`, `tenant_id`, `config_key`, `source_node`, each only where it is known, and `data`,
//! the whole change as JSON. Other programs may write `data` alone, or the change's fields themselves, each value in a
//! field of its own. A record that is no change is `key`, `value` and `header:<name>`.

use lockstep_plugin_api::{prelude::*, time};
use redis::Value;
use std::{fmt, str::FromStr};

/// The whole change as JSON.
pub(crate) const DATA: &str = "data";
/// The name of the change.
pub(crate) const EVENT_ID: &str = "event_id";
const CONFIG_KEY: &str = "config_key";
const NEW_VALUE: &str = "new_value";
const OPS: &str = "ops";
const KEY: &str = "key";
const VALUE: &str = "value";
const HEADER: &str = "header:";

/// Headers of the host's own, which mean nothing outside.
const HOST_HEADERS: &str = "lockstep.";

/// The name of an entry: milliseconds, and a number among those of one millisecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryId {
    pub(crate) ms: u64,
    pub(crate) number: u64,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.number)
    }
}

/// The text is no `<milliseconds>-<number>`.
#[derive(Debug)]
pub(crate) struct NotAnId;

impl FromStr for EntryId {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let (ms, number) = text.split_once('-').ok_or(NotAnId)?;
        Ok(Self { ms: ms.parse().map_err(|_| NotAnId)?, number: number.parse().map_err(|_| NotAnId)? })
    }
}

/// The fields that stand beside `data`.
pub(crate) fn fields_of(change: &Change) -> Vec<(&'static str, Text)> {
    let known = [
        (EVENT_ID, change.event_id()),
        ("event_type", Some(change.event_type())),
        ("tenant_id", change.tenant_id()),
        (CONFIG_KEY, Some(change.config_key())),
        ("source_node", change.source_node()),
    ];
    known.into_iter().filter_map(|(name, value)| Some((name, Text::from(value?)))).collect()
}

/// The fields of a record that is written as it is.
pub(crate) fn raw_fields(record: &Record) -> Vec<(String, Bytes)> {
    let key = record.key().map(|key| (KEY.to_owned(), key.clone()));
    let value = record.value().map(|value| (VALUE.to_owned(), value));
    let headers = record
        .headers()
        .filter(|(name, _)| !name.starts_with(HOST_HEADERS))
        .map(|(name, value)| (format!("{HEADER}{name}"), value.clone()));
    let mut fields: Vec<_> = key.into_iter().chain(value).chain(headers).collect();
    if fields.is_empty() {
        // An entry has at least one field.
        fields.push((VALUE.to_owned(), Bytes::new()));
    }
    fields
}

/// An entry as it was read.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: EntryId,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    pub(crate) fn new(id: EntryId, fields: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        Self { id, fields }
    }

    /// About how much memory it takes.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>()
            + self.fields.iter().map(|(name, value)| name.len() + value.len() + 48).sum::<usize>()
    }

    fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(field, _)| field == name.as_bytes()).map(|(_, value)| &value[..])
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.field(name).and_then(|value| std::str::from_utf8(value).ok()).filter(|text| !text.is_empty())
    }

    fn take(&mut self, name: &str) -> Option<Vec<u8>> {
        let (_, value) = self.fields.iter_mut().find(|(field, _)| field == name.as_bytes())?;
        Some(std::mem::take(value))
    }

    /// The key that is named beside `data`.
    pub(crate) fn config_key(&self) -> Option<&str> {
        self.text(CONFIG_KEY)
    }

    /// The record of a change: from `data`, or put together from the fields. Where they make none, a record with
    /// everything the entry says as its value, and why.
    pub(crate) fn into_change(mut self) -> Record {
        if let Some(data) = self.take(DATA) {
            return Record::new(data);
        }
        match self.change() {
            Ok(change) => Record::from_change(change),
            Err(error) => Record::new(self.as_json()).with_error(error),
        }
    }

    fn change(&self) -> Result<Change> {
        let bad = |why: &str| Error::rejected("bad_message", why);
        let key = self.config_key().ok_or_else(|| bad("the entry has neither `data` nor `config_key`"))?;
        let event_type = self.text("event_type");
        let is_deletion = event_type == Some(lockstep_plugin_api::change::CONFIG_DELETED);
        let json = |name: &str| self.text(name).map(Json::parse).transpose();
        let ops = json(OPS).map_err(|_| bad("`ops` is not JSON"))?.filter(|ops| ops.as_str() != "null");
        let value = match json(NEW_VALUE).map_err(|_| bad("`new_value` is not JSON"))? {
            Some(value) => value,
            None if is_deletion || ops.is_some() => Json::null(),
            None => return Err(bad("the entry has neither `data` nor `new_value` nor `ops`")),
        };
        let mut change = Change::new(key, value);
        if let Some(event_type) = event_type {
            change.set_event_type(event_type);
        }
        change.set_ops(ops);
        change.set_base(json("base").map_err(|_| bad("`base` is not JSON"))?);
        change.set_old_value(json("old_value").map_err(|_| bad("`old_value` is not JSON"))?);
        change.set_metadata(json("metadata").map_err(|_| bad("`metadata` is not JSON"))?);
        change.set_timestamp_us(self.text("timestamp").map(time::parse_us).transpose()?);
        let text = |name: &str| self.text(name).map(Text::from);
        change.set_tenant_id(text("tenant_id"));
        change.set_user_id(text("user_id"));
        change.set_source_node(text("source_node"));
        change.set_event_id(text(EVENT_ID));
        Ok(change)
    }

    /// The record of an entry whose meaning is nobody's business here: `data` or `value` as the value, `config_key` or
    /// `key` as the key, everything else as headers; without either value, all fields as a JSON object.
    pub(crate) fn into_record(mut self) -> Record {
        let value = match self.take(DATA).or_else(|| self.take(VALUE)) {
            Some(value) => value,
            None => match self.change() {
                Ok(change) => change.to_json().to_vec(),
                Err(_) => self.as_json().into_bytes(),
            },
        };
        let key = self.field(KEY).or_else(|| self.field(CONFIG_KEY)).map(Bytes::from);
        let mut record = Record::new(value);
        record.set_key(key);
        record.set_timestamp_us(self.id.ms.saturating_mul(1000) as i64);
        for (name, value) in self.fields {
            let Ok(name) = String::from_utf8(name) else { continue };
            if !matches!(name.as_str(), DATA | VALUE | KEY | NEW_VALUE) {
                record.push_header(name.strip_prefix(HEADER).unwrap_or(&name), value);
            }
        }
        record
    }

    fn as_json(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields: serde_json::Map<String, serde_json::Value> =
            self.fields.iter().map(|(name, value)| (text(name), text(value).into())).collect();
        serde_json::Value::Object(fields).to_string()
    }
}

/// Entries as the server lists them. One that was deleted since it was taken has no fields.
pub(crate) fn read_entries(list: Value) -> Vec<Entry> {
    let Value::Array(list) = list else { return Vec::new() };
    list.into_iter().filter_map(read_entry).collect()
}

fn read_entry(value: Value) -> Option<Entry> {
    let Value::Array(parts) = value else { return None };
    let [id, fields] = <[Value; 2]>::try_from(parts).ok()?;
    let id = String::from_utf8(bytes(id)?).ok()?.parse().ok()?;
    let Value::Array(fields) = fields else { return Some(Entry::new(id, Vec::new())) };
    let mut flat = fields.into_iter().filter_map(bytes);
    let mut fields = Vec::with_capacity(flat.size_hint().1.unwrap_or(0) / 2);
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        fields.push((name, value));
    }
    Some(Entry::new(id, fields))
}

/// The bytes of a string.
pub(crate) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

impl Entry {
    /// The change the entry stands for, if it is one.
    pub(crate) fn change_of(&self) -> Option<Change> {
        match self.field(DATA) {
            Some(data) => Change::from_json(&Bytes::from(data)).ok(),
            None => self.change().ok(),
        }
    }

    /// Whether the entry was deleted after it was taken.
    pub(crate) fn is_gone(&self) -> bool {
        self.fields.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&str, &str)]) -> Entry {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        Entry::new(EntryId { ms: 1_700_000_000_000, number: 3 }, fields.collect())
    }

    #[test]
    fn ids_are_ordered_numbers_and_read_as_they_are_written() {
        let id: EntryId = "1700000000000-3".parse().expect("an id");
        assert_eq!(id.to_string(), "1700000000000-3");
        assert!(id < "1700000000000-12".parse().expect("an id"));
        for text in ["", "5", "a-b", "1-", "-1-1"] {
            assert!(text.parse::<EntryId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_change_is_read_from_data_or_from_its_fields() {
        let data = r#"{"config_key":"app.x","new_value":1}"#;
        let mut record = entry(&[("config_key", "app.x"), ("data", data)]).into_change();
        assert_eq!(&*record.value().expect("bytes"), data.as_bytes());
        assert_eq!(record.change().expect("a change").config_key(), "app.x");

        let mut record = entry(&[
            ("config_key", "app.x"),
            ("new_value", r#"{"a":1}"#),
            ("user_id", "eve"),
            ("timestamp", "2024-01-01T12:00:00"),
        ])
        .into_change();
        let change = record.change().expect("a change");
        assert_eq!((change.new_value().as_str(), change.user_id()), (r#"{"a":1}"#, Some("eve")));
        assert_eq!(change.timestamp_us(), Some(1_704_110_400_000_000));

        let mut record = entry(&[("config_key", "k"), ("event_type", "config_deleted")]).into_change();
        assert!(record.change().expect("a change").is_deletion());
    }

    #[test]
    fn what_is_no_change_is_kept_whole_with_the_reason() {
        for fields in [
            &[("temperature", "21")][..],
            &[("config_key", "app.x")],
            &[("config_key", "app.x"), ("new_value", "plain words")],
            &[("config_key", "app.x"), ("new_value", "1"), ("timestamp", "soon")],
        ] {
            let record = entry(fields).into_change();
            assert_eq!(record.error().and_then(Error::code), Some("bad_message"));
            let text = String::from_utf8(record.value().expect("a value").to_vec()).expect("UTF-8");
            assert!(fields.iter().all(|(name, value)| text.contains(name) && text.contains(value)), "{text}");
        }
    }

    #[test]
    fn very_many_fields_become_headers_in_time_that_grows_with_them() {
        let fields = (0..200_000).map(|n| (format!("header:{n}").into_bytes(), b"x".to_vec()));
        let record = Entry::new(EntryId::default(), fields.collect()).into_record();
        assert_eq!(record.headers().len(), 200_000);
    }

    #[test]
    fn a_record_that_is_no_change_comes_back_as_it_went() {
        let mut record = Record::new(&b"\xff\x00"[..]).with_key("k\n1");
        record.set_header("trace", "abc");
        record.set_header("lockstep.endpoint", "redis:x");
        let fields: Vec<(Vec<u8>, Vec<u8>)> = raw_fields(&record)
            .into_iter()
            .map(|(name, value)| (name.into_bytes(), value.to_vec()))
            .collect();
        let back = Entry::new(EntryId { ms: 5, number: 0 }, fields).into_record();
        assert_eq!((back.key(), back.value()), (record.key(), record.value()));
        assert_eq!(back.headers().map(|(name, _)| name).collect::<Vec<_>>(), ["trace"]);
        assert_eq!(back.timestamp_us(), 5000);

        let plain = entry(&[("temperature", "21")]).into_record();
        assert_eq!(&*plain.value().expect("a value"), br#"{"temperature":"21"}"#);
    }
}
