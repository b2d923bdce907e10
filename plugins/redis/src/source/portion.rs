//! How many entries one command asks for: as many as a few MiB hold, going by those that came of late.
//!
//! The server is asked for a number and answers with whatever that number weighs, all at once.

use crate::entry::Entry;

/// The most that one command asks for.
const MOST: usize = 500;

/// What an answer should weigh at most, in bytes.
const ANSWER: usize = 4 << 20;

/// How large an entry is taken to be before any was seen.
const FIRST_ENTRY: usize = 256 << 10;

/// The largest entry of late, slowly forgotten.
#[derive(Debug)]
pub(super) struct Portion {
    entry: usize,
}

impl Default for Portion {
    fn default() -> Self {
        Self { entry: FIRST_ENTRY }
    }
}

impl Portion {
    /// How many entries to ask for.
    pub(super) fn count(&self) -> usize {
        (ANSWER / self.entry.max(1)).clamp(1, MOST)
    }

    /// Takes note of what came.
    pub(super) fn came(&mut self, entries: &[Entry]) {
        if let Some(largest) = entries.iter().map(Entry::size).max() {
            self.entry = largest.max(self.entry / 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryId;

    fn entry(n_bytes: usize) -> Entry {
        Entry::new(EntryId::default(), vec![(b"data".to_vec(), vec![b'x'; n_bytes])])
    }

    #[test]
    fn an_answer_holds_a_few_mib_whatever_the_size_of_entries() {
        let mut portion = Portion::default();
        assert_eq!(portion.count(), 16, "before anything is known");
        for _ in 0..10 {
            portion.came(&[entry(300), entry(200)]);
        }
        assert_eq!(portion.count(), MOST);
        portion.came(&[entry(200), entry(1 << 20)]);
        assert_eq!(portion.count(), 3);
        portion.came(&[]);
        assert_eq!(portion.count(), 3, "nothing came");
        portion.came(&[entry(64 << 20)]);
        assert_eq!(portion.count(), 1);
    }
}
