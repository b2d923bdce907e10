//! How far behind this host is: by partition, in all, and at most, from the client's statistics.
//!
//! What is not taken care of yet is behind, also if it was read.

use crate::lanes::{End, Lanes};
use lockstep_plugin_api::prelude::*;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// A partition beyond these has no gauge of its own: metrics are kept for as long as the host lives.
const MAX_GAUGES: usize = 256;

/// The gauges.
pub(crate) struct Lag {
    context: Context,
    total: Gauge,
    largest: Gauge,
    partitions: Gauge,
    by_partition: Mutex<BTreeMap<(String, i32), Gauge>>,
    /// Whether the group has settled that this host has no partition.
    pub(crate) is_idle: AtomicBool,
}

/// What is read of the statistics.
#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    topics: BTreeMap<String, TopicStatistics>,
    cgrp: Option<GroupStatistics>,
}

#[derive(Deserialize)]
struct TopicStatistics {
    #[serde(default)]
    partitions: BTreeMap<i32, PartitionStatistics>,
}

#[derive(Deserialize)]
struct PartitionStatistics {
    #[serde(default)]
    fetchq_cnt: i64,
    next_offset: i64,
    ls_offset: i64,
    hi_offset: i64,
}

#[derive(Deserialize)]
struct GroupStatistics {
    join_state: String,
    assignment_size: i64,
}

impl Lag {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            total: context.gauge("kafka_lag"),
            largest: context.gauge("kafka_lag_largest"),
            partitions: context.gauge("kafka_partitions"),
            by_partition: Mutex::default(),
            is_idle: AtomicBool::new(false),
            context: context.clone(),
        }
    }

    /// Takes the client's statistics in.
    pub(crate) fn observe(&self, statistics: &[u8], lanes: &Lanes) {
        let Ok(statistics) = serde_json::from_slice::<Statistics>(statistics) else { return };
        let is_idle = statistics
            .cgrp
            .as_ref()
            .is_some_and(|group| group.join_state == "steady" && group.assignment_size == 0);
        self.is_idle.store(is_idle, Ordering::Release);
        let mut table = lanes.table();
        let mut gauges = self.by_partition.lock().unwrap_or_else(PoisonError::into_inner);
        // What was given back is somebody else's lag.
        gauges.values().for_each(|gauge| gauge.set(0));
        let (mut total, mut largest, mut n_partitions) = (0, 0, 0);
        for lane in table.assigned() {
            n_partitions += 1;
            let topic = statistics.topics.get(&*lane.topic);
            let Some(seen) = topic.and_then(|topic| topic.partitions.get(&lane.partition)) else { continue };
            // Nothing is left of what was fetched, and the end lies behind it: there are only marks of transactions.
            if seen.fetchq_cnt == 0 && matches!(lane.end, End::At(end) if seen.next_offset >= end) {
                lane.end = End::Reached;
            }
            let end = if seen.ls_offset >= 0 { seen.ls_offset } else { seen.hi_offset };
            let Some(settled) = lane.settled().or(lane.next) else { continue };
            if end < 0 {
                continue;
            }
            let lag = (end - settled).max(0);
            total += lag;
            largest = largest.max(lag);
            self.set(&mut gauges, &lane.topic, lane.partition, lag);
        }
        self.total.set(total);
        self.largest.set(largest);
        self.partitions.set(n_partitions);
    }

    fn set(&self, gauges: &mut BTreeMap<(String, i32), Gauge>, topic: &str, partition: i32, lag: i64) {
        let place = (topic.to_owned(), partition);
        if gauges.len() >= MAX_GAUGES && !gauges.contains_key(&place) {
            return;
        }
        let gauge = gauges.entry(place).or_insert_with(|| self.context.gauge(&gauge_name(topic, partition)));
        gauge.set(lag);
    }
}

/// `kafka_lag_apg_config_general_0`: metrics have no dots and dashes.
fn gauge_name(topic: &str, partition: i32) -> String {
    let topic: String = topic.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("kafka_lag_{topic}_{partition}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_named_for_their_partition() {
        assert_eq!(gauge_name("apg-config-general", 3), "kafka_lag_apg_config_general_3");
    }

    #[test]
    fn statistics_are_read_as_far_as_they_matter() {
        let text = r#"{"name":"x","topics":{"t":{"topic":"t","partitions":{
            "0":{"fetchq_cnt":0,"next_offset":7,"ls_offset":9,"hi_offset":9,"new":1},
            "-1":{"fetchq_cnt":0,"next_offset":-1001,"ls_offset":-1001,"hi_offset":-1001}}}},
            "cgrp":{"join_state":"steady","assignment_size":0}}"#;
        let read: Statistics = serde_json::from_str(text).expect("readable");
        assert_eq!(read.topics["t"].partitions[&0].next_offset, 7);
        assert_eq!(read.cgrp.expect("a group").assignment_size, 0);
    }
}
