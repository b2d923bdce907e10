//! `properties`: any setting of librdkafka, by its name.
//!
//! librdkafka itself says which names and values there are; the names below only find the nearest one to a misspelt one,
//! and keep a consumer's settings away from a producer, which would warn of them.

use lockstep_plugin_api::{
    prelude::*,
    schemars::{JsonSchema, Schema, SchemaGenerator, json_schema},
};
use rdkafka::{ClientConfig, error::KafkaError, types::RDKafkaConfRes};
use serde::{Deserialize, Deserializer, de};
use std::{borrow::Cow, collections::BTreeMap, fmt};

/// Which kind of client settings are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Consumer,
    Producer,
}

/// Settings of librdkafka, by name. Any of them may be a secret, so none is shown.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Properties(BTreeMap<String, Property>);

/// A text, a number or a boolean, as librdkafka takes it: a text.
#[derive(Clone)]
struct Property(String);

/// What would break what is promised: the host decides what is committed, and a partition's end is found otherwise.
const REFUSED: [(&str, &str); 8] = [
    ("auto.commit.enable", "the host decides what is committed: write `enable_auto_commit`"),
    ("bootstrap.servers", "write `bootstrap_servers`"),
    ("enable.auto.commit", "the host decides what is committed: write `enable_auto_commit`"),
    ("enable.auto.offset.store", "the host decides what is committed: write `enable_auto_commit`"),
    ("enable.partition.eof", "the source does not use it"),
    ("metadata.broker.list", "write `bootstrap_servers`"),
    ("plugin.library.paths", "it would run code of its own"),
    ("transactional.id", "the sink makes no transactions"),
];

/// Two names of one setting: the one that is written replaces the other.
const ALIASES: [(&str, &str); 8] = [
    ("acks", "request.required.acks"),
    ("compression.type", "compression.codec"),
    ("fetch.message.max.bytes", "max.partition.fetch.bytes"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("max.in.flight.requests.per.connection", "max.in.flight"),
    ("message.send.max.retries", "retries"),
    ("message.timeout.ms", "delivery.timeout.ms"),
    ("sasl.mechanism", "sasl.mechanisms"),
];

impl Properties {
    /// Checks that librdkafka knows every name and takes every value.
    pub(super) fn check(&self) -> Result<()> {
        self.0.iter().try_for_each(|(name, value)| {
            check(name, &value.0).map_err(|problem| Error::config(problem).at(format!("properties.{name}")))
        })
    }

    /// Applies those that are for this kind of client.
    pub(super) fn apply(&self, client: &mut ClientConfig, scope: Scope) {
        let others: &[&str] = match scope {
            Scope::Consumer => PRODUCER,
            Scope::Producer => CONSUMER,
        };
        for (name, Property(value)) in &self.0 {
            if others.binary_search(&name.as_str()).is_ok() {
                continue;
            }
            for (one, other) in ALIASES.into_iter().chain(ALIASES.map(|(one, other)| (other, one))) {
                if one == name {
                    client.remove(other);
                }
            }
            client.set(name, value);
        }
    }
}

fn check(name: &str, value: &str) -> Result<(), String> {
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Err(format!("`{name}` cannot be set here: {why}"));
    }
    let mut one = ClientConfig::new();
    one.set(name, value);
    match one.create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
            Err(format!("librdkafka has no setting `{name}`{}", did_you_mean(name)))
        }
        // Its own text would quote the value.
        Err(_) => Err(format!("librdkafka does not take this value of `{name}`")),
    }
}

fn did_you_mean(name: &str) -> String {
    let all = [CONSUMER, PRODUCER, BOTH].into_iter().flatten();
    let nearest = all.map(|known| (strsim::damerau_levenshtein(name, known), known)).min();
    match nearest {
        Some((distance, known)) if distance <= 1 + name.len() / 4 => format!("; did you mean `{known}`?"),
        _ => String::new(),
    }
}

