//! Which partitions this host reads, where each begins, and how it is given back.
//!
//! A group that is the host's own has no other member, so nothing has to be agreed on: the host takes every partition
//! itself, at once, also after it was killed. A group that was named is shared, and gives and takes partitions.
//! Invariant: a partition begins behind everything that the host has taken care of, and a shared group is told how far
//! the host has come before the partition goes to somebody else.

use crate::{
    health::Health,
    lag::Lag,
    lanes::{self, Lanes},
};
use lockstep_plugin_api::prelude::*;
use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult},
    types::RDKafkaRespErr,
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tracing::{info, warn};

/// How long brokers may take to say where partitions end, and how many there are.
const ENDS_WAIT: Duration = Duration::from_secs(1);

/// How long the group may take to say what it was told before.
const COMMITTED_WAIT: Duration = Duration::from_secs(3);

/// A partition by its topic and its number.
pub(crate) type Name = (String, i32);

/// What the consumer tells.
pub(crate) struct Member {
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) health: Arc<Health>,
    pub(crate) lag: Lag,
    /// Whether the group is told anything.
    pub(crate) commits: bool,
    /// Whether others may be in the group.
    pub(crate) is_shared: bool,
    /// Whether every change is wanted: from the beginning, and by this host.
    pub(crate) wants_all: bool,
    /// Where a partition without a position begins.
    pub(crate) otherwise: Offset,
    pub(crate) topics: Vec<String>,
    pub(crate) rebalances: Counter,
    pub(crate) failed_commits: Counter,
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.health.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.error(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.lag.observe(statistics, &self.lanes);
    }
}

impl ConsumerContext for Member {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        error: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        self.rebalances.add(1);
        let result = if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.take(consumer, partitions)
        } else {
            self.give_back(consumer, partitions)
        };
        if let Err(error) = result {
            warn!(%error, "partitions could not be taken or given back");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        let Err(error) = result else { return };
        self.failed_commits.add(1);
        self.lanes.table().forget_told();
        if let Some(n_hidden) = self.health.is_due("commit") {
            self.health.within(|| {
                warn!(%error, n_hidden, "the group could not be told how far this host has come; tried again");
            });
        }
    }
}

impl Member {
    /// The group gives partitions to this host.
    fn take(&self, consumer: &BaseConsumer<Self>, partitions: &mut TopicPartitionList) -> KafkaResult<()> {
        self.begin(consumer, partitions, &[])?;
        if self.wants_all {
            self.warn_of_others(consumer);
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
            _ => consumer.assign(partitions),
        }
    }

    /// This host takes all of these partitions, and no others; the last `n_new` were not there when it came.
    pub(crate) fn take_all(
        &self,
        consumer: &BaseConsumer<Self>,
        names: &[Name],
        n_new: usize,
    ) -> KafkaResult<()> {
        let mut partitions = TopicPartitionList::with_capacity(names.len());
        for (topic, partition) in names {
            partitions.add_partition(topic, *partition);
        }
        let new = &names[names.len() - n_new..];
        self.begin(consumer, &mut partitions, new)?;
        consumer.assign(&partitions)
    }

    /// Decides where partitions begin.
    fn begin(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &mut TopicPartitionList,
        new: &[Name],
    ) -> KafkaResult<()> {
        // Before they are read: a broker answers in turn, and a request for messages waits for some.
        let (told, ends) = (self.told(consumer, partitions), self.ends(consumer, partitions));
        for name in names(partitions) {
            let mut table = self.lanes.table();
            let lane = table.of(&name.0, name.1);
            let own = lane.known();
            let told = told.get(&name).copied();
            let from = match (self.wants_all, self.is_shared) {
                // A host that lost its disk reads everything again, whatever its group was told in its former life.
                (true, _) => own,
                (false, true) => own.max(told),
                // The own group knows nothing better than the host.
                (false, false) => own.or(told),
            };
            let otherwise = if new.contains(&name) { Offset::Beginning } else { self.otherwise };
            let end = ends.get(&name).copied();
            // A position from here on: whoever comes back reads what came meanwhile, also if nothing had come before.
            let from = from.or(end.filter(|_| otherwise == Offset::End));
            lane.assign(from, end);
            partitions.set_partition_offset(&name.0, name.1, from.map_or(otherwise, Offset::Offset))?;
        }
        info!(n_partitions = partitions.count(), "partitions assigned");
        Ok(())
    }

