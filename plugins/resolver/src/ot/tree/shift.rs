//! How one operation moves the items of a list.

/// Where items of a list go when some are removed and others inserted.
#[derive(Debug, Default)]
pub struct Shift {
    /// Indexes before, in order.
    removed: Vec<usize>,
    /// Indexes after, in order.
    inserted: Vec<usize>,
}

impl Shift {
    /// Both in order.
    pub fn new(removed: impl Iterator<Item = usize>, inserted: impl Iterator<Item = usize>) -> Self {
        Self { removed: removed.collect(), inserted: inserted.collect() }
    }

    /// Whether the item with this index is removed.
    pub fn removes(&self, before: usize) -> bool {
        self.removed.binary_search(&before).is_ok()
    }

    /// How many of the items before this index stay.
    pub fn n_staying(&self, before: usize) -> usize {
        before - self.removed.partition_point(|removed| *removed < before)
    }

    /// Where an item is afterwards; `None` if it is removed.
    pub fn after(&self, before: usize) -> Option<usize> {
        if self.removes(before) {
            return None;
        }
        let n_staying = self.n_staying(before);
        Some(n_staying + partition_point(&self.inserted, |i, at| at - i <= n_staying))
    }

    /// Where an item was; `None` if it was inserted.
    pub fn before(&self, after: usize) -> Option<usize> {
        match self.inserted.binary_search(&after) {
            Ok(_) => None,
            Err(n_inserted) => Some(self.staying(after - n_inserted)),
        }
    }

    /// The index of the item that so many staying ones are before.
    fn staying(&self, n_staying: usize) -> usize {
        n_staying + partition_point(&self.removed, |i, at| at - i <= n_staying)
    }

    /// Between which items something is inserted: the first index before which it may stand, and the last one. Where items
    /// are removed around it, these differ.
    pub fn gap(&self, inserted: usize) -> (usize, usize) {
        let n_inserted = self.inserted.partition_point(|at| *at < inserted);
        let n_staying = inserted - n_inserted;
        let first = n_staying.checked_sub(1).map_or(0, |last| self.staying(last) + 1);
        (first, self.staying(n_staying))
    }
}

/// As of a slice, for a predicate that also looks at the place.
fn partition_point(items: &[usize], mut holds: impl FnMut(usize, usize) -> bool) -> usize {
    let (mut low, mut high) = (0, items.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle, items[middle]) { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the shift says, found by moving items.
    #[test]
    fn every_item_is_found_where_it_goes() {
        for seed in 0..2000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let removed: Vec<usize> = (0..8).filter(|_| random.u8(0..3) == 0).collect();
            let mut items: Vec<Option<usize>> = (0..8).filter(|at| !removed.contains(at)).map(Some).collect();
            let inserted: Vec<usize> = (0..12).filter(|_| random.u8(0..4) == 0).collect();
            let inserted: Vec<usize> = inserted
                .into_iter()
                .filter(|at| {
                    let fits = *at <= items.len();
                    if fits {
                        items.insert(*at, None);
                    }
                    fits
                })
                .collect();
            let shift = Shift::new(removed.iter().copied(), inserted.iter().copied());
            for (after, item) in items.iter().enumerate() {
                assert_eq!(shift.before(after), *item, "seed {seed}: {shift:?}");
            }
            for before in 0..8 {
                let after = items.iter().position(|item| *item == Some(before));
                assert_eq!(shift.after(before), after, "seed {seed}: {shift:?}");
            }
            for at in inserted {
                let before = items[..at].iter().rev().find_map(|item| *item).map_or(0, |item| item + 1);
                let behind = items[at..].iter().find_map(|item| *item);
                let (first, last) = shift.gap(at);
                assert_eq!(first, before, "seed {seed}: {shift:?}");
                assert!(behind.is_none_or(|behind| behind == last), "seed {seed}: {shift:?}");
            }
        }
    }
}
