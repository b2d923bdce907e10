//! What several sets of keys have in common: one rule of each that says yes, together with those before it that say no and
//! must not fit, choice by choice.
//!
//! Invariant: everything that is done is paid for out of one bound, so that no lists take longer than it allows.

use super::{Keys, walk::Walk};
use crate::{glob::Glob, names::MAX_KEY_BYTES};

/// How much one question may take, in tokens of globs that are looked at: well under a second.
const MOST_WORK: usize = 10_000_000;

/// How much all questions to one search may take.
const MOST_WORK_OF_ALL: usize = 4 * MOST_WORK;

/// Finds keys that sets have in common. All questions to it share a bound, however many there are.
///
/// ```
/// # use lockstep_plugin_api::{glob::Glob, keys::{Keys, Search}};
/// let keys = |text| Keys::new([(Glob::new(text).unwrap(), true)]);
/// let mut search = Search::default();
/// assert_eq!(search.common(&[&keys("a*"), &keys("*b"), &keys("*")]).as_deref(), Some("ab"));
/// assert_eq!(search.common(&[&keys("a*"), &keys("b*")]), None);
/// assert!(!search.gave_up());
/// ```
#[derive(Debug)]
pub struct Search {
    left: usize,
    gave_up: bool,
}

impl Default for Search {
    fn default() -> Self {
        Self { left: MOST_WORK_OF_ALL, gave_up: false }
    }
}

impl Search {
    /// The shortest valid key that belongs to all of them, if there is one and it is found within the bound.
    pub fn common(&mut self, all: &[&Keys]) -> Option<String> {
        let bound = self.left.min(MOST_WORK);
        let mut question = Question { found: None, left: bound, is_over: false };
        Choice::default().complete(all, &mut question);
        self.left -= bound - question.left;
        self.gave_up |= question.is_over && question.found.is_none();
        question.found
    }

    /// Whether some question was left without an answer, because it would have taken too long.
    pub fn gave_up(&self) -> bool {
        self.gave_up
    }
}

/// What was found so far, and what may still be spent on it.
pub(super) struct Question {
    found: Option<String>,
    left: usize,
    is_over: bool,
}

impl Question {
    /// False if that is more than is left: then it is over.
    pub fn spend(&mut self, work: usize) -> bool {
        self.is_over |= work > self.left;
        if !self.is_over {
            self.left -= work;
        }
        !self.is_over
    }
}

/// One rule of each list that says yes, and those before it that say no and must not fit.
#[derive(Default)]
struct Choice<'a> {
    yes: Vec<&'a Glob>,
    no: Vec<&'a Glob>,
}

impl<'a> Choice<'a> {
    /// Tries every choice from the lists that are left.
    fn complete(&mut self, lists: &[&'a Keys], question: &mut Question) {
        let Some((first, rest)) = lists.split_first() else { return self.walk(question) };
        let n_before = self.no.len();
        for (glob, says) in &first.rules {
            if !question.spend(1 + self.work_of_beginnings(glob)) {
                break;
            }
            if !says {
                self.no.push(glob);
            } else if self.may_begin_like(glob) {
                let n_no = self.no.len();
                self.yes.push(glob);
                self.complete(rest, question);
                self.yes.pop();
                self.no.truncate(n_no);
            }
        }
        self.no.truncate(n_before);
    }

    fn walk(&self, question: &mut Question) {
        if !question.spend(self.no.iter().map(|glob| self.work_of_beginnings(glob)).sum()) {
            return;
        }
        // What begins otherwise than a key has to begin cannot fit it.
        let no: Vec<&Glob> = self.no.iter().copied().filter(|glob| self.may_begin_like(glob)).collect();
        let longest = question.found.as_ref().map_or(MAX_KEY_BYTES, |found| found.len() - 1);
        let shorter = Walk::new(&self.yes, &no, question).and_then(|walk| walk.shortest(longest, question));
        question.found = shorter.or(question.found.take());
    }

    /// Whether a key that this glob fits may begin as all that are chosen ask for.
    fn may_begin_like(&self, glob: &Glob) -> bool {
        self.yes.iter().all(|chosen| {
            let both = glob.beginning().zip(chosen.beginning());
            both.into_iter().all(|(one, other)| one == other)
        })
    }

    fn work_of_beginnings(&self, glob: &Glob) -> usize {
        self.yes.len() * glob.tokens().len()
    }
}