    /// What the group was told of these partitions, as far as that counts and can be asked.
    fn told(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> HashMap<Name, i64> {
        if self.wants_all && !self.is_shared {
            // A host that has lost its disk has lost the changes too.
            return HashMap::new();
        }
        // The list ends here: one that outlives its consumer keeps it from ever coming to an end.
        match consumer.committed_offsets(partitions.clone(), COMMITTED_WAIT) {
            Ok(committed) => offsets(&committed),
            Err(error) => {
                warn!(%error, "the group's positions could not be read; going on from the host's own");
                HashMap::new()
            }
        }
    }

    /// Where these partitions end, where that matters.
    fn ends(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> HashMap<Name, i64> {
        let mut asked = partitions.clone();
        let is_of_use = self.wants_all || self.otherwise == Offset::End;
        if !is_of_use || asked.set_all_offsets(Offset::End).is_err() {
            return HashMap::new();
        }
        consumer.offsets_for_times(asked, ENDS_WAIT).map(|ends| offsets(&ends)).unwrap_or_default()
    }

    /// D-15: tells if other members of the group have partitions.
    fn warn_of_others(&self, consumer: &BaseConsumer<Self>) {
        let n_partitions = |topic: &String| Some(partitions_of(consumer, topic, ENDS_WAIT).ok()?.len());
        let Some(n_all) = self.topics.iter().map(n_partitions).sum::<Option<usize>>() else { return };
        let n_elsewhere = n_all.saturating_sub(self.lanes.table().assigned().count());
        if n_elsewhere > 0 {
            warn!(
                n_elsewhere,
                "other members of the group have partitions: this host gets a part of the changes only"
            );
        }
    }

    fn give_back(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> KafkaResult<()> {
        let names = names(partitions);
        // Who lost its partitions may not speak for them: somebody else has them.
        if self.commits && !consumer.assignment_lost() {
            let untold = self.lanes.table().untold_of(&names);
            if let Err(error) = tell(consumer, &untold) {
                warn!(%error, "the group could not be told how far this host has come");
            }
        }
        let mut table = self.lanes.table();
        names.iter().for_each(|(topic, partition)| table.of(topic, *partition).revoke());
        drop(table);
        info!(n_partitions = names.len(), "partitions given back");
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
            _ => consumer.unassign(),
        }
    }
}

/// Tells the group how far this host has come, without waiting for it.
pub(crate) fn tell(consumer: &BaseConsumer<Member>, offsets: &[lanes::Offset]) -> KafkaResult<()> {
    if offsets.is_empty() {
        return Ok(());
    }
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for told in offsets {
        list.add_partition_offset(&told.topic, told.partition, Offset::Offset(told.offset))?;
    }
    consumer.commit(&list, CommitMode::Async)
}

/// The partitions of a topic; none if there is no such topic.
pub(crate) fn partitions_of(
    consumer: &BaseConsumer<Member>,
    topic: &str,
    wait: Duration,
) -> KafkaResult<Vec<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), wait)?;
    let found = metadata.topics().iter().filter(|found| found.name() == topic);
    Ok(found.flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect())
}

fn names(partitions: &TopicPartitionList) -> Vec<Name> {
    let name = |partition: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        (partition.topic().to_owned(), partition.partition())
    };
    partitions.elements().iter().map(name).collect()
}

fn offsets(list: &TopicPartitionList) -> HashMap<Name, i64> {
    let known = list.elements().into_iter().filter_map(|partition| match partition.offset() {
        Offset::Offset(offset) => Some(((partition.topic().to_owned(), partition.partition()), offset)),
        _ => None,
    });
    known.collect()
}
