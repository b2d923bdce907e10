//! Kafka, MQTT and Redis with nothing in them, for one test at a time.
//!
//! The guide's topics have fixed names, so tests that use them have to take turns; a Kafka for each would take seconds and
//! memory. The other two are quickly started.

use crate::{
    gate::Busy,
    servers::{Kafka, Mosquitto, MosquittoOptions, PASSWORD, Redis, RedisOptions, USER},
    site::Site,
};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The three of them, this test's alone until it is dropped.
#[derive(Debug)]
pub struct Brokers {
    pub kafka: MutexGuard<'static, Kafka>,
    /// Lets in clients without a name, too.
    pub mqtt: Mosquitto,
    pub redis: Redis,
    _busy: Busy,
}

impl Default for Brokers {
    fn default() -> Self {
        Self::start()
    }
}

impl Brokers {
    /// Waits for its turn. Kafka has no topics.
    pub fn start() -> Self {
        static KAFKA: OnceLock<Mutex<Kafka>> = OnceLock::new();
        // Before the turn: whoever has it must not wait for a test that measures and then waits for the turn.
        let busy = Busy::new();
        let kafka = KAFKA.get_or_init(|| Mutex::new(Kafka::start()));
        let kafka = kafka.lock().unwrap_or_else(PoisonError::into_inner);
        for topic in kafka.client().topics() {
            kafka.client().delete(&topic);
        }
        let anybody = MosquittoOptions {
            settings: "allow_anonymous true".to_owned(),
            access: "pattern readwrite #\n".to_owned(),
            ..MosquittoOptions::default()
        };
        Self {
            kafka,
            mqtt: Mosquitto::start(&anybody),
            redis: Redis::start(&RedisOptions::default()),
            _busy: busy,
        }
    }

    /// The variables that the shipped pipelines ask for addresses.
    pub fn env(&self, site: Site) -> Site {
        site.env("KAFKA_BOOTSTRAP", self.kafka.plaintext())
            .env("MQTT_URL", self.mqtt_url())
            .env("REDIS_URL", self.redis_url())
    }

    /// As `url:` of the plugin takes it.
    pub fn mqtt_url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.mqtt.port)
    }

    /// As `url:` of the plugin takes it.
    pub fn redis_url(&self) -> String {
        format!("redis://{USER}:{PASSWORD}@127.0.0.1:{}/0", self.redis.port)
    }
}
