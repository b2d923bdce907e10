//! The consumer and everything that is done with it, one caller at a time.
//!
//! Invariant: messages are taken only when the host asks for them. What waits lies with the client, within its bounds;
//! not asking is all the backpressure there is.

use crate::{
    config::{Connection, KafkaSourceConfig, OffsetReset, resolved},
    group::{Member, tell},
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
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tracing::{info, warn};

/// How long without a message before the brokers are asked whether they are still there, and how long they may take.
const PROBE_INTERVAL: Duration = Duration::from_secs(3);
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// A consumer, and what is needed to make it anew.
pub(crate) struct Consumption {
    context: Context,
    connection: Connection,
    settings: ClientConfig,
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
    is_subscribed: bool,
    /// Whether partitions are held still because the host has no room.
    is_paused: bool,
    polled_at: Instant,
    /// When a broker was heard of last.
    heard_at: Instant,
    /// What came while partitions were about to be held still.
    left_over: Taken,
}

impl Consumption {
    pub(crate) fn open(config: &KafkaSourceConfig, context: &Context, lanes: Arc<Lanes>) -> Result<Self> {
        let connection = config.connection();
        let settings = config.consumer(context.node_id(), resolved(context));
        let is_from_start = context.through_log() || config.auto_offset_reset == OffsetReset::Earliest;
        let admin = config.dead_letter_producer(context.node_id(), resolved(context));
        let mut consumption = Self {
            topics: config.topics(),
            creation: Creation::new(&connection, &admin),
            otherwise: if is_from_start { Offset::Beginning } else { Offset::End },
            tell_every: config.enable_auto_commit.then_some(config.auto_commit_interval_ms.0),
            told_at: Instant::now(),
            context: context.clone(),
            connection,
            settings,
            lanes,
            metrics: SourceMetrics::new(context),
            consumer: None,
            is_subscribed: false,
            is_paused: false,
            polled_at: Instant::now(),
            heard_at: Instant::now(),
            left_over: Taken::default(),
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
            otherwise: self.otherwise,
            has_changed: AtomicBool::new(false),
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
        self.subscribe()?;
        self.go_on()?;
        self.tell()?;
        let mut taken = std::mem::take(&mut self.left_over);
        if let Some(fatal) = self.fill(&mut taken, max, wait)? {
            return Err(self.replace(&fatal));
        }
        self.metrics.received.add(taken.len() as u64);
        if taken.is_empty() {
            self.look_for_trouble()?;
        } else {
            self.heard_at = Instant::now();
            self.consumer()?.context().health.is_well();
        }
        Ok(taken)
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
                Some(Err(error)) => self.complain(&error)?,
            }
            wait = Duration::ZERO;
        }
        Ok(consumer.context().health.fatal())
    }

    /// Creates topics if that is wanted, then joins the group.
    fn subscribe(&mut self) -> Result<()> {
        if self.is_subscribed {
            return Ok(());
        }
        let consumer = self.consumer()?;
        if let Some(creation) = &self.creation {
            for topic in &self.topics {
                create(consumer, creation, topic)?;
            }
        }
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(Error::fatal)?;
        self.is_subscribed = true;
        Ok(())
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

    /// What a poll complains of, once in a while. What concerns every broker is known to `Health` by then.
    fn complain(&self, error: &KafkaError) -> Result<()> {
        use RDKafkaErrorCode as Code;
        let health = &self.consumer()?.context().health;
        let what = match error.rdkafka_error_code() {
            Some(Code::GroupAuthorizationFailed) => {
                let group = self.settings.get("group.id").unwrap_or_default();
                return Err(Error::not_connected(format!("this client may not use the group `{group}`")));
            }
            Some(
                Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::Resolve
                | Code::Authentication
                | Code::SSL,
            ) => return Ok(()),
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => "a topic does not exist",
            Some(Code::TopicAuthorizationFailed) => "this client may not read a topic",
            Some(Code::PollExceeded) => {
                "the host took no messages for too long, the group was left; joining again"
            }
            _ => "the Kafka consumer complains",
        };
        if let Some(n_hidden) = health.is_due(what) {
            warn!(%error, n_hidden, "{what}");
        }
        Ok(())
    }

    /// Nothing came: is anybody there?
    fn look_for_trouble(&mut self) -> Result<()> {
        let consumer = self.consumer()?;
        let health = &consumer.context().health;
        let trouble = health.trouble_since(None);
        if trouble.is_none() && self.heard_at.elapsed() < PROBE_INTERVAL {
            return Ok(());
        }
        match consumer.fetch_metadata(self.topics.first().map(String::as_str), PROBE_WAIT) {
            Ok(_) => {
                health.is_well();
                self.heard_at = Instant::now();
                Ok(())
            }
            Err(_) => Err(Error::not_connected(trouble.unwrap_or_else(|| health.silence()))),
        }
    }

    /// Makes another consumer; it begins where the host has come to.
    fn replace(&mut self, reason: &str) -> Error {
        warn!(reason, "the Kafka client is replaced");
        self.metrics.replaced.add(1);
        self.consumer = None;
        self.lanes.table().assigned().for_each(|lane| lane.revoke());
        (self.is_subscribed, self.is_paused) = (false, false);
        match self.make() {
            Ok(consumer) => {
                self.consumer = Some(consumer);
                Error::not_connected(reason)
            }
            Err(error) => error,
        }
    }

    /// Whether partitions have come or gone since the last look.
    pub(crate) fn has_changed(&self) -> bool {
        self.consumer
            .as_ref()
            .is_some_and(|consumer| consumer.context().has_changed.swap(false, Ordering::AcqRel))
    }

    /// Holds partitions still that the host has no room for, and does what the group wants.
    pub(crate) fn keep(&mut self, idle: Duration) {
        if self.polled_at.elapsed() < idle || !self.is_subscribed {
            return;
        }
        if !self.is_paused {
            info!("the host has no room: partitions are paused");
            self.is_paused = true;
        }
        // Those too that were given since.
        let Ok(consumer) = self.consumer() else { return };
        if let Err(error) = consumer.pause(&self.assigned()) {
            warn!(%error, "partitions could not be paused");
        }
        let mut left_over = std::mem::take(&mut self.left_over);
        let max = left_over.len() + 100;
        // Errors come again when the host asks.
        let _ = self.fill(&mut left_over, max, Duration::ZERO);
        self.left_over = left_over;
    }

    /// Lets partitions go on that were held still.
    fn go_on(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.is_paused) {
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

    /// How many partitions of each topic other members of the group have.
    pub(crate) fn elsewhere(&self) -> KafkaResult<usize> {
        let Some(consumer) = &self.consumer else { return Ok(0) };
        let n_here = self.lanes.table().assigned().count();
        let mut n_there = 0;
        for topic in &self.topics {
            let metadata = consumer.fetch_metadata(Some(topic), PROBE_WAIT)?;
            n_there += metadata.topics().iter().map(|topic| topic.partitions().len()).sum::<usize>();
        }
        Ok(n_there.saturating_sub(n_here))
    }
}

fn create(consumer: &BaseConsumer<Member>, creation: &Creation, topic: &str) -> Result<()> {
    let away = |error: KafkaError| {
        let health = &consumer.context().health;
        let known = health.trouble_since(None);
        Error::not_connected(
            known.unwrap_or_else(|| format!("topic `{topic}` could not be made sure of: {error}")),
        )
    };
    match topics::look_once(consumer.client(), topic).map_err(away)? {
        Found::Exists => Ok(()),
        Found::Missing => creation.create(topic).map_err(away),
        // Reading it will say so.
        Found::Refused(_) => Ok(()),
    }
}
