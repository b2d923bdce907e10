//! Pipelines that only move records: killed again and again, they lose none and keep the order that there was.

use lockstep_test_support::{
    Host, Kafka, KafkaMessage, KafkaReader, KeyLedger, LIMIT, Mosquitto, MosquittoOptions, MqttClient,
    Numbered, Redis, RedisOptions, Site, eventually, is_full, random, scale,
};
use redis::streams::StreamRangeReply;
use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::{
        Mutex,
        mpsc::{self, Receiver, TryRecvError},
    },
    time::Duration,
};

/// How many records are offered at a time.
const AT_ONCE: u64 = 100;

/// A host is killed before this many records more have arrived since it came to work.
const MOST_PER_LIFE: usize = 1_500;

/// The other end of a pipeline, seen from outside.
trait Target {
    /// How many records are there, repeated ones included.
    fn n_arrived(&mut self) -> usize;
    /// How many different ones.
    fn n_distinct(&mut self) -> usize;
    /// Waits until there are this many.
    fn wait_for(&mut self, n: usize);
}

#[test]
fn kafka_to_kafka_is_at_least_once_and_in_order_of_each_partition_after_kills() {
    let kafka = Kafka::shared();
    let (input, output) = (kafka.topic("direct-in", 4, &[]), kafka.topic("direct-out", 4, &[]));
    let servers = format!("bootstrap_servers: [\"{}\"]", kafka.plaintext());
    // A killed host's place in its group is free when its session has ended.
    let session = if is_full() { "" } else { "session_timeout_ms: 6000, heartbeat_interval_ms: 2000, " };
    let site = Site::new().pipeline(
        "direct",
        &format!(
            "
sources: [ {{ plugin: kafka, config: {{ {servers}, {session}topic: {input}, auto_offset_reset: earliest }} }} ]
sinks: [ {{ plugin: kafka, config: {{ {servers}, topic: {output} }} }} ]
"
        ),
    );
    let produce = |numbers: Range<u64>| {
        let keys: Vec<String> = numbers.clone().map(|number| format!("k{}", number % 16)).collect();
        let records = keys.iter().zip(numbers).map(|(key, number)| (key.as_str(), number.to_string()));
        kafka.client().produce_all(&input, records);
    };
    let mut target = kafka.client().reader(&output);
    let (_host, n_offered) = killed_again_and_again(&site, "kafka to kafka", produce, &mut target);

    let offered = kafka.client().read_all(&input);
    assert_eq!(offered.len() as u64, n_offered);
    let (mut n_looked_at, mut values) = (0, HashSet::new());
    target.wait_for("every record", |arrived| {
        values.extend(arrived[n_looked_at..].iter().map(|message| message.value.clone()));
        n_looked_at = arrived.len();
        (values.len() >= offered.len()).then_some(())
    });
    let ledger = by_partition(&offered, target.messages());
    println!("kafka to kafka: {}", ledger.line());
    ledger.assert_at_least_once_in_order("the other topic");
}

