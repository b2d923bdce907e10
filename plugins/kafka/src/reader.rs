//! The consumer and everything that is done with it, one caller at a time.
//!
//! Invariant: messages are taken only when the host asks for them, and what was taken is handed over. What waits lies
//! with the client, within its bounds; not asking is all the backpressure there is.

use crate::{
    config::{Connection, KafkaSourceConfig, OffsetReset, resolved},
    group::{Member, Name, partitions_of, tell},
    health::Health,
    lag::Lag,
    lanes::Lanes,
    metrics::SourceMetrics,
    producer::refused_settings,
    taken::Taken,
    topics::{self, Creation, Found},
};
use lockstep_plugin_api::prelude::*;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::{info, warn};

/// How often brokers are asked what there is to read, and without messages whether they are there at all.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// How long they may take, beside what a request for messages waits for some: a broker answers in turn.
const LOOK_WAIT: Duration = Duration::from_secs(2);

/// What librdkafka has for `fetch.wait.max.ms`.
const FETCH_WAIT_MS: u64 = 500;

/// How much may come while partitions are about to be held still.
const MAX_LEFT_OVER: usize = 1000;

/// A consumer, and what is needed to make it anew.
pub(crate) struct Consumption {
    context: Context,
    connection: Connection,
    settings: ClientConfig,
    /// Whether the group was named, so that others may be in it.
    is_shared: bool,
    topics: Vec<String>,
    creation: Option<Creation>,
    otherwise: Offset,
    /// How often the group is told; `None` tells it nothing.
    tell_every: Option<Duration>,
    told_at: Instant,
    lanes: Arc<Lanes>,
    metrics: SourceMetrics,
    /// `None` only while it is made anew.
    consumer: Option<BaseConsumer<Member>>,
    has_joined: bool,
    /// Every partition there is, where this host takes all of them.
    all: Vec<Name>,
    /// Partitions that were found since and are not taken yet.
    found: Vec<Name>,
    /// The topics that are not there, or may not be read.
    missing: BTreeSet<usize>,
    /// The topic to ask for next.
    next_look: usize,
    looked_at: Instant,
    look_wait: Duration,
    /// When a message came last, or a broker answered.
    heard_at: Instant,
    polled_at: Instant,
    /// Whether partitions are held still because the host has no room.
    is_paused: bool,
    /// What came while partitions were about to be held still, one by one.
    left_over: VecDeque<Taken>,
}

impl Consumption {
    pub(crate) fn open(config: &KafkaSourceConfig, context: &Context, lanes: Arc<Lanes>) -> Result<Self> {
        let connection = config.connection();
        let settings = config.consumer(context.node_id(), resolved(context));
        let is_from_start = context.through_log() || config.auto_offset_reset == OffsetReset::Earliest;
        let admin = config.dead_letter_producer(context.node_id(), resolved(context));
        let now = Instant::now();
        let mut consumption = Self {
            is_shared: config.group_id.is_some(),
            topics: config.topics(),
            creation: Creation::new(&connection, &admin),
            otherwise: if is_from_start { Offset::Beginning } else { Offset::End },
            tell_every: config.enable_auto_commit.then_some(config.auto_commit_interval_ms.0),
            told_at: now,
            look_wait: LOOK_WAIT + fetch_wait(&settings),
            context: context.clone(),
            connection,
            settings,
            lanes,
            metrics: SourceMetrics::new(context),
            consumer: None,
            has_joined: false,
            all: Vec::new(),
            found: Vec::new(),
            missing: BTreeSet::new(),
            next_look: 0,
            looked_at: now,
            heard_at: now,
            polled_at: now,
            is_paused: false,
            left_over: VecDeque::new(),
        };
        consumption.consumer = Some(consumption.make()?);
        Ok(consumption)
    }

    fn make(&self) -> Result<BaseConsumer<Member>> {
        let resets = self.context.counter("kafka_offset_resets");
        let health = Health::new(&self.connection, "source").on_offset_reset(move || resets.add(1));
        let member = Member {
            lanes: self.lanes.clone(),
            health: Arc::new(health),
            lag: Lag::new(&self.context),
            commits: self.tell_every.is_some(),
            is_shared: self.is_shared,
            wants_all: self.context.through_log(),
            otherwise: self.otherwise,
            topics: self.topics.clone(),
            rebalances: self.context.counter("kafka_rebalances"),
            failed_commits: self.context.counter("kafka_commits_failed"),
        };
        self.settings.create_with_context(member).map_err(refused_settings)
    }

    /// The consumer.
    pub(crate) fn consumer(&self) -> Result<&BaseConsumer<Member>> {
        self.consumer.as_ref().ok_or_else(|| Error::fatal("the client could not be made anew"))
    }

