//! What flows through a pipeline: records, in batches, each with its place in the source.

use crate::{
    abi::{Bytes, Text},
    change::Change,
    error::{Error, Result},
};
use abi_stable::{
    StableAbi,
    std_types::{RArc, RBox, RNone, ROption, RSome, RString, RVec},
};
use serde::{Deserialize, Serialize};
use std::{fmt, ops::Deref};

/// One unit of data: a key, a value, headers, and where it came from.
///
/// A record moves by ownership and its fields share buffers, so passing it on costs a few instructions and cloning it
/// a few reference counts. The value is bytes; [`Record::change`] reads it once as a configuration [`Change`] and keeps
/// the result for the components that follow.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct Record {
    id: u64,
    timestamp_us: i64,
    key: ROption<Bytes>,
    value: ROption<Bytes>,
    headers: RVec<Header>,
    position: ROption<Position>,
    change: ROption<RBox<Change>>,
    error: ROption<Error>,
    is_notice: bool,
}

/// A named piece of data beside the value, for example `event_type`.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct Header {
    name: RString,
    value: Bytes,
}

/// The header by which a source says which session a change comes from; it goes no further than the commit, as every
/// header that starts with `lockstep.` except [`ENDPOINT_HEADER`]. Only a source exported with `(answers)` is believed: from others the host takes
/// such headers away.
pub const SESSION_HEADER: &str = "lockstep.session";

/// The header that says where the host read a change of the log: the endpoint that its source named
/// ([`Context::endpoint`](crate::Context::endpoint)). It stays with the entry, and a sink of the same endpoint is not given
/// it back. A transform that makes more of the change than its message said takes it away.
pub const ENDPOINT_HEADER: &str = "lockstep.endpoint";

/// The header by which a source says whose a record is where the value need not say it, such as an MQTT topic's tenant.
/// Empty is the same as absent.
pub const TENANT_HEADER: &str = "tenant_id";

/// Where a record stands in its source: an opaque place in one lane.
///
/// A lane is a part of the source with an order of its own, such as a Kafka partition; a source without such parts uses
/// lane 0. The host stores the highest place per lane up to which every sink has written, and gives it back to the
/// source through [`Context::position`](crate::Context::position) at the next start.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq, Eq)]
pub struct Position {
    lane: u32,
    bytes: Bytes,
}

impl Position {
    /// The most bytes a position may have.
    pub const MAX_BYTES: usize = 256;

    /// A place in `lane`; only the source itself reads `bytes`.
    pub fn new(lane: u32, bytes: impl Into<Bytes>) -> Self {
        Self { lane, bytes: bytes.into() }
    }

    /// The part of the source this place is in.
    pub fn lane(&self) -> u32 {
        self.lane
    }

    /// The place, as the source wrote it.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl Record {
    /// A record with this value and nothing else.
    pub fn new(value: impl Into<Bytes>) -> Self {
        Self { value: RSome(value.into()), ..Self::empty() }
    }

    /// A record whose value is a configuration change; its key is the change's config key.
    pub fn from_change(change: Change) -> Self {
        let key = RSome(change.config_key_text().as_bytes().clone());
        let timestamp_us = change.timestamp_us().unwrap_or(0);
        Self { key, timestamp_us, change: RSome(RBox::new(change)), ..Self::empty() }
    }

    fn empty() -> Self {
        Self {
            id: 0,
            timestamp_us: 0,
            key: RNone,
            value: RNone,
            headers: RVec::new(),
            position: RNone,
            change: RNone,
            error: RNone,
            is_notice: false,
        }
    }

    /// An entry of the log that is no change: something happened, such as a lock that was taken.
    ///
    /// Notices are given only to components exported with `(notices)`; they replace no earlier entry of their key and
    /// are forgotten when they are old.
    pub fn notice(notice: Change) -> Self {
        Self { is_notice: true, ..Self::from_change(notice) }
    }

    /// An entry as the log gives it: `change` is what `value` says.
    #[doc(hidden)]
    pub fn from_log(value: Bytes, change: Change, is_notice: bool) -> Self {
        Self { value: RSome(value), is_notice, ..Self::from_change(change) }
    }

    /// Whether this is a notice and not a change.
    pub fn is_notice(&self) -> bool {
        self.is_notice
    }

