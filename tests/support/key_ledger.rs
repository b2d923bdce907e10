//! What was committed, against what one place holds: everything, in order per key, and of each key the newest one last.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One thing that was offered or has arrived: its number is its own, its order is that of its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Numbered {
    pub key: String,
    pub number: u64,
}

/// Everything there is to say about one place.
#[derive(Debug, Default)]
pub struct KeyLedger {
    pub n_offered: usize,
    pub n_arrived: usize,
    /// How many arrivals were not the first of their number.
    pub n_repeated: usize,
    /// Offered and nowhere to be found, nor anything newer of its key.
    pub missing: Vec<Numbered>,
    /// Offered and nowhere to be found, but a newer one of its key is there.
    pub superseded: Vec<Numbered>,
    /// Arrived and never offered, at least not for this key.
    pub unknown: Vec<Numbered>,
    /// Of a key: a number that came for the first time behind one that was offered later.
    pub out_of_order: Vec<(Numbered, u64)>,
    /// Of a key: the last arrival, where it is not the last offer.
    pub stale: Vec<(Numbered, u64)>,
}

impl Numbered {
    /// A number of a key.
    pub fn new(key: impl Into<String>, number: u64) -> Self {
        Self { key: key.into(), number }
    }
}

impl KeyLedger {
    /// Compares; `offered` holds each number once, in the order of its key.
    pub fn new(
        offered: impl IntoIterator<Item = Numbered>,
        arrived: impl IntoIterator<Item = Numbered>,
    ) -> Self {
        let (offered, arrived) = (by_key(offered), by_key(arrived));
        let nothing = Vec::new();
        let keys: BTreeSet<&String> = offered.keys().chain(arrived.keys()).collect();
        let mut ledger = Self::default();
        for key in keys {
            let of = |numbers: &'_ BTreeMap<String, Vec<u64>>| numbers.get(key).unwrap_or(&nothing).clone();
            ledger.add(key, &of(&offered), &of(&arrived));
        }
        ledger
    }

    fn add(&mut self, key: &str, offered: &[u64], arrived: &[u64]) {
        self.n_offered += offered.len();
        self.n_arrived += arrived.len();
        let places: HashMap<u64, usize> =
            offered.iter().enumerate().map(|(i, number)| (*number, i)).collect();
        let mut seen = BTreeSet::new();
        let mut newest: Option<(usize, u64)> = None;
        for number in arrived {
            let Some(place) = places.get(number) else {
                self.unknown.push(Numbered::new(key, *number));
                continue;
            };
            if !seen.insert(*number) {
                self.n_repeated += 1;
                continue;
            }
            if let Some((_, behind)) = newest.filter(|(newest, _)| newest > place) {
                self.out_of_order.push((Numbered::new(key, *number), behind));
            }
            newest = newest.max(Some((*place, *number)));
        }
        for (place, number) in offered.iter().enumerate().filter(|(_, number)| !seen.contains(number)) {
            let is_superseded = newest.is_some_and(|(newest, _)| newest > place);
            let kind = if is_superseded { &mut self.superseded } else { &mut self.missing };
            kind.push(Numbered::new(key, *number));
        }
        if let (Some(last), Some(newest)) = (arrived.last(), offered.last())
            && last != newest
        {
            self.stale.push((Numbered::new(key, *last), *newest));
        }
    }

    /// One line for the ledger that a test prints.
    pub fn line(&self) -> String {
        let Self { n_offered, n_arrived, n_repeated, .. } = self;
        let n_superseded = self.superseded.len();
        format!(
            "{n_offered} offered, {n_arrived} arrived, {n_repeated} of them again, {n_superseded} superseded"
        )
    }

    /// Everything arrived, in order of first occurrence per key, and nothing else did; some may have come again.
    ///
    /// # Panics
    /// If not.
    pub fn assert_at_least_once_in_order(&self, place: &str) {
        self.assert_newest_in_order(place);
        let n = self.superseded.len();
        assert!(n == 0, "{place} lacks {n}: {:?}; {}", few(&self.superseded), self.line());
    }

    /// As above, but where a newer one of its key is there, an older one may be missing.
    ///
    /// # Panics
    /// If not.
    pub fn assert_newest_in_order(&self, place: &str) {
        let (n, line) = (self.missing.len(), self.line());
        assert!(n == 0, "{place} lacks {n}: {:?}; {line}", few(&self.missing));
        assert!(self.unknown.is_empty(), "{place} has what nobody offered: {:?}", few(&self.unknown));
        assert!(self.out_of_order.is_empty(), "{place}: out of order: {:?}", few(&self.out_of_order));
    }

    /// The last that a key's readers see is the newest: repeats go through to the end.
    ///
    /// # Panics
    /// If not.
    pub fn assert_ends_with_the_newest(&self, place: &str) {
        assert!(self.stale.is_empty(), "{place} ends with an old value: {:?}", few(&self.stale));
    }
}

fn few<T>(items: &[T]) -> &[T] {
    &items[..items.len().min(10)]
}

fn by_key(numbered: impl IntoIterator<Item = Numbered>) -> BTreeMap<String, Vec<u64>> {
    let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for Numbered { key, number } in numbered {
        numbers.entry(key).or_default().push(number);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a1 b2` is number 1 of key `a` and number 2 of key `b`.
    fn numbered(text: &str) -> Vec<Numbered> {
        let parse = |word: &str| Numbered::new(&word[..1], word[1..].parse().expect("a number"));
        text.split_whitespace().map(parse).collect()
    }

    fn ledger(arrived: &str) -> KeyLedger {
        KeyLedger::new(numbered("a1 b2 a3 b4 a5"), numbered(arrived))
    }

    #[test]
    fn keys_have_an_order_each_and_repeats_are_counted() {
        let ledger = ledger("b2 b4 a1 a3 a1 a3 a5");
        ledger.assert_at_least_once_in_order("here");
        ledger.assert_ends_with_the_newest("here");
        assert_eq!((ledger.n_offered, ledger.n_arrived, ledger.n_repeated), (5, 7, 2));
    }

    #[test]
    fn a_lost_record_is_noticed() {
        assert_eq!(ledger("a1 b2 a3 b4").missing, numbered("a5"));
        assert_eq!(ledger("a1 b2 b4 a5").superseded, numbered("a3"), "what came behind it tells more");
        assert_eq!(ledger("a1 a3 a5").missing, numbered("b2 b4"), "a whole key too");
    }

    #[test]
    fn a_record_that_came_behind_a_newer_one_of_its_key_is_noticed() {
        assert_eq!(ledger("a3 a1 b2 b4 a5").out_of_order, [(Numbered::new("a", 1), 3)]);
    }

    #[test]
    fn what_nobody_offered_and_a_number_under_another_key_are_noticed() {
        assert_eq!(ledger("a1 b2 a3 b4 a5 x9").unknown, numbered("x9"));
        assert_eq!(ledger("a1 b2 a3 b4 a5 b5").unknown, numbered("b5"));
    }

    #[test]
    fn a_repeat_that_hides_the_newest_value_is_noticed() {
        assert_eq!(ledger("a1 b2 a3 b4 a5 a3").stale, [(Numbered::new("a", 3), 5)]);
    }
}
