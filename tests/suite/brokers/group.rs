//! Two hosts that share a consumer group: one is killed, the other takes over, and each event is applied once.

use lockstep_test_support::{
    Host, Kafka, KafkaClient, KafkaRecord, LIMIT, Redis, RedisOptions, Site, is_full,
};
use redis::streams::StreamRangeReply;
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

/// The streams: of the sink that applies each event once, and of one that writes whatever it is given.
const ONCE: &str = "once";
const EACH_TIME: &str = "each-time";

/// What the sink counts an event's applications at.
const APPLIED: &str = "apg-config:applied:{once}:";

/// How many events each host takes before one of them is killed.
const SHARE: f64 = 200.0;

/// So many events are made at a time: some in each partition.
const BATCH: u64 = 40;

/// And so long after the ones before.
const PACE: Duration = Duration::from_millis(50);

#[test]
fn the_other_host_of_a_group_takes_over_and_each_event_is_applied_once() {
    let kafka = Kafka::shared();
    let redis = Redis::start(&RedisOptions::default());
    let topic = kafka.topic("group", 4, &[]);
    let sites = ["a", "b"].map(|node| member(kafka, &redis, &topic, node));
    let [mut killed, mut other] = sites.each_ref().map(Site::start);
    // What is written for certain.
    let n_made = AtomicU64::new(0);
    std::thread::scope(|scope| {
        // It goes when this does, also if the test fails.
        let (_goes_on, stop) = mpsc::sync_channel(0);
        let (topic, n_made) = (&topic, &n_made);
        scope.spawn(move || produce(kafka.client(), topic, n_made, &stop));
        for host in [&mut killed, &mut other] {
            host.wait_until("its share of the partitions", 2 * LIMIT, |host| n_read(host) >= SHARE);
        }
        // It still has partitions, and the group has not heard of all that it has read of them.
        let n_before = n_read(&killed);
        killed.wait_until("more of its share", 2 * LIMIT, |host| n_read(host) >= n_before + BATCH as f64);
        killed.kill();
        let killed_at = Instant::now();
        // Made afterwards, and in every partition.
        let first = n_made.load(Ordering::Relaxed) + BATCH;
        other.wait_until("what came after the kill", session_timeout() + LIMIT, |_| {
            are_applied(&redis, first..first + BATCH)
        });
        println!("taken over {:?} after the kill", killed_at.elapsed());
    });
    let n_made = n_made.into_inner();
    other.wait_until("every event", 2 * LIMIT, |_| are_applied(&redis, 0..n_made));

    let events = 0..n_made;
    let counts: Vec<Option<u64>> = command(&redis, "MGET", events.clone());
    assert!(counts.iter().all(|count| *count == Some(1)), "each was applied once");
    let applied = n_times(&redis, ONCE);
    assert!(applied.keys().copied().eq(events.clone()), "{} of {n_made} are there", applied.len());
    let twice = applied.iter().find(|(_, times)| **times != 1);
    assert_eq!(twice, None, "an event was applied twice");
    // What was read and not yet committed when the host was killed came again: without it, nothing was shown. The sinks do
    // not wait for each other.
    let given = other.wait_for("every event at the other sink", 2 * LIMIT, |_| {
        let given = n_times(&redis, EACH_TIME);
        given.keys().copied().eq(events.clone()).then_some(given)
    });
    let n_again = given.values().sum::<u64>() - n_made;
    println!("{n_made} events, {n_again} of them given again");
    assert!(n_again > 0, "the kill made nothing come again");
}

/// A site of one member of the group.
fn member(kafka: &Kafka, redis: &Redis, topic: &str, node: &str) -> Site {
    let redis = format!("port: {}, username: app, password: app-secret", redis.port);
    // In full, the group waits as long as it does by default.
    let session = if is_full() { "" } else { "session_timeout_ms: 6000, heartbeat_interval_ms: 2000, " };
    let yaml = format!(
        "
sources:
  - plugin: kafka
    config:
      {{ bootstrap_servers: [\"{}\"], topics: [{topic}], group_id: {topic}, {session}auto_offset_reset: earliest,
        auto_commit_interval_ms: 60000 }}
sinks:
  - {{ name: once, plugin: redis, config: {{ {redis}, stream: {ONCE}, once: {{ for: 24h }} }} }}
  - {{ name: each-time, plugin: redis, config: {{ {redis}, stream: {EACH_TIME} }} }}
",
        kafka.plaintext()
    );
    Site::new().pipeline("member", &yaml).env("LOCKSTEP_NODE_ID", node)
}

fn session_timeout() -> Duration {
    if is_full() { Duration::from_secs(30) } else { Duration::from_secs(6) }
}

fn n_read(host: &Host) -> f64 {
    host.metrics().sum("lockstep_records_read_total", &[("component", "kafka")])
}

/// Makes events until nobody holds the other end.
fn produce(client: &KafkaClient, topic: &str, n_made: &AtomicU64, stop: &Receiver<()>) {
    while stop.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
        let first = n_made.load(Ordering::Relaxed);
        let events = (first..first + BATCH).map(|number| {
            let headers = vec![("event_id".to_owned(), event_id(number).into_bytes())];
            let key = format!("k{}", number % BATCH).into_bytes();
            KafkaRecord { key: Some(key), value: number.to_string().into_bytes(), headers }
        });
        client.produce_records(topic, events);
        n_made.store(first + BATCH, Ordering::Relaxed);
    }
}

fn event_id(number: u64) -> String {
    format!("00000000-0000-7000-8000-{number:012x}")
}

fn are_applied(redis: &Redis, numbers: Range<u64>) -> bool {
    let n_wanted = numbers.end - numbers.start;
    command::<u64>(redis, "EXISTS", numbers) == n_wanted
}

/// A command about where applications of these events are counted.
fn command<T: redis::FromRedisValue>(redis: &Redis, name: &str, numbers: Range<u64>) -> T {
    let keys: Vec<String> = numbers.map(|number| format!("{APPLIED}{}", event_id(number))).collect();
    let words: Vec<&str> = std::iter::once(name).chain(keys.iter().map(String::as_str)).collect();
    redis.command(&words)
}

/// How often each event lies in a stream.
fn n_times(redis: &Redis, stream: &str) -> BTreeMap<u64, u64> {
    let entries: StreamRangeReply = redis.command(&["XRANGE", stream, "-", "+"]);
    let mut times = BTreeMap::new();
    for entry in entries.ids {
        let number = entry.get::<u64>("value").expect("an event's value is its number");
        *times.entry(number).or_default() += 1;
    }
    times
}
