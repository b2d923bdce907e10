//! A host in memory: state, a log, an audit and operations, for components under test.
//!
//! It has no batches: what is staged is true at once, and a record that a transform passes on is in the log only after
//! the test appended it ([`MemoryHost::append`]).

use crate::{
    abi::{
        Bytes,
        vtable::{
            Answer, CallerParts, CatchUpCell, CompletionBox, ComponentHost, ComponentHost_TO,
            ComponentHostBox, CounterCell, EntryAtParts, GaugeCell, HistogramCell, LogParts, OperationParts,
            ReplayedParts, StateCommitParts, StateCommitted, StateEntry,
        },
    },
    context::CATCHING_UP,
    error::Error,
    record::Record,
    source::OutcomeResult,
    submit::Submitted,
};
use abi_stable::{
    sabi_trait::prelude::TD_Opaque,
    std_types::{RArc, RErr, ROk, ROption, RSlice, RStr, RString, RVec},
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// The epoch of every log in memory.
const EPOCH: &str = "00000000-0000-4000-8000-000000000001";

/// What a component under test asks; clones are the same host.
#[derive(Clone, Default)]
pub struct MemoryHost(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    /// By namespace and key.
    state: BTreeMap<(String, Vec<u8>), Bytes>,
    /// Entry `i` has revision `i + 1`.
    log: Vec<Record>,
    compacted: u64,
    audit: Vec<String>,
    counters: HashMap<String, RArc<CounterCell>>,
    gauges: HashMap<String, RArc<GaugeCell>>,
    operations: HashMap<String, Arc<OperationParts>>,
    submitted: VecDeque<MadeChange>,
    endpoint: Option<String>,
    catch_up: RArc<CatchUpCell>,
}

impl MemoryHost {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn parts(&self) -> ComponentHostBox {
        ComponentHost_TO::from_ptr(RArc::new(self.clone()), TD_Opaque)
    }

    pub(super) fn offer(&self, operations: RVec<OperationParts>) {
        let mut memory = self.memory();
        for operation in operations {
            memory.operations.insert(operation.name.to_string(), Arc::new(operation));
        }
    }

    /// Puts records into the log, as a commit would, and gives the revision of the last.
    pub fn append(&self, records: impl IntoIterator<Item = Record>) -> u64 {
        let mut memory = self.memory();
        for mut record in records {
            let revision = memory.log.len() as u64 + 1;
            if let Ok(change) = record.change_mut() {
                change.set_epoch(Some(EPOCH.into()));
                change.set_revision(Some(revision));
            }
            memory.log.push(record);
        }
        memory.log.len() as u64
    }

    /// The log's epoch.
    pub fn epoch(&self) -> &'static str {
        EPOCH
    }

    /// Forgets history up to a revision, except the newest entry of each key.
    pub fn compact(&self, revision: u64) {
        self.memory().compacted = revision;
    }

    /// Every notice that was published or committed.
    pub fn notices(&self) -> Vec<Record> {
        self.memory().log.iter().filter(|record| record.is_notice()).cloned().collect()
    }

    /// Every audit entry, as JSON.
    pub fn audit(&self) -> Vec<String> {
        self.memory().audit.clone()
    }

    /// What a counter of the component has come to.
    pub fn counter(&self, name: &str) -> u64 {
        self.memory().counters.get(name).map_or(0, |cell| cell.value.load(Ordering::Relaxed))
    }

    /// What a gauge of the component is at.
    pub fn gauge(&self, name: &str) -> i64 {
        self.memory().gauges.get(name).map_or(0, |cell| cell.value.load(Ordering::Relaxed))
    }

    pub(super) fn catch_up(&self) -> RArc<CatchUpCell> {
        self.memory().catch_up.clone()
    }

    /// Whether a source still reads what was there before it.
    pub fn is_catching_up(&self) -> bool {
        self.memory().catch_up.state.load(Ordering::Acquire) == CATCHING_UP
    }

    /// The place that a component last named.
    pub fn endpoint(&self) -> Option<String> {
        self.memory().endpoint.clone()
    }

    /// The oldest change that a component made and that was not taken yet ([`Context::submit`](crate::Context::submit)):
    /// the component waits for what the test says.
    pub fn take_submitted(&self) -> Option<MadeChange> {
        self.memory().submitted.pop_front()
    }

    /// The value of a key.
    pub fn state(&self, namespace: &str, key: &[u8]) -> Option<Bytes> {
        self.memory().state.get(&(namespace.to_owned(), key.to_vec())).cloned()
    }

    /// Calls an operation of the component under test, as an operator, and waits for the answer.
    ///
    /// # Errors
    /// What the operation answers.
    pub fn call(&self, operation: &str, arguments: &serde_json::Value) -> crate::Result<serde_json::Value> {
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let deliver = move |result| drop(answer.send(result));
        let caller = CallerParts { is_operator: true, name: "admin".into() };
        self.start(operation, caller, &arguments.to_string(), crate::abi::adapt::completion(deliver));
        let answer = answered.recv().map_err(Error::failed)??;
        serde_json::from_str(&answer).map_err(Error::failed)
    }

    fn start(&self, operation: &str, caller: CallerParts, arguments: &str, done: CompletionBox) {
        let found = self.memory().operations.get(operation).cloned();
        match found {
            Some(found) => found.task.call(caller, arguments.into(), done),
            None => done.done(RErr(Error::unsupported(format!("no component offers `{operation}`")))),
        }
    }
}

