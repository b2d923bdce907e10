//! What `config:` of the mqtt source and sink accepts, and the checks that need nothing but the text.
//!
//! Both sides read the same fields about the broker; each then has its own. The guide's own block (`broker_host` to
//! `retain`) is accepted by either.

use crate::{
    filter::{Wildcards, filter_problem, filters, topic_problem},
    packet::{Protocol, Quality},
    topic::Tree,
};
use lockstep_plugin_api::{
    prelude::*,
    schemars::{JsonSchema, Schema, SchemaGenerator, json_schema},
};
use serde::{Deserialize, Deserializer, de};
use std::{borrow::Cow, fmt, time::Duration};

/// Makes the configuration of one component: the fields about the broker, and its own.
macro_rules! component_config {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[config]
        #[serde(default)]
        pub(crate) struct $name {
            /// The broker in one field: `mqtt://host:port`, or `mqtts://host:port` for TLS. Write either this or
            /// `broker_host`, `broker_port` and `tls_enabled`.
            url: Option<String>,
            /// The broker's name or IP address. Default: 127.0.0.1.
            broker_host: Option<String>,
            /// The broker's port. Default: 1883, with TLS 8883.
            broker_port: Option<u16>,
            /// Whether the connection is encrypted. Default: no.
            tls_enabled: Option<bool>,
            /// Whom to believe and which certificate to show; needs TLS. Default: the authorities the system trusts.
            ssl_context: Option<ClientTls>,
            /// The user name to log in with.
            username: Option<String>,
            /// The password to log in with.
            password: Option<Secret>,
            /// The name of this client at the broker, unlike every other client's. Default: made of host, pipeline and
            /// component, and always the same.
            client_id: Option<String>,
            /// The version of MQTT to speak: `5` or `3.1.1`.
            protocol: Protocol,
            /// How long the broker waits for a sign of life before it takes this client for dead; 0 for ever.
            keepalive: Seconds,
            /// How long the broker may leave a connect, a publish, a subscription or a ping unanswered before the
            /// connection counts as lost.
            answer_timeout: Seconds,
            /// 0 at most once, 1 at least once, 2 exactly once within one connection.
            qos: u8,
            /// Where the topics of changes begin: `{topic_prefix}/{tenant}/{key}`.
            topic_prefix: String,
            /// How large a message may be, with its topic.
            max_packet_size: Size,
            $($(#[$field_doc])* $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    url: None,
                    broker_host: None,
                    broker_port: None,
                    tls_enabled: None,
                    ssl_context: None,
                    username: None,
                    password: None,
                    client_id: None,
                    protocol: Protocol::V5,
                    keepalive: Seconds(Duration::from_secs(60)),
                    answer_timeout: Seconds(Duration::from_secs(3)),
                    qos: 1,
                    topic_prefix: "apg/config".to_owned(),
                    max_packet_size: Size(10 << 20),
                    $($field: $default,)*
                }
            }
        }

        impl $name {
            fn broker(&self) -> Result<Broker> {
                let address = match &self.url {
                    None => Address {
                        host: self.broker_host.clone().unwrap_or_else(|| "127.0.0.1".to_owned()),
                        port: self.broker_port,
                        tls: self.tls_enabled.unwrap_or(false),
                    },
                    Some(_) if self.broker_host.is_some() || self.broker_port.is_some() || self.tls_enabled.is_some() => {
                        let both = "`url` says the same as `broker_host`, `broker_port` and `tls_enabled`: write one of the two forms";
                        return Err(Error::config(both).at("url"));
                    }
                    Some(url) => address_of(url)?,
                };
                let broker = Broker {
                    port: address.port.unwrap_or(if address.tls { 8883 } else { 1883 }),
                    host: address.host,
                    tls: address.tls.then(|| self.ssl_context.clone().unwrap_or_default()),
                    username: self.username.clone(),
                    password: self.password.clone(),
                    client_id: self.client_id.clone(),
                    protocol: self.protocol,
                    keepalive: self.keepalive.0,
                    answer_timeout: self.answer_timeout.0,
                    qos: quality(self.qos)?,
                    tree: Tree::new(&self.topic_prefix),
                    max_packet_size: self.max_packet_size.0 as usize,
                };
                broker.check(self.ssl_context.as_ref())?;
                Ok(broker)
            }
        }
    };
}

