//! Looks for a key that some globs match and others do not: a walk through all of them at once, character by character.
//!
//! Invariant: what is found is the shortest valid key there is, in bytes; what the globs cannot tell apart is tried once.

use super::search::Question;
use crate::{
    glob::{Glob, Token},
    names::key_problem,
};
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::LazyLock,
};

/// What beginning a walk takes beside looking at its tokens, and each step: both make room in memory.
const WORK_OF_BEGINNING: usize = 500;
const WORK_OF_STEP: usize = 100;

/// Where every glob may be at, after the same characters: one bit per token and one behind the last, glob after glob; in
/// the end, whether a segment has just begun.
type Place = Box<[u64]>;

fn way_to(end: &Place, came_from: &HashMap<Place, Option<(Place, char)>>) -> String {
    let (mut way, mut at) = (Vec::new(), end);
    while let Some(Some((before, one))) = came_from.get(at) {
        way.push(*one);
        at = before;
    }
    way.iter().rev().collect()
}

/// The globs that are walked through.
pub(super) struct Walk<'a> {
    globs: Vec<Walked<'a>>,
    n_tokens: usize,
    /// One of every class of characters that no glob tells apart and a key may have.
    alphabet: Vec<char>,
    n_words: usize,
}

struct Walked<'a> {
    tokens: &'a [Token],
    /// Which words of a place are this glob's.
    words: std::ops::Range<usize>,
    /// Whether it has to match; otherwise it must not.
    is_wanted: bool,
}

impl<'a> Walk<'a> {
    /// A walk to keys that all of `yes` and none of `no` match; `None` if that is more than the question may take.
    pub fn new(yes: &[&'a Glob], no: &[&'a Glob], question: &mut Question) -> Option<Self> {
        let n_tokens = yes.iter().chain(no).map(|glob| glob.tokens().len()).sum();
        if !question.spend(WORK_OF_BEGINNING + 4 * n_tokens) {
            return None;
        }
        let mut n_words = 0;
        let wanted = yes.iter().map(|glob| (glob, true)).chain(no.iter().map(|glob| (glob, false)));
        let globs: Vec<Walked<'a>> = wanted
            .map(|(glob, is_wanted)| {
                let tokens = glob.tokens();
                let first = n_words;
                n_words += (tokens.len() + 1).div_ceil(64);
                Walked { tokens, words: first..n_words, is_wanted }
            })
            .collect();
        let alphabet = alphabet(globs.iter().flat_map(|glob| glob.tokens));
        Some(Self { globs, n_tokens, alphabet, n_words })
    }

    /// The shortest key of at most `longest` bytes, if there is one and the question may take as long.
    pub fn shortest(&self, longest: usize, question: &mut Question) -> Option<String> {
        // By the bytes of what leads there: the first way to a place is the shortest.
        let mut ahead: Vec<Vec<Place>> = vec![Vec::new(); longest + 1];
        let mut came_from: HashMap<Place, Option<(Place, char)>> = HashMap::new();
        let mut is_done: HashMap<Place, usize> = HashMap::new();
        let start = self.start();
        came_from.insert(start.clone(), None);
        is_done.insert(start.clone(), 0);
        ahead[0].push(start);
        for n_bytes in 0..=longest {
            for place in std::mem::take(&mut ahead[n_bytes]) {
                if is_done[&place] < n_bytes {
                    continue;
                }
                if self.is_end(&place) {
                    return Some(way_to(&place, &came_from));
                }
                for one in &self.alphabet {
                    let n_there = n_bytes + one.len_utf8();
                    if !question.spend(WORK_OF_STEP + self.n_tokens) {
                        return None;
                    }
                    if n_there > longest {
                        continue;
                    }
                    let Some(there) = self.step(&place, *one) else { continue };
                    match is_done.entry(there.clone()) {
                        Entry::Occupied(known) if *known.get() <= n_there => continue,
                        Entry::Occupied(mut known) => drop(known.insert(n_there)),
                        Entry::Vacant(new) => drop(new.insert(n_there)),
                    }
                    came_from.insert(there.clone(), Some((place.clone(), *one)));
                    ahead[n_there].push(there);
                }
            }
        }
        None
    }

    fn start(&self) -> Place {
        let mut place = vec![0; self.n_words + 1].into_boxed_slice();
        for glob in &self.globs {
            glob.enter(&mut place[glob.words.clone()], 0);
        }
        place[self.n_words] = 1;
        place
    }

