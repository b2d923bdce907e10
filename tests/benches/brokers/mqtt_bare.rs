//! The limit for MQTT -> Redis: rumqttc with manual acknowledgements, and one pipeline of commands for whatever has come
//! in the meantime. A message is acknowledged when Redis has answered.

use crate::message::Change;
use lockstep_test_support::{PASSWORD, USER};
use redis::{Pipeline, Script, aio::MultiplexedConnection};
use rumqttc::v5::{
    AsyncClient, Event, EventLoop, Incoming, MqttOptions,
    mqttbytes::{QoS, v5::Publish},
};
use std::time::Duration;
use tokio::sync::mpsc;

const SCRIPT: &str = include_str!("../../../plugins/redis/src/cell.lua");

/// How many messages the broker may have sent that are not acknowledged yet.
const RECEIVE_MAXIMUM: u16 = 1000;
const MOST_AT_ONCE: usize = 1000;

/// Acknowledgements wait in the client while it hands over a message, so handing over must never wait for them. Mosquitto
/// 2.0 sends a whole receive maximum more for each one while it has a backlog.
const MOST_UNSENT_ACKS: usize = 1_000_000;

/// Writes until the process is ended.
pub fn run(mqtt_port: u16, redis_port: u16) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let url = format!("redis://{USER}:{PASSWORD}@127.0.0.1:{redis_port}");
        let redis = redis::Client::open(url).expect("an address");
        let redis = redis.get_multiplexed_async_connection().await.expect("the server is there");
        let (client, events) = AsyncClient::new(options(mqtt_port), MOST_UNSENT_ACKS);
        client.subscribe("apg/config/#", QoS::AtLeastOnce).await.expect("the client lives");
        let (came, messages) = mpsc::channel(RECEIVE_MAXIMUM.into());
        tokio::spawn(write(client, redis, messages));
        read(events, came).await;
    });
}

fn options(port: u16) -> MqttOptions {
    let mut options = MqttOptions::new("bare", "127.0.0.1", port);
    options
        .set_credentials(USER, PASSWORD)
        .set_keep_alive(Duration::from_secs(60))
        .set_receive_maximum(Some(RECEIVE_MAXIMUM))
        .set_manual_acks(true);
    options
}

async fn read(mut events: EventLoop, came: mpsc::Sender<Publish>) {
    loop {
        if let Event::Incoming(Incoming::Publish(message)) = events.poll().await.expect("the broker is there")
        {
            came.send(message).await.expect("somebody writes");
        }
    }
}

async fn write(client: AsyncClient, mut redis: MultiplexedConnection, mut messages: mpsc::Receiver<Publish>) {
    let script = Script::new(SCRIPT);
    let _: String =
        redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query_async(&mut redis).await.expect("a script");
    let mut batch = Vec::with_capacity(MOST_AT_ONCE);
    while messages.recv_many(&mut batch, MOST_AT_ONCE).await > 0 {
        let mut pipeline = redis::pipe();
        batch.iter().for_each(|message| add(&mut pipeline, &script, message));
        let () = pipeline.query_async(&mut redis).await.expect("the server is there");
        for message in batch.drain(..) {
            client.ack(&message).await.expect("the client lives");
        }
    }
}

/// What the sink writes for a change, in the same one step: an entry of the stream, a message for those who listen, the
/// newest state.
fn add(pipeline: &mut Pipeline, script: &Script, message: &Publish) {
    let change: Change<'_> = serde_json::from_slice(&message.payload).expect("a change");
    let Change { tenant_id, config_key, .. } = change;
    let evaluate = pipeline.cmd("EVALSHA").arg(script.get_hash()).arg(2);
    evaluate.arg(format!("apg-config:cache:{tenant_id}")).arg(format!("apg-config:log:{tenant_id}"));
    evaluate.arg(config_key).arg(&message.payload[..]).arg("*");
    evaluate.arg(format!("apg-config:events:{tenant_id}")).arg(100_000);
    for (name, value) in [
        ("event_type", change.event_type),
        ("tenant_id", tenant_id),
        ("config_key", config_key),
        ("source_node", change.source_node),
    ] {
        evaluate.arg(name).arg(value);
    }
    evaluate.ignore();
}