component_config! {
    /// What `plugin: mqtt` accepts under `config:` of a source.
    SourceConfig {
        /// Which keys to take changes of, as globs: `app.database.*`. Default: all.
        patterns: Option<Vec<String>> = None,
        /// How far `*` of a pattern reaches: `deep`, any number of levels, or `seed`, one.
        wildcards: Option<Wildcards> = None,
        /// Any topic filters, in place of `patterns`: messages are handed over as they are, with the topic as key.
        topics: Option<Vec<String>> = None,
        /// Whether to read what the broker retains, at every connect.
        retain: bool = true,
        /// How long no retained message may have come for all of them to have come.
        retained_quiet: Millis = Millis(Duration::from_millis(500)),
        /// How long the broker keeps what comes while this source is away (MQTT 5).
        session_expiry: Seconds = Seconds(Duration::from_secs(24 * 3600)),
        /// How many messages the broker may have sent that are not acknowledged yet (MQTT 5).
        receive_maximum: u16 = 1000,
    }
}

component_config! {
    /// What `plugin: mqtt` accepts under `config:` of a sink.
    SinkConfig {
        /// One topic for every record, in place of a topic per key, with the record's value as it is. `{key}` stands for
        /// the record's key.
        topic: Option<String> = None,
        /// Whether the broker keeps the last message of each topic for who comes later. Default: yes; with `topic` no.
        retain: Option<bool> = None,
        /// Whether other hosts are to take the changes in: with the fields that order them.
        replicate: bool = true,
        /// How many messages may be on their way to the broker that are not acknowledged yet.
        in_flight: u16 = 100,
        /// Whether this client says `online` and `offline`, retained, at `{topic_prefix}/status/{client_id}`.
        status: bool = true,
        /// Deviations for clients of older systems.
        compat: Compat = Compat::default(),
    }
}

/// Deviations for clients of older systems.
#[config]
#[serde(default)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Compat {
    /// Timestamps without the `Z` at their end.
    naive_timestamps: bool,
}

/// A broker, and how to speak to it.
#[derive(Debug, Clone)]
pub(crate) struct Broker {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `None` speaks plain TCP.
    pub(crate) tls: Option<ClientTls>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) client_id: Option<String>,
    pub(crate) protocol: Protocol,
    pub(crate) keepalive: Duration,
    pub(crate) answer_timeout: Duration,
    pub(crate) qos: Quality,
    pub(crate) tree: Tree,
    pub(crate) max_packet_size: usize,
}

/// A checked [`SourceConfig`].
pub(crate) struct SourceSettings {
    pub(crate) broker: Broker,
    pub(crate) wanted: Wanted,
    pub(crate) filters: Vec<String>,
    pub(crate) reads_retained: bool,
    pub(crate) retained_quiet: Duration,
    pub(crate) session_expiry: Duration,
    pub(crate) receive_maximum: u16,
}

/// Which messages a source takes.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// Changes of keys that one of these matches.
    Changes(Vec<Glob>),
    /// Whatever the filters let through.
    Anything,
}

/// A checked [`SinkConfig`].
pub(crate) struct SinkSettings {
    pub(crate) broker: Broker,
    /// `None` gives every key a topic of its own.
    pub(crate) topic: Option<String>,
    pub(crate) retain: bool,
    pub(crate) form: Form,
    pub(crate) in_flight: usize,
    pub(crate) status: bool,
}

