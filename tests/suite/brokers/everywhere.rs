//! One pipeline through the log with all four transports on both sides, and a witness at each of them.

use lockstep_test_support::{
    Arrivals, Host, Kafka, KeyLedger, LIMIT, Mosquitto, MosquittoOptions, MqttClient, Numbered, Numbers,
    Proxy, Redis, RedisOptions, Sent, Site, Witness, WsClient, eventually, free_port, last_revision,
    written_history,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::TcpStream};

use crate::dead_letter::dead_letters;

/// What may be in flight.
pub const IN_FLIGHT: u64 = 2 << 20;

/// Where the guide's routing table sends the authors' keys.
const TOPIC: &str = "apg-config-general";
const STREAM: &str = "apg-config:log:global";
const CACHE: &str = "apg-config:cache:global";
const FILTER: &str = "apg/config/global/#";

/// One of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broker {
    Kafka,
    Mosquitto,
    Redis,
}

/// How a broker goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// SIGKILL: connections end at once, and it comes back with what is on its disk.
    Killed,
    /// SIGSTOP: connections stay, and nobody answers on them.
    Stopped,
}

/// A site with its brokers, which are its own.
pub struct Everywhere {
    pub site: Site,
    pub port: u16,
    kafka: Kafka,
    mosquitto: Mosquitto,
    redis: Redis,
    /// In front of Mosquitto for the host alone: it lets nobody in before the witness is there.
    way: Proxy,
}

/// What came where. It outlives the witnesses.
#[derive(Debug, Default)]
pub struct Places {
    pub kafka: Arrivals,
    pub mqtt: Arrivals,
    pub redis: Arrivals,
    pub websocket: Arrivals,
}

impl Broker {
    pub const ALL: [Self; 3] = [Self::Kafka, Self::Mosquitto, Self::Redis];

    /// The name of the components that use it.
    pub fn component(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Mosquitto => "mqtt",
            Self::Redis => "redis",
        }
    }
}

impl Places {
    /// What came to a broker.
    pub fn at(&self, broker: Broker) -> &Arrivals {
        match broker {
            Broker::Kafka => &self.kafka,
            Broker::Mosquitto => &self.mqtt,
            Broker::Redis => &self.redis,
        }
    }
}

impl Everywhere {
    /// Starts the brokers.
    pub fn new() -> Self {
        let kafka = Kafka::start();
        kafka.create_guide_topics();
        // A broker that is killed forgets what it has queued: the witness is to have been sent everything by then.
        let settings = "max_inflight_messages 0".to_owned();
        let mosquitto = Mosquitto::start(&MosquittoOptions { settings, ..Default::default() });
        // A write is handed to the system before it is answered. With `everysec` it may wait for a sync until after that.
        let settings = "appendfsync no\n".to_owned();
        let redis = Redis::start(&RedisOptions { settings, ..Default::default() });
        let (port, way) = (free_port(), Proxy::new(mosquitto.port));
        let site = Site::new()
            .pipeline("sync", &pipeline(port, &kafka.plaintext(), way.port(), redis.port))
            // Notices would take revisions at times that no test can know.
            .env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "24h");
        Self { site, port, kafka, mosquitto, redis, way }
    }

    /// Starts the host and waits until everything is connected.
    pub fn start(&self) -> Host {
        let mut host = self.site.start();
        host.wait_ready();
        host.wait_until("every broker", LIMIT, |host| {
            Broker::ALL.iter().all(|broker| !is_away(host, *broker))
        });
        host
    }

    /// Starts the host and waits until authors are let in, whatever else is away.
    pub fn start_without(&self) -> Host {
        let host = self.site.start();
        let open = || TcpStream::connect(("127.0.0.1", self.port)).ok();
        eventually(LIMIT, open).expect("authors are let in while a broker is away");
        host
    }

    /// A witness at each broker.
    pub fn witnesses(&self, places: &Places) -> Vec<Witness> {
        vec![
            Witness::of_kafka(&self.kafka, TOPIC, &places.kafka),
            self.mqtt_witness(places),
            Witness::of_redis(&self.redis, STREAM, &places.redis),
        ]
    }

    fn mqtt_witness(&self, places: &Places) -> Witness {
        Witness::of_mqtt(self.mosquitto.port, FILTER, &places.mqtt)
    }

    pub fn take_away(&self, broker: Broker, absence: Absence) {
        match (broker, absence) {
            (Broker::Kafka, Absence::Killed) => self.kafka.kill(),
            (Broker::Kafka, Absence::Stopped) => self.kafka.stop(),
            (Broker::Mosquitto, Absence::Killed) => {
                self.mosquitto.kill();
                self.way.cut();
            }
            (Broker::Mosquitto, Absence::Stopped) => self.mosquitto.stop(),
            (Broker::Redis, Absence::Killed) => self.redis.kill(),
            (Broker::Redis, Absence::Stopped) => self.redis.stop(),
        }
    }

    /// The broker answers again when this comes back.
    pub fn bring_back(
        &self,
        broker: Broker,
        absence: Absence,
        places: &Places,
        witnesses: &mut Vec<Witness>,
    ) {
        match (broker, absence) {
            (Broker::Kafka, Absence::Killed) => self.kafka.restart(),
            (Broker::Kafka, Absence::Stopped) => self.kafka.cont(),
            (Broker::Mosquitto, Absence::Killed) => {
                self.mosquitto.restart();
                witnesses.push(self.mqtt_witness(places));
                self.way.clear();
            }
            (Broker::Mosquitto, Absence::Stopped) => self.mosquitto.cont(),
            (Broker::Redis, Absence::Killed) => self.redis.restart(),
            (Broker::Redis, Absence::Stopped) => self.redis.cont(),
        }
    }

    /// Everything that was answered is in the log, everything in the log is at every broker and in the order of each key,
    /// each broker shows the newest value, and nothing is dead. Prints the ledger.
    pub fn settle(&self, host: &mut Host, places: &Places, sent: &[Sent], numbers: &Numbers) {
        let (end, revision) = self.end(numbers);
        let brokers = Broker::ALL.map(|broker| (broker.component(), places.at(broker)));
        for (name, place) in brokers {
            host.wait_until(&format!("the last change at {name}"), 2 * LIMIT, |_| place.has(end));
        }
        let output = self.site.path("out.ndjson");
        host.wait_until("the last change in the file", LIMIT, |_| last_revision(&output) >= revision);
        let history = written_history(&output);
        history.assert_complete();
        let answered: Vec<&Sent> = sent.iter().filter(|sent| sent.answer.is_some()).collect();
        for sent in &answered {
            let there = sent.revision().and_then(|revision| history.get(revision));
            assert_eq!(there.map(|there| there.number), Some(sent.number), "{sent:?}");
        }
        println!("{} sent, {} answered, {} committed", sent.len(), answered.len(), history.len());
        let offered: Vec<Numbered> =
            history.range(..).map(|change| Numbered::new(change.key, change.number)).collect();
        for (name, place) in brokers {
            let ledger = KeyLedger::new(offered.clone(), place.all());
            println!("{name}: {}", ledger.line());
            match name {
                // What a cell of the cache shows already is not told again, and a cell is written before it is told of.
                "redis" => ledger.assert_newest_in_order(name),
                _ => ledger.assert_at_least_once_in_order(name),
            }
            ledger.assert_ends_with_the_newest(name);
        }
        self.shows_the_newest(&newest(&offered));
        let dead = dead_letters(&self.site);
        assert!(dead.is_empty(), "{} are dead: {:?}", dead.len(), dead.first());
        assert_eq!(self.kafka.client().read_all("apg-config-dlq"), [], "nothing is dead by Kafka");
    }

    /// What a program sees that comes now: records on disk, retained messages, cells.
    fn shows_the_newest(&self, newest: &BTreeMap<String, u64>) {
        let records = self.kafka.client().read_all(TOPIC);
        let records = records.iter().map(|record| of(&record.json()));
        let retained = MqttClient::retained(self.mosquitto.port, FILTER);
        let retained = retained.iter().filter(|message| !message.payload.is_empty());
        let cells: BTreeMap<String, String> = self.redis.command(&["HGETALL", CACHE]);
        let cells = cells.values().map(|cell| of(&serde_json::from_str(cell).expect("a cell is JSON")));
        let shown: [(&str, BTreeMap<String, u64>); 3] = [
            ("Kafka", records.collect()),
            ("MQTT", retained.map(|message| of(&message.json())).collect()),
            ("Redis", cells.collect()),
        ];
        for (name, shown) in shown {
            assert_eq!(shown, *newest, "{name} shows the newest value of every key");
        }
    }

    /// Makes the last change of all, and gives its number and its revision.
    fn end(&self, numbers: &Numbers) -> (u64, Option<u64>) {
        let (mut author, number) = (WsClient::connect(self.port), numbers.take());
        author.subscribe(&[]);
        let answer = author.change("app.end", &json!({ "n": number }));
        assert_eq!(answer["success"], true, "{answer}");
        (number, answer["revision"].as_u64())
    }
}

