//! Compares what a subscriber saw with what was committed.

use super::{Committed, History, Observation, Seen};
use std::collections::{BTreeMap, BTreeSet};

/// A guarantee that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// A revision that is not greater than the one before it.
    Unordered { after: u64, change: Committed },
    /// The same change again.
    Repeated(Committed),
    /// It was committed, wanted, neither sent nor declared.
    Missing(Committed),
    /// It was never committed, or not as this.
    Unknown(Committed),
    /// Nobody asked for this key.
    Unwanted(Committed),
    /// A bookmark that goes back.
    BookmarkGoesBack { after: u64, revision: u64 },
    /// A snapshot showed a value that was no longer current.
    Stale(Committed),
    /// A conflated message that stands for nothing: its `from_revision` is not before its revision.
    StandsForNothing(Committed),
}

/// What there is to say about one subscriber.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    pub violations: Vec<Violation>,
    pub n_resumes: usize,
    pub n_conflations: usize,
    /// By reason: `compacted`, `slow`.
    pub n_resyncs: BTreeMap<String, usize>,
    /// How many messages were looked at.
    pub n_seen: usize,
}

/// What a snapshot still owes.
struct Snapshot {
    /// As of this revision.
    revision: u64,
    /// What it has shown.
    keys: BTreeSet<String>,
    last: u64,
}

impl Violation {
    /// Where in the log it is.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Unordered { change, .. }
            | Self::Repeated(change)
            | Self::Missing(change)
            | Self::Unknown(change)
            | Self::Unwanted(change)
            | Self::Stale(change)
            | Self::StandsForNothing(change) => change.revision,
            Self::BookmarkGoesBack { revision, .. } => *revision,
        }
    }
}

struct Oracle<'a> {
    history: &'a History,
    observation: &'a Observation,
    /// Everything wanted up to here was sent, declared, or is owed.
    position: Option<u64>,
    /// What was passed over and can still be declared by a later message of its key.
    owed: BTreeMap<String, Vec<Committed>>,
    /// Of keys for which something newer has to come, which then stands for all before it.
    owed_newer: BTreeMap<String, Committed>,
    snapshot: Option<Snapshot>,
    verdict: Verdict,
}

/// Checks one subscriber that has read to the end of the history.
pub fn check(history: &History, observation: &Observation) -> Verdict {
    let mut oracle = Oracle {
        history,
        observation,
        position: None,
        owed: BTreeMap::new(),
        owed_newer: BTreeMap::new(),
        snapshot: None,
        verdict: Verdict::default(),
    };
    for session in &observation.sessions {
        oracle.begin(session.since);
        session.seen.iter().for_each(|seen| oracle.see(seen));
        oracle.disconnect(session.is_slow);
    }
    oracle.end();
    oracle.verdict
}

