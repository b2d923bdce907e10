//! A subscriber with QoS 1.

use super::{Arrivals, PATIENCE, Witness};
use crate::servers::MqttClient;
use std::time::Instant;

impl Witness {
    /// Subscribes to a filter; what the broker retains comes first. Ends with its connection.
    pub fn of_mqtt(port: u16, filter: &str, arrivals: &Arrivals) -> Self {
        let mut client = MqttClient::connect(port);
        client.subscribe(filter);
        Self::start(arrivals, move |arrivals, is_over| {
            while !is_over() {
                let since = Instant::now();
                match client.try_next(PATIENCE) {
                    Some(message) if message.payload.is_empty() => {}
                    Some(message) => arrivals.tell(&message.json()),
                    // Nothing within the time it was given, or the end before it was over.
                    None if since.elapsed() < PATIENCE / 2 => return,
                    None => {}
                }
            }
        })
    }
}
