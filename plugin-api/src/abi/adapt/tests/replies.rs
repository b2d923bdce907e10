//! What a source hears, and what happens when its ears panic.

use super::{Bomb, SOON};
use crate::{
    context::Context,
    error::{ErrorKind, Result},
    record::{Position, Record},
    source::{AsyncSource, Emitter, Outcome, OutcomeResult, Replies, Source},
    testing::{self, Place},
};
use serde_json::Value;
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// A source that says nothing and hears with `R`.
struct Hears<R>(Option<R>);

impl<R: Replies + Default> Source for Hears<R> {
    type Config = Value;

    fn new(_: Value, _: &Context) -> Result<Self> {
        Ok(Self(Some(R::default())))
    }

    fn poll(&mut self, _: usize, _: Duration) -> Result<Vec<Record>> {
        Ok(Vec::new())
    }

    fn replies(&mut self) -> Box<dyn Replies> {
        Box::new(self.0.take().expect("asked once"))
    }
}

impl<R: Replies + Default> AsyncSource for Hears<R> {
    type Config = Value;

    fn new(_: Value, _: &Context) -> Result<Self> {
        Ok(Self(Some(R::default())))
    }

    async fn run(self, _: Emitter) -> Result<()> {
        Ok(())
    }

    fn replies(&mut self) -> Box<dyn Replies> {
        Box::new(self.0.take().expect("asked once"))
    }
}

struct ExplodesAtTheEnd(Bomb);

impl Default for ExplodesAtTheEnd {
    fn default() -> Self {
        Self(Bomb)
    }
}

impl Replies for ExplodesAtTheEnd {}

#[test]
fn a_panic_in_the_drop_of_the_replies_is_contained() {
    drop(testing::source::<Hears<ExplodesAtTheEnd>>("{}", &Place::default()).expect("opens"));
    drop(testing::async_source::<Hears<ExplodesAtTheEnd>>("{}", &Place::default()).expect("opens"));
}

static N_ENTERED: AtomicUsize = AtomicUsize::new(0);

#[derive(Default)]
struct PanicsWhenTold;

impl Replies for PanicsWhenTold {
    fn outcomes(&self, _: Vec<Outcome>) {
        N_ENTERED.fetch_add(1, Ordering::Relaxed);
        panic!("a panic in outcomes");
    }

    fn commit(&self, _: u32, _: &[u8]) -> Result<()> {
        N_ENTERED.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn replies_that_panicked_are_not_entered_again() {
    let source = testing::source::<Hears<PanicsWhenTold>>("{}", &Place::default()).expect("opens");
    let told = || source.outcomes(vec![Outcome { id: 1, result: OutcomeResult::Written }]);
    let first = told().expect_err("it panicked");
    assert!(first.message().starts_with("panicked in outcomes"), "{first}");
    assert_eq!(told().expect_err("it is dead").kind(), ErrorKind::PANIC);
    let commit = source.commit(&Position::new(0, "place")).expect_err("it is dead");
    assert_eq!(commit.kind(), ErrorKind::PANIC);
    assert_eq!(N_ENTERED.load(Ordering::Relaxed), 1);
}

/// Asks for an outcome and emits what it hears.
struct Asks;

impl AsyncSource for Asks {
    type Config = Value;

    fn new(_: Value, _: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn run(self, emitter: Emitter) -> Result<()> {
        let outcome = emitter.request(Record::new("question")).await?.wait().await;
        emitter.emit(Record::new(format!("{outcome:?}"))).await
    }
}

#[test]
fn a_request_is_answered() {
    let mut source = testing::async_source::<Asks>("{}", &Place::default()).expect("opens");
    let id = source.poll(10, SOON).expect("the question")[0].id();
    source.outcomes(vec![Outcome { id, result: OutcomeResult::Written }]).expect("heard");
    let heard = source.poll(10, SOON).expect("the answer");
    assert_eq!(heard[0].value().as_deref(), Some(&b"Written"[..]));
}

#[test]
fn a_source_exported_without_answers_cannot_ask() {
    let place = Place { answers: false, ..Place::default() };
    let mut source = testing::async_source::<Asks>("{}", &place).expect("opens");
    let error = source.poll(10, SOON).expect_err("nobody would hear it");
    assert_eq!(error.kind(), ErrorKind::FATAL);
    assert_eq!(error.message(), "export the source with `(answers)` to hear outcomes");
}
