//! The source: messages become records, and what the host has stored is told to the group.
//!
//! Invariant: the host's positions are the truth. A message is behind this host when the host has stored the position
//! behind it, or when it is nobody's business.

use crate::{
    catch_up::{CatchUp, Step},
    config::KafkaSourceConfig,
    dead_letters::{DeadLetter, DeadLetters},
    incoming::{Reader, Reading},
    keeper::Keeper,
    lanes::Lanes,
    passed_over::PassedOver,
    position::Place,
    reader::Consumption,
    taken::{Origin, Taken},
};
use lockstep_plugin_api::prelude::*;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tracing::{error, warn};

/// How long the host may have no room before partitions are held still, at most.
const LONGEST_IDLE: Duration = Duration::from_secs(30);

/// What librdkafka has for `max.poll.interval.ms`.
const MAX_POLL_INTERVAL_MS: u64 = 300_000;

/// The `kafka` source.
pub(crate) struct KafkaSource {
    // Before the consumption, which it shares.
    _keeper: Keeper,
    consumption: Arc<Mutex<Consumption>>,
    lanes: Arc<Lanes>,
    catch_up: CatchUp,
    /// Through the log, how messages are read and where those go that cannot be.
    changes: Option<Changes>,
    max_poll_records: usize,
    context: Context,
}

struct Changes {
    max_message_bytes: u64,
    dead_letters: Option<DeadLetters>,
    passed_over: PassedOver,
}

impl Source for KafkaSource {
    type Config = KafkaSourceConfig;

    fn check(config: &KafkaSourceConfig) -> Result<()> {
        config.check()
    }

    fn new(config: KafkaSourceConfig, context: &Context) -> Result<Self> {
        context.endpoint(&config.endpoint());
        let lanes = Arc::new(Lanes::of_positions(context.positions()));
        let changes = context.through_log().then(|| Changes::new(&config, context, &lanes)).transpose()?;
        let consumption = Consumption::open(&config, context, lanes.clone())?;
        if changes.is_some() {
            context.catching_up();
            warn_of_sharing(&config, context);
        }
        let consumption = Arc::new(Mutex::new(consumption));
        Ok(Self {
            _keeper: Keeper::start(consumption.clone(), idle(&config)),
            consumption,
            lanes,
            catch_up: CatchUp::new(config.topics(), context.through_log()),
            changes,
            max_poll_records: config.max_poll_records as usize,
            context: context.clone(),
        })
    }

    fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Record>> {
        let consumption = self.consumption.clone();
        let mut consumption = consumption.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = consumption.take(max.min(self.max_poll_records), wait)?;
        let records = self.records(taken, &consumption);
        self.look_around(&consumption, records.is_empty())?;
        Ok(records)
    }

    fn replies(&mut self) -> Box<dyn Replies> {
        Box::new(Stored(self.lanes.clone()))
    }
}

impl Changes {
    fn new(config: &KafkaSourceConfig, context: &Context, lanes: &Lanes) -> Result<Self> {
        Ok(Self {
            max_message_bytes: config.max_message_bytes.0,
            dead_letters: DeadLetters::new(config, context),
            passed_over: PassedOver::recall(context, lanes)?,
        })
    }
}

impl KafkaSource {
    fn records(&mut self, taken: Taken, consumption: &Consumption) -> Vec<Record> {
        if taken.is_empty() {
            return Vec::new();
        }
        let node_id = self.context.node_id().to_owned();
        let mut letters = Vec::new();
        let mut read = Vec::with_capacity(taken.len());
        for (origin, record) in taken.into_records() {
            let reading = match (&self.changes, record.error()) {
                (_, Some(error)) => Reading::Unreadable(record.clone(), error.clone()),
                (None, None) => Reading::Change(record),
                (Some(changes), None) => {
                    let reader = Reader { node_id: &node_id, max_message_bytes: changes.max_message_bytes };
                    reader.read(&origin.topic, record)
                }
            };
            if let Reading::Unreadable(_, error) = &reading {
                error!(topic = %origin.topic, partition = origin.partition, offset = origin.offset,
                    "Error processing Kafka message: {error}");
                letters.push(read.len());
            }
            read.push((origin, reading));
        }
        let metrics = consumption.metrics();
        metrics.bad.add(letters.len() as u64);
        metrics.own.add(read.iter().filter(|(_, reading)| matches!(reading, Reading::Own)).count() as u64);
        let dead = self.dead_letter(&letters, &read);
        self.hand_over(read, &dead)
    }

