//! What `plugin: kafka` accepts under `config:`, as a source and as a sink.
//!
//! Both read the fields that make up a connection and a producer (a source produces too: dead letters); the names and
//! defaults are those of the wire contract. What only the text can say is checked here, without a broker.

mod connection;
mod properties;
mod sink;
mod source;

pub(crate) use connection::{Connection, SaslMechanism, SecurityProtocol, resolved};
pub(crate) use properties::{Properties, Scope};
pub(crate) use sink::{Format, KafkaSinkConfig, RouteConfig};
pub(crate) use source::{KafkaSourceConfig, OffsetReset};

use lockstep_plugin_api::prelude::*;

/// The longest name that Kafka gives a topic.
const LONGEST_TOPIC: usize = 249;

/// The guide's topics; the last one takes what no other does.
pub(crate) const DATABASE_TOPIC: &str = "apg-config-database";
pub(crate) const SECURITY_TOPIC: &str = "apg-config-security";
pub(crate) const FEATURES_TOPIC: &str = "apg-config-features";
pub(crate) const GENERAL_TOPIC: &str = "apg-config-general";

/// Where a source puts what it cannot read.
pub(crate) const DEAD_LETTER_TOPIC: &str = "apg-config-dlq";

/// How batches are compressed.
#[config]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not at all.
    None,
    /// Small and everywhere known.
    Gzip,
    /// Cheap.
    Snappy,
    /// Cheap and smaller.
    Lz4,
    /// Smallest.
    Zstd,
}

impl Compression {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Writes the configuration of a component: the fields of every client of a cluster, and the component's own.
macro_rules! kafka_config {
    (
        $(#[$doc:meta])*
        struct $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }
    ) => {
        $(#[$doc])*
        #[config]
        #[serde(default)]
        pub(crate) struct $name {
            /// Brokers to begin with, as `host:port`; the others are learnt from them. Default: `["127.0.0.1:9092"]`.
            pub(crate) bootstrap_servers: Vec<String>,
            /// How brokers are talked to: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`. Default: `PLAINTEXT`.
            pub(crate) security_protocol: $crate::config::SecurityProtocol,
            /// How the user is authenticated: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`. Default: `PLAIN`.
            pub(crate) sasl_mechanism: $crate::config::SaslMechanism,
            /// The user, with a `SASL_` protocol.
            pub(crate) sasl_username: Option<String>,
            /// The user's password.
            pub(crate) sasl_password: Option<Secret>,
            /// Whom to believe, and the certificate to show, with `SSL` or `SASL_SSL`. Paths are relative to the pipeline
            /// file.
            pub(crate) ssl_context: Option<ClientTls>,
            /// Whether to create topics that do not exist, compacted. Default: false.
            pub(crate) create_topics: bool,
            /// How many partitions a created topic has. Default: what the broker says.
            pub(crate) partitions: Option<u32>,
            /// On how many brokers a created topic lies. Default: what the broker says.
            pub(crate) replication_factor: Option<u16>,
            /// How batches of messages are compressed: `none`, `gzip`, `snappy`, `lz4` or `zstd`. Default: `gzip`.
            pub(crate) compression_type: $crate::config::Compression,
            /// The most messages that are sent together. Default: 1000.
            pub(crate) batch_size: u32,
            /// How long a message may wait for others to be sent with it; a bare number counts milliseconds. Default:
            /// 10 ms.
            pub(crate) linger_ms: Millis,
            /// Settings of librdkafka by their names, applied last, such as `{ "fetch.min.bytes": 1 }`.
            pub(crate) properties: $crate::config::Properties,
            $($(#[$field_doc])* pub(crate) $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                let connection = $crate::config::Connection::default();
                Self {
                    bootstrap_servers: connection.bootstrap_servers,
                    security_protocol: connection.security_protocol,
                    sasl_mechanism: connection.sasl_mechanism,
                    sasl_username: None,
                    sasl_password: None,
                    ssl_context: None,
                    create_topics: false,
                    partitions: None,
                    replication_factor: None,
                    compression_type: connection.compression_type,
                    batch_size: connection.batch_size,
                    linger_ms: connection.linger_ms,
                    properties: connection.properties,
                    $($field: $default,)*
                }
            }
        }

        impl $name {
            /// The fields that every client of the cluster has.
            pub(crate) fn connection(&self) -> $crate::config::Connection {
                $crate::config::Connection {
                    bootstrap_servers: self.bootstrap_servers.clone(),
                    security_protocol: self.security_protocol,
                    sasl_mechanism: self.sasl_mechanism,
                    sasl_username: self.sasl_username.clone(),
                    sasl_password: self.sasl_password.clone(),
                    ssl_context: self.ssl_context.clone(),
                    create_topics: self.create_topics,
                    partitions: self.partitions,
                    replication_factor: self.replication_factor,
                    compression_type: self.compression_type,
                    batch_size: self.batch_size,
                    linger_ms: self.linger_ms,
                    properties: self.properties.clone(),
                }
            }
        }
    };
}
use kafka_config;

/// Deviations for programs of older systems.
#[config]
#[serde(default)]
#[derive(Default)]
pub(crate) struct Compat {
    /// Timestamps without the `Z` at their end. Default: false.
    pub(crate) naive_timestamps: bool,
}

/// Checks that a topic can have this name.
pub(crate) fn check_topic(topic: &str, field: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let problem = match topic {
        "" => "must not be empty",
        "." | ".." => "must not be `.` or `..`",
        _ if topic.len() > LONGEST_TOPIC => "has at most 249 characters",
        _ if !topic.chars().all(allowed) => "has only letters, digits, `.`, `_` and `-`",
        _ => return Ok(()),
    };
    Err(Error::config(format!("the name of a topic {problem}")).at(field))
}

/// Checks that a number lies within bounds.
pub(crate) fn within<T: PartialOrd + std::fmt::Display>(
    value: T,
    low: T,
    high: T,
    field: &str,
) -> Result<()> {
    if value >= low && value <= high {
        return Ok(());
    }
    Err(Error::config(format!("`{field}` must lie between {low} and {high}")).at(field))
}

#[cfg(test)]
mod tests;
