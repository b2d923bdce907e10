//! One group of jobs, sent over one connection, and what became of each.
//!
//! Invariant: a cell is replaced only after it was compared, and nothing is told whose cell was not written.

use super::{
    commands::{Answer, Places},
    job::{CellWrite, ChangeWrite, Job, Write},
    lane::{Lane, Shared},
};
use crate::{
    cell::{Digest, Finding},
    connection::{Away, Link, Placed},
    meeting::Met,
};
use lockstep_plugin_api::Error;

/// What became of a job that was sent.
pub(super) enum Fate {
    Done,
    /// The cell is written, entry and message are not.
    ToTell,
    Again,
    /// The cell may be replaced by this renewal.
    Replace(Digest),
    /// Something else has to come before this renewal.
    NotYet,
    Failed(Error),
    /// The cell shows what has to be received first.
    Receive {
        cell: Vec<u8>,
        is_foreign: bool,
        /// Whether entry and message are owed all the same.
        is_untold: bool,
    },
}

impl Lane {
    /// Sends a group and waits for every answer.
    pub(super) async fn send(&mut self, link: &mut Link, group: &[Job]) -> Result<Vec<Fate>, Away> {
        let places: Vec<Option<Places>> = group.iter().map(|job| self.places(job)).collect();
        let shared = self.shared.clone();
        let needs: Vec<bool> = group.iter().map(|job| !self.is_shown(job)).collect();
        let mut commands = Vec::new();
        for ((job, places), _) in group.iter().zip(&places).zip(&needs).filter(|(_, needs)| **needs) {
            let expected = self.expect(job);
            commands.push(command(&shared, job, places.as_ref(), expected));
        }
        let mut answers = link.send(commands).await?.into_iter();
        let mut needs_script = false;
        let mut fates = Vec::with_capacity(group.len());
        for (job, needs) in group.iter().zip(needs) {
            let answer = if needs { answers.next() } else { None };
            let fate = match (&job.write, answer) {
                (write, Some(answer)) if job.once.is_some() => {
                    let answer = Answer::of_once(answer);
                    needs_script |= matches!(answer, Answer::NoScript);
                    self.fate_once(write, answer)
                }
                (Write::Raw(_) | Write::Conflict(_), Some(Err(refusal))) => Fate::Failed(refusal.error()),
                (Write::Raw(_) | Write::Conflict(_), _) => Fate::Done,
                (Write::Change(_), None) => written(job),
                (Write::Change(change), Some(answer)) => {
                    let answer = Answer::of(&change.cell, answer);
                    needs_script |= matches!(answer, Answer::NoScript);
                    self.fate(job, change, answer)
                }
            };
            fates.push(fate);
        }
        if needs_script {
            self.shared.commands.load(link).await?;
        }
        tell(&shared, link, group, &places, &mut fates).await?;
        Ok(fates)
    }

    fn places(&self, job: &Job) -> Option<Places> {
        match &job.write {
            Write::Change(change) => Some(Places::of(&self.shared.names, change.tenant.as_deref())),
            Write::Raw(_) | Write::Conflict(_) => None,
        }
    }

    /// Whether the cell was renewed by the same state or a newer one.
    fn is_shown(&self, job: &Job) -> bool {
        let Write::Change(change) = &job.write else { return false };
        change.revision.is_some_and(|revision| self.renewed.get(job.key).is_some_and(|to| to >= revision))
    }

    /// What the cell should hold. From here on it is taken to be what the job writes, so that the next one of its key can
    /// go in the same group; if that is wrong, the next one is refused as well.
    fn expect(&mut self, job: &Job) -> Option<Digest> {
        let Write::Change(change) = &job.write else { return None };
        if let Some(renewal) = &job.renewal {
            return renewal.expected;
        }
        let expected = self.seen.get(job.key);
        if matches!(change.cell, CellWrite::State(_)) {
            self.seen.set(job.key, Digest::of(&change.data));
        }
        expected
    }

    fn fate_once(&self, write: &Write, answer: Answer) -> Fate {
        match (answer, write) {
            (Answer::Taken, Write::Change(_)) => Fate::ToTell,
            (Answer::Taken, Write::Raw(_) | Write::Conflict(_)) => Fate::Done,
            (Answer::Known, _) => {
                self.shared.metrics.known.add(1);
                Fate::Done
            }
            (Answer::Refused(refusal), _) => Fate::Failed(refusal.error()),
            (Answer::NoScript | Answer::Holds(_), _) => Fate::Again,
        }
    }

    fn fate(&mut self, job: &Job, change: &ChangeWrite, answer: Answer) -> Fate {
        match (answer, &change.cell) {
            (Answer::Taken, _) => self.taken(job, change),
            (Answer::Refused(refusal), _) => Fate::Failed(refusal.error()),
            (Answer::Holds(cell), CellWrite::State(shown)) if job.renewal.is_some() => {
                self.meet_renewal(change, Finding::of(shown, &cell), cell)
            }
            (Answer::Holds(cell), CellWrite::State(shown)) => {
                self.meet(job, change, Finding::of(shown, &cell), cell)
            }
            (Answer::NoScript | Answer::Known | Answer::Holds(_), _) => Fate::Again,
        }
    }

