//! Partitions as lanes: which number each has, how far it is read, handed over and taken care of, and where to begin.
//!
//! Invariant: the group is told of a partition only while this host has it, and never more than the host has stored,
//! but for messages behind that which are nobody's business (they would be passed over again).

use crate::position::Place;
use lockstep_plugin_api::Bytes;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Every partition that was ever seen here.
#[derive(Default)]
pub(crate) struct Lanes(Mutex<Table>);

/// The partitions, by lane and by name.
#[derive(Default)]
pub(crate) struct Table {
    lanes: BTreeMap<u32, Lane>,
    /// By topic, then by partition.
    numbers: HashMap<String, HashMap<i32, u32>>,
}

/// One partition. Offsets are those of the next message.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) is_assigned: bool,
    /// Behind the last message that was read.
    pub(crate) next: Option<i64>,
    /// Behind the last record that was handed to the host.
    pub(crate) handed: Option<i64>,
    /// What the host has stored.
    pub(crate) stored: Option<i64>,
    /// What the group was told.
    told: Option<i64>,
    /// Where the partition ended when it was assigned, until that is reached.
    pub(crate) end: End,
}

/// Where a partition goes on, as the group is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offset {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// What was there when a partition was assigned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum End {
    /// Not asked yet.
    #[default]
    Unknown,
    /// Read up to here, and everything was read that was there.
    At(i64),
    Reached,
}

impl Lanes {
    /// The partitions that the host remembers.
    pub(crate) fn of_positions<'a>(positions: impl Iterator<Item = (u32, &'a Bytes)>) -> Self {
        let mut table = Table::default();
        for (number, bytes) in positions {
            let Some(place) = Place::parse(bytes) else { continue };
            table.insert(number, place.topic, place.partition).stored = Some(place.offset);
        }
        Self(Mutex::new(table))
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, number: u32, topic: &str, partition: i32) -> &mut Lane {
        self.numbers.entry(topic.to_owned()).or_default().insert(partition, number);
        let lane = Lane { topic: topic.into(), partition, ..Lane::default() };
        self.lanes.entry(number).or_insert(lane)
    }

    /// The number of a partition; a new one gets the next free number.
    pub(crate) fn number(&mut self, topic: &str, partition: i32) -> u32 {
        let known = self.numbers.get(topic).and_then(|partitions| partitions.get(&partition));
        if let Some(number) = known {
            return *number;
        }
        let number = self.lanes.last_key_value().map_or(0, |(last, _)| last + 1);
        self.insert(number, topic, partition);
        number
    }

    pub(crate) fn lane(&mut self, number: u32) -> &mut Lane {
        self.lanes.get_mut(&number).expect("a number is given with its lane")
    }

    /// The lane of a partition.
    pub(crate) fn of(&mut self, topic: &str, partition: i32) -> &mut Lane {
        let number = self.number(topic, partition);
        self.lane(number)
    }

    /// The partitions that this host has.
    pub(crate) fn assigned(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.lanes.values_mut().filter(|lane| lane.is_assigned)
    }

    /// The host has stored a position. One from before the partition was begun anew does not count.
    pub(crate) fn store(&mut self, number: u32, offset: i64) {
        if let Some(lane) = self.lanes.get_mut(&number).filter(|lane| Some(offset) <= lane.handed) {
            lane.stored = Some(offset);
        }
    }

    /// What the group has not been told yet; it counts as told.
    pub(crate) fn untold(&mut self) -> Vec<Offset> {
        self.assigned().filter_map(Lane::untold).collect()
    }

    /// The same for some partitions, also if they are about to go.
    pub(crate) fn untold_of(&mut self, partitions: &[(String, i32)]) -> Vec<Offset> {
        partitions.iter().filter_map(|(topic, partition)| self.of(topic, *partition).untold()).collect()
    }

    /// The group could not be told.
    pub(crate) fn forget_told(&mut self) {
        self.assigned().for_each(|lane| lane.told = None);
    }
}

impl Lane {
    /// Where to go on, as far as this host knows: behind what it was given in this life, or what it has stored.
    pub(crate) fn known(&self) -> Option<i64> {
        self.next.max(self.handed).max(self.stored)
    }

    /// The partition is this host's from here on, as far as that is known; it ends there.
    pub(crate) fn assign(&mut self, from: Option<i64>, end: Option<i64>) {
        self.is_assigned = true;
        self.next = from.max(self.next);
        self.told = None;
        self.end = End::Unknown;
        if let Some(end) = end {
            self.set_end(0, end);
        }
    }

    /// Where the partition begins and ends now. A position behind its end is one of a topic that is no more, or of messages
    /// that were lost: the client begins anew.
    pub(crate) fn set_end(&mut self, first: i64, end: i64) {
        if self.next.is_some_and(|next| next > end) {
            self.forget();
        }
        let is_behind = self.next.unwrap_or(first).max(first) < end;
        self.end = if is_behind { End::At(end) } else { End::Reached };
    }

