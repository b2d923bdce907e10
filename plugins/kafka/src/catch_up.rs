//! Reading what was there before this host came: each partition up to where it ended when it was assigned.

use crate::{
    group::Member,
    lanes::{End, Lane, Lanes},
    topics::{self, Found},
};
use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    error::KafkaResult,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// How long brokers may take to say where one partition ends, and how much of a poll that may take.
const END_WAIT: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_secs(2);

/// After how long without any message ends are asked for anew: what lay before them may have been lost since.
const ENDS_INTERVAL: Duration = Duration::from_secs(5);

/// How long to wait for partitions before asking whether the topics exist.
const TOPICS_INTERVAL: Duration = Duration::from_secs(2);

/// How far it has come.
pub(crate) struct CatchUp {
    topics: Vec<String>,
    is_over: bool,
    asked_at: Instant,
    /// When a message came last, or ends were asked for anew.
    came_at: Instant,
    /// Why there is nothing to read.
    problem: Option<String>,
}

/// What a step showed.
pub(crate) enum Step {
    /// There is more to read.
    UnderWay,
    /// Everything that was there has been read; said once.
    Over,
    /// None of the topics exists, or may be read; said until that changes.
    NoTopics(String),
}

impl CatchUp {
    /// `is_wanted`: whether what was there matters.
    pub(crate) fn new(topics: Vec<String>, is_wanted: bool) -> Self {
        Self { topics, is_over: !is_wanted, asked_at: Instant::now(), came_at: Instant::now(), problem: None }
    }

    /// Looks once, after a poll.
    pub(crate) fn step(
        &mut self,
        consumer: &BaseConsumer<Member>,
        lanes: &Lanes,
        nothing_came: bool,
    ) -> Step {
        let has_partitions = lanes.table().assigned().next().is_some();
        if !has_partitions {
            return self.without_partitions(consumer);
        }
        if self.is_over {
            return Step::UnderWay;
        }
        self.doubt_ends(lanes, nothing_came);
        find_ends(consumer, lanes);
        let is_over = lanes.table().assigned().all(|lane| lane.is_caught_up());
        self.finish(is_over)
    }

    /// Ends that are not reached although nothing comes any more may have been taken back by a broker that lost data.
    fn doubt_ends(&mut self, lanes: &Lanes, nothing_came: bool) {
        let is_stuck = nothing_came && self.came_at.elapsed() >= ENDS_INTERVAL;
        if is_stuck {
            let mut table = lanes.table();
            let not_reached = table.assigned().filter(|lane| matches!(lane.end, End::At(_)));
            not_reached.for_each(|lane| lane.end = End::Unknown);
        }
        if is_stuck || !nothing_came {
            self.came_at = Instant::now();
        }
    }

    fn finish(&mut self, is_over: bool) -> Step {
        if !is_over || self.is_over {
            return Step::UnderWay;
        }
        self.is_over = true;
        Step::Over
    }

    /// Other members may have all partitions; or there is nothing that could have any.
    fn without_partitions(&mut self, consumer: &BaseConsumer<Member>) -> Step {
        if self.asked_at.elapsed() >= TOPICS_INTERVAL {
            self.asked_at = Instant::now();
            // Where nobody answers, what was known before stands.
            self.problem = self.ask(consumer).unwrap_or_else(|_| self.problem.take());
        }
        let is_idle = consumer.context().lag.is_idle.load(Ordering::Acquire);
        match &self.problem {
            Some(problem) => {
                // Nothing was there, so nothing is missed.
                self.is_over = true;
                Step::NoTopics(problem.clone())
            }
            None => self.finish(is_idle),
        }
    }

    /// Why there is nothing to read; none if there is.
    fn ask(&self, consumer: &BaseConsumer<Member>) -> KafkaResult<Option<String>> {
        let mut refusal = None;
        for topic in &self.topics {
            match topics::look_once(consumer.client(), topic)? {
                Found::Exists => return Ok(None),
                Found::Missing => {}
                Found::Refused(error) => refusal = Some(format!("{error}: {topic}")),
            }
        }
        let missing = || format!("none of the topics exists: {}", self.topics.join(", "));
        Ok(Some(refusal.unwrap_or_else(missing)))
    }
}

/// Asks where partitions end that were assigned lately.
fn find_ends(consumer: &BaseConsumer<Member>, lanes: &Lanes) {
    let is_new = |(_, _, end): &(Arc<str>, i32, End)| *end == End::Unknown;
    let of_lane = |lane: &mut Lane| (lane.topic.clone(), lane.partition, lane.end);
    let new: Vec<_> = lanes.table().assigned().map(of_lane).filter(is_new).collect();
    let started = Instant::now();
    for (topic, partition, _) in new {
        let Ok((first, end)) = consumer.fetch_watermarks(&topic, partition, END_WAIT) else { return };
        lanes.table().of(&topic, partition).set_end(first, end);
        if started.elapsed() > STEP {
            return;
        }
    }
}
