//! What other hosts say of leases, told to this host's subscribers.
//!
//! Invariant: they hear nothing twice and nothing late; the audit is the other host's.

use super::{MOST_CONFLICTS, Registry};
use crate::{
    event::{Event, What},
    writes::Writes,
};
use lockstep_plugin_api::{prelude::*, state::Committed};
use std::{collections::BTreeMap, time::Duration};

impl Registry {
    /// Tells subscribers what other hosts did and they have not heard, mostly in one commit. Waits for the disk.
    ///
    /// # Errors
    /// If the store refuses: they do not hear of it then.
    pub fn hear(&self, heard: &[(Event, String)]) -> Result<()> {
        let mut heard = Vec::from_iter(heard);
        let mut told = Ok(());
        while !heard.is_empty() {
            let word = self.order.take_some(&Vec::from_iter(heard.iter().map(|(event, _)| &event.name)));
            let now = heard.extract_if(.., |(event, _)| word.is_about(&event.name)).collect();
            told = told.and(self.hear_now(now));
        }
        told
    }

    fn hear_now(&self, mut heard: Vec<&(Event, String)>) -> Result<()> {
        let mut ends = BTreeMap::new();
        for (event, _) in heard.iter().filter(|(event, _)| event.what != What::Acquired) {
            let last = ends.entry(&event.name).or_insert(0);
            *last = event.lease.token.max(*last);
        }
        self.change(|known| heard.retain(|(event, _)| known.hears(event)));
        let now = self.clock.now();
        let notice = |(event, node): &&(Event, String)| event.to_notice(node, now.wall_us);
        let notices = heard.iter().map(notice).collect::<Result<Vec<_>>>()?;
        for _ in 0..MOST_CONFLICTS {
            let mut writes = Writes { heard: notices.clone(), ..Writes::default() };
            for (name, token) in &ends {
                writes.leases.extend(self.over(name, *token)?);
            }
            if writes.is_empty() || self.store.commit(&writes, now)? != Committed::Conflict {
                return Ok(());
            }
            // A batch has just written something down about one of them.
        }
        Err(Error::retry(Duration::from_secs(1), "somebody else keeps writing the same leases"))
    }
}
