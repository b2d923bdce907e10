//! What `config:` of the mqtt source and sink accepts, and the checks that need nothing but the text.
//!
//! Both sides read the same fields about the broker; each then has its own. The guide's own block (`broker_host` to
//! `retain`) is accepted by either.

mod broker;
mod protocol;

pub(crate) use broker::Broker;

use crate::{
    filter::{Wildcards, filter_problem, filters, topic_problem},
    packet::{Protocol, Quality},
    topic::Tree,
};
use broker::{Address, address_of};
use lockstep_plugin_api::prelude::*;
use std::time::Duration;

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
    /// Whatever these filters let through.
    Topics(Vec<String>),
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

fn quality(qos: u8) -> Result<Quality> {
    Quality::try_from(qos).map_err(|_| Error::config("must be 0, 1 or 2").at("qos"))
}

impl SourceConfig {
    /// Whether the broker keeps a message until it is acknowledged, over connections too.
    pub(crate) fn comes_again(&self) -> bool {
        let session_stays = self.protocol == Protocol::V4 || self.session_expiry.0.as_secs() > 0;
        self.qos > 0 && session_stays
    }

    pub(crate) fn settings(&self) -> Result<SourceSettings> {
        let broker = self.broker()?;
        let (wanted, filters) = match &self.topics {
            None => self.changes(broker.tree.prefix())?,
            Some(topics) => {
                let filters = self.checked_topics(topics)?;
                (Wanted::Topics(filters.clone()), filters)
            }
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
    /// Whether the broker says that it has a message.
    pub(crate) fn is_answered(&self) -> bool {
        self.qos > 0
    }

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

#[cfg(test)]
mod tests;