impl Broker {
    /// `host:port`, as people write it.
    pub(crate) fn address(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    pub(crate) fn keepalive_secs(&self) -> u16 {
        self.keepalive.as_secs().try_into().unwrap_or(u16::MAX)
    }

    /// User name and password.
    pub(crate) fn login(&self) -> Option<(String, String)> {
        let password = self.password.as_ref().map_or("", Secret::expose);
        self.username.clone().map(|username| (username, password.to_owned()))
    }

    /// The name of this place, alike for a source and a sink.
    pub(crate) fn endpoint(&self) -> String {
        format!("mqtt:{}/{}", self.address(), self.tree.prefix())
    }

    fn check(&self, written_tls: Option<&ClientTls>) -> Result<()> {
        match written_tls {
            Some(_) if self.tls.is_none() => {
                return Err(
                    Error::config("it needs `tls_enabled: true` or `url: mqtts://...`").at("ssl_context")
                );
            }
            Some(tls) => tls.check("ssl_context")?,
            None => {}
        }
        let prefix = self.tree.prefix();
        let bad_prefix = topic_problem(prefix).or_else(|| {
            let has_empty_level = prefix.split('/').any(str::is_empty);
            (has_empty_level || prefix.starts_with('$')).then_some("has an empty level, or starts with `$`")
        });
        let client_id = self.client_id.as_deref().unwrap_or("-");
        let refusals = [
            ("broker_host", self.host.is_empty(), "must not be empty"),
            ("broker_port", self.port == 0, "must not be 0"),
            ("username", self.username.is_none() && self.password.is_some(), "a password needs a user name"),
            ("client_id", client_id.is_empty() || client_id.len() > 256, "must have 1 to 256 bytes"),
            (
                "client_id",
                topic_problem(client_id).is_some() || client_id.contains('/'),
                "has a character that no level of a topic can have",
            ),
            ("keepalive", self.keepalive.as_secs() > u16::MAX.into(), "must be at most 65535 s"),
            ("answer_timeout", self.answer_timeout < Duration::from_millis(100), "must be at least 100ms"),
            (
                "max_packet_size",
                !(1024..=MOST_BYTES).contains(&self.max_packet_size),
                "must be 1 KiB to 256 MiB",
            ),
        ];
        let mut refusals = refusals.into_iter().filter(|(_, is_wrong, _)| *is_wrong);
        match (refusals.next(), bad_prefix) {
            (Some((field, _, why)), _) => Err(Error::config(why).at(field)),
            (None, Some(why)) => Err(Error::config(format!("the prefix {why}")).at("topic_prefix")),
            (None, None) => Ok(()),
        }
    }
}

/// The largest packet there can be.
const MOST_BYTES: usize = 268_435_455;

struct Address {
    host: String,
    port: Option<u16>,
    tls: bool,
}

/// The message leaves the text out: whoever wrote it may have put a password into it.
fn address_of(url: &str) -> Result<Address> {
    let refused = |why: &str| Error::config(why).at("url");
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let tls = match scheme {
        "mqtt" => false,
        "mqtts" => true,
        _ => return Err(refused("write `mqtt://host:port` or `mqtts://host:port`")),
    };
    if rest.contains('@') {
        return Err(refused("write user name and password as `username` and `password`"));
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if is_port(port) => {
            let port = port.parse().map_err(|_| refused("the port must be a number up to 65535"))?;
            (host, Some(port))
        }
        _ => (rest, None),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || host.contains(['/', '?', '#', '[', ']']) {
        return Err(refused("write `mqtt://host:port`, with nothing behind the port"));
    }
    Ok(Address { host: host.to_owned(), port, tls })
}

fn quality(qos: u8) -> Result<Quality> {
    Quality::try_from(qos).map_err(|_| Error::config("must be 0, 1 or 2").at("qos"))
}

impl SourceConfig {
    pub(crate) fn settings(&self) -> Result<SourceSettings> {
        let broker = self.broker()?;
        let (wanted, filters) = match &self.topics {
            None => self.changes(broker.tree.prefix())?,
            Some(topics) => (Wanted::Anything, self.checked_topics(topics)?),
        };
        if self.receive_maximum == 0 {
            return Err(Error::config("must be above 0").at("receive_maximum"));
        }
        Ok(SourceSettings {
            broker,
            wanted,
            filters,
            reads_retained: self.retain,
            retained_quiet: self.retained_quiet.0,
            session_expiry: self.session_expiry.0,
            receive_maximum: self.receive_maximum,
        })
    }

    fn changes(&self, prefix: &str) -> Result<(Wanted, Vec<String>)> {
        let everything = vec!["*".to_owned()];
        let patterns = self.patterns.as_ref().unwrap_or(&everything);
        if patterns.is_empty() {
            return Err(Error::config("name at least one pattern").at("patterns"));
        }
        let wildcards = self.wildcards.unwrap_or_default();
        let mut globs = Vec::with_capacity(patterns.len());
        for (i, pattern) in patterns.iter().enumerate() {
            let refused = |why: String| Error::config(why).at(format!("patterns.{i}"));
            globs.push(Glob::new(pattern).map_err(|error| refused(error.to_string()))?);
            let as_filter = filters(prefix, std::slice::from_ref(pattern), wildcards).join("");
            if let Some(why) = filter_problem(&as_filter) {
                return Err(refused(format!("its filter `{as_filter}` {why}")));
            }
        }
        Ok((Wanted::Changes(globs), filters(prefix, patterns, wildcards)))
    }

    fn checked_topics(&self, topics: &[String]) -> Result<Vec<String>> {
        if self.patterns.is_some() || self.wildcards.is_some() {
            let both = "`patterns` are keys of changes, `topics` any topics: write one of the two";
            return Err(Error::config(both).at("topics"));
        }
        if topics.is_empty() {
            return Err(Error::config("name at least one topic filter").at("topics"));
        }
        for (i, filter) in topics.iter().enumerate() {
            if let Some(why) = filter_problem(filter) {
                return Err(Error::config(format!("`{filter}` {why}")).at(format!("topics.{i}")));
            }
        }
        Ok(topics.to_vec())
    }
}

impl SinkConfig {
    pub(crate) fn settings(&self) -> Result<SinkSettings> {
        let broker = self.broker()?;
        if let Some(why) = self.topic.as_deref().and_then(|topic| topic_problem(topic)) {
            return Err(Error::config(format!("the topic {why}")).at("topic"));
        }
        if self.in_flight == 0 {
            return Err(Error::config("must be above 0").at("in_flight"));
        }
        Ok(SinkSettings {
            broker,
            retain: self.retain.unwrap_or(self.topic.is_none()),
            topic: self.topic.clone(),
            form: Form { naive_timestamps: self.compat.naive_timestamps, replicate: self.replicate },
            in_flight: self.in_flight.into(),
            status: self.status,
        })
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Protocol;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`5` or `3.1.1`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Protocol, E> {
                match text {
                    "5" | "5.0" => Ok(Protocol::V5),
                    "3.1.1" => Ok(Protocol::V4),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
            // YAML's `5` and `5.0` are numbers, `3.1.1` is none.
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Protocol, E> {
                if number == 5 {
                    Ok(Protocol::V5)
                } else {
                    Err(E::invalid_value(de::Unexpected::Unsigned(number), &self))
                }
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Protocol, E> {
                if number == 5.0 {
                    Ok(Protocol::V5)
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(number), &self))
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Protocol {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Protocol".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": ["5", "3.1.1", 5] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(json: &str) -> Result<SourceSettings> {
        serde_json::from_str::<SourceConfig>(json).map_err(Error::config)?.settings()
    }

    fn sink(json: &str) -> Result<SinkSettings> {
        serde_json::from_str::<SinkConfig>(json).map_err(Error::config)?.settings()
    }

    #[track_caller]
    fn refused<T>(settings: Result<T>, field: &str) {
        let error = settings.err().expect("refused");
        assert_eq!((error.kind(), error.detail()), (ErrorKind::CONFIG, field), "{error}");
    }

    #[test]
    fn mq_06_defaults_are_the_guides_on_this_machine() {
        let settings = sink("{}").expect("read");
        let broker = &settings.broker;
        assert_eq!((broker.address().as_str(), broker.protocol), ("127.0.0.1:1883", Protocol::V5));
        assert_eq!((broker.keepalive.as_secs(), broker.qos), (60, Quality::AtLeastOnce));
        assert!(settings.retain && broker.tls.is_none() && broker.username.is_none());
        assert_eq!(broker.endpoint(), "mqtt:127.0.0.1:1883/apg/config");
        assert_eq!(source("{}").expect("read").filters, ["apg/config/+/+/#"]);
    }

    #[test]
    fn the_guides_block_is_read_by_either_side() {
        let json = r#"{"broker_host":"mqtt.internal","broker_port":8883,"username":"apg-mqtt","password":"mqtt-password",
            "tls_enabled":true,"keepalive":60,"qos":1,"retain":true}"#;
        let broker = source(json).expect("a source").broker;
        assert_eq!((broker.address().as_str(), broker.tls.is_some()), ("mqtt.internal:8883", true));
        assert!(sink(json).expect("a sink").retain);
    }

    #[test]
    fn a_broker_is_written_in_one_of_two_forms() {
        let address = |json| source(json).expect(json).broker.address();
        assert_eq!(address(r#"{"url":"mqtt://b:1884"}"#), "b:1884");
        assert_eq!(address(r#"{"url":"mqtts://b/"}"#), "b:8883");
        assert_eq!(address(r#"{"url":"mqtt://[::1]:1884"}"#), "[::1]:1884");
        for url in ["b:1883", "http://b", "mqtt://", "mqtt://u:p@b", "mqtt://b/x", "mqtt://b:99999"] {
            refused(source(&format!(r#"{{"url":"{url}"}}"#)), "url");
        }
        refused(source(r#"{"url":"mqtt://b","broker_port":1}"#), "url");
    }

    #[test]
    fn nonsense_is_refused_at_its_field() {
        refused(sink(r#"{"qos":3}"#), "qos");
        refused(sink(r#"{"ssl_context":{}}"#), "ssl_context");
        refused(sink(r#"{"tls_enabled":true,"ssl_context":{"keyfile":"k"}}"#), "ssl_context.certfile");
        refused(sink(r#"{"password":"x"}"#), "username");
        refused(sink(r#"{"topic_prefix":"a/#"}"#), "topic_prefix");
        refused(sink(r#"{"topic_prefix":"/a"}"#), "topic_prefix");
        refused(sink(r#"{"client_id":"a/b"}"#), "client_id");
        refused(sink(r#"{"topic":"a/+"}"#), "topic");
        refused(sink(r#"{"max_packet_size":10}"#), "max_packet_size");
        refused(sink(r#"{"answer_timeout":0}"#), "answer_timeout");
        refused(source(r#"{"patterns":[]}"#), "patterns");
        refused(source(r#"{"patterns":["app.*","a["]}"#), "patterns.1");
        refused(source(r#"{"patterns":["app.data*"],"wildcards":"seed"}"#), "patterns.0");
        refused(source(r#"{"topics":["a","a#"]}"#), "topics.1");
        refused(source(r#"{"topics":["a"],"patterns":["b"]}"#), "topics");
        refused(source(r#"{"colour":"red"}"#), "");
        refused(source(r#"{"replicate":false}"#), "");
    }

    #[test]
    fn the_protocol_is_a_number_or_a_text() {
        for (json, protocol) in [("5", Protocol::V5), ("\"5\"", Protocol::V5), ("\"3.1.1\"", Protocol::V4)] {
            assert_eq!(serde_json::from_str::<Protocol>(json).expect(json), protocol);
        }
        for json in ["4", "3.1", "\"3.1\"", "null"] {
            serde_json::from_str::<Protocol>(json).expect_err(json);
        }
    }
}
