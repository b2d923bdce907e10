//! What becomes of a record that failed for good at some component.
//!
//! Its author is told, if its source answers; otherwise `on_error.then` decides. Nothing is given up silently: each way
//! out is counted, and stored or logged.

use super::{
    dead_letter::{DeadLetter, DeadLetterError, KeyedLetter, Prepared, StoredError, StoredRecord},
    flight::{Flight, Origin, Verdict},
    run::{Ended, Run},
    status::SeenError,
    through_log,
    withheld::Withheld,
};
use crate::config::Then;
use crate::pipeline::Step;
use jiff::Timestamp;
use lockstep_plugin_api::{Error, ErrorKind, Record};
use std::time::Duration;
use tracing::{error, warn};

/// How long to wait before a full disk is tried again.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// About how many bytes of records one commit of dead letters carries; as JSON they are at most twice that, and the
/// store takes commits of a multiple of it.
const COMMIT_BYTES: usize = 8 << 20;

/// A record that failed, and after how many attempts.
#[derive(Debug)]
pub struct FailedRecord {
    pub record: Record,
    pub error: Error,
    pub attempts: u32,
    /// Whether the component never saw it, because its condition could not be decided.
    pub is_undecided: bool,
}

impl FailedRecord {
    /// A record that failed at its first attempt.
    pub fn new(record: Record, error: Error) -> Self {
        Self { record, error, attempts: 1, is_undecided: false }
    }
}

/// What `on_error` and the record's author make of a failure.
#[derive(Debug)]
pub enum WayOut<'a> {
    /// The author is told.
    Tell,
    /// It becomes a dead letter, under this key if it was one before.
    Store(Option<&'a Vec<u8>>),
    Skip,
    /// The pipeline stops, and the author is told if there is one.
    Stop {
        error: Error,
        has_author: bool,
    },
}

impl Run {
    /// Takes care of records that failed at `step`. When this returns, they are told, stored or skipped.
    pub fn give_up(&self, step: &Step, flight: &Flight, failed: Vec<FailedRecord>) -> Result<(), Ended> {
        if failed.is_empty() {
            return Ok(());
        }
        let way_out = self.way_out(step, flight, &failed);
        match &way_out {
            WayOut::Store(key) => {
                self.note_failed(step, &failed);
                self.store_all(step, flight, &failed, *key)
            }
            _ => self.settle_failed(step, flight, failed, way_out),
        }
    }

