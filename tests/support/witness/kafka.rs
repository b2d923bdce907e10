//! A consumer of one topic, without a group.

use super::{Arrivals, PATIENCE, Witness};
use crate::servers::Kafka;
use std::time::Instant;

impl Witness {
    /// Reads a topic from its beginning.
    pub fn of_kafka(kafka: &Kafka, topic: &str, arrivals: &Arrivals) -> Self {
        let mut reader = kafka.client().reader(topic);
        Self::start(arrivals, move |arrivals, is_over| {
            let mut n_seen = 0;
            while !is_over() {
                let since = Instant::now();
                let n_read = reader.wait_for("a message", |messages| {
                    let is_enough = messages.len() > n_seen || since.elapsed() > PATIENCE;
                    is_enough.then_some(messages.len())
                });
                let new = &reader.messages()[n_seen..n_read];
                new.iter().for_each(|message| arrivals.tell(&message.json()));
                n_seen = n_read;
            }
        })
    }
}
