//! The ring of one component while its sources change: read at the start, read again when a file changes or somebody
//! says so, and handed to the component without making it wait.
//!
//! Invariant: a component always has a whole ring. What cannot be read leaves the last one in force, and says so once.

use crate::{
    config::RingEntry,
    ring::{Read, Ring, Source},
};
use lockstep_plugin_api::{prelude::*, time};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tracing::{info, warn};

/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The keys of one component, and the order to use new data keys.
pub struct Keeper {
    component: String,
    sources: Vec<Source>,
    current: Option<String>,
    /// Counts rings and orders: whoever has seen this number has seen the newest of both.
    generation: AtomicU64,
    state: Mutex<State>,
}

struct State {
    ring: Arc<Ring>,
    /// By source.
    read: Vec<Read>,
    read_at_us: i64,
    /// Why the sources hold no ring now, if they do not.
    problem: Option<String>,
}

/// What is told of a ring.
#[derive(Debug, Clone)]
pub struct Kept {
    pub current: String,
    pub kids: Vec<String>,
    pub read_at: String,
    pub problem: Option<String>,
}

impl Keeper {
    /// Reads every source of a component's ring, and looks at the files from now on.
    ///
    /// # Errors
    /// `NotConnected` if a program does not do its work now, otherwise `Config`.
    pub fn start(
        context: &Context,
        ring: Vec<RingEntry>,
        current: Option<String>,
        timeout: Duration,
    ) -> Result<Arc<Self>> {
        let source = |entry| Source::new(entry, &context.resolve("."), timeout);
        let keeper = Self::open(context.component(), ring.into_iter().map(source).collect(), current)?;
        context.spawn(watch(Arc::downgrade(&keeper)));
        Ok(keeper)
    }

    fn open(component: &str, sources: Vec<Source>, current: Option<String>) -> Result<Arc<Self>> {
        let read = |source: &Source| source.read().map_err(|problem| source.error(problem));
        let read: Vec<Read> = sources.iter().map(read).collect::<Result<_>>()?;
        let lines = read.iter().flat_map(|read| &read.lines);
        let ring =
            Ring::new(lines, current.as_deref()).map_err(|problem| Error::config(problem).at("ring"))?;
        let state = State { ring: Arc::new(ring), read, read_at_us: time::now_us(), problem: None };
        let (component, generation) = (component.to_owned(), AtomicU64::new(1));
        Ok(Arc::new(Self { component, sources, current, generation, state: Mutex::new(state) }))
    }

    /// Grows with every new ring and every order to use new data keys.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub fn ring(&self) -> Arc<Ring> {
        self.lock().ring.clone()
    }

    /// Reads every source again and orders new data keys, whether or not there is a new ring.
    ///
    /// # Errors
    /// A sentence that names the source; the last ring stays in force then, and data keys are new nevertheless.
    pub fn rotate(&self) -> std::result::Result<(), String> {
        let done = self.read_again(|_, _| true);
        self.generation.fetch_add(1, Ordering::AcqRel);
        done.map(drop)
    }

    /// Reads files again that have changed.
    pub fn look(&self) {
        let has_changed = |source: &Source, read: &Read| source.has_changed(read);
        if self.sources.iter().zip(&self.lock().read).any(|(source, read)| source.has_changed(read)) {
            let _ = self.read_again(has_changed);
        }
    }

    /// What is told of it.
    pub fn kept(&self) -> Kept {
        let state = self.lock();
        Kept {
            current: state.ring.current().id.as_ref().to_owned(),
            kids: state.ring.ids().map(str::to_owned).collect(),
            read_at: time::format_us(state.read_at_us),
            problem: state.problem.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the sources that are wanted, without holding up who asks for the ring meanwhile.
    fn read_again(&self, is_wanted: impl Fn(&Source, &Read) -> bool) -> std::result::Result<bool, String> {
        let wanted: Vec<bool> = self
            .sources
            .iter()
            .zip(&self.lock().read)
            .map(|(source, read)| is_wanted(source, read))
            .collect();
        let wanted =
            self.sources.iter().zip(wanted).map(|(source, is_wanted)| is_wanted.then(|| source.read()));
        let read: std::result::Result<Vec<Option<Read>>, String> = wanted.map(Option::transpose).collect();
        let mut state = self.lock();
        let done = read.and_then(|read| state.renew(read, self.current.as_deref()));
        match &done {
            Ok(true) => {
                self.generation.fetch_add(1, Ordering::AcqRel);
                let (current, kids) = (state.ring.current().id.clone(), state.ring.ids().collect::<Vec<_>>());
                info!(component = self.component, current = &*current, ?kids, "keys read again");
            }
            Ok(false) => {}
            Err(problem) if state.problem.as_ref() != Some(problem) => {
                warn!(
                    component = self.component,
                    problem, "keys cannot be read again, the last ones stay in force"
                );
            }
            Err(_) => {}
        }
        state.problem = done.as_ref().err().cloned();
        done
    }
}

impl State {
    /// Takes what was read; says whether the ring is another one now.
    fn renew(&mut self, read: Vec<Option<Read>>, current: Option<&str>) -> std::result::Result<bool, String> {
        let lines = self.read.iter().zip(&read).flat_map(|(old, new)| &new.as_ref().unwrap_or(old).lines);
        let ring = Ring::new(lines, current)?;
        let is_new = ring != *self.ring;
        self.ring = Arc::new(ring);
        let news = self.read.iter_mut().zip(read);
        news.for_each(|(old, new)| new.into_iter().for_each(|new| *old = new));
        self.read_at_us = time::now_us();
        Ok(is_new)
    }
}

/// Looks at the files until the component is gone.
async fn watch(keeper: Weak<Keeper>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(keeper) = keeper.upgrade() else { return };
        // A file may lie on a disk that does not answer.
        let _ = tokio::task::spawn_blocking(move || keeper.look()).await;
    }
}

#[cfg(test)]
mod tests;
