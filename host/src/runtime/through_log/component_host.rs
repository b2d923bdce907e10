//! What a component of a pipeline through the log may ask of its host.
//!
//! On the thread that applies a batch, state and notices belong to the batch; everywhere else each call is a commit of
//! its own. A component may outlive its run by a moment, so the run is held weakly.

use super::{
    super::run::{Ended, Run},
    ThroughLog,
    replay::replay,
    scope,
};
use crate::log::At;
use crate::pipeline::{SinkStep, Step};
use crate::store::{Check, Commit, Expect, Namespace, StoreError};
use lockstep_plugin_api::{
    Bytes, Error, Record, Result,
    abi::{
        types::{RArc, RErr, ROk, ROption, RSlice, RStr, RString, RVec, TD_Opaque},
        vtable::{
            Answer, CallerParts, CompletionBox, ComponentHost, ComponentHost_TO, ComponentHostBox,
            CounterCell, EntryAtParts, GaugeCell, HistogramCell, LogParts, ReplayedParts, StateCommitParts,
            StateCommitted, StateEntry,
        },
    },
    submit::Submitted,
};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// When to try again what the store refused for now.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The host as one component sees it: `metrics` is what it is in any pipeline.
pub fn log_component_host(run: &Arc<Run>, step: &Step, metrics: ComponentHostBox) -> ComponentHostBox {
    let is_this = |sink: &SinkStep| sink.step.index == step.index;
    let host = LogHost {
        metrics,
        run: Arc::downgrade(run),
        component: step.name.as_str().into(),
        index: step.index,
        sink: run.pipeline.sinks.iter().position(is_this),
    };
    ComponentHost_TO::from_ptr(RArc::new(host), TD_Opaque)
}

#[derive(Clone)]
struct LogHost {
    metrics: ComponentHostBox,
    run: Weak<Run>,
    component: Arc<str>,
    /// Its place among the pipeline's steps.
    index: usize,
    /// Its place among the sinks, if it is one.
    sink: Option<usize>,
}

/// What a component is told when the store refuses.
pub fn store_error(error: StoreError) -> Error {
    if error.is_transient() { Error::retry(RETRY_AFTER, error) } else { Error::failed(error) }
}

impl LogHost {
    /// Does something with the run, if it is not over.
    fn ask<T>(&self, ask: impl FnOnce(&Arc<Run>, &ThroughLog) -> Result<T>) -> Answer<T> {
        let Some(run) = self.run.upgrade() else { return RErr(over()) };
        let Some(through) = run.through_log() else { return RErr(over()) };
        ask(&run, through).into()
    }

    /// Commits outside a batch.
    fn commit(
        &self,
        mut commit: Commit,
        notices: Vec<Record>,
        audit: impl IntoIterator<Item = String>,
    ) -> Answer<StateCommitted> {
        self.ask(|run, through| {
            through.host.audit.add(&mut commit, audit);
            let _turn = through.turns.other(run).map_err(|Ended| over())?;
            match through.host.log.commit(commit, notices) {
                Ok(revision) => Ok(StateCommitted { is_done: true, revision }),
                Err(StoreError::Conflict { .. }) => Ok(StateCommitted { is_done: false, revision: 0 }),
                Err(error) => Err(store_error(error)),
            }
        })
    }
}

fn over() -> Error {
    Error::rejected("unavailable", "the pipeline of this component is over")
}

fn is_notice(record: &Record) -> Result<()> {
    match record.is_notice() {
        true => Ok(()),
        false => Err(Error::unsupported("only notices are published: make the record with `Record::notice`")),
    }
}

impl ComponentHost for LogHost {
    fn counter(&self, name: RStr<'_>) -> RArc<CounterCell> {
        self.metrics.counter(name)
    }

    fn gauge(&self, name: RStr<'_>) -> RArc<GaugeCell> {
        self.metrics.gauge(name)
    }

    fn histogram(&self, name: RStr<'_>) -> RArc<HistogramCell> {
        self.metrics.histogram(name)
    }

    fn endpoint(&self, name: RStr<'_>) {
        let Some(run) = self.run.upgrade() else { return };
        run.endpoints.set(self.index, &name);
        run.status.set_endpoint(self.index, &name);
    }

    fn feeds(&self, metric: RStr<'_>, cell: RStr<'_>) {
        self.metrics.feeds(metric, cell);
    }

    fn state_get(&self, namespace: RStr<'_>, key: RSlice<'_, u8>) -> Answer<ROption<Bytes>> {
        let key = scope::state_key(&namespace, &key);
        let mut key = Some(key);
        let found = scope::with(|scope| scope.get(key.take().unwrap_or_default()));
        match found {
            Some(found) => found.map(ROption::from).map_err(store_error).into(),
            None => self.ask(|run, _| {
                let value = run.store.get(Namespace::State, &key.take().unwrap_or_default());
                value.map(|value| value.map(Bytes::from).into()).map_err(store_error)
            }),
        }
    }

