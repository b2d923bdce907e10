//! An MQTT 5 client for checks from outside: sees every message once, with the retained flag that its publisher gave it.

use super::{PASSWORD_SUFFIX, USER};
use crate::wait::LIMIT;
use rumqttc::v5::{
    Client, Connection, Event, Incoming, MqttOptions,
    mqttbytes::{
        QoS,
        v5::{Filter, PubAckReason, Publish, RetainForwardRule, SubAck, SubscribeReasonCode},
    },
};
use serde_json::Value;
use std::{
    collections::VecDeque,
    sync::mpsc,
    time::{Duration, Instant},
};

/// How many messages are kept for a test that does not take them; then the broker has to.
const N_KEPT: usize = 100_000;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttMessage {
    pub topic: String,
    pub payload: Vec<u8>,
    /// Whether its publisher wanted it retained.
    pub retain: bool,
    pub qos: u8,
}

enum Heard {
    Connected,
    Message(MqttMessage),
    Published(PubAckReason),
    Subscribed(SubAck),
    Ended(String),
}

/// One connection. Disconnected when it is dropped.
pub struct MqttClient {
    client: Client,
    heard: mpsc::Receiver<Heard>,
    messages: VecDeque<MqttMessage>,
}

impl std::fmt::Debug for MqttClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MqttClient").finish_non_exhaustive()
    }
}

impl MqttMessage {
    /// The payload as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The payload as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

impl MqttClient {
    /// Connects to a loopback port as `app`.
    ///
    /// # Panics
    /// If the broker refuses or does not answer.
    pub fn connect(port: u16) -> Self {
        Self::connect_as(port, USER).unwrap_or_else(|error| panic!("MQTT on port {port}: {error}"))
    }

    /// Connects as this user, with the password that this user has.
    ///
    /// # Errors
    /// What the broker or the network says.
    pub fn connect_as(port: u16, user: &str) -> Result<Self, String> {
        Self::connect_with(port, user, &format!("{user}{PASSWORD_SUFFIX}"))
    }

    /// Connects as this user with this password.
    ///
    /// # Errors
    /// What the broker or the network says.
    pub fn connect_with(port: u16, user: &str, password: &str) -> Result<Self, String> {
        let name = format!("tests-{:016x}", fastrand::u64(..));
        let mut options = MqttOptions::new(name, "127.0.0.1", port);
        options
            .set_credentials(user, password)
            .set_keep_alive(Duration::from_secs(30))
            .set_outgoing_inflight_upper_limit(100)
            .set_max_packet_size(Some(12_000_000));
        let (client, connection) = Client::new(options, 100);
        let (tell, heard) = mpsc::sync_channel(N_KEPT);
        std::thread::spawn(move || listen(connection, &tell));
        let mut connected = Self { client, heard, messages: VecDeque::new() };
        connected.expect(|heard| matches!(heard, Heard::Connected).then_some(()))?;
        Ok(connected)
    }

    /// Subscribes with QoS 1, and waits until the broker has it.
    ///
    /// # Panics
    /// If the broker refuses.
    pub fn subscribe(&mut self, filter: &str) {
        let filter = Filter {
            path: filter.to_owned(),
            qos: QoS::AtLeastOnce,
            nolocal: false,
            preserve_retain: true,
            retain_forward_rule: RetainForwardRule::OnEverySubscribe,
        };
        self.client.subscribe_many([filter]).expect("the connection is there");
        let answer = self.expect(|heard| match heard {
            Heard::Subscribed(answer) => Some(answer),
            _ => None,
        });
        let codes = answer.unwrap_or_else(|error| panic!("subscribe: {error}")).return_codes;
        assert!(matches!(codes[..], [SubscribeReasonCode::Success(_)]), "subscribe: {codes:?}");
    }

    /// Publishes with QoS 1, and waits for the broker's answer.
    ///
    /// # Panics
    /// If the broker does not take it.
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>, retain: bool) {
        let answer = self.try_publish(topic, payload, retain);
        let taken = matches!(answer, Ok(PubAckReason::Success | PubAckReason::NoMatchingSubscribers));
        assert!(taken, "{topic}: {answer:?}");
    }

    /// Publishes with QoS 1, and gives the broker's answer.
    ///
    /// # Errors
    /// If the connection ends.
    pub fn try_publish(
        &mut self,
        topic: &str,
        payload: impl AsRef<[u8]>,
        retain: bool,
    ) -> Result<PubAckReason, String> {
        let published = self.client.publish(topic, QoS::AtLeastOnce, retain, payload.as_ref().to_owned());
        published.map_err(|error| error.to_string())?;
        self.expect(|heard| match heard {
            Heard::Published(reason) => Some(reason),
            _ => None,
        })
    }