    /// The same record with this key.
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = RSome(key.into());
        self
    }

    /// The same record at this place of its source.
    pub fn with_position(mut self, position: Position) -> Self {
        self.position = RSome(position);
        self
    }

    /// The same record, failed before it began: its source could read where this piece of input ends, but not what it
    /// says.
    ///
    /// A source hands such a piece over instead of losing it. The host shows it to no component; it is answered and
    /// dead-lettered with this error like any other failed record, and its position counts as finished after that.
    ///
    /// ```
    /// # use lockstep_plugin_api::prelude::*;
    /// let record = Record::new("{\"config_key\":").with_error(Error::rejected("bad_message", "the line is not JSON"));
    /// assert_eq!(record.error().and_then(Error::code), Some("bad_message"));
    /// ```
    pub fn with_error(mut self, error: Error) -> Self {
        self.error = RSome(error);
        self
    }

    /// Why the source could not read this piece of input, if it could not; see [`Record::with_error`].
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref().into_option()
    }

    /// Takes the source's error out, so that the record can be tried after all.
    pub fn take_error(&mut self) -> Option<Error> {
        std::mem::replace(&mut self.error, RNone).into_option()
    }

    /// The number the host gave this record when it was polled; what a transform makes of it inherits the number.
    /// 0 before that.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Gives the record its number. The adapters around a component do this; a component never needs to.
    #[doc(hidden)]
    pub fn set_id(&mut self, id: u64) {
        self.id = id;
    }

    /// When the record was made, in microseconds since 1970 (UTC); 0 if nobody knows.
    pub fn timestamp_us(&self) -> i64 {
        self.timestamp_us
    }

    /// Sets when the record was made.
    pub fn set_timestamp_us(&mut self, timestamp_us: i64) {
        self.timestamp_us = timestamp_us;
    }

    /// The key, if it has one.
    pub fn key(&self) -> Option<&Bytes> {
        self.key.as_ref().into_option()
    }

    /// The key as text, if it has one and it is UTF-8.
    pub fn key_str(&self) -> Option<&str> {
        std::str::from_utf8(self.key()?).ok()
    }

    /// Replaces the key.
    pub fn set_key(&mut self, key: Option<Bytes>) {
        self.key = key.into();
    }

    /// The value as bytes: as it was read, or written anew if a component changed it through [`Record::change_mut`].
    /// `None` is a record without a value.
    pub fn value(&self) -> Option<Bytes> {
        match (&self.value, &self.change) {
            (RSome(value), _) => Some(value.clone()),
            (RNone, RSome(change)) => Some(change.to_json()),
            (RNone, RNone) => None,
        }
    }

    /// The value's bytes without copying or writing anything: `None` if there is no value, or only an edited change.
    pub fn raw_value(&self) -> Option<&Bytes> {
        self.value.as_ref().into_option()
    }

    /// Replaces the value by bytes; an earlier reading as a change is forgotten.
    pub fn set_value(&mut self, value: Option<Bytes>) {
        self.change = RNone;
        self.value = value.into();
    }

    /// Reads the value as JSON.
    ///
    /// # Errors
    /// `Rejected("bad_message")` if it is not JSON of that shape.
    pub fn json<T: for<'a> Deserialize<'a>>(&self) -> Result<T> {
        serde_json::from_slice(&self.value().unwrap_or_else(|| Bytes::from("null"))).map_err(|error| {
            Error::rejected("bad_message", format!("the value is not the expected JSON: {error}"))
        })
    }

    /// Replaces the value by JSON.
    ///
    /// # Errors
    /// If `value` cannot be written as JSON (a map with keys that are not strings).
    pub fn set_json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let bytes = serde_json::to_vec(value).map_err(Error::failed)?;
        self.set_value(Some(Bytes::from(bytes)));
        Ok(())
    }

    /// The value as a configuration change; read from the bytes at the first call and kept. A change that names no tenant
    /// is that of the header [`TENANT_HEADER`].
    ///
    /// # Errors
    /// `Rejected("bad_message")` if the value is not a change, or header and value name different tenants.
    pub fn change(&mut self) -> Result<&Change> {
        if self.change.is_none() {
            let (change, is_as_written) = self.read_change()?;
            if !is_as_written {
                self.value = RNone;
            }
            self.change = RSome(RBox::new(change));
        }
        Ok(self.change.as_ref().into_option().expect("it was made above"))
    }

    /// As [`Record::change`], for a record that cannot be borrowed to keep it.
    ///
    /// # Errors
    /// As [`Record::change`].
    pub fn to_change(&self) -> Result<Change> {
        match self.known_change() {
            Some(change) => Ok(change.clone()),
            None => Ok(self.read_change()?.0),
        }
    }

    /// The change in the value, and whether it is as it was written there.
    fn read_change(&self) -> Result<(Change, bool)> {
        let mut change = Change::from_json(self.raw_value().ok_or_else(Self::no_value)?)?;
        let Some(tenant) = self.header(TENANT_HEADER).filter(|tenant| !tenant.is_empty()) else {
            return Ok((change, true));
        };
        let own = change.tenant_id().filter(|own| !own.is_empty());
        if own.is_some_and(|own| own.as_bytes() != &**tenant) {
            return Err(Error::rejected("bad_message", "header and value name different tenants"));
        }
        let is_as_written = own.is_some();
        if !is_as_written {
            let tenant = std::str::from_utf8(tenant)
                .map_err(|_| Error::rejected("bad_message", "the header `tenant_id` is not UTF-8"))?;
            change.set_tenant_id(Some(tenant.into()));
        }
        Ok((change, is_as_written))
    }

    /// The value as a change if a component before this one read it as such; never reads it.
    pub fn known_change(&self) -> Option<&Change> {
        self.change.as_ref().into_option().map(|change| &**change)
    }

    /// The change for editing. The bytes are written anew when somebody asks for them.
    ///
    /// # Errors
    /// As [`Record::change`].
    pub fn change_mut(&mut self) -> Result<&mut Change> {
        self.change()?;
        self.value = RNone;
        Ok(self.change.as_mut().into_option().expect("`change` made it"))
    }

    fn no_value() -> Error {
        Error::rejected("bad_message", "the record has no value")
    }

    /// Every header, in order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&str, &Bytes)> {
        self.headers.iter().map(|header| (header.name.as_str(), &header.value))
    }

    /// The last header of this name.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().rev().find(|header| header.name == name).map(|header| &header.value)
    }

    /// Replaces every header of this name by one.
    pub fn set_header(&mut self, name: &str, value: impl Into<Bytes>) {
        self.remove_header(name);
        self.push_header(name, value);
    }

    /// Adds a header, beside those of the same name.
    pub fn push_header(&mut self, name: &str, value: impl Into<Bytes>) {
        self.headers.push(Header { name: RString::from(name), value: value.into() });
    }

    /// Removes every header of this name.
    pub fn remove_header(&mut self, name: &str) {
        self.headers.retain(|header| header.name != name);
    }

    /// Where the record stands in its source.
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref().into_option()
    }

    /// About how much memory the record's own data takes, for the limits on what is in flight.
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
        let change = self.known_change().filter(|_| self.value.is_none()).map_or(0, Change::size);
        let bytes = |field: &ROption<Bytes>| field.as_ref().map_or(0, |bytes| bytes.len());
        size_of::<Self>() + bytes(&self.key) + bytes(&self.value) + headers + change
    }
}

