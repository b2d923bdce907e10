//! The schemas in force, and those that take their place when files change.
//!
//! Invariant: a schema is replaced only by one that was read and compiled as a whole; until then, and for ever if what is
//! there now cannot be used, the last good one stays. Those that were found in one look replace theirs together.

use crate::schema::{self, Compiled, Schema, Source};
use lockstep_plugin_api::prelude::*;
use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tracing::{Span, error, info};

/// Schemas by number, as the component sees them.
#[derive(Debug, Clone, Default)]
pub struct Schemas {
    version: u64,
    list: Vec<Arc<Schema>>,
}

impl Schemas {
    /// The schema of this number.
    pub fn get(&self, number: usize) -> &Schema {
        &self.list[number]
    }
}

/// Where the newest schemas lie.
#[derive(Debug, Default)]
pub struct Shelf {
    version: AtomicU64,
    newest: Mutex<Schemas>,
}

impl Shelf {
    /// Brings `schemas` up to date; a look at one number if nothing has changed.
    pub fn refresh(&self, schemas: &mut Schemas) {
        if self.version.load(Ordering::Acquire) != schemas.version {
            *schemas = self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        }
    }

    fn put(&self, changed: Vec<(usize, Arc<Schema>)>) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, schema) in changed {
            newest.list[number] = schema;
        }
        newest.version += 1;
        self.version.store(newest.version, Ordering::Release);
    }
}

/// Every schema with where it comes from.
#[derive(Debug)]
pub struct Library {
    shelf: Arc<Shelf>,
    books: Vec<Book>,
    reloaded: Counter,
    failures: Counter,
    broken: Gauge,
}

/// One schema's source, what was read for it, and what became of that.
#[derive(Debug)]
struct Book {
    source: Source,
    /// The newest attempt, also one that failed.
    newest: Compiled,
    /// What is in force.
    content: blake3::Hash,
    /// Whether what is there could not be used at the last look: perhaps somebody is still writing.
    is_suspected: bool,
    /// Whether it still could not at the next one, and that was told.
    is_broken: bool,
}

impl Library {
    pub fn new(context: &Context) -> Self {
        Self {
            shelf: Arc::default(),
            books: Vec::new(),
            reloaded: context.counter("validate_schemas_reloaded"),
            failures: context.counter("validate_schema_failures"),
            broken: context.gauge("validate_schemas_broken"),
        }
    }

    /// Reads and compiles a schema, unless a rule before has the same file, and gives its number.
    ///
    /// # Errors
    /// `Config`, if it cannot be used.
    pub fn add(&mut self, source: Source) -> Result<usize> {
        if let Some(number) = self.books.iter().position(|book| book.source == source) {
            return Ok(number);
        }
        let mut compiled = schema::compile(&source);
        let schema = compiled.take()?;
        self.shelf.newest.lock().unwrap_or_else(PoisonError::into_inner).list.push(Arc::new(schema));
        let content = compiled.content();
        self.books.push(Book { source, newest: compiled, content, is_suspected: false, is_broken: false });
        Ok(self.books.len() - 1)
    }

    /// Where the component finds the schemas, and those of now.
    pub fn shelf(&self) -> (Arc<Shelf>, Schemas) {
        let schemas = self.shelf.newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.shelf.clone(), schemas)
    }

    /// Looks every `interval` whether files have changed, until the component is gone.
    pub async fn watch(mut self, interval: Duration, context: Context, component: Weak<()>) {
        while context.pause(interval, &component).await {
            let span = Span::current();
            let look = tokio::task::spawn_blocking(move || {
                span.in_scope(|| self.look());
                self
            });
            match look.await {
                Ok(library) => self = library,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        self.broken.add(-(self.n_broken() as i64));
    }

    fn n_broken(&self) -> usize {
        self.books.iter().filter(|book| book.is_broken).count()
    }

    /// Looks once.
    pub fn look(&mut self) {
        let n_broken_before = self.n_broken();
        let mut changed = Vec::new();
        for (number, book) in self.books.iter_mut().enumerate() {
            match book.look() {
                Looked::Same => {}
                Looked::Changed(schema) => {
                    info!(file = book.source.shown(), "schema reloaded");
                    self.reloaded.add(1);
                    changed.push((number, Arc::new(schema)));
                }
                Looked::Broken(error) => {
                    let (file, reason) = (book.source.shown(), error.message());
                    error!(file, reason, "the schema cannot be used, the last good one stays in force");
                    self.failures.add(1);
                }
            }
        }
        if !changed.is_empty() {
            self.shelf.put(changed);
        }
        self.broken.add(self.n_broken() as i64 - n_broken_before as i64);
    }
}

enum Looked {
    Same,
    Changed(Schema),
    Broken(Error),
}

impl Book {
    fn look(&mut self) -> Looked {
        let may_differ = self.newest.may_differ();
        if !may_differ && !self.is_suspected {
            return Looked::Same;
        }
        self.newest = schema::compile(&self.source);
        match self.newest.take() {
            Ok(schema) => self.found(schema),
            Err(error) if self.is_suspected && !may_differ => {
                (self.is_suspected, self.is_broken) = (false, true);
                Looked::Broken(error)
            }
            Err(_) => {
                self.is_suspected = true;
                Looked::Same
            }
        }
    }

    fn found(&mut self, schema: Schema) -> Looked {
        (self.is_suspected, self.is_broken) = (false, false);
        let content = self.newest.content();
        match std::mem::replace(&mut self.content, content) == content {
            true => Looked::Same,
            false => Looked::Changed(schema),
        }
    }
}

#[cfg(test)]
mod tests;