    /// Where one more character leads; `None` if nothing that is wanted is there.
    fn step(&self, place: &Place, one: char) -> Option<Place> {
        let is_segment_start = place[self.n_words] == 1;
        if one == '.' && is_segment_start {
            return None;
        }
        let mut there = vec![0; self.n_words + 1].into_boxed_slice();
        for glob in &self.globs {
            let (from, to) = (&place[glob.words.clone()], &mut there[glob.words.clone()]);
            glob.step(from, one, to);
            if glob.is_wanted && to.iter().all(|word| *word == 0) {
                return None;
            }
        }
        there[self.n_words] = u64::from(one == '.');
        Some(there)
    }

    fn is_end(&self, place: &Place) -> bool {
        let is_at_end = |glob: &Walked<'_>| is_in(&place[glob.words.clone()], glob.tokens.len());
        place[self.n_words] == 0 && self.globs.iter().all(|glob| is_at_end(glob) == glob.is_wanted)
    }
}

impl Walked<'_> {
    fn step(&self, from: &[u64], one: char, to: &mut [u64]) {
        for at in (0..self.tokens.len()).filter(|at| is_in(from, *at)) {
            let token = &self.tokens[at];
            if !token.takes(one) {
                continue;
            }
            if matches!(token, Token::Run | Token::Segment) {
                self.enter(to, at);
            }
            if *token != Token::Run {
                self.enter(to, at + 1);
            }
        }
        self.forget_before_last_run(to);
    }

    /// A run takes nothing, too.
    fn enter(&self, place: &mut [u64], at: usize) {
        place[at / 64] |= 1 << (at % 64);
        if self.tokens.get(at) == Some(&Token::Run) {
            self.enter(place, at + 1);
        }
    }

    /// Who is in a run can still match whatever could be matched from before it: so places stay few.
    fn forget_before_last_run(&self, place: &mut [u64]) {
        let is_run = |at: &usize| is_in(place, *at) && self.tokens[*at] == Token::Run;
        let Some(last) = (0..self.tokens.len()).rev().find(is_run) else { return };
        place[..last / 64].fill(0);
        place[last / 64] &= u64::MAX << (last % 64);
    }
}

fn is_in(place: &[u64], at: usize) -> bool {
    place[at / 64] >> (at % 64) & 1 == 1
}

/// One character of every class that these tokens do not tell apart, of those that a key may have.
fn alphabet<'a>(tokens: impl Iterator<Item = &'a Token>) -> Vec<char> {
    let mut bounds: Vec<u32> = vec![0, 0xD800, 0xE000, 0x11_0000];
    let mut split = |low: char, high: char| bounds.extend([low as u32, high as u32 + 1]);
    ALONE.iter().for_each(|one| split(*one, *one));
    for token in tokens {
        match token {
            Token::Char(one) => split(*one, *one),
            Token::Set { ranges, .. } => ranges.iter().for_each(|(low, high)| split(*low, *high)),
            Token::AnyChar | Token::Segment | Token::Run => {}
        }
    }
    bounds.sort_unstable();
    bounds.dedup();
    let classes = bounds.windows(2).map(|bounds| bounds[0]..bounds[1]);
    let mut all: Vec<char> =
        classes.filter_map(spokesman).filter(|one| *one == '.' || is_allowed(*one)).collect();
    // Of keys of one length, the first that is found is the example.
    all.sort_by_key(|one| (*one != 'x', !one.is_ascii_lowercase(), !one.is_alphanumeric(), *one));
    all
}

/// The character that stands for a class: one that reads well, else the shortest.
fn spokesman(class: std::ops::Range<u32>) -> Option<char> {
    let readable = ['x', 'a', 'A', '0', '_'].into_iter().find(|one| class.contains(&(*one as u32)));
    let letter = || ('a'..='z').find(|one| class.contains(&(*one as u32)));
    readable.or_else(letter).or_else(|| char::from_u32(class.start))
}

/// The dot, and what no key may have, each a class of its own.
static ALONE: LazyLock<Vec<char>> = LazyLock::new(|| {
    let all = (0..=0x9F).filter_map(char::from_u32);
    all.filter(|one| *one == '.' || !is_allowed(*one)).collect()
});

/// Whether a character may stand in a key; the dot may, between others.
fn is_allowed(one: char) -> bool {
    key_problem(one.encode_utf8(&mut [0; 4])).is_none()
}