    fn state_scan(
        &self,
        namespace: RStr<'_>,
        prefix: RSlice<'_, u8>,
        after: ROption<RSlice<'_, u8>>,
        limit: u32,
    ) -> Answer<RVec<StateEntry>> {
        let n_before = namespace.len() + 1;
        let prefix = scope::state_key(&namespace, &prefix);
        let after = after.into_option().map(|after| scope::state_key(&namespace, &after));
        let limit = limit as usize;
        let in_batch = scope::with(|scope| scope.scan(&prefix, after.as_deref(), limit));
        let found = match in_batch {
            Some(found) => found.map_err(store_error).into(),
            None => self.ask(|run, _| {
                let found = run.store.scan(Namespace::State, &prefix, after.as_deref(), limit);
                let found = found.map_err(store_error)?;
                Ok(found.into_iter().map(|(key, value)| (key, Bytes::from(value))).collect::<Vec<_>>())
            }),
        };
        let entry = |(key, value): (Vec<u8>, Bytes)| StateEntry {
            key: Bytes::copy_from_slice(&key[n_before..]),
            value,
        };
        found.map(|found| found.into_iter().map(entry).collect())
    }

    fn state_stage(&self, namespace: RStr<'_>, key: RSlice<'_, u8>, value: ROption<Bytes>) -> Answer<()> {
        let key = scope::state_key(&namespace, &key);
        match scope::with(|scope| scope.stage(key, value.into_option())) {
            Some(()) => ROk(()),
            None => RErr(Error::unsupported(
                "state is staged only inside `apply` of the pipeline's own transforms; elsewhere it is committed",
            )),
        }
    }

    fn state_commit(&self, namespace: RStr<'_>, parts: StateCommitParts) -> Answer<StateCommitted> {
        if scope::with(|_| ()).is_some() {
            return RErr(Error::unsupported(
                "inside `apply` state is staged: it is committed with the batch",
            ));
        }
        if let Some(Err(error)) = parts.notices.iter().map(is_notice).find(Result::is_err) {
            return RErr(error);
        }
        let key = |key: &Bytes| scope::state_key(&namespace, key);
        let mut commit = Commit::default();
        for expected in &parts.expected {
            let expect = match &expected.value {
                ROption::RSome(value) => Expect::Value(value.to_vec()),
                ROption::RNone => Expect::Absent,
            };
            commit.checks.push(Check { namespace: Namespace::State, key: key(&expected.key), expect });
        }
        for write in &parts.writes {
            match &write.value {
                ROption::RSome(value) => {
                    commit.puts.push((Namespace::State, key(&write.key), value.to_vec()));
                }
                ROption::RNone => commit.deletes.push((Namespace::State, key(&write.key))),
            }
        }
        self.commit(commit, parts.notices.into(), parts.audit.into_iter().map(String::from))
    }

    fn publish(&self, notice: Record) -> Answer<()> {
        if let Err(error) = is_notice(&notice) {
            return RErr(error);
        }
        let mut notice = Some(notice);
        match scope::with(|scope| scope.notices.extend(notice.take())) {
            Some(()) => ROk(()),
            None => self.commit(Commit::default(), notice.into_iter().collect(), []).map(drop),
        }
    }

    fn audit(&self, entry: RStr<'_>) -> Answer<()> {
        if scope::with(|scope| scope.audit.push(entry.to_string())).is_some() {
            return ROk(());
        }
        self.commit(Commit::default(), Vec::new(), [entry.to_string()]).map(drop)
    }

    fn log(&self) -> Answer<LogParts> {
        self.ask(|_, through| {
            let log = &through.host.log;
            Ok(LogParts { epoch: log.epoch().into(), head: log.head(), compacted: log.compacted() })
        })
    }

    fn entry_at(&self, tenant: ROption<RStr<'_>>, key: RStr<'_>, revision: u64) -> Answer<EntryAtParts> {
        let tenant = tenant.into_option();
        self.ask(|_, through| {
            let tenant = tenant.as_ref().map(RStr::as_str);
            let found = through.host.log.entry_at(tenant, &key, revision).map_err(store_error)?;
            let is_compacted = matches!(found, At::Compacted { .. });
            let entry = match found {
                At::Entry(record) => Some(record),
                At::Absent | At::Compacted { .. } => None,
            };
            Ok(EntryAtParts { entry: entry.into(), is_compacted })
        })
    }

    fn replay(&self, after: u64, is_current: bool, limit: u32) -> Answer<ReplayedParts> {
        let Some(sink) = self.sink else {
            return RErr(Error::unsupported(
                "only sinks replay the log: others see what passes through them",
            ));
        };
        self.ask(|run, through| replay(run, through, sink, after, is_current, limit))
    }

    fn call(&self, operation: RStr<'_>, arguments: RStr<'_>, done: CompletionBox) {
        if scope::with(|_| ()).is_some() {
            // It could wait for the very batch that waits for it, or write what the batch has read, each time anew.
            return done.done(RErr(Error::unsupported("inside `apply` no operation is called")));
        }
        let caller = CallerParts { is_operator: false, name: (&*self.component).into() };
        let Some(run) = self.run.upgrade() else { return done.done(RErr(over())) };
        match run.through_log() {
            Some(through) => {
                through.host.operations.call(caller, &operation, &arguments, done);
            }
            None => done.done(RErr(over())),
        }
    }

    fn submit(&self, change: Record, done: CompletionBox) {
        if scope::with(|_| ()).is_some() {
            return done.done(RErr(Error::unsupported("inside `apply` no change is made: push a record")));
        }
        let Some(run) = self.run.upgrade() else { return done.done(RErr(over())) };
        let Some(through) = run.through_log() else { return done.done(RErr(over())) };
        through.intake.submit(change, &self.component, move |outcome| {
            let told =
                Submitted::of(&outcome).and_then(|told| serde_json::to_string(&told).map_err(Error::failed));
            done.done(told.map(RString::from).into());
        });
    }
}
