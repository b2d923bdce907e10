//! An author's operations as the host sees them: started by a call that returns at once, answered when they are done.

use crate::{
    abi::{
        guard::{self, answer, guard},
        runtime,
        vtable::{
            Answer, CallerParts, Completion, Completion_TO, CompletionBox, OperationParts, OperationTask,
            OperationTask_TO,
        },
    },
    error::{Error, Result},
    operations::{Caller, Operation, Operations},
};
use abi_stable::{
    sabi_trait::prelude::TD_Opaque,
    std_types::{RString, RVec},
};
use std::sync::{Mutex, PoisonError};

/// A component's operations, ready to cross the boundary.
pub fn parts(operations: Operations) -> RVec<OperationParts> {
    let is_of_plugin = operations.is_of_plugin;
    let parts = |operation: Operation| OperationParts {
        name: operation.name.into(),
        description: operation.description.into(),
        arguments: operation.arguments.as_str().into(),
        is_of_plugin,
        only_reads: operation.only_reads,
        task: OperationTask_TO::from_value(Adapter(operation), TD_Opaque),
    };
    operations.list.into_iter().map(parts).collect()
}

struct Adapter(Operation);

impl OperationTask for Adapter {
    fn call(&self, caller: CallerParts, arguments: RString, done: CompletionBox) {
        let caller = Caller { is_operator: caller.is_operator, name: caller.name.into() };
        let started = guard(self.0.name, || Ok((self.0.handler)(caller, arguments.into())));
        let call = match started {
            Ok(call) => call,
            Err(panicked) => return done.done(answer(Err(panicked))),
        };
        let (name, task) = (self.0.name, runtime::handle().spawn(call));
        runtime::handle().spawn(async move {
            let result = guard::join(name, task.await).and_then(|result| result);
            done.done(answer(result.map(RString::from)));
        });
    }
}

/// Hands the answer of an operation to whoever waits for it; `deliver` hears of an operation that went away, too.
pub fn completion(deliver: impl FnOnce(Result<String>) + Send + 'static) -> CompletionBox {
    Completion_TO::from_value(Waiting(Mutex::new(Some(Box::new(deliver)))), TD_Opaque)
}

type Deliver = Box<dyn FnOnce(Result<String>) + Send>;

struct Waiting(Mutex<Option<Deliver>>);

impl Waiting {
    fn deliver(&self, result: Result<String>) {
        let deliver = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        deliver.into_iter().for_each(|deliver| deliver(result.clone()));
    }
}

impl Completion for Waiting {
    fn done(&self, answer: Answer<RString>) {
        self.deliver(answer.into_result().map(String::from));
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.deliver(Err(Error::fatal("the component that offers this operation is gone")));
    }
}
