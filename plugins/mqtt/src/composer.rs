//! From a record to what is published of it.

use crate::{
    config::SinkSettings,
    filter::topic_problem,
    packet::{Protocol, Publish, Quality},
    topic::Tree,
};
use lockstep_plugin_api::{
    names::{check_key, tenant_problem},
    prelude::*,
};

/// How records become publishes.
#[derive(Debug)]
pub(crate) struct Composer {
    tree: Tree,
    /// `None` reads every record as a change, and gives its key a topic.
    topic: Option<String>,
    client_id: String,
    form: Form,
    retain: bool,
    quality: Quality,
    has_properties: bool,
}

impl Composer {
    pub(crate) fn new(settings: &SinkSettings, client_id: &str) -> Self {
        Self {
            tree: settings.broker.tree.clone(),
            topic: settings.topic.clone(),
            client_id: client_id.to_owned(),
            form: settings.form,
            retain: settings.retain,
            quality: settings.broker.qos,
            has_properties: settings.broker.protocol == Protocol::V5,
        }
    }

    /// What is published of a record.
    ///
    /// # Errors
    /// `Rejected` if it is no change and there is no topic for such, or its names fit into no topic.
    pub(crate) fn compose(&self, mut record: Record) -> Result<Publish> {
        match &self.topic {
            Some(topic) => self.as_it_is(topic, &record),
            None => self.change(&mut record),
        }
    }

    fn change(&self, record: &mut Record) -> Result<Publish> {
        let change = record.change()?;
        let tenant = change.tenant_id().filter(|tenant| !tenant.is_empty());
        if let Some(problem) = tenant.and_then(tenant_problem) {
            return Err(Error::rejected("bad_tenant", format!("the tenant {problem}")));
        }
        check_key(change.config_key())?;
        let topic = self.tree.of_change(tenant, change.config_key());
        let payload = record.wire(self.form, &[("publisher_id", &self.client_id)])?;
        Ok(self.publish(topic, payload, Vec::new()))
    }

    fn as_it_is(&self, topic: &str, record: &Record) -> Result<Publish> {
        let topic = match topic.contains(KEY) {
            true => topic.replace(KEY, record.key_str().unwrap_or_default()),
            false => topic.to_owned(),
        };
        if let Some(problem) = topic_problem(&topic) {
            return Err(Error::rejected("bad_key", format!("the topic made of the key {problem}")));
        }
        let properties = if self.has_properties { properties(record) } else { Vec::new() };
        Ok(self.publish(topic, record.value().unwrap_or_default(), properties))
    }

    fn publish(&self, topic: String, payload: Bytes, properties: Vec<(String, String)>) -> Publish {
        let payload = bytes::Bytes::from_owner(payload);
        Publish { topic, payload, quality: self.quality, retain: self.retain, properties }
    }
}

/// What stands for a record's key in `topic`.
const KEY: &str = "{key}";

/// The headers that are text and meant for others.
fn properties(record: &Record) -> Vec<(String, String)> {
    let is_ours = |name: &str| name.starts_with("lockstep.");
    let fits = |text: &str| text.len() <= usize::from(u16::MAX) && !text.contains('\0');
    record
        .headers()
        .filter(|(name, _)| !is_ours(name) && fits(name))
        .filter_map(|(name, value)| Some((name.to_owned(), std::str::from_utf8(value).ok()?.to_owned())))
        .filter(|(_, value)| fits(value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SinkConfig;

    fn composer(json: &str) -> Composer {
        let config: SinkConfig = serde_json::from_str(json).expect("a configuration");
        Composer::new(&config.settings().expect("it is right"), "apg_config_pub_0a1b2c3d")
    }

    fn code(composer: &Composer, record: Record) -> String {
        composer.compose(record).expect_err("rejected").code().expect("a code").to_owned()
    }

    const CHANGE: &str = r#"{"config_key":"app.database.host","new_value":"db1","tenant_id":"t1",
        "timestamp":"2024-01-01T12:00:00Z","dot":{"node":"n","seq":1},"ctx":{},"hlc":"1","event_id":"e"}"#;

    #[test]
    fn mq_01_to_03_a_change_is_published_as_the_contract_says() {
        let publish = composer("{}").compose(Record::new(CHANGE)).expect("a publish");
        assert_eq!(
            (publish.topic.as_str(), publish.quality),
            ("apg/config/t1/app/database/host", Quality::AtLeastOnce)
        );
        assert!(publish.retain, "GAP-7");
        let payload: serde_json::Value = serde_json::from_slice(&publish.payload).expect("JSON");
        assert_eq!(payload["config_key"], "app.database.host");
        assert_eq!(payload["new_value"], "db1");
        assert_eq!(payload["timestamp"], "2024-01-01T12:00:00.000000Z");
        assert_eq!(payload["publisher_id"], "apg_config_pub_0a1b2c3d");
        assert_eq!(payload["dot"]["seq"], 1);
    }

    #[test]
    fn a_plain_message_has_the_guides_fields_and_its_time() {
        let plain =
            composer(r#"{"replicate":false,"retain":false,"qos":0,"compat":{"naive_timestamps":true}}"#);
        let publish = plain.compose(Record::new(CHANGE)).expect("a publish");
        let payload: serde_json::Value = serde_json::from_slice(&publish.payload).expect("JSON");
        assert_eq!(payload["timestamp"], "2024-01-01T12:00:00");
        assert!(payload.get("dot").is_none() && !publish.retain && publish.quality == Quality::AtMostOnce);
    }

    #[test]
    fn what_is_no_change_needs_a_topic() {
        assert_eq!(code(&composer("{}"), Record::new("21.5")), "bad_message");
        let mut record = Record::new("21.5").with_key("room/1");
        record.set_header("unit", "C");
        record.set_header("lockstep.endpoint", "x");
        record.set_header("binary", vec![0xff]);
        let fixed = composer(r#"{"topic":"out"}"#).compose(record.clone()).expect("a publish");
        assert_eq!((fixed.topic.as_str(), &fixed.payload[..], fixed.retain), ("out", &b"21.5"[..], false));
        assert_eq!(fixed.properties, [("unit".to_owned(), "C".to_owned())]);
        let keyed = composer(r#"{"topic":"out/{key}","protocol":"3.1.1"}"#);
        let publish = keyed.compose(record).expect("a publish");
        assert_eq!((publish.topic.as_str(), publish.properties.len()), ("out/room/1", 0));
        assert_eq!(code(&keyed, Record::new("").with_key("a/#")), "bad_key");
    }

    #[test]
    fn names_that_fit_no_topic_are_rejected() {
        for (json, expected) in [
            (r#"{"config_key":"a/b","new_value":1}"#, "bad_key"),
            (r#"{"config_key":"a..b","new_value":1}"#, "bad_key"),
            (r#"{"config_key":"a","new_value":1,"tenant_id":"status"}"#, "bad_tenant"),
            (r#"{"config_key":"a","new_value":1,"tenant_id":"x/y"}"#, "bad_tenant"),
        ] {
            assert_eq!(code(&composer("{}"), Record::new(json)), expected, "{json}");
        }
        let empty = composer("{}").compose(Record::new(r#"{"config_key":"a","new_value":1,"tenant_id":""}"#));
        assert_eq!(empty.expect("no tenant").topic, "apg/config/global/a");
    }
}
