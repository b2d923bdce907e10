//! What an async sink tells and when: news before errors, and nothing that waits for a slow write.

use super::{BRIEF, SOON, settle};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    record::Record,
    sink::{AsyncSink, Failures},
    testing::{self, Place, SinkDriver},
};
use serde_json::Value;
use std::{
    future::pending,
    time::{Duration, Instant},
};

/// Does what a batch's first record says.
struct Obedient;

impl AsyncSink for Obedient {
    type Config = Value;

    fn new(_: Value, _: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn write(&mut self, batch: &[Record], failures: &mut Failures) -> Result<()> {
        match batch[0].key_str() {
            Some("away") => Err(Error::not_connected("the server is away")),
            Some("broken") => Err(Error::fatal("out of order")),
            Some("reject") => {
                failures.push(&batch[0], Error::rejected("bad_value", "not wanted"));
                Ok(())
            }
            Some("hang") => pending().await,
            _ => Ok(()),
        }
    }
}

fn open() -> SinkDriver {
    open_at(&Place::default())
}

fn open_at(place: &Place) -> SinkDriver {
    testing::async_sink::<Obedient>("{}", place).expect("opens")
}

fn batch(order: &'static str) -> Vec<Record> {
    vec![Record::new("value").with_key(order)]
}

#[test]
fn what_was_written_is_told_before_the_error_that_came_after_it() {
    for (order, kind) in [("away", ErrorKind::NOT_CONNECTED), ("broken", ErrorKind::FATAL)] {
        let mut sink = open();
        sink.put(batch("ok")).expect("put");
        sink.put(batch("reject")).expect("put");
        sink.put(batch(order)).expect("put");
        settle();
        let acked = sink.acked(SOON).expect("news come first");
        assert_eq!((acked.through_seq, acked.failed.len()), (2, 1));
        assert_eq!(sink.acked(BRIEF).expect_err("the error comes next").kind(), kind);
        let acked = sink.acked(BRIEF).expect("the error is told once");
        assert_eq!((acked.through_seq, acked.failed.len()), (2, 0));
    }
}

#[test]
fn a_batch_is_not_put_between_an_error_and_its_telling() {
    let mut sink = open();
    sink.put(batch("ok")).expect("put");
    sink.put(batch("away")).expect("put");
    settle();
    assert_eq!(sink.acked(SOON).expect("news come first").through_seq, 1);
    let refused = sink.put(batch("ok")).expect_err("it would be written before the batch that failed");
    assert_eq!(refused.kind(), ErrorKind::NOT_CONNECTED);
    settle();
    assert_eq!(sink.acked(BRIEF).expect("nothing new").through_seq, 1);
    // From here on batches are written again.
    sink.put(batch("ok")).expect("put");
    sink.put(batch("ok")).expect("put");
    settle();
    assert_eq!(sink.acked(SOON).expect("written").through_seq, 4);
}

#[test]
fn flush_tells_the_error_that_waits() {
    let mut sink = open();
    sink.put(batch("ok")).expect("put");
    sink.put(batch("away")).expect("put");
    settle();
    sink.acked(SOON).expect("news come first");
    assert_eq!(sink.flush(SOON).expect_err("not everything is written").kind(), ErrorKind::NOT_CONNECTED);
}

#[test]
fn put_does_not_wait_for_a_slow_write() {
    let mut sink = open();
    let began = Instant::now();
    sink.put(batch("hang")).expect("put");
    for _ in 0..64 {
        sink.put(batch("ok")).expect("as many as a host may have in flight");
    }
    let refused = (0..100).find_map(|_| sink.put(batch("ok")).err()).expect("there is a bound");
    assert_eq!(refused.kind(), ErrorKind::FATAL);
    assert_eq!(refused.message(), "more batches than a host may have in flight");
    assert!(began.elapsed() < SOON);
}

#[test]
fn a_write_that_never_comes_back_is_found() {
    let mut sink = open_at(&Place { watchdog: Duration::from_millis(50), ..Place::default() });
    sink.put(batch("ok")).expect("put");
    settle();
    sink.put(batch("hang")).expect("put");
    settle();
    assert_eq!(sink.acked(SOON).expect("news come first").through_seq, 1);
    let began = Instant::now();
    while began.elapsed() < SOON && sink.acked(BRIEF).is_ok() {}
    for error in [sink.acked(BRIEF).err(), sink.put(batch("ok")).err(), sink.flush(SOON).err()] {
        let error = error.expect("it hangs");
        assert_eq!(error.kind(), ErrorKind::FATAL);
        assert_eq!(error.message(), "`write` did not come back within 50ms");
    }
}
