//! A transform that looks at its batch first.

use crate::{
    prelude::*,
    testing::{self, TransformDriver},
};
use serde_json::Value;

/// Passes on what was there when the batch began; the first record says what comes of looking at it.
struct Looker {
    seen: Vec<String>,
}

impl Transform for Looker {
    type Config = Value;

    fn new(_: Value, _: &Context) -> Result<Self> {
        Ok(Self { seen: Vec::new() })
    }

    fn prepare(&mut self, records: &mut [Record]) -> Result<()> {
        self.seen = records.iter().map(text).collect();
        match self.seen.first().map(String::as_str) {
            Some("away") => Err(Error::not_connected("nobody answers")),
            Some("broken") => Err(Error::rejected("bad_message", "nobody knows which record it was")),
            _ => Ok(()),
        }
    }

    fn apply(&mut self, mut record: Record, out: &mut Output) -> Result<()> {
        record.set_value(Some(Bytes::from(self.seen.join("+").into_bytes())));
        out.push(record);
        Ok(())
    }
}

fn text(record: &Record) -> String {
    String::from_utf8(record.value().expect("a value").to_vec()).expect("UTF-8")
}

fn apply(driver: &mut TransformDriver, values: &[&'static str]) -> Result<Vec<String>> {
    let records = values.iter().map(|value| Record::new(*value)).collect();
    Ok(driver.apply(records)?.out.iter().map(text).collect())
}

#[test]
fn a_batch_is_seen_before_its_records_are_applied() {
    let mut driver = testing::transform::<Looker>("{}").expect("a transform");
    assert_eq!(apply(&mut driver, &["a", "b"]).expect("applied"), ["a+b", "a+b"]);
    assert_eq!(apply(&mut driver, &["c"]).expect("applied"), ["c"]);
}

#[test]
fn an_endpoint_that_is_away_stops_the_whole_batch_and_anything_else_the_component() {
    let mut driver = testing::transform::<Looker>("{}").expect("a transform");
    let away = apply(&mut driver, &["away", "b"]).expect_err("stopped");
    assert_eq!(away.kind(), ErrorKind::NOT_CONNECTED, "as if the first record had said so");
    assert_eq!(apply(&mut driver, &["b"]).expect("applied"), ["b"]);
    assert_eq!(apply(&mut driver, &["broken", "b"]).expect_err("ended").code(), Some("bad_message"));
}