    pub(crate) fn metrics(&self) -> &SourceMetrics {
        &self.metrics
    }

    /// Takes at most `max` messages, waiting at most `wait` for the first.
    ///
    /// # Errors
    /// `NotConnected` if nothing came and no broker can be reached.
    pub(crate) fn take(&mut self, max: usize, wait: Duration) -> Result<Taken> {
        self.polled_at = Instant::now();
        self.join()?;
        self.take_found()?;
        self.go_on()?;
        self.tell()?;
        let mut taken = Taken::default();
        while taken.len() < max
            && let Some(left_over) = self.left_over.pop_front()
        {
            taken.append(left_over);
        }
        if let Some(fatal) = self.fill(&mut taken, max, wait)? {
            // What was taken is not handed over and will be read again.
            return Err(self.replace(&fatal));
        }
        self.metrics.received.add(taken.len() as u64);
        if !taken.is_empty() {
            self.heard_at = Instant::now();
            self.consumer()?.context().health.is_well();
        }
        match self.look(taken.is_empty()) {
            Err(error) if taken.is_empty() => Err(error),
            _ => Ok(taken),
        }
    }

    /// Why the consumer is done for, if it is.
    fn fill(&self, taken: &mut Taken, max: usize, wait: Duration) -> Result<Option<String>> {
        let consumer = self.consumer()?;
        let mut wait = if taken.is_empty() { wait } else { Duration::ZERO };
        while taken.len() < max && !taken.is_full() {
            match consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => taken.push(&message, &mut self.lanes.table()),
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => return Ok(Some(code.to_string())),
                // `Health` was told, in more words.
                Some(Err(_)) => {}
            }
            wait = Duration::ZERO;
        }
        Ok(consumer.context().health.fatal())
    }

    /// Creates topics if that is wanted, then joins the group or takes every partition.
    fn join(&mut self) -> Result<()> {
        if self.has_joined {
            return Ok(());
        }
        let consumer = self.consumer()?;
        if let Some(creation) = &self.creation {
            for topic in &self.topics {
                create(consumer, creation, topic)?;
            }
        }
        if self.is_shared {
            let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
            consumer.subscribe(&topics).map_err(Error::fatal)?;
        } else {
            let mut all = Vec::new();
            for topic in 0..self.topics.len() {
                let Some(partitions) = self.partitions(topic)? else {
                    hear(self.consumer()?);
                    return Err(self.away());
                };
                all.extend(partitions);
            }
            self.take_all(all, 0)?;
        }
        self.has_joined = true;
        Ok(())
    }

    fn take_all(&mut self, all: Vec<Name>, n_new: usize) -> Result<()> {
        let consumer = self.consumer()?;
        consumer.context().take_all(consumer, &all, n_new).map_err(Error::fatal)?;
        self.all = all;
        Ok(())
    }

    fn away(&self) -> Error {
        let health = self.consumer.as_ref().map(|consumer| &consumer.context().health);
        Error::not_connected(health.map_or_else(String::new, |health| health.silence()))
    }

    /// Tells the group how far the host has come, once in a while.
    fn tell(&mut self) -> Result<()> {
        let Some(every) = self.tell_every else { return Ok(()) };
        if self.told_at.elapsed() < every {
            return Ok(());
        }
        self.told_at = Instant::now();
        let untold = self.lanes.table().untold();
        if let Err(error) = tell(self.consumer()?, &untold) {
            self.lanes.table().forget_told();
            warn!(%error, "the group could not be told how far this host has come");
        }
        Ok(())
    }

    /// Is anybody there, and is there more to read than before?
    fn look(&mut self, nothing_came: bool) -> Result<()> {
        let health = &self.consumer()?.context().health;
        if let Some(denied) = health.denied() {
            return Err(Error::not_connected(denied));
        }
        let trouble = health.trouble_since(None);
        let is_quiet = nothing_came && (trouble.is_some() || self.heard_at.elapsed() >= LOOK_INTERVAL);
        let is_due = !self.is_shared && self.looked_at.elapsed() >= LOOK_INTERVAL;
        if !is_quiet && !is_due {
            return Ok(());
        }
        self.looked_at = Instant::now();
        self.next_look = (self.next_look + 1) % self.topics.len();
        let Some(partitions) = self.partitions(self.next_look)? else {
            return Err(trouble.map_or_else(|| self.away(), Error::not_connected));
        };
        self.consumer()?.context().health.is_well();
        self.heard_at = Instant::now();
        if !self.is_shared {
            self.found = partitions.into_iter().filter(|name| !self.all.contains(name)).collect();
        }
        Ok(())
    }

    /// The partitions of a topic; `None` if nobody answers.
    fn partitions(&mut self, topic: usize) -> Result<Option<Vec<Name>>> {
        let name = &self.topics[topic];
        let Ok(numbers) = partitions_of(self.consumer()?, name, self.look_wait) else { return Ok(None) };
        let names: Vec<Name> = numbers.into_iter().map(|number| (name.clone(), number)).collect();
        if names.is_empty() {
            if self.missing.insert(topic) {
                warn!(
                    topic = name,
                    "the topic does not exist or may not be read; it is read when that changes"
                );
            }
        } else if self.missing.remove(&topic) {
            info!(topic = name, "the topic is there now");
        }
        self.metrics.missing.set(self.missing.len() as i64);
        Ok(Some(names))
    }

    /// Takes partitions that were not there before. All are assigned anew, so everything that was taken of the others has
    /// to have been handed over.
    fn take_found(&mut self) -> Result<()> {
        let found = mem::take(&mut self.found);
        if found.is_empty() {
            return Ok(());
        }
        let n_new = found.len();
        let all = self.all.iter().cloned().chain(found).collect();
        self.take_all(all, n_new)
    }

    /// Makes another consumer; it begins where the host has come to.
    fn replace(&mut self, reason: &str) -> Error {
        warn!(reason, "the Kafka client is replaced");
        self.metrics.replaced.add(1);
        self.consumer = None;
        self.lanes.table().assigned().for_each(|lane| lane.revoke());
        self.left_over.clear();
        self.found.clear();
        (self.has_joined, self.is_paused) = (false, false);
        match self.make() {
            Ok(consumer) => {
                self.consumer = Some(consumer);
                Error::not_connected(reason)
            }
            Err(error) => error,
        }
    }

    /// Holds partitions still that the host has no room for, and does what the group wants.
    pub(crate) fn keep(&mut self, idle: Duration) {
        // Nobody else waits for what is this host's own.
        if !self.is_shared || !self.has_joined || self.polled_at.elapsed() < idle {
            return;
        }
        let was_paused = mem::replace(&mut self.is_paused, true);
        let Ok(consumer) = self.consumer() else { return };
        if !was_paused {
            consumer.context().health.within(|| info!("the host has no room: partitions are paused"));
        }
        // Those too that were given since.
        if let Err(error) = consumer.pause(&self.assigned()) {
            warn!(%error, "partitions could not be paused");
        }
        while self.left_over.len() < MAX_LEFT_OVER {
            let mut one = Taken::default();
            // What is wrong is told when the host asks.
            let _ = self.fill(&mut one, 1, Duration::ZERO);
            if one.is_empty() {
                return;
            }
            self.left_over.push_back(one);
        }
    }

    /// Lets partitions go on that were held still.
    fn go_on(&mut self) -> Result<()> {
        if !mem::take(&mut self.is_paused) {
            return Ok(());
        }
        self.consumer()?.resume(&self.assigned()).map_err(Error::fatal)
    }

    /// Made for one call: a list that outlives its consumer keeps it from ever coming to an end.
    fn assigned(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for lane in self.lanes.table().assigned() {
            list.add_partition(&lane.topic, lane.partition);
        }
        list
    }
}

