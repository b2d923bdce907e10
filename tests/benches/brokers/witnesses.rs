//! One consumer of each transport, outside of the host, reading as programs do that want to know at once.
//!
//! Each reads from the beginning of what it reads, and until the process ends.

use crate::{websocket, witness::Witness};
use futures_util::StreamExt;
use lockstep_test_support::{Kafka, Mosquitto, MqttClient, PASSWORD, Redis, USER};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{Commands, Value};
use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

const TOPIC: &str = "apg-config-general";
const STREAM: &str = "apg-config:log:global";

/// Longer than any part of the benchmark.
const FOREVER: Duration = Duration::from_secs(3600);

pub async fn of_websocket(server: SocketAddr, witness: Arc<Witness>) {
    let mut socket = websocket::connect(server).await;
    tokio::spawn(async move {
        while let Some(Ok(message)) = socket.next().await {
            witness.note(&message.into_data());
        }
    });
}

pub fn of_kafka(kafka: &Kafka, witness: Arc<Witness>) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.plaintext())
        .set("group.id", "bench-witness")
        .set("enable.auto.commit", "false")
        .create()
        .expect("librdkafka takes the settings");
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(TOPIC, 0, Offset::Beginning).expect("a partition with an offset");
    consumer.assign(&assignment).expect("a partition can be assigned");
    thread::spawn(move || {
        for message in consumer.iter().flatten() {
            witness.note(message.payload().unwrap_or_default());
        }
    });
}

pub fn of_mqtt(mosquitto: &Mosquitto, witness: Arc<Witness>) {
    let mut client = MqttClient::connect(mosquitto.port);
    client.subscribe("apg/config/#");
    thread::spawn(move || {
        while let Some(message) = client.try_next(FOREVER) {
            witness.note(&message.payload);
        }
    });
}

pub fn of_redis(redis: &Redis, witness: Arc<Witness>) {
    let mut connection = redis.client(USER, PASSWORD).get_connection().expect("the server is there");
    let options = StreamReadOptions::default().block(1000).count(1000);
    thread::spawn(move || {
        let mut last = "0".to_owned();
        // The server ends with the benchmark.
        while let Ok(reply) = connection.xread_options(&[STREAM], &[&last], &options) {
            let reply: Option<StreamReadReply> = reply;
            for entry in reply.into_iter().flat_map(|reply| reply.keys).flat_map(|stream| stream.ids) {
                for field in entry.map.values() {
                    if let Value::BulkString(bytes) = field {
                        witness.note(bytes);
                    }
                }
                last = entry.id;
            }
        }
    });
}