    /// A message was read. One from further back means that the partition was begun anew: its positions were out of range.
    pub(crate) fn read(&mut self, offset: i64) {
        if self.next.is_some_and(|next| offset < next) {
            self.forget();
        }
        self.next = Some(offset + 1);
    }

    fn forget(&mut self) {
        (self.next, self.handed, self.stored, self.told) = (None, None, None, None);
    }

    pub(crate) fn revoke(&mut self) {
        self.is_assigned = false;
    }

    /// Up to where everything is taken care of: what the host has stored and, if it has everything, what lies behind that
    /// and was passed over.
    pub(crate) fn settled(&self) -> Option<i64> {
        if self.stored >= self.handed { self.next.max(self.stored) } else { self.stored }
    }

    fn untold(&mut self) -> Option<Offset> {
        let offset = self.settled().filter(|offset| self.told.is_none_or(|told| told < *offset))?;
        self.told = Some(offset);
        Some(Offset { topic: self.topic.clone(), partition: self.partition, offset })
    }

    /// Whether everything has been read that was there when the partition was assigned.
    pub(crate) fn is_caught_up(&self) -> bool {
        match self.end {
            End::Unknown => false,
            End::At(end) => self.next.is_some_and(|next| next >= end),
            End::Reached => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(offset: i64) -> Vec<Offset> {
        vec![Offset { topic: "t".into(), partition: 0, offset }]
    }

    fn read(lanes: &Lanes, offset: i64, is_handed: bool) {
        let mut table = lanes.table();
        let lane = table.of("t", 0);
        lane.read(offset);
        if is_handed {
            lane.handed = lane.next;
        }
    }

    #[test]
    fn numbers_stay_what_the_host_remembers_and_new_ones_follow() {
        let stored = [(4, Bytes::from("t/1@7")), (2, Bytes::from("u/0@9")), (9, Bytes::from("nonsense"))];
        let lanes = Lanes::of_positions(stored.iter().map(|(number, bytes)| (*number, bytes)));
        let mut table = lanes.table();
        assert_eq!((table.number("t", 1), table.number("u", 0)), (4, 2));
        assert_eq!((table.number("t", 0), table.number("t", 2), table.number("t", 0)), (5, 6, 5));
        assert_eq!(table.of("t", 1).known(), Some(7));
        assert_eq!(table.of("t", 0).known(), None);
    }

    #[test]
    fn the_group_is_told_what_is_stored_and_only_of_partitions_that_are_here() {
        let lanes = Lanes::default();
        read(&lanes, 10, true);
        lanes.table().store(0, 11);
        assert!(lanes.table().untold().is_empty(), "the partition is not assigned");
        lanes.table().of("t", 0).assign(None, None);
        assert_eq!(lanes.table().untold(), told(11));
        assert!(lanes.table().untold().is_empty(), "told once");
        read(&lanes, 11, true);
        assert!(lanes.table().untold().is_empty(), "handed over is not stored");
        lanes.table().store(0, 12);
        lanes.table().of("t", 0).revoke();
        assert_eq!(lanes.table().untold_of(&[("t".to_owned(), 0)]), told(12));
    }

    #[test]
    fn what_was_passed_over_is_settled_when_everything_before_it_is() {
        let lanes = Lanes::default();
        lanes.table().of("t", 0).assign(Some(0), None);
        read(&lanes, 0, true);
        read(&lanes, 1, false);
        assert_eq!(lanes.table().of("t", 0).settled(), None);
        lanes.table().store(0, 1);
        assert_eq!(lanes.table().of("t", 0).settled(), Some(2));
        read(&lanes, 2, true);
        assert_eq!(lanes.table().of("t", 0).settled(), Some(1));
    }

    #[test]
    fn a_partition_that_comes_back_goes_on_behind_what_was_handed_over() {
        let lanes = Lanes::default();
        lanes.table().of("t", 0).assign(Some(5), None);
        read(&lanes, 8, true);
        assert_eq!(lanes.table().of("t", 0).known(), Some(9));
    }

    #[test]
    fn positions_of_a_topic_that_was_made_anew_are_forgotten() {
        let lanes = Lanes::default();
        lanes.table().of("t", 0).assign(Some(90), None);
        read(&lanes, 99, true);
        lanes.table().store(0, 100);
        read(&lanes, 0, true);
        lanes.table().store(0, 100);
        assert_eq!(lanes.table().of("t", 0).settled(), None);
        lanes.table().store(0, 1);
        assert_eq!(lanes.table().untold(), told(1));
    }

    #[test]
    fn a_partition_is_caught_up_when_its_end_was_read() {
        let mut lane = Lane::default();
        lane.assign(Some(3), None);
        assert!(!lane.is_caught_up());
        lane.end = End::At(5);
        assert!(!lane.is_caught_up());
        lane.next = Some(5);
        assert!(lane.is_caught_up());
        lane.assign(Some(5), Some(5));
        assert_eq!(lane.end, End::Reached);
        lane.assign(Some(100), Some(5));
        assert!(!lane.is_caught_up(), "the partition was begun anew");
        lane.read(0);
        lane.read(4);
        assert!(lane.is_caught_up());
    }
}
