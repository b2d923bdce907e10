//! What a transform was given, kept until it is known whether the record failed.
//!
//! A record is nearly always a few slices of a buffer that it shares with its neighbours. Such a record is kept as the
//! places of these slices, and the buffer is held once for all that lie in it: keeping it costs a few comparisons where
//! a clone would count references up and down. The record is put together again only if it failed.

use crate::{
    abi::{Bytes, bytes::Place},
    record::{Position, Record},
};

/// Holds the buffers that the kept record lies in, until the next one lies in others.
#[derive(Default)]
pub(super) struct Keeper {
    key: Held,
    value: Held,
    position: Held,
    kept: Kept,
}

#[derive(Default)]
enum Kept {
    #[default]
    Nothing,
    Slices(Slices),
    /// It has more than slices: headers, a value that was read already, an error.
    Whole(Box<Record>),
}

struct Slices {
    id: u64,
    timestamp_us: i64,
    key: Option<Place>,
    value: Option<Place>,
    position: Option<(u32, Place)>,
}

impl Keeper {
    /// Keeps this record instead of the one before.
    pub(super) fn keep(&mut self, record: &Record) {
        let has_more =
            record.headers().len() > 0 || record.known_change().is_some() || record.error().is_some();
        self.kept = if has_more {
            Kept::Whole(Box::new(record.clone()))
        } else {
            Kept::Slices(Slices {
                id: record.id(),
                timestamp_us: record.timestamp_us(),
                key: record.key().map(|key| self.key.hold(key)),
                value: record.raw_value().map(|value| self.value.hold(value)),
                position: record
                    .position()
                    .map(|position| (position.lane(), self.position.hold(position.bytes()))),
            })
        };
    }

    /// The record that was kept last, as it was.
    pub(super) fn take(&mut self) -> Option<Record> {
        match std::mem::take(&mut self.kept) {
            Kept::Nothing => None,
            Kept::Whole(record) => Some(*record),
            Kept::Slices(slices) => Some(self.restore(&slices)),
        }
    }

    fn restore(&self, slices: &Slices) -> Record {
        let mut record = Record::new(Bytes::new());
        record.set_id(slices.id);
        record.set_timestamp_us(slices.timestamp_us);
        record.set_key(slices.key.map(|place| self.key.at(place)));
        record.set_value(slices.value.map(|place| self.value.at(place)));
        match slices.position {
            Some((lane, place)) => record.with_position(Position::new(lane, self.position.at(place))),
            None => record,
        }
    }
}

/// One slice of a buffer, standing for all of it.
#[derive(Default)]
struct Held(Option<Bytes>);

impl Held {
    /// Holds the buffer of `slice`, unless it is held already.
    fn hold(&mut self, slice: &Bytes) -> Place {
        if !self.0.as_ref().is_some_and(|held| held.shares_buffer(slice)) {
            self.0 = Some(slice.clone());
        }
        slice.place()
    }

    fn at(&self, place: Place) -> Bytes {
        self.0.as_ref().expect("it was held for this place").at(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(record: &Record) {
        let mut keeper = Keeper::default();
        keeper.keep(&Record::new("another, before it"));
        keeper.keep(record);
        let kept = keeper.take().expect("it was kept");
        assert_eq!((kept.id(), kept.timestamp_us()), (record.id(), record.timestamp_us()));
        assert_eq!((kept.key(), kept.raw_value()), (record.key(), record.raw_value()));
        assert_eq!((kept.position(), kept.header("h")), (record.position(), record.header("h")));
        assert!(keeper.take().is_none(), "taken once");
    }

    #[test]
    fn a_kept_record_comes_back_as_it_was() {
        let buffer = Bytes::from("keyvalue");
        let mut record = Record::new(buffer.slice(3..8)).with_key(buffer.slice(0..3));
        record.set_id(7);
        record.set_timestamp_us(8);
        check(&record);
        check(&record.clone().with_position(Position::new(3, "place")));
        record.set_header("h", "text");
        check(&record);
        record.set_key(None);
        record.set_value(None);
        check(&record);
    }

    #[test]
    fn what_was_kept_does_not_change_with_the_record() {
        let mut keeper = Keeper::default();
        let mut record = Record::new(r#"{"config_key":"a","new_value":1}"#);
        keeper.keep(&record);
        record.change_mut().expect("a change").set_user_id(Some("eve".into()));
        record.set_key(Some(Bytes::from("b")));
        let kept = keeper.take().expect("it was kept");
        assert!(kept.key().is_none() && !kept.value().expect("bytes").is_empty());
        assert!(kept.known_change().is_none());
    }
}
