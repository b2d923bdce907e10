//! A record as a condition sees it; the value is read as a change only if the condition asks for it.

use crate::condition::{FieldValue, RecordView};
use lockstep_plugin_api::{
    Bytes, Change, Record,
    change::{Field, Json},
    time,
};
use serde_json::value::RawValue;
use std::{borrow::Cow, cell::OnceCell};

/// One record under examination.
#[derive(Debug)]
pub struct View<'a> {
    record: &'a Record,
    /// The value as bytes, if it had to be written for the condition.
    value: OnceCell<Option<Bytes>>,
    /// The value read as a change, if no component did so before.
    change: OnceCell<Option<Box<Change>>>,
}

impl<'a> View<'a> {
    pub fn new(record: &'a Record) -> Self {
        Self { record, value: OnceCell::new(), change: OnceCell::new() }
    }

    fn change(&self) -> Option<&Change> {
        self.record.known_change().or_else(|| {
            let read = || self.record.to_change().ok().map(Box::new);
            self.change.get_or_init(read).as_deref()
        })
    }

    fn bytes(&self) -> Option<&Bytes> {
        self.value.get_or_init(|| self.record.value()).as_ref()
    }
}

fn raw(json: &Json) -> Option<&RawValue> {
    serde_json::from_str(json.as_str()).ok()
}

impl RecordView for View<'_> {
    fn key(&self) -> Option<&str> {
        self.record.key_str()
    }

    fn value(&self) -> Option<FieldValue<'_>> {
        let text = std::str::from_utf8(self.bytes()?).ok()?;
        Some(match serde_json::from_str::<&RawValue>(text) {
            Ok(json) => FieldValue::Json(json),
            Err(_) => FieldValue::Text(Cow::Borrowed(text)),
        })
    }

    fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.record.header(name)?).ok()
    }

    fn headers(&self, each: &mut dyn FnMut(&str, &str)) {
        for (name, value) in self.record.headers() {
            if let Ok(value) = std::str::from_utf8(value) {
                each(name, value);
            }
        }
    }

    fn timestamp(&self) -> Option<i64> {
        Some(self.record.timestamp_us()).filter(|timestamp| *timestamp != 0).map(|timestamp| timestamp / 1000)
    }

    fn change_field(&self, name: &str) -> Option<FieldValue<'_>> {
        Some(match self.change()?.field(name)? {
            Field::Text(text) => FieldValue::Text(Cow::Borrowed(text)),
            Field::Json(json) => FieldValue::Json(raw(json)?),
            Field::Number(number) => FieldValue::Integer(i64::try_from(number).ok()?),
            Field::Time(timestamp_us) => FieldValue::Text(Cow::Owned(time::format_us(timestamp_us))),
        })
    }
}
