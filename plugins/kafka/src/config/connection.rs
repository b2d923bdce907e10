//! The fields of every client of a cluster, and the settings of librdkafka that they become.

use super::{
    Compression, DATABASE_TOPIC, FEATURES_TOPIC, GENERAL_TOPIC, Properties, SECURITY_TOPIC, Scope, within,
};
use lockstep_plugin_api::prelude::*;
use rdkafka::{ClientConfig, config::RDKafkaLogLevel, error::KafkaError};
use std::{collections::BTreeSet, path::Path, time::Duration};

/// How brokers are talked to.
#[config]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecurityProtocol {
    /// In the clear, as nobody.
    #[serde(rename = "PLAINTEXT")]
    Plaintext,
    /// Through TLS, as whoever the client certificate names.
    #[serde(rename = "SSL")]
    Ssl,
    /// In the clear, as `sasl_username`.
    #[serde(rename = "SASL_PLAINTEXT")]
    SaslPlaintext,
    /// Through TLS, as `sasl_username`.
    #[serde(rename = "SASL_SSL")]
    SaslSsl,
}

/// How a user is authenticated.
#[config]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SaslMechanism {
    /// The password is sent as it is.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Salted challenge and response with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// The same with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SecurityProtocol {
    fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

impl SaslMechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// What source and sink have in common.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) bootstrap_servers: Vec<String>,
    pub(crate) security_protocol: SecurityProtocol,
    pub(crate) sasl_mechanism: SaslMechanism,
    pub(crate) sasl_username: Option<String>,
    pub(crate) sasl_password: Option<Secret>,
    pub(crate) ssl_context: Option<ClientTls>,
    pub(crate) create_topics: bool,
    pub(crate) partitions: Option<u32>,
    pub(crate) replication_factor: Option<u16>,
    pub(crate) compression_type: Compression,
    pub(crate) batch_size: u32,
    pub(crate) linger_ms: Millis,
    pub(crate) properties: Properties,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            bootstrap_servers: vec!["127.0.0.1:9092".to_owned()],
            security_protocol: SecurityProtocol::Plaintext,
            sasl_mechanism: SaslMechanism::Plain,
            sasl_username: None,
            sasl_password: None,
            ssl_context: None,
            create_topics: false,
            partitions: None,
            replication_factor: None,
            compression_type: Compression::Gzip,
            batch_size: 1000,
            linger_ms: Millis(Duration::from_millis(10)),
            properties: Properties::default(),
        }
    }
}

