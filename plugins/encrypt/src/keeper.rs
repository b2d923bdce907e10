//! The ring of one component while its sources change: read at the start, read again when a file changes or somebody
//! says so, and handed to the component without making it wait.
//!
//! Invariant: a component always has a whole ring, in which no name stands for another key than before. What cannot be
//! read leaves the last one in force, and says so once.

use crate::{
    config::RingEntry,
    ring::{Known, NoKeys, Read, Ring, Source},
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
    /// Held while sources are read again, so that this is done by one at a time; never while the ring is asked for.
    known: Mutex<Known>,
    state: Mutex<State>,
}

struct State {
    ring: Arc<Ring>,
    /// By source.
    read: Vec<Read>,
    read_at_us: i64,
    /// Why the sources hold no ring now, if they do not.
    problem: Option<String>,
    /// The names of keys that were in it before.
    gone: Vec<String>,
}

/// What is told of a ring.
#[derive(Debug, Clone)]
pub struct Kept {
    pub current: String,
    pub kids: Vec<String>,
    pub read_at: String,
    pub problem: Option<String>,
    pub gone: Vec<String>,
}

impl Keeper {
    /// Reads every source of a component's ring, and looks at the files from now on.
    ///
    /// # Errors
    /// `NotConnected` if a program does not do its work now, `Config` if the keys cannot be used, and what the host says if
    /// it cannot keep their names.
    pub fn start(
        context: &Context,
        ring: Vec<RingEntry>,
        current: Option<String>,
        timeout: Duration,
    ) -> Result<Arc<Self>> {
        let source = |entry| Source::new(entry, &context.resolve("."), timeout);
        let (sources, known) = (ring.into_iter().map(source).collect(), Known::read(context)?);
        let keeper = Self::open(context.component(), sources, current, known)?;
        context.spawn(watch(Arc::downgrade(&keeper)));
        Ok(keeper)
    }

    fn open(
        component: &str,
        sources: Vec<Source>,
        current: Option<String>,
        mut known: Known,
    ) -> Result<Arc<Self>> {
        let read = |(n, source): (usize, &Source)| source.read().map_err(|problem| source.error(n, problem));
        let read: Vec<Read> = sources.iter().enumerate().map(read).collect::<Result<_>>()?;
        let lines = read.iter().flat_map(|read| &read.lines);
        let ring =
            Ring::new(lines, current.as_deref()).map_err(|problem| Error::config(problem).at("ring"))?;
        tell_gone(component, &known.take(&ring)?);
        let gone = known.gone();
        let state = State { ring: Arc::new(ring), read, read_at_us: time::now_us(), problem: None, gone };
        let (component, generation) = (component.to_owned(), AtomicU64::new(1));
        let (known, state) = (Mutex::new(known), Mutex::new(state));
        Ok(Arc::new(Self { component, sources, current, generation, known, state }))
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
            gone: state.gone.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the sources that are wanted, without holding up who asks for the ring meanwhile.
    fn read_again(&self, is_wanted: impl Fn(&Source, &Read) -> bool) -> std::result::Result<bool, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.read_wanted(is_wanted).and_then(|read| self.renew(read, &mut known));
        let mut state = self.lock();
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

    /// By source; none of those that are not wanted.
    fn read_wanted(
        &self,
        is_wanted: impl Fn(&Source, &Read) -> bool,
    ) -> std::result::Result<Vec<Option<Read>>, String> {
        let wanted: Vec<bool> = self
            .sources
            .iter()
            .zip(&self.lock().read)
            .map(|(source, read)| is_wanted(source, read))
            .collect();
        let wanted =
            self.sources.iter().zip(wanted).map(|(source, is_wanted)| is_wanted.then(|| source.read()));
        wanted.map(|read| read.transpose().map_err(|NoKeys { why, .. }| why)).collect()
    }

    /// Takes what was read; says whether the ring is another one now.
    fn renew(&self, read: Vec<Option<Read>>, known: &mut Known) -> std::result::Result<bool, String> {
        let ring = self.lock().ring_with(&read, self.current.as_deref())?;
        let gone = known.take(&ring).map_err(|error| error.message().to_owned())?;
        tell_gone(&self.component, &gone);
        Ok(self.lock().take(ring, read, known.gone()))
    }
}

impl State {
    /// The ring that these sources make, beside those that were not read again.
    fn ring_with(&self, read: &[Option<Read>], current: Option<&str>) -> std::result::Result<Ring, String> {
        let lines = self.read.iter().zip(read).flat_map(|(old, new)| &new.as_ref().unwrap_or(old).lines);
        Ring::new(lines, current)
    }

    /// Says whether the ring is another one now.
    fn take(&mut self, ring: Ring, read: Vec<Option<Read>>, gone: Vec<String>) -> bool {
        let is_new = ring != *self.ring;
        self.gone = gone;
        self.ring = Arc::new(ring);
        let news = self.read.iter_mut().zip(read);
        news.for_each(|(old, new)| new.into_iter().for_each(|new| *old = new));
        self.read_at_us = time::now_us();
        is_new
    }
}

/// Once for every key that is taken away.
fn tell_gone(component: &str, gone: &[String]) {
    if !gone.is_empty() {
        warn!(
            component,
            ?gone,
            "keys are not in the ring any more, and what is sealed under them does not open"
        );
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