impl Drop for Consumption {
    /// The own group is told where this host has come to; a shared one asks for it when it takes the partitions back.
    fn drop(&mut self) {
        if let (Some(consumer), Some(_), false) = (&self.consumer, self.tell_every, self.is_shared) {
            let _ = tell(consumer, &self.lanes.table().untold());
        }
    }
}

/// How long a broker may wait for messages before it answers anything that was asked behind that.
fn fetch_wait(settings: &ClientConfig) -> Duration {
    let set = settings.get("fetch.wait.max.ms").and_then(|text| text.parse().ok());
    Duration::from_millis(set.unwrap_or(FETCH_WAIT_MS))
}

fn create(consumer: &BaseConsumer<Member>, creation: &Creation, topic: &str) -> Result<()> {
    let away = |error: KafkaError| {
        let known = consumer.context().health.trouble_since(None);
        let text = || format!("topic `{topic}` could not be made sure of: {error}");
        Error::not_connected(known.unwrap_or_else(text))
    };
    match topics::look_once(consumer.client(), topic).map_err(away)? {
        Found::Exists => Ok(()),
        Found::Missing => creation.create(topic).map_err(away),
        // Reading it will say so.
        Found::Refused(_) => Ok(()),
    }
}

/// A client that was given no partitions yet is not read; what it has to say about its brokers waits until somebody is.
fn hear(consumer: &BaseConsumer<Member>) {
    while let Some(Err(_)) = consumer.poll(Duration::ZERO) {}
}
