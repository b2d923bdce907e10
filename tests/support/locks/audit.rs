//! What hosts have written into their audits about one lock, held against the life of a lease: it begins once, and ends once.
//!
//! A host that cannot ask what became of a lease writes `lost`, which is no end but that it knows of none: another host may
//! know better.

use serde_json::Value;
use std::collections::BTreeMap;

/// An entry of a host's audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockEntry {
    /// Without `lock_` in front: `acquired`, or how it ended.
    pub what: String,
    pub token: u64,
}

/// What is wrong with a lock's entries. Nothing, if it equals its default.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct AuditFaults {
    /// Tokens that were granted twice.
    pub twice_acquired: Vec<u64>,
    /// Tokens that ended twice, or were lost twice.
    pub twice_ended: Vec<u64>,
    /// Tokens that ended and never began, or ended before they began in the audit of one host.
    pub ended_unbegun: Vec<u64>,
    /// Tokens that began, are not the last one, and never ended.
    pub unended: Vec<u64>,
}

/// How often a token began, and what became of it.
#[derive(Default)]
struct Life {
    n_begun: u32,
    n_ended: u32,
    n_lost: u32,
}

impl LockEntry {
    /// The entries of a key, in order, out of a whole audit.
    pub fn of(audit: &[Value], key: &str) -> Vec<Self> {
        let of_key = audit.iter().filter(|entry| entry["config_key"] == key);
        let entries = of_key.filter_map(|entry| {
            let what = entry["event_type"].as_str()?.strip_prefix("lock_")?.to_owned();
            Some(Self { what, token: entry["token"].as_u64()? })
        });
        entries.collect()
    }

    fn is_begin(&self) -> bool {
        self.what == "acquired"
    }
}

impl AuditFaults {
    /// Looks through the entries of one lock, of each host that grants it.
    pub fn new(hosts: &[Vec<LockEntry>]) -> Self {
        let mut tokens: BTreeMap<u64, Life> = BTreeMap::new();
        let mut faults = Self::default();
        for entries in hosts {
            for (at, entry) in entries.iter().enumerate() {
                let life = tokens.entry(entry.token).or_default();
                match entry.what.as_str() {
                    "acquired" => life.n_begun += 1,
                    "lost" => life.n_lost += 1,
                    _ => life.n_ended += 1,
                }
                let begins_later = |later: &LockEntry| later.is_begin() && later.token == entry.token;
                if !entry.is_begin() && entries[at + 1..].iter().any(begins_later) {
                    faults.ended_unbegun.push(entry.token);
                }
            }
        }
        let last = tokens.last_key_value().map(|(token, _)| *token);
        for (token, Life { n_begun, n_ended, n_lost }) in tokens {
            let blame = |is_wrong: bool, list: &mut Vec<u64>| list.extend(is_wrong.then_some(token));
            blame(n_begun > 1, &mut faults.twice_acquired);
            blame(n_ended > 1 || n_lost > 1, &mut faults.twice_ended);
            blame(n_begun == 0, &mut faults.ended_unbegun);
            blame(n_ended + n_lost == 0 && Some(token) != last, &mut faults.unended);
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `+1` begins, `-1` ends, `?1` is lost; hosts are separated by `|`.
    fn faults(text: &str) -> AuditFaults {
        let entry = |word: &str| {
            let what = match &word[..1] {
                "+" => "acquired",
                "?" => "lost",
                _ => "released",
            };
            LockEntry { what: what.to_owned(), token: word[1..].parse().expect("a number") }
        };
        let host = |text: &str| text.split_whitespace().map(entry).collect();
        AuditFaults::new(&text.split('|').map(host).collect::<Vec<_>>())
    }

    #[test]
    fn leases_that_begin_and_end_once_are_right() {
        assert_eq!(faults("+1 -1 +4 | +2 +3 -3 -2"), AuditFaults::default());
        assert_eq!(faults("+1 +3 | -1 +2 -2"), AuditFaults::default(), "another host may see the end");
        assert_eq!(faults("+1 ?1 +2 ?2 | -1"), AuditFaults::default(), "or know what has become of it");
    }

    #[test]
    fn what_does_not_fit_is_seen() {
        assert_eq!(faults("+1 -1 | +1").twice_acquired, [1]);
        assert_eq!(faults("+1 -1 | -1").twice_ended, [1]);
        assert_eq!(faults("+1 ?1 | ?1").twice_ended, [1]);
        assert_eq!(faults("-1 +1").ended_unbegun, [1]);
        assert_eq!(faults("+1 -2 -1").ended_unbegun, [2]);
        assert_eq!(faults("+1 +2").unended, [1], "the last one may be held");
    }

    #[test]
    fn entries_are_those_of_the_key_that_are_about_its_lock() {
        let about = |key: &str, what: &str| json!({ "config_key": key, "event_type": what, "token": 7 });
        let audit =
            [about("k", "lock_acquired"), about("j", "lock_acquired"), about("k", "conflict_resolved")];
        assert_eq!(LockEntry::of(&audit, "k"), [LockEntry { what: "acquired".to_owned(), token: 7 }]);
    }
}
