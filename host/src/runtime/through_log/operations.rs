//! Named calls that components offer, found by whoever calls them.
//!
//! Invariant: a name belongs to one component of the host, for as long as that component is open; or to one plugin, of which
//! every component answers the same.

use crate::registry::Operation;
use lockstep_plugin_api::{
    Error, Result,
    abi::{
        adapt::completion,
        types::RErr,
        vtable::{CallerParts, CompletionBox},
    },
};
use serde::Serialize;
use serde_json::value::RawValue;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Every operation of this host: of those who offer a name, the first answers. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Operations(Arc<Mutex<BTreeMap<String, Vec<Entry>>>>);

#[derive(Debug)]
struct Entry {
    operation: Operation,
    by: Offerer,
    /// Tells the operations of one instance of a component from those of the next.
    offer: Arc<()>,
}

/// A component that offers operations.
#[derive(Debug, Clone)]
pub struct Offerer {
    pub pipeline: String,
    pub component: String,
    /// The plugin's file.
    pub plugin: PathBuf,
    pub is_before_log: bool,
}

/// Takes a component's operations back when it is dropped.
#[derive(Debug)]
pub struct Offered {
    operations: Operations,
    offer: Arc<()>,
}

/// An operation as callers see it.
#[derive(Debug, Clone, Serialize)]
pub struct OperationInfo {
    pub name: String,
    pub description: String,
    /// The JSON Schema of its arguments.
    pub arguments: Box<RawValue>,
    /// Whether a call changes nothing, and leaves no entry in the audit.
    pub only_reads: bool,
    pub pipeline: String,
    pub component: String,
}

/// Lists and calls operations on behalf of operators. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CallOperations(pub(super) Operations);

impl CallOperations {
    pub fn new(operations: Operations) -> Self {
        Self(operations)
    }

    /// Every operation that can be called now, by name.
    pub fn list(&self) -> Vec<OperationInfo> {
        self.0.list()
    }

    /// Starts an operation with its arguments as JSON and returns; `answer` hears what it answers, as JSON, from another
    /// thread. `Unsupported` if no component offers it now.
    ///
    /// Gives whether what was called only reads.
    pub fn call(
        &self,
        name: &str,
        arguments: &str,
        answer: impl FnOnce(Result<String>) + Send + 'static,
    ) -> bool {
        let caller = CallerParts { is_operator: true, name: super::ADMIN.into() };
        self.0.call(caller, name, arguments, completion(answer))
    }
}

impl Operations {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what a component offers, all of it or nothing.
    ///
    /// # Errors
    /// A sentence, if another component has one of the names.
    pub fn offer(&self, by: &Offerer, operations: Vec<Operation>) -> std::result::Result<Offered, String> {
        let offer = Arc::new(());
        let mut all = self.lock();
        for operation in &operations {
            let of_name = all.get(operation.name()).into_iter().flatten();
            if let Some(other) = of_name.into_iter().find(|found| !found.lets(by, operation)) {
                return Err(format!(
                    "the operation `{}` is offered by `{}` of pipeline `{}` already",
                    operation.name(),
                    other.by.component,
                    other.by.pipeline
                ));
            }
        }
        for operation in operations {
            let of_name = all.entry(operation.name().to_owned()).or_default();
            of_name.retain(|found| !found.by.is(by));
            let n_first = of_name.partition_point(|found| found.by.is_before_log);
            let at = if by.is_before_log { n_first } else { of_name.len() };
            of_name.insert(at, Entry { operation, by: by.clone(), offer: offer.clone() });
        }
        Ok(Offered { operations: self.clone(), offer })
    }

    fn list(&self) -> Vec<OperationInfo> {
        let info = |(name, of_name): (&String, &Vec<Entry>)| {
            let Entry { operation, by, .. } = of_name.first()?;
            Some(OperationInfo {
                name: name.clone(),
                description: operation.description().to_owned(),
                arguments: RawValue::from_string(operation.arguments().to_owned()).unwrap_or_default(),
                only_reads: operation.only_reads(),
                pipeline: by.pipeline.clone(),
                component: by.component.clone(),
            })
        };
        self.lock().iter().filter_map(info).collect()
    }

    /// Starts an operation and returns whether it only reads; the answer comes through `done`.
    pub fn call(&self, caller: CallerParts, name: &str, arguments: &str, done: CompletionBox) -> bool {
        let found = self.lock().get(name).and_then(|of_name| Some(of_name.first()?.operation.clone()));
        let Some(operation) = found else {
            let problem = format!("no running component offers the operation `{name}`");
            done.done(RErr(Error::unsupported(problem)));
            return false;
        };
        operation.call(caller, arguments, done);
        operation.only_reads()
    }
}

impl Offerer {
    fn is(&self, other: &Self) -> bool {
        self.pipeline == other.pipeline && self.component == other.component
    }
}

impl Entry {
    /// Whether somebody may offer the same name: an instance of the same component that was left behind gives way, and
    /// components of one plugin stand side by side if all of them answer the same.
    fn lets(&self, by: &Offerer, operation: &Operation) -> bool {
        let is_of_plugin = self.operation.is_of_plugin() && operation.is_of_plugin();
        self.by.is(by) || is_of_plugin && self.by.plugin == by.plugin
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        let mut all = self.operations.lock();
        all.values_mut().for_each(|of_name| of_name.retain(|entry| !Arc::ptr_eq(&entry.offer, &self.offer)));
        all.retain(|_, of_name| !of_name.is_empty());
    }
}