/// Whether the sink of this broker says that it is away.
pub fn is_away(host: &Host, broker: Broker) -> bool {
    host.status().component("sync", "sinks", broker.component())["state"] == "not_connected"
}

fn of(change: &Value) -> (String, u64) {
    let (key, number) = (change["config_key"].as_str(), change["new_value"]["n"].as_u64());
    let (Some(key), Some(number)) = (key, number) else { panic!("no change of ours: {change}") };
    (key.to_owned(), number)
}

fn newest(offered: &[Numbered]) -> BTreeMap<String, u64> {
    offered.iter().map(|offered| (offered.key.clone(), offered.number)).collect()
}

fn pipeline(port: u16, kafka: &str, mqtt: u16, redis: u16) -> String {
    let websocket = format!("{{ listen: 127.0.0.1:{port}, max_messages_per_second: 0 }}");
    let kafka = format!("{{ bootstrap_servers: [\"{kafka}\"] }}");
    let mqtt = format!("broker_host: 127.0.0.1, broker_port: {mqtt}, username: app, password: app-secret");
    let redis = format!("{{ host: 127.0.0.1, port: {redis}, username: app, password: app-secret }}");
    format!(
        "
sources:
  - {{ plugin: websocket, config: {websocket} }}
  - {{ plugin: kafka, config: {kafka} }}
  - {{ plugin: mqtt, config: {{ {mqtt}, patterns: [\"app.*\"] }} }}
  - {{ plugin: redis, config: {redis} }}
transforms:
  - {{ plugin: resolver }}
sinks:
  - {{ plugin: websocket, config: {websocket} }}
  - {{ plugin: kafka, {ON_ERROR}, config: {kafka} }}
  - {{ plugin: mqtt, {ON_ERROR}, config: {{ {mqtt} }} }}
  - {{ plugin: redis, {ON_ERROR}, config: {redis} }}
  - {{ plugin: file, config: {{ path: SITE/out.ndjson }} }}
delivery: {{ in_flight: {{ bytes: {IN_FLIGHT} }} }}
"
    )
}

/// Far shorter than any outage: an endpoint that is away must not use it.
const ON_ERROR: &str = "on_error: { retry: { attempts: 1, backoff: 1s }, then: dead_letter }";