    /// Sends what cannot be read to its topic; gives the places of what arrived there.
    fn dead_letter(&mut self, letters: &[usize], read: &[(Origin, Reading)]) -> Vec<usize> {
        let topic = self.changes.as_mut().and_then(|changes| changes.dead_letters.as_mut());
        let Some(topic) = topic.filter(|_| !letters.is_empty()) else { return Vec::new() };
        let of = |place: &usize| match &read[*place] {
            (origin, Reading::Unreadable(record, error)) => Some(DeadLetter { origin, record, error }),
            _ => None,
        };
        let letters_of: Vec<_> = letters.iter().filter_map(of).collect();
        topic.send(&letters_of).into_iter().map(|place| letters[place]).collect()
    }

    /// What the host is given; the lanes take note of it.
    fn hand_over(&self, read: Vec<(Origin, Reading)>, dead: &[usize]) -> Vec<Record> {
        let mut table = self.lanes.table();
        let mut records = Vec::with_capacity(read.len());
        let mut passed_over = BTreeSet::new();
        for (place, (origin, reading)) in read.into_iter().enumerate() {
            let lane = table.lane(origin.lane);
            lane.read(origin.offset);
            let record = match reading {
                Reading::Own => continue,
                Reading::Unreadable(..) if dead.binary_search(&place).is_ok() => {
                    passed_over.insert(origin.lane);
                    continue;
                }
                Reading::Unreadable(record, error) => record.with_error(error),
                Reading::Change(record) => record,
            };
            lane.handed = lane.next;
            records.push(record);
        }
        drop(table);
        if let Some(changes) = &self.changes {
            changes.passed_over.remember(&passed_over, &self.lanes);
        }
        records
    }

    /// Looks whether everything is read that was there.
    fn look_around(&mut self, consumption: &Consumption, nothing_came: bool) -> Result<()> {
        match self.catch_up.step(consumption.consumer()?, &self.lanes, nothing_came) {
            Step::UnderWay => {}
            Step::Over => self.context.caught_up(),
            Step::NoTopics(problem) => {
                self.context.caught_up();
                if nothing_came {
                    return Err(Error::not_connected(problem));
                }
            }
        }
        Ok(())
    }
}

/// Hears how far the host has come.
struct Stored(Arc<Lanes>);

impl Replies for Stored {
    fn commit(&self, lane: u32, position: &[u8]) -> Result<()> {
        if let Some(place) = Place::parse(position) {
            self.0.table().store(lane, place.offset);
        }
        Ok(())
    }
}

/// How long the host may have no room before partitions are held still: well before the group gives this member up.
fn idle(config: &KafkaSourceConfig) -> Duration {
    let settings = config.consumer("check", str::to_owned);
    let set = settings.get("max.poll.interval.ms").and_then(|text| text.parse().ok());
    (Duration::from_millis(set.unwrap_or(MAX_POLL_INTERVAL_MS)) / 2).min(LONGEST_IDLE)
}

/// D-15: a group is shared by whoever names it.
fn warn_of_sharing(config: &KafkaSourceConfig, context: &Context) {
    if let Some(group) = config.group_id.as_ref().filter(|group| !group.contains(context.node_id())) {
        warn!(
            group,
            "`group_id` does not name this host: if other hosts have the same, each gets a part of the changes only"
        );
    }
}

#[cfg(test)]
mod tests;