impl<'de> Deserialize<'de> for Property {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Property;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number or a boolean")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Property, E> {
                Ok(Property(text.to_owned()))
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Property, E> {
                Ok(Property(value.to_string()))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Property, E> {
                Ok(Property(value.to_string()))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Property, E> {
                Ok(Property(value.to_string()))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Property, E> {
                Ok(Property(value.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Properties {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Properties".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": ["string", "number", "boolean"], "writeOnly": true },
        })
    }
}

/// What only consumers have.
#[rustfmt::skip]
const CONSUMER: &[&str] = &[
    "auto.commit.interval.ms", "auto.offset.reset", "check.crcs", "consume.callback.max.messages",
    "coordinator.query.interval.ms", "enable.auto.commit", "enable.auto.offset.store",
    "enable.partition.eof", "fetch.error.backoff.ms", "fetch.max.bytes", "fetch.message.max.bytes",
    "fetch.min.bytes", "fetch.queue.backoff.ms", "fetch.wait.max.ms", "group.id", "group.instance.id",
    "group.protocol", "group.protocol.type", "group.remote.assignor", "heartbeat.interval.ms",
    "isolation.level", "max.partition.fetch.bytes", "max.poll.interval.ms",
    "partition.assignment.strategy", "queued.max.messages.kbytes", "queued.min.messages",
    "session.timeout.ms",
];

/// What only producers have.
#[rustfmt::skip]
const PRODUCER: &[&str] = &[
    "acks", "batch.num.messages", "batch.size", "compression.codec", "compression.level",
    "compression.type", "delivery.report.only.error", "delivery.timeout.ms", "enable.gapless.guarantee",
    "enable.idempotence", "linger.ms", "message.send.max.retries", "message.timeout.ms", "partitioner",
    "queue.buffering.backpressure.threshold", "queue.buffering.max.kbytes", "queue.buffering.max.messages",
    "queue.buffering.max.ms", "request.required.acks", "request.timeout.ms", "retries",
    "sticky.partitioning.linger.ms", "transaction.timeout.ms", "transactional.id",
];

/// What every client has.
#[rustfmt::skip]
const BOTH: &[&str] = &[
    "allow.auto.create.topics", "api.version.request.timeout.ms", "bootstrap.servers",
    "broker.address.family", "broker.address.ttl", "client.dns.lookup", "client.id", "client.rack",
    "connections.max.idle.ms", "debug", "enable.metrics.push", "enable.random.seed",
    "enable.sasl.oauthbearer.unsecure.jwt", "enable.ssl.certificate.verification", "https.ca.location",
    "https.ca.pem", "log.connection.close", "log.thread.name", "log_level", "max.in.flight",
    "max.in.flight.requests.per.connection", "message.copy.max.bytes", "message.max.bytes",
    "metadata.broker.list", "metadata.max.age.ms", "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy", "plugin.library.paths", "receive.message.max.bytes",
    "reconnect.backoff.max.ms", "reconnect.backoff.ms", "retry.backoff.max.ms", "retry.backoff.ms",
    "sasl.kerberos.keytab", "sasl.kerberos.kinit.cmd", "sasl.kerberos.min.time.before.relogin",
    "sasl.kerberos.principal", "sasl.kerberos.service.name", "sasl.mechanism", "sasl.mechanisms",
    "sasl.oauthbearer.assertion.algorithm", "sasl.oauthbearer.assertion.claim.aud",
    "sasl.oauthbearer.assertion.claim.exp.seconds", "sasl.oauthbearer.assertion.claim.iss",
    "sasl.oauthbearer.assertion.claim.jti.include", "sasl.oauthbearer.assertion.claim.nbf.seconds",
    "sasl.oauthbearer.assertion.claim.sub", "sasl.oauthbearer.assertion.file",
    "sasl.oauthbearer.assertion.jwt.template.file", "sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.assertion.private.key.passphrase", "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.client.id", "sasl.oauthbearer.client.secret", "sasl.oauthbearer.config",
    "sasl.oauthbearer.extensions", "sasl.oauthbearer.grant.type",
    "sasl.oauthbearer.metadata.authentication.type", "sasl.oauthbearer.method", "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url", "sasl.password", "sasl.username", "security.protocol",
    "socket.connection.setup.timeout.ms", "socket.keepalive.enable", "socket.max.fails",
    "socket.nagle.disable", "socket.receive.buffer.bytes", "socket.send.buffer.bytes", "socket.timeout.ms",
    "ssl.ca.certificate.stores", "ssl.ca.location", "ssl.ca.pem", "ssl.certificate.location",
    "ssl.certificate.pem", "ssl.cipher.suites", "ssl.crl.location", "ssl.curves.list",
    "ssl.endpoint.identification.algorithm", "ssl.engine.id", "ssl.key.location", "ssl.key.password",
    "ssl.key.pem", "ssl.keystore.location", "ssl.keystore.password", "ssl.providers", "ssl.sigalgs.list",
    "statistics.interval.ms", "topic.blacklist", "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.fast.interval.ms", "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.sparse",
];
