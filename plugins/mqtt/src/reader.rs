//! From a message to a record.
//!
//! Invariant: nothing that can be read is lost here but what is not meant for this pipeline: a client's status, a key nobody
//! asked for, the pipeline's own plain message. What cannot be read is handed over with its bytes and the reason.

use crate::{
    config::Wanted,
    filter::lets_through,
    identity::is_own_publisher,
    packet::Message,
    topic::{About, Levels, Tree},
};
use lockstep_plugin_api::{
    change::CONFIG_DELETED,
    names::{check_key, tenant_problem},
    prelude::*,
    wire::{check_says_something, derived_event_id},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap};
use tracing::error;

/// How many user properties a message may have; each is looked for among those before it when it becomes a header.
const MOST_PROPERTIES: usize = 1000;

/// How the messages of one source are read.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) tree: Tree,
    pub(crate) wanted: Wanted,
    /// Only then is a message read as a change.
    pub(crate) through_log: bool,
    pub(crate) pipeline: String,
    pub(crate) node_id: String,
}

/// What a program without dots says, and what has to be known of it beside the change.
#[derive(Deserialize)]
struct Plain<'a> {
    #[serde(borrow, default)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    publisher_id: Option<&'a RawValue>,
}

impl Reader {
    /// The record of a message; `None` if it is not for this pipeline.
    pub(crate) fn read(&self, message: Message) -> Option<Record> {
        let place = match &self.wanted {
            Wanted::Topics(filters) => {
                // The broker may remember what was subscribed to under another configuration.
                if !filters.iter().any(|filter| lets_through(filter, &message.topic)) {
                    return None;
                }
                None
            }
            Wanted::Changes(globs) => match self.tree.read(&message.topic) {
                About::Else => return None,
                About::Change { tenant, levels } => {
                    let is_asked_for = |key: String| globs.iter().any(|glob| glob.matches(&key));
                    // What no key is written like is handed over, so that somebody sees it.
                    if levels.key().is_some() && !levels.readings().any(is_asked_for) {
                        return None;
                    }
                    Some((tenant, levels))
                }
            },
        };
        let read = match self.through_log {
            true => self.change(&message, place),
            false => as_it_is(&message, place).map(Some),
        };
        match read {
            Ok(record) => record,
            Err(error) => {
                error!(topic = message.topic, code = error.code(), "Error processing MQTT message: {error}");
                let topic = message.topic.as_str();
                Some(Record::new(copied(&message.payload)).with_key(topic).with_error(error))
            }
        }
    }

