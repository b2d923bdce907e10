//! A host with a pipeline through the log, from WebSocket authors to one transport or to all, and a consumer of each.

use crate::{authors, process::Process, witness::Witness, witnesses};
use lockstep_test_support::{
    Kafka, Mosquitto, MosquittoOptions, PASSWORD, Redis, RedisOptions, USER, free_port,
};
use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How long the last change may take to the last consumer.
const LIMIT: Duration = Duration::from_secs(120);

pub struct Servers {
    kafka: Kafka,
    mosquitto: Mosquitto,
    redis: Redis,
}

pub struct Scene {
    host: Process,
    pub address: SocketAddr,
    pub clock: Instant,
    pub witnesses: Vec<Arc<Witness>>,
}

/// What the host did under as many changes as authors could make.
pub struct Load {
    pub answered_per_second: f64,
    pub delivered_per_second: f64,
    pub cpu_us: f64,
    pub memory_mb: f64,
}

impl Servers {
    pub fn start() -> Self {
        let kafka = Kafka::start();
        kafka.create_guide_topics();
        Self {
            kafka,
            mosquitto: Mosquitto::start(&MosquittoOptions::default()),
            redis: Redis::start(&RedisOptions::default()),
        }
    }

    fn sinks(&self) -> String {
        let login = format!("username: {USER}, password: {PASSWORD}");
        format!(
            "  - {{ plugin: kafka, config: {{ bootstrap_servers: [\"{}\"] }} }}\n\
             \x20 - {{ plugin: mqtt, config: {{ broker_port: {}, {login} }} }}\n\
             \x20 - {{ plugin: redis, config: {{ port: {}, {login} }} }}\n",
            self.kafka.plaintext(),
            self.mosquitto.port,
            self.redis.port
        )
    }
}

impl Scene {
    /// With a sink for WebSocket alone, or for these servers too. Gives back when a change has reached everybody.
    pub async fn start(built: &Path, dir: &Path, servers: Option<&Servers>) -> Self {
        let (clock, port) = (Instant::now(), free_port());
        let mut witnesses = vec![Arc::new(Witness::new("websocket", clock))];
        if let Some(servers) = servers {
            let mut witness = |name| {
                let witness = Arc::new(Witness::new(name, clock));
                witnesses.push(witness.clone());
                witness
            };
            witnesses::of_kafka(&servers.kafka, witness("kafka"));
            witnesses::of_mqtt(&servers.mosquitto, witness("mqtt"));
            witnesses::of_redis(&servers.redis, witness("redis"));
        }
        let pipeline = pipeline(port, servers.map(Servers::sinks).unwrap_or_default());
        let host = Process::host(built, dir, &pipeline);
        let scene = Self { host, address: SocketAddr::from(([127, 0, 0, 1], port)), clock, witnesses };
        witnesses::of_websocket(scene.address, scene.witnesses[0].clone()).await;
        let n_changes = authors::open_loop(scene.address, 10, Duration::from_millis(500), clock).await;
        scene.everybody_has_seen(n_changes).await;
        scene
    }

    /// Authors that wait for nothing but their answers.
    pub async fn load(&self, n_authors: usize, time: Duration) -> Load {
        self.witnesses.iter().for_each(|witness| witness.forget());
        let (start, cpu) = (Instant::now(), self.host.cpu());
        let n_answered = authors::closed_loop(self.address, n_authors, time, self.clock).await;
        let answered = start.elapsed();
        self.everybody_has_seen(n_answered).await;
        let n = n_answered as f64;
        Load {
            answered_per_second: n / answered.as_secs_f64(),
            delivered_per_second: n / start.elapsed().as_secs_f64(),
            cpu_us: (self.host.cpu() - cpu).as_secs_f64() * 1e6 / n,
            memory_mb: self.host.memory_mb(),
        }
    }

    /// Waits until every change has reached every consumer, once.
    pub async fn everybody_has_seen(&self, n_changes: u64) {
        let start = Instant::now();
        while let Some(late) = self.witnesses.iter().find(|witness| witness.n_seen() < n_changes) {
            let (name, n) = (late.name, late.n_seen());
            let log = || self.host.last_words();
            assert!(start.elapsed() < LIMIT, "{name} has shown {n} of {n_changes}\n{}", log());
            sleep(Duration::from_millis(5)).await;
        }
        for witness in &self.witnesses {
            assert_eq!(witness.n_seen(), n_changes, "{} shows every change once", witness.name);
        }
    }
}

fn pipeline(port: u16, more_sinks: String) -> String {
    let server = format!(
        "{{ plugin: websocket, config: {{ port: {port}, max_connections: 5000, max_messages_per_second: 0 }} }}"
    );
    format!(
        "sources:\n  - {server}\ntransforms: [ {{ plugin: lock }}, {{ plugin: resolver }} ]\nsinks:\n  - {server}\n{more_sinks}"
    )
}