    /// What is to become of records that failed at `step`.
    pub fn way_out<'a>(&self, step: &Step, flight: &'a Flight, failed: &[FailedRecord]) -> WayOut<'a> {
        let has_author = match &flight.origin {
            // A dead letter that fails again stays one, whatever `on_error` says now.
            Origin::DeadLetter { claim } => return WayOut::Store(Some(claim.key())),
            Origin::Source { source, .. } => self.pipeline.sources[*source].step.component.answers(),
            Origin::Admin { .. } => true,
            Origin::Log { .. } => false,
        };
        // An author's rejection is the author's matter; what fails though it should not is the operator's.
        let is_broken = |failed: &&FailedRecord| !has_author || failed.error.kind() != ErrorKind::REJECTED;
        match (step.on_error.then, failed.iter().find(is_broken)) {
            (Then::Stop, Some(broken)) => WayOut::Stop { error: broken.error.clone(), has_author },
            _ if has_author => WayOut::Tell,
            (Then::Skip, _) => WayOut::Skip,
            _ => WayOut::Store(None),
        }
    }

    /// Does what was decided about failed records; those that become dead letters are on disk already.
    pub fn settle_failed(
        &self,
        step: &Step,
        flight: &Flight,
        failed: Vec<FailedRecord>,
        way_out: WayOut<'_>,
    ) -> Result<(), Ended> {
        self.note_failed(step, &failed);
        match way_out {
            WayOut::Tell => self.tell_failed(step, flight, failed),
            WayOut::Store(_) => self.stored_failed(step, flight, &failed),
            WayOut::Skip => self.skip_failed(step, flight, &failed),
            WayOut::Stop { error, has_author } => {
                if has_author {
                    self.tell_failed(step, flight, failed);
                }
                return Err(self.stop_at(step, &error));
            }
        }
        Ok(())
    }

    fn note_failed(&self, step: &Step, failed: &[FailedRecord]) {
        let Some(last) = failed.last() else { return };
        self.status.note_error(step.index, SeenError::new("record", &last.error));
    }

    fn tell_failed(&self, step: &Step, flight: &Flight, failed: Vec<FailedRecord>) {
        self.metrics.step(step.index).rejected.add(failed.len() as u64);
        failed.into_iter().for_each(|failed| flight.refuse(failed.record.id(), verdict(failed.error)));
    }

    fn skip_failed(&self, step: &Step, flight: &Flight, failed: &[FailedRecord]) {
        self.metrics.step(step.index).skipped.add(failed.len() as u64);
        for failed in failed {
            let (code, kind) = (failed.error.code(), failed.error.kind().name());
            let (record, key) = (failed.record.id(), failed.record.key_str());
            warn!(component = step.name, record, key, code, kind, "record skipped");
            flight.refuse(record, Verdict::Stored);
        }
    }

    /// Stores dead letters in commits of a size that the store takes.
    fn store_all(
        &self,
        step: &Step,
        flight: &Flight,
        mut failed: &[FailedRecord],
        key: Option<&Vec<u8>>,
    ) -> Result<(), Ended> {
        while !failed.is_empty() {
            let mut n_bytes = 0;
            let fits = failed.iter().take_while(|failed| {
                n_bytes += failed.record.size();
                n_bytes <= COMMIT_BYTES
            });
            let (now, later) = failed.split_at(fits.count().max(1));
            self.store_letters(step, flight, now, key)?;
            failed = later;
        }
        Ok(())
    }

    fn store_letters(
        &self,
        step: &Step,
        flight: &Flight,
        failed: &[FailedRecord],
        key: Option<&Vec<u8>>,
    ) -> Result<(), Ended> {
        let place = key.filter(|_| flight.take_letter());
        self.until_stored(step, || self.dead_letters.put(&self.letters(step, flight, failed, key, place)?))?;
        self.stored_failed(step, flight, failed);
        Ok(())
    }

    /// Dead letters of these records, to be committed together with something else. The first of them takes the place of
    /// the letter under `key`, unless another one does.
    pub fn prepare_letters(
        &self,
        step: &Step,
        flight: &Flight,
        failed: &[FailedRecord],
        key: Option<&Vec<u8>>,
        takes_place: bool,
    ) -> Result<Prepared, DeadLetterError> {
        let place = key.filter(|_| takes_place);
        self.dead_letters.prepare(&self.letters(step, flight, failed, key, place)?)
    }

    /// The one dead letter may have become several records, or have gone to several sinks: the first that fails takes
    /// its place, the others are new ones.
    fn letters(
        &self,
        step: &Step,
        flight: &Flight,
        failed: &[FailedRecord],
        key: Option<&Vec<u8>>,
        place: Option<&Vec<u8>>,
    ) -> Result<Vec<KeyedLetter>, DeadLetterError> {
        let earlier = key.map(|key| self.dead_letters.under(key)).transpose()?.flatten();
        let mut place = place.cloned();
        let letters = failed.iter().map(|failed| {
            let letter = self.letter(step, flight, failed);
            (place.take(), earlier.iter().fold(letter, DeadLetter::after))
        });
        Ok(letters.collect())
    }

    fn stored_failed(&self, step: &Step, flight: &Flight, failed: &[FailedRecord]) {
        self.metrics.step(step.index).dead_lettered.add(failed.len() as u64);
        for failed in failed {
            let (code, kind) = (failed.error.code(), failed.error.kind().name());
            let (record, attempts) = (failed.record.id(), failed.attempts);
            let key = failed.record.key_str();
            warn!(component = step.name, record, key, attempts, code, kind, "dead letter");
            flight.refuse(record, Verdict::Stored);
        }
    }

    /// Tries until it succeeds: a store that takes nothing (a full disk) holds the pipeline, it does not lose records.
    fn until_stored(
        &self,
        step: &Step,
        mut store: impl FnMut() -> Result<(), DeadLetterError>,
    ) -> Result<(), Ended> {
        let mut is_told = false;
        loop {
            match store() {
                Ok(()) => return Ok(()),
                Err(full @ DeadLetterError::Full { .. }) => {
                    return Err(self.fail(step, "dead letter", &Error::fatal(full), true));
                }
                // Waiting would not help: too large for the store, or a store that has given up for good.
                Err(DeadLetterError::Store(refused)) if !refused.is_transient() => {
                    return Err(self.fail(step, "dead letter", &Error::fatal(refused), true));
                }
                Err(DeadLetterError::Store(refused)) => {
                    if !std::mem::replace(&mut is_told, true) {
                        error!(component = step.name, error = %refused, "the store takes no dead letters, waiting");
                    }
                    self.pause(STORE_RETRY)?;
                }
            }
        }
    }

    fn letter(&self, step: &Step, flight: &Flight, failed: &FailedRecord) -> DeadLetter {
        let source = match &flight.origin {
            Origin::Source { source, .. } => self.pipeline.sources[*source].step.name.clone(),
            Origin::Admin { .. } => through_log::ADMIN.to_owned(),
            Origin::DeadLetter { .. } | Origin::Log { .. } => String::new(),
        };
        DeadLetter {
            pipeline: self.pipeline.name.clone(),
            component: step.name.clone(),
            kind: step.component.kind().as_str().to_owned(),
            source,
            record_id: failed.record.id(),
            attempts: failed.attempts,
            is_undecided: failed.is_undecided,
            error: StoredError::from(&failed.error),
            first_failed_at: Timestamp::now(),
            last_failed_at: Timestamp::now(),
            record: self.stored(step, failed),
        }
    }

    fn stored(&self, step: &Step, failed: &FailedRecord) -> StoredRecord {
        if self.dead_letters.keeps_clear_values() {
            return StoredRecord::from(&failed.record);
        }
        let sealed = self.pipeline.sealed_from(step.index, failed.is_undecided);
        match Withheld::of(&failed.record, &sealed) {
            Some(withheld) => StoredRecord::without_value(&failed.record, withheld),
            None => StoredRecord::from(&failed.record),
        }
    }
}

fn verdict(error: Error) -> Verdict {
    if error.kind() == ErrorKind::REJECTED { Verdict::Rejected(error) } else { Verdict::Failed(error) }
}
