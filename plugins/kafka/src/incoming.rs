//! From a message to the record of a change: who it is for, what happened, and whether it is this host's own.
//!
//! Invariant: one tenant per change. What the headers say counts, the body fills in what they leave out, and what the two
//! say differently is nobody's change.

use crate::message::{CHANGE_HEADERS, EVENT_TYPE, TENANT_ID, parse_message_key};
use lockstep_plugin_api::{
    change::CONFIG_DELETED,
    names::{check_key, tenant_problem},
    prelude::*,
    wire::{check_says_something, derived_event_id},
};

/// What a message is.
pub(crate) enum Reading {
    Change(Record),
    /// A change that this host made, written by a sink that tells nobody so. It is known.
    Own,
    /// Nothing that can be read as a change: the message, and why.
    Unreadable(Record, Error),
}

/// Where and by whom messages are read.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) node_id: &'a str,
    pub(crate) max_message_bytes: u64,
}

impl Reader<'_> {
    /// Reads a message of `topic`.
    pub(crate) fn read(self, topic: &str, message: Record) -> Reading {
        let mut record = message.clone();
        match self.change(topic, &message, &mut record) {
            Ok(true) => Reading::Change(record),
            Ok(false) => Reading::Own,
            Err(error) => Reading::Unreadable(message, error),
        }
    }

    /// Makes the record, so far a copy of the message, that of a change; false if it is this host's own.
    fn change(self, topic: &str, message: &Record, record: &mut Record) -> Result<bool> {
        let size = record.raw_value().map_or(0, |value| value.len());
        if size as u64 > self.max_message_bytes {
            return Err(Error::rejected("too_large", "the message is larger than `max_message_bytes`"));
        }
        let tenant = header(record, TENANT_ID)?.map(str::to_owned);
        if record.raw_value().is_none() {
            self.deletion(topic, message, record, tenant)?;
        } else {
            self.written(topic, message, record, tenant)?;
        }
        let change = record.change()?;
        if change.dot().is_none() && change.source_node() == Some(self.node_id) {
            return Ok(false);
        }
        check_key(change.config_key())?;
        if let Some(problem) = change.tenant_id().and_then(tenant_problem) {
            return Err(Error::rejected("bad_tenant", format!("the tenant {problem}")));
        }
        change.check_depth()?;
        let key = change.config_key_text().as_bytes().clone();
        record.set_key(Some(key));
        // A sink says these anew.
        CHANGE_HEADERS.iter().for_each(|name| record.remove_header(name));
        Ok(true)
    }

    /// A message with a body.
    fn written(
        self,
        topic: &str,
        message: &Record,
        record: &mut Record,
        tenant: Option<String>,
    ) -> Result<()> {
        let event_type = header(record, EVENT_TYPE)?.map(str::to_owned);
        let json = record.raw_value().cloned().unwrap_or_default();
        let change = record.change()?;
        let own = change.tenant_id().filter(|own| !own.is_empty());
        if tenant.as_deref().zip(own).is_some_and(|(tenant, own)| tenant != own) {
            return Err(Error::rejected("bad_message", "header and body name different tenants"));
        }
        if change.tenant_id() != tenant.as_deref().or(own) {
            let tenant = tenant.as_deref().or(own).map(Text::from);
            record.change_mut()?.set_tenant_id(tenant);
        }
        if let Some(event_type) = event_type.filter(|event_type| event_type != record_type(record)) {
            record.change_mut()?.set_event_type(event_type);
        }
        let change = record.change()?;
        check_says_something(&json, change)?;
        if change.dot().is_none() && change.event_id().is_none_or(str::is_empty) {
            let event_id = event_id(topic, message, change.source_node(), change.timestamp_us());
            record.change_mut()?.set_event_id(event_id);
        }
        Ok(())
    }

    /// A message without a body: some program wants the key to be gone from a compacted topic.
    fn deletion(
        self,
        topic: &str,
        message: &Record,
        record: &mut Record,
        tenant: Option<String>,
    ) -> Result<()> {
        let no_key = || {
            Error::rejected("bad_message", "the message has neither a value nor a key `tenant:config_key`")
        };
        let key = record.key().cloned().ok_or_else(no_key)?;
        let (own, config_key) =
            std::str::from_utf8(&key).ok().and_then(parse_message_key).ok_or_else(no_key)?;
        if tenant.as_deref().zip(own).is_some_and(|(tenant, own)| tenant != own) {
            return Err(Error::rejected("bad_message", "header and key name different tenants"));
        }
        let mut change = Change::new(config_key, Json::null());
        change.set_event_type(CONFIG_DELETED);
        change.set_tenant_id(tenant.as_deref().or(own).map(Text::from));
        change.set_timestamp_us(Some(record.timestamp_us()).filter(|made_at| *made_at > 0));
        change.set_event_id(event_id(topic, message, None, None));
        record.set_value(Some(change.to_json()));
        Ok(())
    }
}

fn record_type(record: &Record) -> &str {
    record.known_change().map_or("", Change::event_type)
}

/// The text of a header; empty is absent.
fn header<'a>(record: &'a Record, name: &str) -> Result<Option<&'a str>> {
    let Some(value) = record.header(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let not_text = |_| Error::rejected("bad_message", format!("the header `{name}` is not UTF-8"));
    std::str::from_utf8(value).map(Some).map_err(not_text)
}

/// A name for a change whose author gave it none, the same at every sight of the message and on every host; none if
/// neither change nor message has a time, so that its author may mean the same again.
fn event_id(topic: &str, message: &Record, publisher: Option<&str>, made_at: Option<i64>) -> Option<Text> {
    let made_at = made_at.or(Some(message.timestamp_us()).filter(|sent_at| *sent_at > 0))?.to_string();
    let bytes = |part: Option<&Bytes>| part.cloned().unwrap_or_default();
    let (key, value) = (bytes(message.key()), bytes(message.raw_value()));
    let publisher = publisher.unwrap_or_default();
    Some(derived_event_id(&[topic.as_bytes(), publisher.as_bytes(), made_at.as_bytes(), &key, &value]))
}

#[cfg(test)]
mod tests;