#[test]
fn mqtt_to_redis_is_at_least_once_and_in_order_of_each_topic_after_kills() {
    let mosquitto = Mosquitto::start(&MosquittoOptions::default());
    let redis = Redis::start(&RedisOptions::default());
    let login = "username: app, password: app-secret";
    let site = Site::new().pipeline(
        "direct",
        &format!(
            "
sources: [ {{ plugin: mqtt, config: {{ broker_port: {}, {login}, topics: [\"plant/#\"] }} }} ]
sinks: [ {{ plugin: redis, config: {{ port: {}, {login}, stream: plant }} }} ]
",
            mosquitto.port, redis.port
        ),
    );
    // What is published before there is a subscription is nobody's.
    let mut host = site.start();
    let mut publisher = MqttClient::connect(mosquitto.port);
    let mut target = Stream { redis: &redis, name: "plant" };
    host.wait_until("a subscription", LIMIT, |_| {
        publisher.publish("plant/ready", "", false);
        target.n_arrived() > 0
    });
    host.stop();

    let topic = |number: u64| format!("plant/line/{}", number % 8);
    let publisher = Mutex::new(publisher);
    let publish = |numbers: Range<u64>| {
        let topics: Vec<String> = numbers.clone().map(topic).collect();
        let messages = topics.iter().zip(numbers).map(|(topic, number)| (topic.as_str(), number.to_string()));
        publisher.lock().expect("no panic").publish_all(messages, false);
    };
    let (_host, n_offered) = killed_again_and_again(&site, "mqtt to redis", publish, &mut target);

    let offered: Vec<Numbered> = (0..n_offered).map(|number| Numbered::new(topic(number), number)).collect();
    let ledger = || KeyLedger::new(offered.clone(), target.entries());
    let is_complete = |ledger: &KeyLedger| ledger.missing.is_empty() && ledger.superseded.is_empty();
    eventually(LIMIT, || (target.len() >= offered.len() && is_complete(&ledger())).then_some(()));
    println!("mqtt to redis: {}", ledger().line());
    ledger().assert_at_least_once_in_order("the stream");
}

/// Kills the host in the middle of its work, again and again, and starts it a last time. `offer` offers records by their
/// numbers. Gives how many were offered.
fn killed_again_and_again(
    site: &Site,
    name: &str,
    offer: impl Fn(Range<u64>) + Sync,
    target: &mut impl Target,
) -> (Host, u64) {
    let n_kills = scale(5, 30);
    let mut random = random(name);
    let (mut n_offered, mut n_hits) = (0, 0);
    for _ in 0..n_kills {
        let mut host = site.start();
        // It is at work when something new comes out.
        let so_far = target.n_arrived();
        offer(n_offered..n_offered + AT_ONCE);
        n_offered += AT_ONCE;
        target.wait_for(so_far + 1);
        let aim = target.n_arrived() + random.usize(0..MOST_PER_LIFE);
        std::thread::scope(|scope| {
            // It goes when this does, also if the test fails.
            let (goes_on, stop) = mpsc::sync_channel(0);
            let (offer, next) = (&offer, n_offered);
            let offering = scope.spawn(move || offer_until(&stop, offer, next));
            target.wait_for(aim);
            // Between two records, or in the middle of one.
            std::thread::sleep(Duration::from_micros(random.u64(0..5_000)));
            host.kill();
            drop(goes_on);
            n_offered = offering.join().expect("records can be offered");
        });
        n_hits += usize::from((target.n_distinct() as u64) < n_offered);
    }
    println!("{name}: {n_kills} kills, {n_hits} with records on their way, {n_offered} records");
    assert!(2 * n_hits >= n_kills, "too few kills hit anything: {n_hits}");
    (site.start(), n_offered)
}

/// Offers records until nobody holds the other end, and gives the number behind the last one.
fn offer_until(stop: &Receiver<()>, offer: &impl Fn(Range<u64>), mut next: u64) -> u64 {
    while stop.try_recv() == Err(TryRecvError::Empty) {
        offer(next..next + AT_ONCE);
        next += AT_ONCE;
    }
    next
}

impl Target for KafkaReader {
    fn n_arrived(&mut self) -> usize {
        self.read_to_end();
        self.messages().len()
    }

    fn n_distinct(&mut self) -> usize {
        self.read_to_end();
        self.messages().iter().map(|message| &message.value).collect::<HashSet<_>>().len()
    }

    fn wait_for(&mut self, n: usize) {
        self.wait_for_n(n);
    }
}

/// A stream of a server.
#[derive(Clone, Copy)]
struct Stream<'a> {
    redis: &'a Redis,
    name: &'a str,
}

impl Stream<'_> {
    fn len(&self) -> usize {
        self.redis.command(&["XLEN", self.name])
    }

    /// Its entries that have a number for a value, in order.
    fn entries(&self) -> Vec<Numbered> {
        let entries: StreamRangeReply = self.redis.command(&["XRANGE", self.name, "-", "+"]);
        let numbered = |entry: redis::streams::StreamId| {
            let number = entry.get::<String>("value")?.parse().ok()?;
            Some(Numbered::new(entry.get::<String>("key")?, number))
        };
        entries.ids.into_iter().filter_map(numbered).collect()
    }
}

impl Target for Stream<'_> {
    fn n_arrived(&mut self) -> usize {
        self.len()
    }

    fn n_distinct(&mut self) -> usize {
        self.entries().iter().map(|entry| entry.number).collect::<HashSet<_>>().len()
    }

    fn wait_for(&mut self, n: usize) {
        let enough = eventually(LIMIT, || (self.len() >= n).then_some(()));
        assert!(enough.is_some(), "waited {LIMIT:?} for {n} entries, {} are there", self.len());
    }
}

/// What lay in one partition, against what of it lies in one partition of the other topic: all records of a key go from the
/// one to the other.
fn by_partition(offered: &[KafkaMessage], arrived: &[KafkaMessage]) -> KeyLedger {
    let of_key = |messages: &[KafkaMessage]| -> HashMap<Option<String>, i32> {
        let mut partitions = HashMap::new();
        for message in messages {
            let partition = *partitions.entry(message.key_text()).or_insert(message.partition);
            assert_eq!(partition, message.partition, "all of a key lies in one partition: {message:?}");
        }
        partitions
    };
    let (from, to) = (of_key(offered), of_key(arrived));
    let numbered = |message: &KafkaMessage| {
        let key = message.key_text();
        let (from, to) = (from.get(&key), to.get(&key));
        Numbered::new(format!("{from:?} to {to:?}"), message.json().as_u64().expect("the value is a number"))
    };
    let in_order = |messages: &[KafkaMessage]| {
        let mut messages: Vec<&KafkaMessage> = messages.iter().collect();
        messages.sort_by_key(|message| (message.partition, message.offset));
        messages.into_iter().map(numbered).collect::<Vec<_>>()
    };
    KeyLedger::new(in_order(offered), in_order(arrived))
}
