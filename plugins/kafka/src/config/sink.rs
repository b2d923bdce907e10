//! What `plugin: kafka` accepts as a sink.

use super::{
    Compat, DATABASE_TOPIC, FEATURES_TOPIC, GENERAL_TOPIC, SECURITY_TOPIC, Scope, check_topic,
    connection::check_native, kafka_config, within,
};
use lockstep_plugin_api::prelude::*;
use rdkafka::ClientConfig;
use std::time::Duration;

kafka_config! {
    /// What `plugin: kafka` accepts under `config:`, as a sink.
    struct KafkaSinkConfig {
        /// Which change goes to which topic; the first that matches counts. Default: the guide's table, by the prefixes
        /// `app.database.`, `app.security.` and `app.features.`, and `apg-config-general` for everything else.
        topics: Option<Vec<RouteConfig>> = None,
        /// One topic for everything; write either this or `topics`.
        topic: Option<String> = None,
        /// What a message is: `change`, the wire form of a change with its key and headers; `bytes`, the record's own key,
        /// value and headers; or `auto`, which is `bytes` for records of a direct pipeline that no component has read as a
        /// change, if there is a `topic`. Default: `auto`.
        format: Format = Format::Auto,
        /// Whether changes carry what other hosts need to take them in; `false` writes the guide's fields alone.
        /// Default: true.
        replicate: bool = true,
        /// The largest message. Default: 10 MiB.
        max_request_size: Size = Size(10 << 20),
        /// How long a broker may take to answer; a bare number counts milliseconds. Default: 30 s.
        request_timeout_ms: Millis = Millis(Duration::from_secs(30)),
        /// How long to wait before a request is repeated; a bare number counts milliseconds. Default: 1 s.
        retry_backoff_ms: Millis = Millis(Duration::from_secs(1)),
        /// How often a request that a broker did not answer is repeated by the client. Then the host does it. Default: 5.
        retries: u32 = 5,
        /// Deviations for programs of older systems.
        compat: Compat = Compat::default(),
    }
}

/// One line of the routing table: `{ prefix: app.database., topic: x }`, `{ match: "app.*.host", topic: x }`, or
/// `{ topic: x }` for everything that is left.
#[config]
#[derive(Clone)]
pub(crate) struct RouteConfig {
    /// How the config key begins.
    #[serde(default)]
    pub(crate) prefix: Option<String>,
    /// A glob that the config key matches; write either this or `prefix`.
    #[serde(default, rename = "match")]
    pub(crate) glob: Option<String>,
    /// Where its changes go.
    pub(crate) topic: String,
}

/// What a message is.
#[config]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// A change where the record is known to be one, else its bytes.
    Auto,
    /// The wire form of a change, with its key and headers.
    Change,
    /// The record's own key, value and headers.
    Bytes,
}

impl KafkaSinkConfig {
    /// Checks what the types do not.
    pub(crate) fn check(&self) -> Result<()> {
        let connection = self.connection();
        connection.check()?;
        self.check_topics()?;
        within(self.max_request_size.0, 1000, 1_000_000_000, "max_request_size")?;
        within(self.request_timeout_ms.0.as_millis(), 1, 900_000, "request_timeout_ms")?;
        within(self.retry_backoff_ms.0.as_millis(), 1, 300_000, "retry_backoff_ms")?;
        check_native(&self.producer("check", str::to_owned))
    }

    fn check_topics(&self) -> Result<()> {
        if let Some(topic) = &self.topic {
            if self.topics.is_some() {
                let text = "`topic` takes everything: write either it or `topics`";
                return Err(Error::config(text).at("topic"));
            }
            return check_topic(topic, "topic");
        }
        if self.format == Format::Bytes {
            let text = "`format: bytes` reads no config key to choose a topic by: write `topic`";
            return Err(Error::config(text).at("format"));
        }
        let routes = self.routes();
        if routes.is_empty() {
            return Err(Error::config("`topics` must not be empty").at("topics"));
        }
        routes.iter().enumerate().try_for_each(|(n, route)| check_route(n, route, routes.len()))
    }

    /// The routing table.
    pub(crate) fn routes(&self) -> Vec<RouteConfig> {
        let to = |prefix: Option<&str>, topic: &str| RouteConfig {
            prefix: prefix.map(str::to_owned),
            glob: None,
            topic: topic.to_owned(),
        };
        match (&self.topic, &self.topics) {
            (Some(topic), _) => vec![to(None, topic)],
            (None, Some(routes)) => routes.clone(),
            (None, None) => vec![
                to(Some("app.database."), DATABASE_TOPIC),
                to(Some("app.security."), SECURITY_TOPIC),
                to(Some("app.features."), FEATURES_TOPIC),
                to(None, GENERAL_TOPIC),
            ],
        }
    }

    /// The place that is written.
    pub(crate) fn endpoint(&self) -> String {
        self.connection().endpoint(self.routes().iter().map(|route| route.topic.as_str()))
    }

    /// The producer's settings.
    pub(crate) fn producer(&self, node_id: &str, resolve: impl Fn(&str) -> String) -> ClientConfig {
        let connection = self.connection();
        let mut client = connection.producer(node_id, resolve);
        let backoff_ms = self.retry_backoff_ms.0.as_millis();
        client
            .set("message.max.bytes", self.max_request_size.0.to_string())
            .set("request.timeout.ms", self.request_timeout_ms.0.as_millis().to_string())
            .set("retry.backoff.ms", backoff_ms.to_string())
            .set("retry.backoff.max.ms", backoff_ms.max(1000).to_string())
            .set("message.send.max.retries", self.retries.to_string());
        connection.finish(&mut client, Scope::Producer);
        client
    }
}

fn check_route(n: usize, route: &RouteConfig, n_routes: usize) -> Result<()> {
    let at = |field: &str| format!("topics.{n}.{field}");
    check_topic(&route.topic, &at("topic"))?;
    match (&route.prefix, &route.glob) {
        (Some(_), Some(_)) => Err(Error::config("write either `prefix` or `match`").at(at("match"))),
        (None, Some(glob)) => Glob::new(glob).map(drop).map_err(|error| Error::config(error).at(at("match"))),
        (None, None) if n + 1 < n_routes => {
            Err(Error::config("a route without `prefix` or `match` takes everything: put it last")
                .at(at("topic")))
        }
        _ => Ok(()),
    }
}
