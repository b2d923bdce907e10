//! What clients were told of their additions against what the store holds: the arithmetic of lost updates.

use super::turns::{Added, Turn};
use serde_json::Value;
use std::collections::BTreeMap;

/// A number in the store's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub revision: u64,
    pub number: u64,
    /// The token it was written under, if any.
    pub token: Option<u64>,
}

/// One key's additions, as they were told and as they are.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Additions {
    pub n_accepted: u64,
    /// By code.
    pub n_refused: BTreeMap<String, u64>,
    pub n_unanswered: u64,
    /// The number at the end.
    pub number: u64,
    /// Accepted and not in the history as it was told: number and revision.
    pub missing: Vec<(u64, u64)>,
    /// Numbers in the history that are not one more than the number before them.
    pub jumps: Vec<(u64, u64)>,
    /// Tokens in the history that are not greater than the one before them.
    pub old_tokens: Vec<(u64, u64)>,
}

impl Stored {
    /// The numbers of a key in what a file sink has written, in order, each once.
    pub fn of(written: &[Value], key: &str) -> Vec<Self> {
        let of_key = written.iter().filter(|change| change["config_key"] == key);
        let stored = of_key.filter_map(|change| {
            let (revision, number) = (change["revision"].as_u64()?, change["new_value"].as_u64()?);
            Some((revision, Self { revision, number, token: change["fence"]["token"].as_u64() }))
        });
        stored.collect::<BTreeMap<_, _>>().into_values().collect()
    }
}

impl Additions {
    /// Compares one key's turns with its history, which begins with the number before the first turn.
    pub fn new<'a>(turns: impl IntoIterator<Item = &'a Turn>, stored: &[Stored]) -> Self {
        let mut additions = Self { number: stored.last().map_or(0, |last| last.number), ..Self::default() };
        let is_there = |(number, revision): (u64, u64)| {
            stored.iter().any(|stored| (stored.number, stored.revision) == (number, revision))
        };
        for turn in turns {
            additions.n_accepted += u64::from(turn.accepted().is_some());
            additions.missing.extend(turn.accepted().filter(|accepted| !is_there(*accepted)));
            match &turn.added {
                Some((_, Added::Refused(code))) => *additions.n_refused.entry(code.clone()).or_default() += 1,
                Some((_, Added::Unanswered)) => additions.n_unanswered += 1,
                // It read the number and was not heard of again.
                None if turn.read.is_some() => additions.n_unanswered += 1,
                _ => {}
            }
        }
        for pair in stored.windows(2) {
            if pair[1].number != pair[0].number + 1 {
                additions.jumps.push((pair[0].number, pair[1].number));
            }
        }
        let tokens: Vec<u64> = stored.iter().filter_map(|stored| stored.token).collect();
        let old = tokens.windows(2).filter(|pair| pair[1] <= pair[0]);
        additions.old_tokens = old.map(|pair| (pair[0], pair[1])).collect();
        additions
    }

    /// How many accepted additions the number does not hold.
    pub fn n_lost(&self) -> u64 {
        self.n_accepted.saturating_sub(self.number)
    }

    /// Every accepted addition is in the number, and nothing else but what was not answered.
    ///
    /// # Panics
    /// If not.
    pub fn assert_nothing_is_lost(&self, key: &str) {
        assert_eq!(self.n_lost(), 0, "{key}: updates are lost: {self:?}");
        assert!(self.missing.is_empty() && self.jumps.is_empty(), "{key}: {self:?}");
        assert!(self.number <= self.n_accepted + self.n_unanswered, "{key}: out of nothing: {self:?}");
        assert!(self.old_tokens.is_empty(), "{key}: an old token was accepted: {self:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn turn(read: u64, added: Added) -> Turn {
        Turn {
            client: 0,
            key: "k".to_owned(),
            asked: 0,
            ended: 9,
            granted: Some((1, 1)),
            read: Some(read),
            added: Some((2, added)),
        }
    }

    /// `1:5@7`: the number 1, in revision 5, under token 7.
    fn stored(text: &str) -> Vec<Stored> {
        let parse = |word: &str| {
            let numbers: Vec<u64> =
                word.split([':', '@']).map(|text| text.parse().expect("a number")).collect();
            Stored { number: numbers[0], revision: numbers[1], token: numbers.get(2).copied() }
        };
        text.split_whitespace().map(parse).collect()
    }

    #[test]
    fn a_number_that_counts_is_right() {
        let turns = [turn(0, Added::Accepted(5)), turn(1, Added::Accepted(6)), turn(2, Added::Unanswered)];
        for history in ["0:1 1:5@1 2:6@2", "0:1 1:5@1 2:6@2 3:7@3"] {
            Additions::new(&turns, &stored(history)).assert_nothing_is_lost("k");
        }
        let refused = [turn(0, Added::Refused("stale_fence".to_owned()))];
        assert_eq!(Additions::new(&refused, &stored("0:1")).n_refused["stale_fence"], 1);
    }

    #[test]
    fn a_lost_update_is_seen() {
        let turns = [turn(0, Added::Accepted(5)), turn(0, Added::Accepted(6))];
        let lost = Additions::new(&turns, &stored("0:1 1:5 1:6"));
        assert_eq!((lost.n_lost(), &lost.jumps[..]), (1, &[(1, 1)][..]));
        let gone = Additions::new(&turns[..1], &stored("0:1 1:4"));
        assert_eq!(gone.missing, [(1, 5)], "told another revision than it has");
    }

    #[test]
    fn a_token_that_was_used_before_is_seen() {
        assert_eq!(Additions::new(&[], &stored("0:1 1:2@8 2:3@8 3:4@7")).old_tokens, [(8, 8), (8, 7)]);
    }

    #[test]
    fn history_is_read_from_what_a_sink_wrote_and_what_it_wrote_again_counts_once() {
        let line = |number: u64, revision: u64| json!({ "config_key": "k", "new_value": number, "revision": revision, "fence": { "lock": "k", "token": 3 } });
        let notice =
            json!({ "config_key": "k", "new_value": null, "revision": 3, "event_type": "config_locked" });
        let written = [line(1, 2), notice, line(2, 4), line(1, 2), line(2, 4)];
        assert_eq!(Stored::of(&written, "k"), stored("1:2@3 2:4@3"));
    }
}