/// Shows sizes, not contents: a value may be a secret and end up in a log.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.id)
            .field("key", &self.key_str())
            .field("value", &self.value.as_ref().into_option())
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}

impl From<Text> for Record {
    fn from(value: Text) -> Self {
        Self::new(value)
    }
}

/// An ordered group of records, shared read-only by the sinks that get it.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct Batch {
    records: RArc<RVec<Record>>,
}

impl Batch {
    /// A batch of these records.
    pub fn new(records: Vec<Record>) -> Self {
        Self { records: RArc::new(RVec::from(records)) }
    }
}

impl From<RVec<Record>> for Batch {
    fn from(records: RVec<Record>) -> Self {
        Self { records: RArc::new(records) }
    }
}

impl Deref for Batch {
    type Target = [Record];
    fn deref(&self) -> &[Record] {
        self.records.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_change_is_written_anew_and_an_unedited_one_is_not() {
        let text = r#"{"config_key":"app.x", "new_value" : 1}"#;
        let mut record = Record::new(text);
        assert_eq!(record.change().expect("a change").config_key(), "app.x");
        assert_eq!(&*record.value().expect("bytes"), text.as_bytes(), "reading leaves the bytes alone");

        record.change_mut().expect("a change").set_user_id(Some("eve".into()));
        assert!(record.raw_value().is_none());
        let written: serde_json::Value = record.json().expect("JSON");
        assert_eq!(written["user_id"], "eve");
        assert_eq!(written["new_value"], 1);
    }

    #[test]
    fn d_19_a_change_is_of_the_tenant_that_header_or_value_name() {
        let tenant = |header: &str, value: &str| {
            let text = format!(r#"{{"config_key":"app.x","new_value":1,"tenant_id":{value}}}"#);
            let mut record = Record::new(text);
            record.set_header(TENANT_HEADER, header.to_owned());
            let tenant = record.change()?.tenant_id().map(str::to_owned);
            let written: serde_json::Value = record.json().expect("JSON");
            assert_eq!(
                written["tenant_id"].as_str().filter(|own| !own.is_empty()),
                tenant.as_deref().filter(|own| !own.is_empty())
            );
            Ok::<_, Error>(tenant.unwrap_or_default())
        };
        for (header, value) in [("t1", "null"), ("t1", "\"\""), ("t1", "\"t1\""), ("", "\"t1\"")] {
            assert_eq!(tenant(header, value).expect("a change"), "t1", "{header} {value}");
        }
        assert_eq!(tenant("", "null").expect("a change"), "");
        assert_eq!(tenant("t2", "\"t1\"").expect_err("two tenants").code(), Some("bad_message"));
    }

    #[test]
    fn debug_shows_no_value() {
        let record = Record::new("hunter2").with_key("app.password");
        let shown = format!("{record:?}");
        assert!(shown.contains("app.password") && !shown.contains("hunter2"), "{shown}");
    }
}
