//! The only way into a plugin's code: a panic becomes an error value here and never reaches the boundary.

use crate::{
    abi::vtable::Answer,
    context::Fault,
    error::{Error, ErrorKind, Result},
};
use abi_stable::std_types::{RErr, ROk};
use std::{
    any::Any,
    backtrace::Backtrace,
    cell::RefCell,
    collections::HashMap,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    sync::{Mutex, Once},
};

/// Where a panic happened, taken by the hook because the payload does not say.
#[derive(Default)]
struct Place {
    location: String,
    backtrace: String,
}

thread_local! {
    static LAST_PANIC: RefCell<Option<Place>> = const { RefCell::new(None) };
}

/// Panics of runtime tasks surface on another thread, so their place is kept by task.
static TASK_PANICS: Mutex<Option<HashMap<tokio::task::Id, Place>>> = Mutex::new(None);

/// Makes every panic of this library a log line of the host and remembers where it was. The hook is this library's own:
/// each library has its own copy of the standard library's state.
pub fn install_panic_hook(package: &'static str) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(move |panic| remember(package, panic))));
}

fn remember(package: &str, panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    // The payload's text is left out: it may quote a value. The error that carries it goes to status and dead letters,
    // where it is needed.
    tracing::error!(package, location, "a plugin panicked");
    let place = Place { location, backtrace: Backtrace::force_capture().to_string() };
    match tokio::task::try_id() {
        Some(task) => {
            let mut places = TASK_PANICS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            places.get_or_insert_default().insert(task, place);
        }
        None => LAST_PANIC.with(|last| *last.borrow_mut() = Some(place)),
    }
}

fn panic_error(entry: &str, payload: Box<dyn Any + Send>, place: Place) -> Error {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a payload that is no text".to_owned());
    // A payload's own Drop may panic too; forgetting what it held is all that is left to do then.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    Error::panic(format!("panicked in {entry} at {}", place.location), format!("{text}\n{}", place.backtrace))
}

/// Runs plugin code; a panic becomes an error of kind `PANIC` that names the entry point and the place.
pub fn guard<T>(entry: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        let place = LAST_PANIC.with(|last| last.borrow_mut().take()).unwrap_or_default();
        Err(panic_error(entry, payload, place))
    })
}

/// What a runtime task ended with, as an error if it panicked.
pub fn join<T>(entry: &str, joined: Result<T, tokio::task::JoinError>) -> Result<T> {
    joined.map_err(|error| {
        let task = error.id();
        let mut places = TASK_PANICS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let place = places.get_or_insert_default().remove(&task).unwrap_or_default();
        drop(places);
        match error.try_into_panic() {
            Ok(payload) => panic_error(entry, payload, place),
            Err(_) => Error::fatal(format!("{entry} was cancelled")),
        }
    })
}

/// The answer as it crosses the boundary.
pub fn answer<T>(result: Result<T>) -> Answer<T> {
    match result {
        Ok(value) => ROk(value),
        Err(error) => RErr(error),
    }
}

/// Holds a component: after a panic it is never entered again, and a panic in its `Drop` is contained.
pub struct Contained<T> {
    component: ManuallyDrop<T>,
    name: String,
    dead: bool,
    fault: Fault,
}

impl<T> Contained<T> {
    pub(crate) fn new(component: T, name: &str, fault: Fault) -> Self {
        Self { component: ManuallyDrop::new(component), name: name.to_owned(), dead: false, fault }
    }

    /// Enters the component, unless it panicked before, here or in a task it spawned.
    pub fn enter<R>(&mut self, entry: &str, run: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        if self.dead {
            return Err(Error::panic(
                "the component panicked before and is not entered again",
                String::new(),
            ));
        }
        if let Some(error) = self.fault.take() {
            self.dead = true;
            return Err(error);
        }
        let result = guard(entry, || run(&mut self.component));
        self.dead = matches!(&result, Err(error) if error.kind() == ErrorKind::PANIC);
        result
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        let component = &mut self.component;
        let dropped = guard("drop", || {
            // SAFETY: the component is dropped here and nowhere else, and nothing touches it afterwards.
            unsafe { ManuallyDrop::drop(component) };
            Ok(())
        });
        if let Err(error) = dropped {
            tracing::error!(
                component = self.name,
                error = error.message(),
                "a component panicked while it was dropped"
            );
        }
    }
}
