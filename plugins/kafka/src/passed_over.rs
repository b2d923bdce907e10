//! Messages that are behind this host although it was never given them: they lie in the topic for dead letters.
//!
//! The host's own positions move with what it is given, so what is passed over at the end of a partition would be met
//! again at the next start, and dead-lettered again. Invariant: what is remembered counts only if everything before it
//! has been taken care of.

use crate::lanes::Lanes;
use lockstep_plugin_api::prelude::*;
use std::collections::BTreeSet;
use tracing::warn;

/// The namespace of this plugin in the host's state.
const NAMESPACE: &str = "kafka.passed_over";

/// More partitions than one source reads.
const MOST: u32 = 100_000;

/// What the host's state remembers of one source.
pub(crate) struct PassedOver {
    context: Context,
}

/// Behind what a partition goes on, if the host has stored `handed` and nothing since.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    handed: Option<i64>,
    next: i64,
}

impl PassedOver {
    /// Lets the lanes begin behind what was passed over before.
    ///
    /// # Errors
    /// If the host's state cannot be read.
    pub(crate) fn recall(context: &Context, lanes: &Lanes) -> Result<Self> {
        let passed_over = Self { context: context.clone() };
        let prefix = passed_over.key("");
        for (key, value) in context.state(NAMESPACE).scan(&prefix, None, MOST)? {
            let place =
                std::str::from_utf8(&key[prefix.len()..]).ok().and_then(|place| place.rsplit_once('/'));
            let Some((topic, partition)) = place else { continue };
            let (Ok(partition), Some(entry)) = (partition.parse(), Entry::parse(&value)) else { continue };
            let mut table = lanes.table();
            let lane = table.of(topic, partition);
            // What the host has stored since lies further on, or in a topic that was made anew.
            if lane.stored == entry.handed {
                lane.next = Some(entry.next);
            }
        }
        Ok(passed_over)
    }

    /// Remembers the lanes that end with messages that were passed over.
    pub(crate) fn remember(&self, numbers: &BTreeSet<u32>, lanes: &Lanes) {
        let ends = self.ends(numbers, lanes);
        if ends.is_empty() {
            return;
        }
        let commit =
            ends.into_iter().fold(StateCommit::new(), |commit, (key, entry)| commit.put(&key, entry.text()));
        if let Err(error) = self.context.state(NAMESPACE).commit(commit) {
            warn!(%error, "dead letters could not be remembered: after a restart they may be written again");
        }
    }

    /// Taken out first: a commit waits for others, who may wait for the lanes.
    fn ends(&self, numbers: &BTreeSet<u32>, lanes: &Lanes) -> Vec<(Vec<u8>, Entry)> {
        let mut table = lanes.table();
        let mut end = |number: &u32| {
            let lane = table.lane(*number);
            let next = lane.next.filter(|next| lane.handed.is_none_or(|handed| handed < *next))?;
            let entry = Entry { handed: lane.handed.max(lane.stored), next };
            Some((self.key(&format!("{}/{}", lane.topic, lane.partition)), entry))
        };
        numbers.iter().filter_map(&mut end).collect()
    }

    fn key(&self, place: &str) -> Vec<u8> {
        format!("{}\0{place}", self.context.component()).into_bytes()
    }
}

impl Entry {
    fn text(&self) -> String {
        let handed = self.handed.map_or_else(|| "-".to_owned(), |handed| handed.to_string());
        format!("{handed} {}", self.next)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (handed, next) = std::str::from_utf8(text).ok()?.split_once(' ')?;
        let handed = if handed == "-" { None } else { Some(handed.parse().ok()?) };
        Some(Self { handed, next: next.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_are_written() {
        for entry in [Entry { handed: None, next: 3 }, Entry { handed: Some(7), next: 9 }] {
            assert_eq!(Entry::parse(entry.text().as_bytes()), Some(entry));
        }
        assert_eq!(Entry::parse(b"x 1"), None);
    }
}