impl Oracle<'_> {
    fn begin(&mut self, since: Option<u64>) {
        self.verdict.n_resumes += usize::from(since.is_some());
        self.position = since;
    }

    /// What this connection passed over it can no longer declare.
    fn disconnect(&mut self, is_slow: bool) {
        self.close_snapshot();
        for (key, mut owed) in std::mem::take(&mut self.owed) {
            match owed.pop() {
                Some(newest) if is_slow => drop(self.owed_newer.insert(key, newest)),
                Some(newest) => {
                    owed.push(newest);
                    owed.into_iter().for_each(|change| self.violated(Violation::Missing(change)));
                }
                None => {}
            }
        }
    }

    fn see(&mut self, seen: &Seen) {
        self.verdict.n_seen += 1;
        match seen {
            Seen::Change { change, from_revision } => self.change(change, *from_revision),
            Seen::Bookmark { revision } => self.bookmark(*revision),
            Seen::Resync { revision, reason } => {
                *self.verdict.n_resyncs.entry(reason.clone()).or_default() += 1;
                self.close_snapshot();
                self.owed.clear();
                self.owed_newer.clear();
                self.snapshot = Some(Snapshot { revision: *revision, keys: BTreeSet::new(), last: 0 });
            }
        }
    }

    fn change(&mut self, change: &Committed, from_revision: Option<u64>) {
        if self.history.get(change.revision).as_ref() != Some(change) {
            return self.violated(Violation::Unknown(change.clone()));
        }
        if !self.observation.wants(&change.key) {
            self.violated(Violation::Unwanted(change.clone()));
        }
        match &mut self.snapshot {
            Some(snapshot) if change.revision <= snapshot.revision => self.show(change),
            _ => {
                self.close_snapshot();
                self.live(change, from_revision);
            }
        }
    }

    /// A change that belongs to a snapshot: nothing newer of its key was committed before the snapshot's revision.
    fn show(&mut self, change: &Committed) {
        let Some(snapshot) = &mut self.snapshot else { return };
        let (after, revision) = (snapshot.last, snapshot.revision);
        let is_new = snapshot.keys.insert(change.key.clone());
        snapshot.last = change.revision;
        let mut newest_first = self.history.range(..=revision).rev();
        let newest = newest_first.find(|other| other.key == change.key);
        if !is_new {
            self.violated(Violation::Repeated(change.clone()));
        } else if change.revision <= after {
            self.violated(Violation::Unordered { after, change: change.clone() });
        }
        if newest.as_ref() != Some(change) {
            self.violated(Violation::Stale(change.clone()));
        }
    }

    fn live(&mut self, change: &Committed, from_revision: Option<u64>) {
        let position = self.position.unwrap_or(change.revision - 1);
        if change.revision <= position {
            let before = self.observation.changes().take_while(|other| !std::ptr::eq(*other, change));
            let was_seen = before.into_iter().any(|other| other == change);
            let violation = if was_seen {
                Violation::Repeated(change.clone())
            } else {
                Violation::Unordered { after: position, change: change.clone() }
            };
            return self.violated(violation);
        }
        self.pass_over(position + 1, change.revision - 1);
        self.owed_newer.remove(&change.key);
        let owed = self.owed.remove(&change.key).unwrap_or_default();
        let first_declared = match from_revision {
            Some(from) if from >= change.revision => {
                self.violated(Violation::StandsForNothing(change.clone()));
                u64::MAX
            }
            Some(from) => from,
            None => u64::MAX,
        };
        self.verdict.n_conflations += usize::from(from_revision.is_some());
        let missing = owed.into_iter().filter(|other| other.revision < first_declared);
        missing.for_each(|other| self.violated(Violation::Missing(other)));
        self.position = Some(change.revision);
    }

    /// What is wanted in these revisions was not sent in its place.
    fn pass_over(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        for change in self.history.range(first..=last).filter(|change| self.observation.wants(&change.key)) {
            self.owed.entry(change.key.clone()).or_default().push(change);
        }
    }

    fn bookmark(&mut self, revision: u64) {
        if self.snapshot.as_ref().is_some_and(|snapshot| revision < snapshot.revision) {
            return;
        }
        self.close_snapshot();
        let position = self.position.unwrap_or(revision);
        if revision < position {
            return self.violated(Violation::BookmarkGoesBack { after: position, revision });
        }
        self.pass_over(position + 1, revision);
        self.settle();
        self.position = Some(revision);
    }

    /// What a snapshot did not show must come as something newer.
    fn close_snapshot(&mut self) {
        let Some(snapshot) = self.snapshot.take() else { return };
        for (key, change) in self.history.current(snapshot.revision) {
            if self.observation.wants(&key) && !snapshot.keys.contains(&key) {
                self.owed_newer.insert(key, change);
            }
        }
        self.position = Some(snapshot.revision);
    }

    /// Nothing can be declared any more.
    fn settle(&mut self) {
        let owed = std::mem::take(&mut self.owed).into_values().flatten();
        let newer = std::mem::take(&mut self.owed_newer).into_values();
        owed.chain(newer).for_each(|change| self.violated(Violation::Missing(change)));
    }

    fn end(&mut self) {
        self.close_snapshot();
        if let Some(position) = self.position {
            self.pass_over(position + 1, self.history.head());
        }
        self.settle();
    }

    fn violated(&mut self, violation: Violation) {
        self.verdict.violations.push(violation);
    }
}