    fn taken(&mut self, job: &Job, change: &ChangeWrite) -> Fate {
        if let (Some(_), Some(revision)) = (&job.renewal, change.revision) {
            self.renewed.set(job.key, revision);
        }
        written(job)
    }

    /// The cell holds something that a renewal has to look at. Where it shows what the log does not know, that comes
    /// first, and the renewal is asked for again.
    fn meet_renewal(&self, change: &ChangeWrite, finding: Finding, cell: Vec<u8>) -> Fate {
        match (finding, self.shared.meeting.source()) {
            (Finding::Same | Finding::Newer, _) => self.covered(),
            (Finding::Older, _) => Fate::Replace(Digest::of(&cell)),
            (Finding::Beside, _) if change.is_shown_by(&cell) => self.covered(),
            (Finding::Beside | Finding::Foreign, Met::Source(inbox)) => {
                self.shared.metrics.received.add(1);
                // Nobody waits for it here.
                let _ = inbox.offer(change.offered(cell));
                Fate::NotYet
            }
            (Finding::Beside | Finding::Foreign, Met::Gone | Met::Nobody) => Fate::NotYet,
        }
    }

    /// The cell holds something else than was expected.
    fn meet(&mut self, job: &Job, change: &ChangeWrite, finding: Finding, cell: Vec<u8>) -> Fate {
        self.shared.metrics.refused.add(1);
        let has_source = !matches!(self.shared.meeting.source(), Met::Nobody);
        let is_untold = finding.leaves_untold(&self.shared.node, change.author.as_deref(), &cell);
        match finding {
            Finding::Newer if !has_source && is_untold => Fate::ToTell,
            Finding::Same => self.covered(),
            Finding::Newer if !has_source => self.covered(),
            Finding::Newer | Finding::Beside if has_source => {
                Fate::Receive { cell, is_foreign: false, is_untold }
            }
            Finding::Foreign if has_source => Fate::Receive { cell, is_foreign: true, is_untold },
            Finding::Older | Finding::Newer | Finding::Beside | Finding::Foreign => {
                self.seen.set(job.key, Digest::of(&cell));
                Fate::Again
            }
        }
    }

    /// Whoever wrote the cell tells of it.
    fn covered(&self) -> Fate {
        self.shared.metrics.covered.add(1);
        Fate::Done
    }
}

fn command<'a>(
    shared: &'a Shared,
    job: &'a Job,
    places: Option<&'a Places>,
    expected: Option<Digest>,
) -> Placed<'a> {
    let (commands, stream) = (&shared.commands, shared.raw_stream.as_deref().unwrap_or_default());
    match (&job.write, places, &job.once) {
        (Write::Change(change), Some(places), None) => commands.cell(change, places, expected),
        (Write::Change(change), Some(places), Some(id)) => commands.change_once(change, places, id),
        (Write::Conflict(conflict), ..) => Placed { command: conflict.command(), at: &conflict.key },
        (Write::Raw(fields), _, None) => commands.raw(stream, fields),
        (Write::Raw(fields), _, Some(id)) => commands.raw_once(stream, fields, id),
        (Write::Change(_), None, _) => unreachable!("a change has its places"),
    }
}

/// What follows when the cell is as the job wants it.
fn written(job: &Job) -> Fate {
    if job.renewal.is_some() { Fate::Done } else { Fate::ToTell }
}

/// Entries and messages of the cells that were written. The entry of what is applied once was written with the cell.
async fn tell(
    shared: &Shared,
    link: &mut Link,
    group: &[Job],
    places: &[Option<Places>],
    fates: &mut [Fate],
) -> Result<(), Away> {
    let mut told = Vec::new();
    let mut commands = Vec::new();
    for (i, (job, places)) in group.iter().zip(places).enumerate() {
        let is_owed = matches!(fates[i], Fate::ToTell | Fate::Receive { is_untold: true, .. });
        if let (true, Write::Change(change), Some(places)) = (is_owed, &job.write, places) {
            told.push(i);
            if job.once.is_none() {
                commands.push(shared.commands.entry(change, places));
            }
            commands.push(shared.commands.message(change, places));
        }
    }
    if commands.is_empty() {
        return Ok(());
    }
    let mut answers = link.send(commands).await?.into_iter();
    for i in told {
        let added = if group[i].once.is_none() { answers.next() } else { None };
        let published = answers.next();
        shared.metrics.untold.add(u64::from(matches!(published, Some(Err(_)))));
        match (added, &fates[i]) {
            (Some(Err(refusal)), _) => fates[i] = Fate::Failed(refusal.error()),
            (_, Fate::ToTell) => fates[i] = Fate::Done,
            _ => {}
        }
    }
    Ok(())
}