/// A change that a component made. Dropped without an answer, it stands for a pipeline that ended.
pub struct MadeChange {
    /// The change.
    pub record: Record,
    done: CompletionBox,
}

impl MadeChange {
    /// Says what became of it.
    pub fn answer(self, outcome: &OutcomeResult) {
        let told = Submitted::of(outcome);
        let told = told.and_then(|told| serde_json::to_string(&told).map_err(Error::failed));
        self.done.done(told.map(RString::from).into());
    }
}

impl Memory {
    /// Whether an entry is still there: compaction leaves the newest of each key.
    fn is_kept(&self, revision: u64) -> bool {
        revision > self.compacted || self.is_current(revision)
    }

    fn is_current(&self, revision: u64) -> bool {
        let Some(entry) = self.log.get(revision as usize - 1) else { return false };
        let is_later = |later: &&Record| !later.is_notice() && log_key(later) == log_key(entry);
        !entry.is_notice() && self.log[revision as usize..].iter().find(is_later).is_none()
    }
}

fn log_key(record: &Record) -> (Option<String>, String) {
    let change = record.known_change();
    let tenant = change.and_then(|change| change.tenant_id()).map(str::to_owned);
    (tenant, change.map_or_else(String::new, |change| change.config_key().to_owned()))
}

impl ComponentHost for MemoryHost {
    fn counter(&self, name: RStr<'_>) -> RArc<CounterCell> {
        let new = || RArc::new(CounterCell { value: 0.into() });
        self.memory().counters.entry(name.to_string()).or_insert_with(new).clone()
    }
    fn gauge(&self, name: RStr<'_>) -> RArc<GaugeCell> {
        let new = || RArc::new(GaugeCell { value: 0.into() });
        self.memory().gauges.entry(name.to_string()).or_insert_with(new).clone()
    }
    fn histogram(&self, _: RStr<'_>) -> RArc<HistogramCell> {
        RArc::new(HistogramCell { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum_us: 0.into() })
    }
    fn state_get(&self, namespace: RStr<'_>, key: RSlice<'_, u8>) -> Answer<ROption<Bytes>> {
        ROk(self.state(&namespace, key.as_slice()).into())
    }
    fn state_scan(
        &self,
        namespace: RStr<'_>,
        prefix: RSlice<'_, u8>,
        after: ROption<RSlice<'_, u8>>,
        limit: u32,
    ) -> Answer<RVec<StateEntry>> {
        let after = after.into_option().map(|after| after.as_slice().to_vec());
        let is_wanted = |(of, key): &(String, Vec<u8>)| {
            of.as_str() == namespace.as_str()
                && key.starts_with(prefix.as_slice())
                && after.as_ref().is_none_or(|after| key > after)
        };
        let memory = self.memory();
        let found = memory.state.iter().filter(|(key, _)| is_wanted(key)).take(limit as usize);
        ROk(found
            .map(|(key, value)| StateEntry { key: Bytes::copy_from_slice(&key.1), value: value.clone() })
            .collect())
    }
    fn state_stage(&self, namespace: RStr<'_>, key: RSlice<'_, u8>, value: ROption<Bytes>) -> Answer<()> {
        let key = (namespace.to_string(), key.to_vec());
        match value.into_option() {
            Some(value) => drop(self.memory().state.insert(key, value)),
            None => drop(self.memory().state.remove(&key)),
        }
        ROk(())
    }
    fn state_commit(&self, namespace: RStr<'_>, commit: StateCommitParts) -> Answer<StateCommitted> {
        let mut memory = self.memory();
        let key = |key: &Bytes| (namespace.to_string(), key.to_vec());
        let holds = commit.expected.iter().all(|expected| {
            memory.state.get(&key(&expected.key)).map(|value| &**value)
                == expected.value.as_ref().into_option().map(|value| &**value)
        });
        if !holds {
            return ROk(StateCommitted { is_done: false, revision: 0 });
        }
        for write in commit.writes {
            match write.value.into_option() {
                Some(value) => drop(memory.state.insert(key(&write.key), value)),
                None => drop(memory.state.remove(&key(&write.key))),
            }
        }
        memory.audit.extend(commit.audit.into_iter().map(String::from));
        let revision = if commit.notices.is_empty() { 0 } else { memory.log.len() as u64 + 1 };
        drop(memory);
        self.append(commit.notices);
        ROk(StateCommitted { is_done: true, revision })
    }
    fn publish(&self, notice: Record) -> Answer<()> {
        self.append([notice]);
        ROk(())
    }
    fn audit(&self, entry: RStr<'_>) -> Answer<()> {
        self.memory().audit.push(entry.to_string());
        ROk(())
    }
    fn log(&self) -> Answer<LogParts> {
        let memory = self.memory();
        ROk(LogParts { epoch: EPOCH.into(), head: memory.log.len() as u64, compacted: memory.compacted })
    }
    fn entry_at(&self, tenant: ROption<RStr<'_>>, key: RStr<'_>, revision: u64) -> Answer<EntryAtParts> {
        let memory = self.memory();
        let wanted = (tenant.into_option().map(|tenant| tenant.to_string()), key.to_string());
        let upto = memory.log.len().min(usize::try_from(revision).unwrap_or(usize::MAX));
        let of_key = |entry: &Record| !entry.is_notice() && log_key(entry) == wanted;
        let found = memory.log[..upto].iter().rposition(of_key);
        let is_kept = found.is_some_and(|place| memory.is_kept(place as u64 + 1));
        let entry = found.filter(|_| is_kept).map(|place| memory.log[place].clone());
        let is_compacted = entry.is_none() && (found.is_some() || revision < memory.compacted);
        ROk(EntryAtParts { entry: entry.into(), is_compacted })
    }
    fn replay(&self, after: u64, is_current: bool, limit: u32) -> Answer<ReplayedParts> {
        let memory = self.memory();
        let head = memory.log.len() as u64;
        let is_given = |revision: &u64| match is_current {
            true => memory.is_current(*revision),
            false => memory.is_kept(*revision),
        };
        let given: Vec<u64> = (after + 1..=head).filter(is_given).take(limit as usize).collect();
        let is_end = given.len() < limit as usize || given.last() == Some(&head);
        let through = if is_end { head } else { given.last().copied().unwrap_or(head) };
        let records = given.into_iter().map(|revision| memory.log[revision as usize - 1].clone());
        let compacted = Some(memory.compacted).filter(|compacted| after < *compacted);
        ROk(ReplayedParts { records: records.collect(), through, is_end, compacted: compacted.into() })
    }
    fn call(&self, operation: RStr<'_>, arguments: RStr<'_>, done: CompletionBox) {
        let caller = CallerParts { is_operator: false, name: "component".into() };
        self.start(&operation, caller, &arguments, done);
    }
    fn submit(&self, record: Record, done: CompletionBox) {
        self.memory().submitted.push_back(MadeChange { record, done });
    }
    fn endpoint(&self, name: RStr<'_>) {
        self.memory().endpoint = Some(name.to_string());
    }

    fn feeds(&self, _: RStr<'_>, _: RStr<'_>) {}
}

impl fmt::Debug for MemoryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryHost")
    }
}
