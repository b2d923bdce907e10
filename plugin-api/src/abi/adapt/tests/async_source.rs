//! How the end of `run` reaches the host, whoever still holds an emitter.

use super::{BRIEF, Bomb, SOON, settle};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    record::Record,
    source::{AsyncSource, Emitter},
    testing::{self, Place, SourceDriver},
};
use serde_json::{Value, json};
use std::{
    future::pending,
    time::{Duration, Instant},
};

/// Emits some records, then ends as its configuration says.
struct Script {
    context: Context,
    n_records: u64,
    n_bytes: usize,
    /// Whether a task of the source outlives `run` with an emitter.
    keeps_emitter: bool,
    end: String,
}

impl AsyncSource for Script {
    type Config = Value;

    fn new(config: Value, context: &Context) -> Result<Self> {
        Ok(Self {
            context: context.clone(),
            n_records: config["records"].as_u64().unwrap_or(0),
            n_bytes: config["bytes"].as_u64().unwrap_or(1) as usize,
            keeps_emitter: config["keeps_emitter"] == true,
            end: config["end"].as_str().unwrap_or_default().to_owned(),
        })
    }

    async fn run(self, emitter: Emitter) -> Result<()> {
        for _ in 0..self.n_records {
            emitter.emit(Record::new(vec![b'x'; self.n_bytes])).await?;
        }
        if self.keeps_emitter {
            let kept = emitter.clone();
            self.context.spawn(async move {
                let _kept = kept;
                pending::<()>().await;
            });
        }
        match self.end.as_str() {
            "ok" => Ok(()),
            "not_connected" => Err(Error::not_connected("the broker is away")),
            "retry" => Err(Error::retry(Duration::from_secs(1), "the broker is busy")),
            "fatal" => Err(Error::fatal("out of order")),
            "panic" => panic!("a panic in run"),
            "emitter_dropped" => {
                drop(emitter);
                pending().await
            }
            "bomb" => {
                let _bomb = Bomb;
                pending().await
            }
            _ => pending().await,
        }
    }
}

fn open(config: &Value) -> SourceDriver {
    testing::async_source::<Script>(&config.to_string(), &Place::default()).expect("opens")
}

/// The first answer that is not "nothing yet".
fn end_of(source: &mut SourceDriver) -> Error {
    let until = Instant::now() + SOON;
    while Instant::now() < until {
        match source.poll(10, BRIEF) {
            Ok(records) => assert!(records.is_empty(), "every record was polled"),
            Err(error) => return error,
        }
    }
    panic!("the end of `run` was not told");
}

#[test]
fn an_endpoint_error_that_ends_run_is_fatal_and_stays() {
    for (end, reason) in [("not_connected", "the broker is away"), ("retry", "the broker is busy")] {
        let mut source = open(&json!({ "end": end }));
        for _ in 0..3 {
            let error = end_of(&mut source);
            assert_eq!(error.kind(), ErrorKind::FATAL, "the host opens the source again");
            assert_eq!(error.message(), format!("run ended: {reason}"));
        }
    }
}

#[test]
fn another_end_stays_too() {
    for (end, kind) in [("ok", ErrorKind::END_OF_INPUT), ("fatal", ErrorKind::FATAL)] {
        let mut source = open(&json!({ "end": end }));
        for _ in 0..3 {
            assert_eq!(end_of(&mut source).kind(), kind);
        }
    }
}

#[test]
fn the_end_is_told_though_an_emitter_lives_after_what_was_emitted() {
    for (end, kind) in
        [("ok", ErrorKind::END_OF_INPUT), ("fatal", ErrorKind::FATAL), ("panic", ErrorKind::PANIC)]
    {
        let mut source = open(&json!({ "records": 30, "keeps_emitter": true, "end": end }));
        let mut n_polled = 0;
        while n_polled < 30 {
            n_polled += source.poll(7, SOON).expect("what was emitted comes first").len();
        }
        assert_eq!((n_polled, end_of(&mut source).kind()), (30, kind));
    }
}

#[test]
fn a_run_without_emitters_is_waited_for_no_longer_than_asked() {
    let mut source = open(&json!({ "records": 1, "end": "emitter_dropped" }));
    assert_eq!(source.poll(10, SOON).expect("one was emitted").len(), 1);
    for _ in 0..3 {
        let began = Instant::now();
        assert!(source.poll(10, BRIEF).expect("the run has not ended").is_empty());
        assert!(began.elapsed() < SOON);
    }
}

#[test]
fn a_panic_in_the_drop_of_the_run_is_contained() {
    let mut source = open(&json!({ "records": 1, "end": "bomb" }));
    assert_eq!(source.poll(10, SOON).expect("one was emitted").len(), 1);
    settle();
    drop(source);
}

#[test]
fn a_poll_keeps_to_its_bytes_but_gives_one_record() {
    let mut source = open(&json!({ "records": 4, "bytes": 1000 }));
    let size = Record::new(vec![b'x'; 1000]).size() as u64;
    settle();
    let ids = |records: Vec<Record>| records.iter().map(Record::id).collect::<Vec<_>>();
    assert_eq!(ids(source.poll_bytes(10, 1, SOON).expect("polled")), [1]);
    assert_eq!(ids(source.poll_bytes(10, size * 5 / 2, SOON).expect("polled")), [2, 3]);
    assert_eq!(ids(source.poll_bytes(10, u64::MAX, SOON).expect("polled")), [4]);
}

#[test]
fn emitters_hold_a_bounded_number_of_bytes() {
    const LARGE: usize = 5 << 20;
    let mut source = open(&json!({ "records": 8, "bytes": LARGE, "end": "ok" }));
    settle();
    let held = source.poll(1000, SOON).expect("polled").len();
    assert!((1..=3).contains(&held), "{held} records of 5 MiB were held");
    let rest = source.poll_until(8 - held, SOON).expect("polled").len();
    assert_eq!(held + rest, 8, "room is given back");

    let mut source = open(&json!({ "records": 2, "bytes": 20 << 20, "end": "ok" }));
    assert_eq!(source.poll_until(2, SOON).expect("polled").len(), 2, "larger than all the room");
}
