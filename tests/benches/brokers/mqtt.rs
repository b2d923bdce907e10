//! MQTT QoS 1 -> Redis: the host with a direct pipeline, and the bare program.
//!
//! Each works off what the broker has kept for it: it is stopped once it is connected, and goes on when everything is
//! published. So nobody else works while it is measured but the two servers.

use crate::{
    message,
    process::Process,
    rate::{self, Rate},
};
use lockstep_test_support::{Mosquitto, MosquittoOptions, MqttClient, PASSWORD, Redis, RedisOptions, USER};
use redis::Value;
use std::{collections::HashMap, path::Path, thread, time::Duration};

const N_RECORDS: u64 = 100_000;
const N_SLICES: usize = 3;
const STREAM: &str = "apg-config:log:acme";

/// The broker keeps messages in memory, and sends as many as a client takes.
const BROKER: &str = "persistence false\nmax_inflight_messages 1000\n";

pub fn run(built: &Path, dir: &Path) {
    let mosquitto = Mosquitto::start(&MosquittoOptions { settings: BROKER.to_owned(), ..Default::default() });
    let redis = Redis::start(&RedisOptions::default());
    let mut best = [Rate::default(); 2];
    for _ in 0..N_SLICES {
        let work = format!("mqtt {} {}", mosquitto.port, redis.port);
        best[0].take(slice(&mosquitto, &redis, Process::bare(dir, &work)));
        let pipeline = pipeline(&mosquitto, &redis);
        best[1].take(slice(&mosquitto, &redis, Process::host(built, dir, &pipeline)));
    }
    let title = "MQTT QoS 1 -> Redis (hash, stream and channel), changes of 200 bytes";
    rate::print(title, ("rumqttc + pipelined redis", best[0]), best[1], None);
}

fn slice(mosquitto: &Mosquitto, redis: &Redis, process: Process) -> Rate {
    let mut connection = redis.client(USER, PASSWORD).get_connection().expect("the server is there");
    let () = redis::cmd("FLUSHALL").query(&mut connection).expect("the server answers");
    let mut n_written = || n_added(&mut connection);
    let mut publisher = MqttClient::connect(mosquitto.port);
    let mut n_first = 0;
    while n_written() == 0 {
        publish(&mut publisher, 1);
        n_first += 1;
        assert!(n_first < 600, "nothing arrives\n{}", process.last_words());
        thread::sleep(Duration::from_millis(100));
    }
    process.stop();
    // Of the first messages, those arrive that were published to a subscription.
    let n_before = n_written();
    publish(&mut publisher, N_RECORDS);
    process.cont();
    Rate::of(&process, N_RECORDS, || n_written().saturating_sub(n_before))
}

fn publish(publisher: &mut MqttClient, n: u64) {
    let topics: Vec<String> =
        (0..n).map(|n| format!("apg/config/acme/app/bench/key{:03}", n % 1000)).collect();
    let messages = topics.iter().zip(0..).map(|(topic, n)| (topic.as_str(), message::value(n)));
    publisher.publish_all(messages, false);
}

/// How many entries the stream has ever had.
fn n_added(connection: &mut redis::Connection) -> u64 {
    let info = redis::cmd("XINFO").arg(&["STREAM", STREAM]).query::<HashMap<String, Value>>(connection);
    // Before the first entry there is no stream.
    match info.ok().and_then(|mut info| info.remove("entries-added")) {
        Some(Value::Int(n)) => n as u64,
        _ => 0,
    }
}

fn pipeline(mosquitto: &Mosquitto, redis: &Redis) -> String {
    let login = format!("username: {USER}, password: {PASSWORD}");
    format!(
        r#"sources:
  - plugin: mqtt
    config: {{ broker_port: {}, {login}, patterns: ["app.*"], retain: false }}
sinks:
  - plugin: redis
    config: {{ port: {}, {login} }}
delivery: {{ batch: {{ records: 1000 }} }}
"#,
        mosquitto.port, redis.port
    )
}