    /// Publishes many with QoS 1, and waits until the broker has taken all of them.
    ///
    /// # Panics
    /// If the connection ends.
    pub fn publish_all<'a, P: Into<Vec<u8>>>(
        &mut self,
        messages: impl IntoIterator<Item = (&'a str, P)>,
        retain: bool,
    ) {
        let mut n_unanswered = 0_usize;
        let answered = |heard| matches!(heard, Heard::Published(_)).then_some(());
        for (topic, payload) in messages {
            let published = self.client.publish(topic, QoS::AtLeastOnce, retain, payload.into());
            published.expect("the connection is there");
            n_unanswered += 1;
            // Answers are taken in time, so that nothing piles up on the way.
            if n_unanswered >= 50 {
                self.expect(answered).expect("the connection is there");
                n_unanswered -= 1;
            }
        }
        for _ in 0..n_unanswered {
            self.expect(answered).expect("the connection is there");
        }
    }

    /// The next message, if one comes in time.
    pub fn try_next(&mut self, limit: Duration) -> Option<MqttMessage> {
        if let Some(message) = self.messages.pop_front() {
            return Some(message);
        }
        let start = Instant::now();
        while let Ok(heard) = self.heard.recv_timeout(limit.saturating_sub(start.elapsed())) {
            if let Heard::Message(message) = heard {
                return Some(message);
            }
        }
        None
    }

    /// The next message.
    ///
    /// # Panics
    /// If there is none in time.
    pub fn next_message(&mut self) -> MqttMessage {
        self.try_next(LIMIT).expect("a message in time")
    }

    /// The next message on this topic; others are passed over.
    ///
    /// # Panics
    /// If there is none in time.
    pub fn next_on(&mut self, topic: &str) -> MqttMessage {
        let start = Instant::now();
        loop {
            let message = self.next_message();
            if message.topic == topic {
                return message;
            }
            assert!(start.elapsed() < LIMIT, "nothing on {topic} in time, last: {message:?}");
        }
    }

    /// Everything that the broker has sent up to a message published now.
    pub fn messages_so_far(&mut self) -> Vec<MqttMessage> {
        let marker = format!("tests/marker/{:016x}", fastrand::u64(..));
        self.subscribe(&marker);
        self.publish(&marker, "", false);
        let mut messages = Vec::new();
        loop {
            let message = self.next_message();
            if message.topic == marker {
                return messages;
            }
            messages.push(message);
        }
    }

    /// What the broker on this port retains under this filter, as `app` sees it.
    pub fn retained(port: u16, filter: &str) -> Vec<MqttMessage> {
        let mut client = Self::connect(port);
        client.subscribe(filter);
        client.messages_so_far()
    }

    /// Waits for what is asked for; messages that come meanwhile are kept.
    fn expect<T>(&mut self, mut wanted: impl FnMut(Heard) -> Option<T>) -> Result<T, String> {
        loop {
            match self.heard.recv_timeout(LIMIT).map_err(|_| "no answer in time".to_owned())? {
                Heard::Message(message) => self.messages.push_back(message),
                Heard::Ended(error) => return Err(error),
                other => {
                    if let Some(found) = wanted(other) {
                        return Ok(found);
                    }
                }
            }
        }
    }
}

impl Drop for MqttClient {
    fn drop(&mut self) {
        let _ = self.client.try_disconnect();
    }
}

/// Passes on what the connection says until it ends; it is not made again.
fn listen(mut connection: Connection, tell: &mpsc::SyncSender<Heard>) {
    for event in connection.iter() {
        let heard = match event {
            Ok(Event::Incoming(Incoming::ConnAck(_))) => Heard::Connected,
            Ok(Event::Incoming(Incoming::Publish(message))) => Heard::Message(message.into()),
            Ok(Event::Incoming(Incoming::PubAck(answer))) => Heard::Published(answer.reason),
            Ok(Event::Incoming(Incoming::SubAck(answer))) => Heard::Subscribed(answer),
            Ok(_) => continue,
            Err(error) => {
                let _ = tell.send(Heard::Ended(error.to_string()));
                return;
            }
        };
        if tell.send(heard).is_err() {
            return;
        }
    }
}

impl From<Publish> for MqttMessage {
    fn from(message: Publish) -> Self {
        Self {
            topic: String::from_utf8_lossy(&message.topic).into_owned(),
            payload: message.payload.to_vec(),
            retain: message.retain,
            qos: message.qos as u8,
        }
    }
}
