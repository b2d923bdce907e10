//! Where two sequences differ: Myers' greedy algorithm ("An O(ND) Difference Algorithm and Its Variations", 1986).

use std::ops::Range;

/// How many insertions and deletions are looked for between the common beginning and end; sequences that differ in more
/// are taken to differ as a whole there.
const MOST_EDITS: usize = 512;

/// A place where the sequences differ: these items became those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub old: Range<usize>,
    pub new: Range<usize>,
}

/// The places where the sequences differ, in order; between them they are the same.
pub fn runs<T: PartialEq>(old: &[T], new: &[T]) -> Vec<Run> {
    let n_common = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[n_common..], &new[n_common..]);
    let n_end = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[..old.len() - n_end], &new[..new.len() - n_end]);
    let moved = |run: Run| Run {
        old: run.old.start + n_common..run.old.end + n_common,
        new: run.new.start + n_common..run.new.end + n_common,
    };
    between(old, new).into_iter().map(moved).collect()
}

fn between<T: PartialEq>(old: &[T], new: &[T]) -> Vec<Run> {
    let whole = Run { old: 0..old.len(), new: 0..new.len() };
    if old.is_empty() && new.is_empty() {
        return Vec::new();
    }
    if old.is_empty() || new.is_empty() {
        return vec![whole];
    }
    shortest(old, new).map_or_else(|| vec![whole], |steps| back(&steps, old.len(), new.len()))
}

/// For each number of edits: how far into `old` one gets on each diagonal, from `-edits` to `edits`; only every second one
/// can be reached.
type Steps = Vec<Vec<usize>>;

fn shortest<T: PartialEq>(old: &[T], new: &[T]) -> Option<Steps> {
    let mut steps: Steps = Vec::new();
    for n_edits in 0..=MOST_EDITS.min(old.len() + new.len()) {
        let mut reached = vec![0; 2 * n_edits + 1];
        for at in (0..reached.len()).step_by(2) {
            let mut x = steps.last().map_or(0, |last| entered(last, at).0);
            let mut y = x + n_edits - at;
            while x < old.len() && y < new.len() && old[x] == new[y] {
                (x, y) = (x + 1, y + 1);
            }
            reached[at] = x;
            if x == old.len() && y == new.len() {
                steps.push(reached);
                return Some(steps);
            }
        }
        steps.push(reached);
    }
    None
}

/// Where the diagonal `at` is entered from the step before, and whether by a deletion. There its place is one less, as
/// that step has one diagonal fewer on either end.
fn entered(last: &[usize], at: usize) -> (usize, bool) {
    let down = last.get(at).copied();
    let right = at.checked_sub(2).and_then(|at| last.get(at)).map(|x| x + 1);
    match (down, right) {
        (Some(down), Some(right)) if down >= right => (down, false),
        (Some(down), None) => (down, false),
        (_, Some(right)) => (right, true),
        (None, None) => (0, false),
    }
}

/// Walks back from the end and collects the edits.
fn back(steps: &Steps, n_old: usize, n_new: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let (mut x, mut y) = (n_old, n_new);
    for n_edits in (1..steps.len()).rev() {
        let at = x + n_edits - y;
        let (start, is_deletion) = entered(&steps[n_edits - 1], at);
        let start_y = start + n_edits - at;
        let run = match is_deletion {
            true => Run { old: start - 1..start, new: start_y..start_y },
            false => Run { old: start..start, new: start_y - 1..start_y },
        };
        (x, y) = (run.old.start, run.new.start);
        match runs.last_mut() {
            Some(last) if last.old.start == run.old.end && last.new.start == run.new.end => {
                last.old.start = run.old.start;
                last.new.start = run.new.start;
            }
            _ => runs.push(run),
        }
    }
    runs.reverse();
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runs_turn_one_sequence_into_the_other_and_are_few() {
        for seed in 0..3000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let old: Vec<u8> = (0..random.usize(0..12)).map(|_| random.u8(0..4)).collect();
            let new: Vec<u8> = (0..random.usize(0..12)).map(|_| random.u8(0..4)).collect();
            let runs = runs(&old, &new);
            let (mut made, mut at) = (Vec::new(), 0);
            for run in &runs {
                made.extend_from_slice(&old[at..run.old.start]);
                made.extend_from_slice(&new[run.new.clone()]);
                at = run.old.end;
            }
            made.extend_from_slice(&old[at..]);
            assert_eq!(made, new, "seed {seed}: {old:?} {runs:?}");
            let n_edits: usize = runs.iter().map(|run| run.old.len() + run.new.len()).sum();
            assert_eq!(n_edits, old.len() + new.len() - 2 * longest_common(&old, &new), "seed {seed}");
        }
    }

    fn longest_common(old: &[u8], new: &[u8]) -> usize {
        let mut best = vec![vec![0; new.len() + 1]; old.len() + 1];
        for (i, a) in old.iter().enumerate() {
            for (j, b) in new.iter().enumerate() {
                best[i + 1][j + 1] = if a == b { best[i][j] + 1 } else { best[i][j + 1].max(best[i + 1][j]) };
            }
        }
        best[old.len()][new.len()]
    }

    #[test]
    fn what_differs_too_much_differs_as_a_whole() {
        let (old, new): (Vec<u32>, Vec<u32>) = ((0..2000).collect(), (5000..7000).collect());
        assert_eq!(runs(&old, &new), [Run { old: 0..2000, new: 0..2000 }]);
    }
}