impl Connection {
    /// Checks what the types do not.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_servers()?;
        self.check_user()?;
        if let Some(tls) = &self.ssl_context {
            tls.check("ssl_context")?;
            if !self.security_protocol.has_tls() {
                let text = "`ssl_context` says how to use TLS: write `security_protocol: SSL` or `SASL_SSL`";
                return Err(Error::config(text).at("ssl_context"));
            }
        }
        within(self.partitions.unwrap_or(1), 1, 10_000, "partitions")?;
        within(self.replication_factor.unwrap_or(1), 1, 100, "replication_factor")?;
        within(self.batch_size, 1, 1_000_000, "batch_size")?;
        within(self.linger_ms.0.as_millis(), 0, 900_000, "linger_ms")?;
        self.properties.check()
    }

    fn check_servers(&self) -> Result<()> {
        let is_address = |server: &String| {
            let address = server.rsplit_once("://").map_or(server.as_str(), |(_, address)| address);
            let (host, port) = address.rsplit_once(':').unwrap_or((address, "9092"));
            !host.is_empty() && !server.contains([',', ' ']) && port.parse::<u16>().is_ok_and(|port| port > 0)
        };
        if !self.bootstrap_servers.is_empty() && self.bootstrap_servers.iter().all(is_address) {
            return Ok(());
        }
        let text = "write each broker as `host:port`, such as `[\"127.0.0.1:9092\"]`";
        Err(Error::config(text).at("bootstrap_servers"))
    }

    fn check_user(&self) -> Result<()> {
        let (has_user, has_password) = (self.sasl_username.is_some(), self.sasl_password.is_some());
        let (text, field) = match (self.security_protocol.has_sasl(), has_user, has_password) {
            (true, true, true) | (false, false, false) => return Ok(()),
            (true, false, _) => ("a `SASL_` protocol needs `sasl_username`", "security_protocol"),
            (true, true, false) => ("`sasl_username` needs `sasl_password`", "sasl_username"),
            (false, true, _) => (
                "a user is authenticated with `security_protocol: SASL_SSL` or `SASL_PLAINTEXT`",
                "sasl_username",
            ),
            (false, false, true) => ("`sasl_password` needs `sasl_username`", "sasl_password"),
        };
        Err(Error::config(text).at(field))
    }

    /// The place that source and sink of the same topics of one cluster share; the guide's topics go without saying. What
    /// was read in one topic is not in another one of the same cluster yet.
    pub(crate) fn endpoint<'a>(&self, topics: impl IntoIterator<Item = &'a str>) -> String {
        let servers = BTreeSet::from_iter(self.bootstrap_servers.iter().map(String::as_str));
        let topics = BTreeSet::from_iter(topics);
        let joined = |names: BTreeSet<&str>| Vec::from_iter(names).join(",");
        if topics == BTreeSet::from([DATABASE_TOPIC, SECURITY_TOPIC, FEATURES_TOPIC, GENERAL_TOPIC]) {
            return format!("kafka:{}", joined(servers));
        }
        format!("kafka:{}/{}", joined(servers), joined(topics))
    }

    /// Who is authenticated how, for messages; never the password.
    pub(crate) fn user(&self) -> String {
        match (&self.sasl_username, self.security_protocol.has_tls()) {
            (Some(user), _) => format!("user `{user}` by {}", self.sasl_mechanism.name()),
            (None, true) => "this client's certificate".to_owned(),
            (None, false) => "a client without a user".to_owned(),
        }
    }

    /// The settings of any client.
    pub(crate) fn client(&self, node_id: &str, resolve: impl Fn(&str) -> String) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", self.bootstrap_servers.join(","))
            .set("client.id", format!("lockstep-{node_id}"))
            .set("security.protocol", self.security_protocol.name())
            // A broker that comes back is found again within half a second, not ten.
            .set("reconnect.backoff.max.ms", "500")
            .set("socket.keepalive.enable", "true")
            // The host's filter decides which lines are shown, also while it runs.
            .set_log_level(RDKafkaLogLevel::Debug);
        if let (Some(user), Some(password)) = (&self.sasl_username, &self.sasl_password) {
            client
                .set("sasl.mechanism", self.sasl_mechanism.name())
                .set("sasl.username", user)
                .set("sasl.password", password.expose());
        }
        let tls = self.ssl_context.clone().unwrap_or_default();
        let files = [
            ("ssl.ca.location", tls.cafile),
            ("ssl.certificate.location", tls.certfile),
            ("ssl.key.location", tls.keyfile),
        ];
        for (name, file) in files {
            if let Some(file) = file {
                client.set(name, resolve(&file));
            }
        }
        client
    }

    /// As [`Connection::client`], for one that produces: a message is acknowledged by all replicas and written once.
    pub(crate) fn producer(&self, node_id: &str, resolve: impl Fn(&str) -> String) -> ClientConfig {
        let mut client = self.client(node_id, resolve);
        client
            .set("compression.type", self.compression_type.name())
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("batch.num.messages", self.batch_size.to_string())
            .set("linger.ms", self.linger_ms.0.as_millis().to_string())
            // A message that waits for a broker is not given up: it would be passed by the ones behind it.
            .set("message.timeout.ms", "0")
            // As clients in Java and Python choose partitions, so that a key lies in one, whoever writes it.
            .set("partitioner", "murmur2_random")
            .set("queue.buffering.max.kbytes", "131072");
        client
    }

    /// Applies `properties`, last.
    pub(crate) fn finish(&self, client: &mut ClientConfig, scope: Scope) {
        self.properties.apply(client, scope);
    }
}

/// Checks settings as far as that goes without making a client.
pub(crate) fn check_native(client: &ClientConfig) -> Result<()> {
    match client.create_native_config() {
        Ok(_) => Ok(()),
        // The text would quote the value, which may be a secret.
        Err(KafkaError::ClientConfig(_, _, name, _)) => {
            Err(Error::config(format!("librdkafka does not take this value of `{name}`"))
                .at(format!("properties.{name}")))
        }
        Err(error) => Err(Error::config(error)),
    }
}

/// A path of the configuration as librdkafka takes it.
pub(crate) fn resolved(context: &Context) -> impl Fn(&str) -> String + use<'_> {
    |path| context.resolve(Path::new(path)).to_string_lossy().into_owned()
}
