//! What the log to come asks of a store: groups of entries, as many state puts, one position, old entries deleted.
//!
//! Seeded, so every engine is given the same groups; the bytes are random letters, which do not compress to nothing.

use std::ops::Range;

pub const N_STATE_KEYS: u64 = 100_000;
const ENTRY_BYTES: usize = 300;
const STATE_BYTES: usize = 256;

/// What one durable commit carries.
pub struct Group {
    /// The first revision, and the value of each entry from there on.
    pub first_revision: u64,
    pub entries: Vec<Vec<u8>>,
    pub state: Vec<(Vec<u8>, Vec<u8>)>,
    pub position: Vec<u8>,
    /// Revisions that retention gives up with this group.
    pub expired: Range<u64>,
}

/// Makes one group after the other, and knows how many entries are kept.
pub struct Workload {
    random: fastrand::Rng,
    next_revision: u64,
    first_kept: u64,
    n_kept: u64,
}

impl Workload {
    pub fn new(seed: u64, n_kept: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), next_revision: 1, first_kept: 1, n_kept }
    }

    pub fn group(&mut self, n_entries: usize) -> Group {
        let first_revision = self.next_revision;
        self.next_revision += n_entries as u64;
        let expired = self.first_kept..self.next_revision.saturating_sub(self.n_kept).max(self.first_kept);
        self.first_kept = expired.end;
        Group {
            first_revision,
            entries: (0..n_entries).map(|_| self.letters(ENTRY_BYTES)).collect(),
            state: (0..n_entries).map(|_| self.state_put()).collect(),
            position: first_revision.to_be_bytes().to_vec(),
            expired,
        }
    }

    /// Every state key once and a full history: what a host finds after some hours of work.
    pub fn preload(&mut self) -> Vec<Group> {
        let mut groups = Vec::new();
        for chunk in 0..N_STATE_KEYS / 1_000 {
            let mut group = self.group(1_000);
            group.state =
                (0..1_000).map(|i| (state_key(chunk * 1_000 + i), self.letters(STATE_BYTES))).collect();
            groups.push(group);
        }
        groups
    }

    fn state_put(&mut self) -> (Vec<u8>, Vec<u8>) {
        let key = state_key(self.random.u64(0..N_STATE_KEYS));
        (key, self.letters(STATE_BYTES))
    }

    fn letters(&mut self, n_bytes: usize) -> Vec<u8> {
        (0..n_bytes).map(|_| self.random.alphanumeric() as u8).collect()
    }
}

fn state_key(number: u64) -> Vec<u8> {
    format!("tenant-{:02}/app.service.{number:06}.setting", number % 20).into_bytes()
}
