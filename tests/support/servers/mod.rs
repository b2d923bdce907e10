//! Real servers for tests: started on free loopback ports, answering when their constructor returns, gone with the test.
//!
//! Every server runs as a child of this process that nothing outlives (`keeper.rs`), writes into a folder of its own, and
//! knows the same user everywhere: `app` with the password `app-secret`.

mod keeper;
mod daemon;
mod folder;
mod certificates;
mod kafka;
mod kafka_settings;
mod kafka_client;
mod kafka_reader;
mod mosquitto;
mod mqtt_client;
mod redis_server;
mod redis;
mod sentinels;
mod cluster;

pub use certificates::{Certificates, Identity};
pub use cluster::Cluster;
pub use kafka::Kafka;
pub use kafka_client::{KafkaClient, KafkaRecord};
pub use kafka_reader::{KafkaMessage, KafkaReader};
pub use keeper::spawn;
pub use mosquitto::{Mosquitto, MosquittoOptions};
pub use mqtt_client::{MqttClient, MqttMessage};
pub use redis::{Redis, RedisOptions};
pub use sentinels::Sentinels;

/// The user that every server knows.
pub const USER: &str = "app";

/// The password of every user of every server is its name with this behind it.
pub const PASSWORD_SUFFIX: &str = "-secret";

/// The password of [`USER`].
pub const PASSWORD: &str = "app-secret";
