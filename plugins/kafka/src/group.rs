//! This host as a member of its consumer group: which partitions it is given, where it begins, what it gives back.
//!
//! Invariant: a partition begins behind everything that the host has taken care of and behind what the group was told,
//! and is given back only after the group was told how far the host has come.

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
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tracing::{info, warn};

/// How long the group may take to say what it was told before.
const COMMITTED_WAIT: Duration = Duration::from_secs(3);

/// What the consumer tells.
pub(crate) struct Member {
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) health: Arc<Health>,
    pub(crate) lag: Lag,
    /// Whether the group is told anything.
    pub(crate) commits: bool,
    /// Where a partition without a position begins.
    pub(crate) otherwise: Offset,
    /// Whether partitions have been given or taken since the last look.
    pub(crate) has_changed: AtomicBool,
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
            self.assign(consumer, partitions)
        } else {
            self.revoke(consumer, partitions)
        };
        if let Err(error) = result {
            warn!(%error, "partitions could not be taken or given back");
        }
        self.has_changed.store(true, Ordering::Release);
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
    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: &mut TopicPartitionList) -> KafkaResult<()> {
        let told = self.told(consumer, partitions);
        for (topic, partition) in names(partitions) {
            let mut table = self.lanes.table();
            let lane = table.of(&topic, partition);
            let from = lane.known().max(told.get(&(topic.clone(), partition)).copied());
            lane.assign(from);
            partitions.set_partition_offset(
                &topic,
                partition,
                from.map_or(self.otherwise, Offset::Offset),
            )?;
        }
        info!(n_partitions = partitions.count(), "partitions assigned");
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
            _ => consumer.assign(partitions),
        }
    }

    /// What the group was told of these partitions; of none if it cannot be asked.
    fn told(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
    ) -> HashMap<(String, i32), i64> {
        // The list ends here: one that outlives its consumer keeps it from ever coming to an end.
        match consumer.committed_offsets(partitions.clone(), COMMITTED_WAIT) {
            Ok(committed) => offsets(&committed),
            Err(error) => {
                warn!(%error, "the group's positions could not be read; going on from the host's own");
                HashMap::new()
            }
        }
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> KafkaResult<()> {
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

fn names(partitions: &TopicPartitionList) -> Vec<(String, i32)> {
    partitions
        .elements()
        .iter()
        .map(|partition| (partition.topic().to_owned(), partition.partition()))
        .collect()
}

fn offsets(list: &TopicPartitionList) -> HashMap<(String, i32), i64> {
    let known = list.elements().into_iter().filter_map(|partition| match partition.offset() {
        Offset::Offset(offset) => Some(((partition.topic().to_owned(), partition.partition()), offset)),
        _ => None,
    });
    known.collect()
}
