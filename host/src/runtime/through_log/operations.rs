//! Named calls that components offer, found by whoever calls them.
//!
//! Invariant: a name belongs to one component of the host, for as long as that component is open.

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
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Every operation of this host. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Operations(Arc<Mutex<BTreeMap<String, Entry>>>);

#[derive(Debug)]
struct Entry {
    operation: Operation,
    pipeline: String,
    component: String,
    /// Tells the operations of one instance of a component from those of the next.
    offer: Arc<()>,
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
    pub fn call(&self, name: &str, arguments: &str, answer: impl FnOnce(Result<String>) + Send + 'static) {
        let caller = CallerParts { is_operator: true, name: super::ADMIN.into() };
        self.0.call(caller, name, arguments, completion(answer));
    }
}

impl Operations {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what a component offers, all of it or nothing.
    ///
    /// # Errors
    /// A sentence, if another component has one of the names.
    pub fn offer(
        &self,
        pipeline: &str,
        component: &str,
        operations: Vec<Operation>,
    ) -> std::result::Result<Offered, String> {
        let offer = Arc::new(());
        let mut all = self.lock();
        for operation in &operations {
            // An instance of the same component that was left behind gives way.
            let is_own = |found: &&Entry| found.pipeline == pipeline && found.component == component;
            if let Some(other) = all.get(operation.name()).filter(|found| !is_own(found)) {
                return Err(format!(
                    "the operation `{}` is offered by `{}` of pipeline `{}` already",
                    operation.name(),
                    other.component,
                    other.pipeline
                ));
            }
        }
        for operation in operations {
            let (pipeline, component) = (pipeline.to_owned(), component.to_owned());
            let name = operation.name().to_owned();
            all.insert(name, Entry { operation, pipeline, component, offer: offer.clone() });
        }
        Ok(Offered { operations: self.clone(), offer })
    }

    fn list(&self) -> Vec<OperationInfo> {
        let info = |(name, entry): (&String, &Entry)| OperationInfo {
            name: name.clone(),
            description: entry.operation.description().to_owned(),
            arguments: RawValue::from_string(entry.operation.arguments().to_owned()).unwrap_or_default(),
            pipeline: entry.pipeline.clone(),
            component: entry.component.clone(),
        };
        self.lock().iter().map(info).collect()
    }

    /// Starts an operation and returns; the answer comes through `done`.
    pub fn call(&self, caller: CallerParts, name: &str, arguments: &str, done: CompletionBox) {
        let found = self.lock().get(name).map(|entry| entry.operation.clone());
        match found {
            Some(operation) => operation.call(caller, arguments, done),
            None => done.done(RErr(Error::unsupported(format!(
                "no running component offers the operation `{name}`"
            )))),
        }
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.operations.lock().retain(|_, entry| !Arc::ptr_eq(&entry.offer, &self.offer));
    }
}
