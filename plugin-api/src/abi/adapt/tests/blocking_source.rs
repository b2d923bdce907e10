//! A blocking source learns the ids that its records got.

use super::BRIEF;
use crate::{
    context::Context,
    error::Result,
    record::Record,
    source::Source,
    testing::{self, Place},
};
use serde_json::Value;
use std::{sync::Mutex, time::Duration};

static POLLED: Mutex<Vec<(u64, usize)>> = Mutex::new(Vec::new());

struct Numbers;

impl Source for Numbers {
    type Config = Value;

    fn new(_: Value, _: &Context) -> Result<Self> {
        Ok(Self)
    }

    fn poll(&mut self, max: usize, _: Duration) -> Result<Vec<Record>> {
        Ok((0..max).map(|n| Record::new(n.to_string())).collect())
    }

    fn polled(&mut self, first_id: u64, n_records: usize) {
        POLLED.lock().expect("not poisoned").push((first_id, n_records));
    }
}

#[test]
fn a_source_is_told_the_ids_of_what_it_gave() {
    let mut source = testing::source::<Numbers>("{}", &Place::default()).expect("opens");
    for max in [3, 2, 0] {
        let records = source.poll(max, BRIEF).expect("polled");
        let (first_id, n_records) = *POLLED.lock().expect("not poisoned").last().expect("told");
        let ids: Vec<u64> = records.iter().map(Record::id).collect();
        assert_eq!(ids, (first_id..first_id + n_records as u64).collect::<Vec<_>>());
    }
    assert_eq!(*POLLED.lock().expect("not poisoned"), [(1, 3), (4, 2), (6, 0)]);
}
