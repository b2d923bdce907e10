//! What the clients of locks saw: who held what from when to when, under which token; and what has to be true of that.
//!
//! Every check gives the pair that breaks the rule. They know nothing of the product: tokens that only grow tell the order
//! of the grants, so no search for an order is needed.

use std::collections::BTreeMap;

/// One grant as its client saw it. Times are those of [`monotonic_us`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub client: usize,
    pub key: String,
    /// Just before it asked.
    pub asked: u64,
    /// Just after it was told.
    pub granted: u64,
    /// Just before it gave the lock back.
    pub released: u64,
    pub token: u64,
}

/// Two grants that break a rule.
pub type Pair = (Grant, Grant);

/// The machine's monotonic clock in microseconds, the same one in every process.
pub fn monotonic_us() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux, and `now` is a place for its answer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000 + now.tv_nsec.cast_unsigned() / 1_000
}

/// Two grants of a key of which the second was asked for when the first had been given, and has no greater token. This is
/// what linearizability says about grants.
pub fn disorder(grants: &[Grant]) -> Option<Pair> {
    by_key(grants).into_values().find_map(|mut grants| {
        let mut by_return = grants.clone();
        by_return.sort_by_key(|grant| grant.granted);
        grants.sort_by_key(|grant| grant.asked);
        let (mut returned, mut greatest) = (by_return.into_iter().peekable(), None::<&Grant>);
        grants.into_iter().find_map(|later| {
            while let Some(earlier) = returned.next_if(|earlier| earlier.granted < later.asked) {
                greatest = greatest.filter(|greatest| greatest.token >= earlier.token).or(Some(earlier));
            }
            let greatest = greatest.filter(|earlier| earlier.token >= later.token)?;
            Some((greatest.clone(), later.clone()))
        })
    })
}

/// Two grants of a key under one token.
pub fn repeated(grants: &[Grant]) -> Option<Pair> {
    by_key(grants).into_values().find_map(|mut grants| {
        grants.sort_by_key(|grant| grant.token);
        first_pair(&grants, |first, second| first.token == second.token)
    })
}

/// Two grants of a key that were held at one time, by what their clients saw.
pub fn overlap(grants: &[Grant]) -> Option<Pair> {
    by_key(grants).into_values().find_map(|mut grants| {
        grants.sort_by_key(|grant| grant.granted);
        first_pair(&grants, |first, second| second.granted < first.released)
    })
}

/// How many grants of one key went to a client that already had one while another one waited all along.
pub fn n_overtakings(grants: &[Grant], n_clients: usize) -> usize {
    let mut grants = grants.to_vec();
    grants.sort_by_key(|grant| grant.granted);
    let pushes_in = |(at, grant): &(usize, &Grant)| {
        grants[at + 1..].iter().take(4 * n_clients).any(|later| {
            let before = grants[..*at].iter().rev().take_while(|before| before.granted > later.asked);
            before.filter(|before| before.client == grant.client).count() > 0 && later.client != grant.client
        })
    };
    grants.iter().enumerate().filter(pushes_in).count()
}

fn by_key(grants: &[Grant]) -> BTreeMap<&str, Vec<&Grant>> {
    let mut keys: BTreeMap<&str, Vec<&Grant>> = BTreeMap::new();
    for grant in grants {
        keys.entry(&grant.key).or_default().push(grant);
    }
    keys
}

fn first_pair(grants: &[&Grant], breaks: impl Fn(&Grant, &Grant) -> bool) -> Option<Pair> {
    let pair = grants.windows(2).find(|pair| breaks(pair[0], pair[1]))?;
    Some((pair[0].clone(), pair[1].clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `0 a 5-7-9 #3`: client 0 asks for `a` at 5, has it at 7 until 9, under token 3.
    fn grants(text: &str) -> Vec<Grant> {
        text.split(',').map(|text| grant(&text.split_whitespace().collect::<Vec<_>>())).collect()
    }

    fn grant(words: &[&str]) -> Grant {
        let [client, key, times, token] = words else { panic!("client key times token: {words:?}") };
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let times: Vec<u64> = times.split('-').map(number).collect();
        let [asked, granted, released] = times[..] else { panic!("three times: {words:?}") };
        let (client, token) = (number(client) as usize, number(&token[1..]));
        Grant { client, key: (*key).to_owned(), asked, granted, released, token }
    }

    #[test]
    fn turns_are_in_order() {
        let turns = grants("0 a 0-1-5 #1, 1 a 0-6-9 #2, 2 a 1-10-15 #3, 0 a 6-16-18 #4, 1 b 2-3-4 #1");
        assert_eq!((disorder(&turns), repeated(&turns), overlap(&turns)), (None, None, None));
        assert_eq!(n_overtakings(&turns[..4], 3), 0);
    }

    #[test]
    fn a_token_that_is_not_greater_than_one_given_before_is_seen() {
        let back = grants("0 a 0-1-5 #7, 1 a 2-3-4 #8, 0 a 4-5-6 #7");
        assert_eq!(disorder(&back), Some((back[1].clone(), back[2].clone())));
        let same = grants("0 a 0-1-5 #7, 1 a 2-3-4 #7");
        assert!(disorder(&same).is_some() && repeated(&same).is_some());
        let long_ago = grants("0 a 0-1-5 #9, 1 a 2-3-4 #1, 2 b 0-9-9 #1");
        assert!(disorder(&long_ago).is_some());
    }

    #[test]
    fn what_was_asked_for_at_one_time_may_be_given_in_any_order() {
        let at_once = grants("0 a 0-9-10 #2, 1 a 1-8-9 #3, 2 a 2-7-8 #1");
        assert_eq!(disorder(&at_once), None);
        // Given before the other was asked for, although a third one spans both.
        let between = grants("0 a 0-9-10 #2, 1 a 1-2-3 #3, 2 a 4-7-8 #1");
        assert_eq!(disorder(&between), Some((between[1].clone(), between[2].clone())));
    }

    #[test]
    fn two_holders_at_once_are_seen_and_so_is_one_who_pushes_in() {
        assert!(overlap(&grants("0 a 0-1-7 #1, 1 a 0-6-9 #2")).is_some());
        assert!(overlap(&grants("0 a 0-1-7 #1, 1 b 0-6-9 #2")).is_none(), "two locks");
        assert_eq!(n_overtakings(&grants("0 a 0-1-5 #1, 0 a 6-7-9 #2, 1 a 0-10-15 #3"), 2), 1);
    }

    #[test]
    fn the_clock_goes_on() {
        let before = monotonic_us();
        assert!(before > 0 && monotonic_us() >= before);
    }
}