    fn change(&self, message: &Message, place: Option<(Option<&str>, Levels<'_>)>) -> Result<Option<Record>> {
        let mut record = match place {
            Some((_, levels)) if message.payload.is_empty() => deletion(levels)?,
            _ => Record::new(copied(&message.payload)),
        };
        if let (Err(error), Some((_, levels))) = (record.change().map(drop), place) {
            record = with_key(&record, levels).ok_or(error)?;
        }
        let is_plain = record.change()?.dot().is_none() && record.raw_value().is_some();
        if is_plain && !self.complete(message, &mut record)? {
            return Ok(None);
        }
        if let Some((tenant, levels)) = place {
            agree(&mut record, tenant, levels)?;
        }
        let change = record.change()?;
        check_key(change.config_key())?;
        change.check_depth()?;
        if let Some(problem) = change.tenant_id().filter(|tenant| !tenant.is_empty()).and_then(tenant_problem)
        {
            return Err(Error::rejected("bad_tenant", format!("the tenant {problem}")));
        }
        let key = change.config_key_text().as_bytes().clone();
        let timestamp_us = change.timestamp_us().unwrap_or(0);
        record.set_key(Some(key));
        record.set_timestamp_us(timestamp_us);
        Ok(Some(record))
    }

    /// Gives a change of a program without dots its name; says whether it is anybody else's than this host's.
    fn complete(&self, message: &Message, record: &mut Record) -> Result<bool> {
        let value = record.raw_value().cloned().unwrap_or_default();
        let plain: Plain<'_> =
            serde_json::from_slice(&value).map_err(|_| bad("a field has the wrong type"))?;
        let publisher = plain.publisher_id.and_then(|id| serde_json::from_str::<String>(id.get()).ok());
        let change = record.change()?;
        let is_own = publisher.as_deref().is_some_and(|id| is_own_publisher(&self.pipeline, id))
            || change.source_node() == Some(&self.node_id);
        if is_own {
            return Ok(false);
        }
        check_says_something(&value, change)?;
        let is_named = change.event_id().is_some_and(|id| !id.is_empty());
        // Without a time, two messages alike may be two changes; what is retained is one, however often it is seen.
        if !is_named && (plain.timestamp.is_some() || message.is_retained) {
            let parts = [
                message.topic.as_str(),
                publisher.as_deref().unwrap_or_default(),
                plain.timestamp.as_deref().unwrap_or_default(),
                change.config_key(),
                change.new_value().as_str(),
            ];
            let ops = change.ops().map(Json::as_str);
            let parts = parts.into_iter().chain(ops).chain(message.is_said_again.then_some("again"));
            let parts: Vec<_> = parts.map(str::as_bytes).collect();
            let event_id = derived_event_id(&parts);
            record.change_mut()?.set_event_id(Some(event_id));
        }
        Ok(true)
    }
}

/// The topic's tenant is the change's, and its key must be; a body that says otherwise is not believed.
fn agree(record: &mut Record, tenant: Option<&str>, levels: Levels<'_>) -> Result<()> {
    let change = record.change()?;
    if !levels.name(change.config_key()) {
        return Err(bad("the topic names another key than the message"));
    }
    match change.tenant_id() {
        Some("") | None if tenant.is_none() => {}
        Some("") | None => record.change_mut()?.set_tenant_id(tenant.map(Text::from)),
        said if said == tenant => {}
        Some(_) => return Err(bad("the topic names another tenant than the message")),
    }
    Ok(())
}

/// Somebody took away what the broker had retained.
fn deletion(levels: Levels<'_>) -> Result<Record> {
    let mut change = Change::new(key_of(levels)?, Json::null());
    change.set_event_type(CONFIG_DELETED);
    Ok(Record::from_change(change))
}

fn key_of(levels: Levels<'_>) -> Result<String> {
    levels.key().ok_or_else(|| bad("the topic names no key"))
}

/// The record's object with the topic's key, if it is an object that has none.
fn with_key(record: &Record, levels: Levels<'_>) -> Option<Record> {
    let value = record.raw_value()?;
    let mut fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(value).ok()?;
    let key = serde_json::to_string(&levels.key()?).ok()?;
    let key: &RawValue = serde_json::from_str(&key).ok()?;
    match fields.get("config_key").map(|key| key.get()) {
        None | Some("null" | "\"\"") => fields.insert("config_key".into(), key),
        Some(_) => return None,
    };
    Some(Record::new(serde_json::to_vec(&fields).ok()?))
}

/// A message of any kind, for pipelines that pass on what they are given.
fn as_it_is(message: &Message, place: Option<(Option<&str>, Levels<'_>)>) -> Result<Record> {
    if message.properties.len() > MOST_PROPERTIES {
        return Err(bad("it has more than 1000 user properties"));
    }
    let mut record = Record::new(copied(&message.payload));
    for (name, value) in message.properties.iter().filter(|(name, _)| !name.starts_with("lockstep.")) {
        record.set_header(name, value.as_str());
    }
    if let Some(content_type) = &message.content_type {
        record.set_header("content_type", content_type.as_str());
    }
    let key = place.and_then(|(_, levels)| levels.key());
    if let Some((tenant, _)) = place {
        record.set_header("tenant_id", tenant.unwrap_or_default());
    }
    Ok(record.with_key(key.as_deref().unwrap_or(&message.topic)))
}

fn copied(payload: &[u8]) -> Bytes {
    Bytes::copy_from_slice(payload)
}

fn bad(why: &str) -> Error {
    Error::rejected("bad_message", why)
}

#[cfg(test)]
mod tests;
