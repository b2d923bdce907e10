//! After the data key has changed: the writer seals the values of older data keys anew, a few at a time, between the
//! groups of others.
//!
//! Invariant: an older data key is forgotten when every value there is was looked at since it was replaced, and what was
//! sealed anew is on the disk. Only the writer writes, so no value changes between being read and being written back.

use std::time::{Duration, Instant};

use super::engine::Engine;
use super::error::StoreError;
use super::sealing::{Keyring, key_id_of};
use super::shared::Health;
use super::walk::{Place, Step, StepLimit};
use super::writer::Writer;

/// What is done at once: the wait of a commit that comes meanwhile.
const STEP: StepLimit = StepLimit { values: 1000, bytes: 256 << 10 };

/// From one step to the next.
const PAUSE: Duration = Duration::from_millis(50);

/// After a step that failed.
const LONG_PAUSE: Duration = Duration::from_secs(5);

/// A walk through all values.
pub(super) struct Pass {
    /// The number of the data key that is to seal everything.
    to: u32,
    after: Place,
    due: Instant,
}

impl Writer {
    /// When something is to be done here.
    pub fn resealing_due(&self) -> Option<Instant> {
        self.shared.form.keyring()?.resealing_to()?;
        Some(self.resealing.as_ref().map_or_else(Instant::now, |pass| pass.due))
    }

    /// Does the next step, if it is time.
    pub fn reseal(&mut self) {
        if self.resealing_due().is_none_or(|due| due > Instant::now()) {
            return;
        }
        let form = self.shared.form.clone();
        let Some(keyring) = form.keyring() else { return };
        let Some(mut pass) = self.pass(keyring) else { return };
        // A store that takes no commits is not to be busied with more.
        let done = match self.shared.health() {
            Health::Ok => self.reseal_some(&mut pass, keyring),
            _ => Err(StoreError::Unavailable),
        };
        pass.due = Instant::now() + if done.is_ok() { PAUSE } else { LONG_PAUSE };
        match done {
            Ok(true) => {}
            Ok(false) => self.resealing = Some(pass),
            Err(error) => {
                if keyring.progress.set_problem(Some(error.to_string())) {
                    tracing::error!(%error, "values of an older data key cannot be sealed anew");
                }
                self.resealing = Some(pass);
            }
        }
    }

    /// The pass that is under way, or a new one if the data key has changed since it began.
    fn pass(&mut self, keyring: &Keyring) -> Option<Pass> {
        let to = keyring.resealing_to()?;
        if let Some(pass) = self.resealing.take().filter(|pass| pass.to == to) {
            return Some(pass);
        }
        let of_about = self.shared.with_engine(|engine| Ok(engine.about_n_values()));
        keyring.progress.begin(of_about.unwrap_or_default());
        tracing::info!(data_key = to, "values of older data keys are sealed anew");
        Some(Pass { to, after: Place::START, due: Instant::now() })
    }

    /// True at the end.
    fn reseal_some(&mut self, pass: &mut Pass, keyring: &Keyring) -> Result<bool, StoreError> {
        let is_older = |stored: &[u8]| key_id_of(stored).is_none_or(|id| id < pass.to);
        let step = self.shared.with_engine(|engine| engine.step(&pass.after, STEP, is_older))?;
        let Step { changes, n_values, n_wanted, next, .. } = step;
        if !changes.is_empty() {
            self.write(&changes)?;
        }
        keyring.progress.add(n_values, n_wanted);
        keyring.progress.set_problem(None);
        if let Some(next) = next {
            pass.after = next;
            return Ok(false);
        }
        self.shared.with_engine(|engine| self.forget(engine, pass.to, keyring))?;
        tracing::info!(
            data_key = pass.to,
            "every value is sealed with the newest data key, the older ones are gone"
        );
        Ok(true)
    }

    fn forget(&self, engine: &Engine, before: u32, keyring: &Keyring) -> Result<(), StoreError> {
        engine.sync().map_err(|failure| failure.into_error(&self.shared.dir))?;
        keyring.forget_before(before)
    }
}
