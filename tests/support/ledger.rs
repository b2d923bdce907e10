//! What was offered, against what arrived.

use std::collections::{HashMap, HashSet};

/// Everything there is to say about a delivery, by key.
#[derive(Debug)]
pub struct Ledger {
    /// Offered and nowhere to be found, in the order they were offered.
    pub missing: Vec<String>,
    /// Arrived and never offered.
    pub unknown: Vec<String>,
    /// How many arrivals were not the first of their key.
    pub n_duplicates: usize,
    /// The first two keys whose first arrivals are in another order than they were offered in.
    pub out_of_order: Option<(String, String)>,
}

impl Ledger {
    /// Compares; `arrived` may hold a key several times, `offered` may not.
    pub fn new(offered: &[String], arrived: &[String]) -> Self {
        let places: HashMap<&str, usize> =
            offered.iter().enumerate().map(|(i, key)| (key.as_str(), i)).collect();
        let mut seen = HashSet::new();
        let firsts: Vec<&String> = arrived.iter().filter(|key| seen.insert(key.as_str())).collect();
        let place = |key: &String| places.get(key.as_str()).copied();
        let out_of_order = firsts
            .windows(2)
            .find(|pair| matches!((place(pair[0]), place(pair[1])), (Some(first), Some(second)) if first > second))
            .map(|pair| (pair[0].clone(), pair[1].clone()));
        Self {
            missing: offered.iter().filter(|key| !seen.contains(key.as_str())).cloned().collect(),
            unknown: firsts.iter().filter(|key| place(key).is_none()).map(|key| (*key).clone()).collect(),
            n_duplicates: arrived.len() - firsts.len(),
            out_of_order,
        }
    }

    /// Every key arrived, in order of first occurrence, and nothing else did; some may have come twice.
    ///
    /// # Panics
    /// If not.
    pub fn assert_at_least_once_in_order(&self) {
        let few = |keys: &[String]| keys.iter().take(10).cloned().collect::<Vec<_>>();
        assert!(self.missing.is_empty(), "{} missing: {:?}", self.missing.len(), few(&self.missing));
        assert!(self.unknown.is_empty(), "{} unknown: {:?}", self.unknown.len(), few(&self.unknown));
        assert_eq!(self.out_of_order, None, "in another order than offered");
    }

    /// As above, and each of them once.
    ///
    /// # Panics
    /// If not.
    pub fn assert_exactly_once_in_order(&self) {
        self.assert_at_least_once_in_order();
        assert_eq!(self.n_duplicates, 0, "arrived more than once");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_ledger_sees_what_is_missing_doubled_foreign_and_out_of_order() {
        let ledger = Ledger::new(&keys("a b c d"), &keys("a c b a x"));
        assert_eq!(ledger.missing, keys("d"));
        assert_eq!(ledger.unknown, keys("x"));
        assert_eq!(ledger.n_duplicates, 1);
        assert_eq!(ledger.out_of_order, Some(("c".into(), "b".into())));
    }

    #[test]
    fn going_back_after_a_crash_is_in_order_of_first_occurrence() {
        Ledger::new(&keys("a b c d"), &keys("a b c b c d")).assert_at_least_once_in_order();
    }
}
