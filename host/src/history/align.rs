//! Which items of two lists are the same ones: the longest common subsequence, by Myers' greedy algorithm.
//!
//! Invariant: the runs cover both lists from their beginnings to their ends, in order.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

/// Lists that differ by more than so many items are not compared item by item: the work grows with its square.
const MOST_EDITS: isize = 1000;

/// Items of one list, and what stands for them in the other one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub old: Range<usize>,
    pub new: Range<usize>,
    /// Both hold the same items, one for one.
    pub is_same: bool,
}

/// Both lists, cut where they begin and cease to be the same.
pub(super) fn runs<T: Eq + Hash>(old: &[T], new: &[T]) -> Vec<Run> {
    let n_before = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (left_old, left_new) = (&old[n_before..], &new[n_before..]);
    let n_after =
        left_old.iter().rev().zip(left_new.iter().rev()).take_while(|(old, new)| old == new).count();
    let (ids_old, ids_new) =
        numbered(&left_old[..left_old.len() - n_after], &left_new[..left_new.len() - n_after]);

    let mut runs = Runs::default();
    runs.same(n_before);
    for (at_old, at_new) in common(&ids_old, &ids_new) {
        runs.apart(n_before + at_old, n_before + at_new);
        runs.same(1);
    }
    runs.apart(old.len() - n_after, new.len() - n_after);
    runs.same(n_after);
    runs.list
}

#[derive(Default)]
struct Runs {
    list: Vec<Run>,
    old: usize,
    new: usize,
}

impl Runs {
    /// The next items are the same in both.
    fn same(&mut self, n: usize) {
        let (old, new) = (self.old + n, self.new + n);
        match self.list.last_mut().filter(|last| last.is_same) {
            Some(last) => (last.old.end, last.new.end) = (old, new),
            None if n > 0 => self.list.push(Run { old: self.old..old, new: self.new..new, is_same: true }),
            None => {}
        }
        (self.old, self.new) = (old, new);
    }

    /// Nothing is the same up to here.
    fn apart(&mut self, old: usize, new: usize) {
        if (self.old, self.new) != (old, new) {
            self.list.push(Run { old: self.old..old, new: self.new..new, is_same: false });
        }
        (self.old, self.new) = (old, new);
    }
}

/// Equal items get equal numbers, so that each is compared by all of it once only.
fn numbered<'a, T: Eq + Hash>(old: &'a [T], new: &'a [T]) -> (Vec<usize>, Vec<usize>) {
    let mut numbers: HashMap<&'a T, usize> = HashMap::with_capacity(old.len().max(new.len()));
    let mut number = |item: &'a T| {
        let next = numbers.len();
        *numbers.entry(item).or_insert(next)
    };
    (old.iter().map(&mut number).collect(), new.iter().map(&mut number).collect())
}

/// The places of the items that both have; none if the lists are too different.
fn common(old: &[usize], new: &[usize]) -> Vec<(usize, usize)> {
    let (n_old, n_new) = (old.len() as isize, new.len() as isize);
    let most = (n_old + n_new).min(MOST_EDITS);
    let mut trace: Vec<Reached> = Vec::new();
    for n_edits in 0..=most {
        let mut reached = Reached::nothing(n_edits);
        for diagonal in (-n_edits..=n_edits).step_by(2) {
            let mut at = trace.last().map_or(0, |before| before.step(diagonal, n_edits).at);
            while at < n_old && at - diagonal < n_new && old[at as usize] == new[(at - diagonal) as usize] {
                at += 1;
            }
            reached.set(diagonal, at);
            if at >= n_old && at - diagonal >= n_new {
                return walked_back(&trace, n_old, n_new);
            }
        }
        trace.push(reached);
    }
    Vec::new()
}

/// The way to the ends of both lists, which the last round found: its steps along equal items.
fn walked_back(trace: &[Reached], n_old: isize, n_new: isize) -> Vec<(usize, usize)> {
    let (mut at, mut diagonal) = (n_old, n_old - n_new);
    let mut found = Vec::new();
    for n_edits in (0..=trace.len()).rev() {
        let step = n_edits.checked_sub(1).map(|before| trace[before].step(diagonal, n_edits as isize));
        let from = step.as_ref().map_or(0, |step| step.at);
        found.extend((from..at).rev().map(|at| (at as usize, (at - diagonal) as usize)));
        if let Some(step) = step {
            (at, diagonal) = (step.before, step.diagonal_before);
        }
    }
    found.reverse();
    found
}

/// How far one comes in the old list with so many edits, on each diagonal: the place in the old list less the one in the
/// new list.
struct Reached {
    n_edits: isize,
    at: Vec<isize>,
}

/// One edit more: an item of the old list is left out, or one of the new list.
struct Step {
    at: isize,
    before: isize,
    diagonal_before: isize,
}

impl Reached {
    fn nothing(n_edits: isize) -> Self {
        Self { n_edits, at: vec![0; 2 * n_edits as usize + 1] }
    }

    fn set(&mut self, diagonal: isize, at: isize) {
        self.at[(diagonal + self.n_edits) as usize] = at;
    }

    fn on(&self, diagonal: isize) -> isize {
        self.at[(diagonal + self.n_edits) as usize]
    }

    /// The better way to a diagonal, with the last of `n_edits`.
    fn step(&self, diagonal: isize, n_edits: isize) -> Step {
        let adds =
            diagonal == -n_edits || (diagonal != n_edits && self.on(diagonal - 1) < self.on(diagonal + 1));
        let diagonal_before = if adds { diagonal + 1 } else { diagonal - 1 };
        let before = self.on(diagonal_before);
        Step { at: if adds { before } else { before + 1 }, before, diagonal_before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long the longest common subsequence is.
    fn longest(old: &[u8], new: &[u8]) -> usize {
        let mut row = vec![0; new.len() + 1];
        for old in old {
            let before = row.clone();
            for (at, new) in new.iter().enumerate() {
                row[at + 1] = if old == new { before[at] + 1 } else { row[at].max(before[at + 1]) };
            }
        }
        row[new.len()]
    }

    #[test]
    fn the_runs_cover_both_lists_and_keep_as_much_as_can_be_kept() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..3000 {
            let n_letters = random.u8(1..6);
            let mut list = || (0..random.usize(0..14)).map(|_| random.u8(0..n_letters)).collect::<Vec<_>>();
            let (old, new) = (list(), list());
            let (mut at_old, mut at_new, mut n_same) = (0, 0, 0);
            for run in runs(&old, &new) {
                assert_eq!((run.old.start, run.new.start), (at_old, at_new), "{old:?} {new:?}");
                assert_eq!(run.is_same, old[run.old.clone()] == new[run.new.clone()], "{old:?} {new:?}");
                assert!(!run.old.is_empty() || !run.new.is_empty());
                n_same += if run.is_same { run.old.len() } else { 0 };
                (at_old, at_new) = (run.old.end, run.new.end);
            }
            assert_eq!((at_old, at_new), (old.len(), new.len()), "{old:?} {new:?}");
            assert_eq!(n_same, longest(&old, &new), "{old:?} {new:?}");
        }
    }

    #[test]
    fn lists_that_have_little_in_common_are_not_compared_for_ever() {
        let (old, new): (Vec<_>, Vec<_>) = ((0..50_000).collect(), (0..50_000).rev().collect());
        assert_eq!(runs(&old, &new), [Run { old: 0..50_000, new: 0..50_000, is_same: false }]);
    }
}
