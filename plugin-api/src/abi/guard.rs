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
    cell::{Cell, RefCell},
    collections::VecDeque,
    mem,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    sync::{
        Mutex, MutexGuard, Once,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::task;

/// Where a panic happened, taken by the hook because the payload does not say.
#[derive(Default)]
struct Place {
    location: String,
    backtrace: String,
}

thread_local! {
    static LAST_PANIC: RefCell<Option<Place>> = const { RefCell::new(None) };
    /// Whether a panic on this thread is awaited and means nothing.
    static IS_AWAITED: Cell<bool> = const { Cell::new(false) };
}

/// Panics of runtime tasks surface on another thread, so their place is kept by task.
static TASK_PANICS: Mutex<TaskPanics> = Mutex::new(TaskPanics(VecDeque::new()));

/// How many places are kept for tasks that nobody has joined yet. A task whose handle was dropped is never joined.
const KEPT_TASK_PANICS: usize = 64;

/// Where the last tasks that panicked did so, the oldest first.
struct TaskPanics(VecDeque<(task::Id, Place)>);

impl TaskPanics {
    fn lock() -> MutexGuard<'static, Self> {
        TASK_PANICS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn insert(&mut self, task: task::Id, place: Place) {
        if self.0.len() == KEPT_TASK_PANICS {
            self.0.pop_front();
        }
        self.0.push_back((task, place));
    }

    fn remove(&mut self, task: task::Id) -> Option<Place> {
        let index = self.0.iter().position(|(of, _)| *of == task)?;
        self.0.remove(index).map(|(_, place)| place)
    }
}

/// Makes every panic of this library a log line of the host and remembers where it was. The hook is this library's own:
/// each library has its own copy of the standard library's state.
pub fn install_panic_hook(package: &'static str) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(move |panic| remember(package, panic))));
}

fn remember(package: &str, panic: &PanicHookInfo<'_>) {
    if IS_AWAITED.get() {
        return;
    }
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    // The payload's text is left out: it may quote a value. The error that carries it goes to status and dead letters,
    // where it is needed.
    tracing::error!(package, location, "a plugin panicked");
    let place = Place { location, backtrace: Backtrace::force_capture().to_string() };
    match task::try_id() {
        Some(task) => TaskPanics::lock().insert(task, place),
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
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(another);
    }
    Error::panic(format!("panicked in {entry} at {}", place.location), format!("{text}\n{}", place.backtrace))
}

/// Runs plugin code; a panic becomes an error of kind `PANIC` that names the entry point and the place.
pub fn guard<T>(entry: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        let place = LAST_PANIC.with(|last| last.borrow_mut().take()).unwrap_or_default();
        Err(panic_error(entry, payload, place))
    })
}

/// Runs something of another library that has no other way to refuse what it is given than to panic; `None` if it did.
/// Nobody is told.
///
/// Only for what holds no state that a panic could leave half changed.
pub fn awaiting_panic<T>(run: impl FnOnce() -> T) -> Option<T> {
    let was_awaited = IS_AWAITED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    IS_AWAITED.set(was_awaited);
    result.ok()
}

/// What a runtime task ended with, as an error if it panicked.
pub fn join<T>(entry: &str, joined: Result<T, task::JoinError>) -> Result<T> {
    joined.map_err(|error| {
        let place = TaskPanics::lock().remove(error.id()).unwrap_or_default();
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

/// Drops what is an author's: a panic in its `Drop` is logged and goes no further.
pub fn drop_contained<T>(component: &str, value: T) {
    let dropped = guard("drop", || {
        drop(value);
        Ok(())
    });
    if let Err(error) = dropped {
        log_panic_in_drop(component, &error);
    }
}

pub(crate) fn log_panic_in_drop(component: &str, error: &Error) {
    tracing::error!(component, error = error.message(), "a component panicked while it was dropped");
}

/// Holds a component: after a panic it is never entered again, and a panic in its `Drop` is contained.
pub struct Contained<T> {
    /// There until it is dropped or taken out.
    component: Option<T>,
    name: String,
    dead: AtomicBool,
    fault: Fault,
}

impl<T> Contained<T> {
    pub(crate) fn new(component: T, name: &str, fault: Fault) -> Self {
        Self { component: Some(component), name: name.to_owned(), dead: AtomicBool::new(false), fault }
    }

    /// Enters the component, unless it panicked before, here or in a task it spawned.
    pub fn enter<R>(&mut self, entry: &str, run: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        self.check_alive()?;
        let component = self.component.as_mut().expect("there until the drop");
        let result = guard(entry, || run(component));
        self.note(&result);
        result
    }

    /// As [`Contained::enter`], for what several threads may enter at once.
    pub fn enter_shared<R>(&self, entry: &str, run: impl FnOnce(&T) -> Result<R>) -> Result<R> {
        self.check_alive()?;
        let component = self.component.as_ref().expect("there until the drop");
        let result = guard(entry, || run(component));
        self.note(&result);
        result
    }

    fn check_alive(&self) -> Result<()> {
        if self.dead.load(Ordering::Relaxed) {
            return Err(Error::panic(
                "the component panicked before and is not entered again",
                String::new(),
            ));
        }
        let Some(error) = self.fault.take() else { return Ok(()) };
        self.dead.store(true, Ordering::Relaxed);
        Err(error)
    }

    fn note<R>(&self, result: &Result<R>) {
        if matches!(result, Err(error) if error.kind() == ErrorKind::PANIC) {
            self.dead.store(true, Ordering::Relaxed);
        }
    }

    /// Takes the component out, to be contained elsewhere.
    pub(crate) fn into_inner(mut self) -> T {
        self.component.take().expect("there until the drop")
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        if let Some(component) = self.component.take() {
            drop_contained(&self.name, component);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::runtime;

    #[test]
    fn a_panic_that_is_awaited_is_told_to_nobody() {
        install_panic_hook("test");
        assert_eq!(awaiting_panic(|| 1), Some(1));
        assert_eq!(awaiting_panic(|| panic!("no UTF-8")), None::<()>);
        assert!(LAST_PANIC.with(|last| last.borrow().is_none()), "the hook took no note of it");
        let error = guard("poll", || -> Result<()> { panic!("a mistake") }).expect_err("a panic");
        assert!(error.message().contains("guard.rs"), "{}", error.message());
        // Other tests show their panics.
        drop(std::panic::take_hook());
    }

    #[test]
    fn the_places_of_panics_that_nobody_asks_for_are_bounded() {
        let mut panics = TaskPanics(VecDeque::new());
        let tasks: Vec<_> = (0..=KEPT_TASK_PANICS).map(|_| runtime::handle().spawn(async {}).id()).collect();
        for (n, task) in tasks.iter().enumerate() {
            panics.insert(*task, Place { location: n.to_string(), ..Place::default() });
        }
        assert_eq!(panics.0.len(), KEPT_TASK_PANICS);
        assert!(panics.remove(tasks[0]).is_none(), "the oldest is out");
        assert_eq!(panics.remove(tasks[1]).expect("kept").location, "1");
        assert!(panics.remove(tasks[1]).is_none(), "told once");
    }
}
