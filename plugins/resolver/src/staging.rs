//! What becomes of a key, put into the batch: its siblings, its cases, and the indexes beside them.
//!
//! Nothing here is decided, so nothing here fails for one record alone.

use crate::{
    ingested::Ingested,
    ledger::{Ledger, Open, Place},
    manual::{Claim, Docket, Moved, Time},
    siblings::Sibling,
    turn::Turn,
};
use lockstep_plugin_api::{prelude::*, time};
use std::collections::BTreeSet;

/// Stages what something new makes of its key, and says what it does to the cases that somebody decides.
///
/// # Errors
/// What the store says.
pub fn stage(context: &Context, turn: &Turn, claim: &Claim, place: &Place) -> Result<Moved> {
    let (ledger, now_us) = (Ledger::new(context), time::now_us());
    ledger.stage_siblings(place, &turn.after)?;
    stage_ingested(ledger, place, turn)?;
    stage_open(ledger, place, turn, now_us)?;
    Docket::new(context).follow(place, turn, claim, Time(now_us))
}

/// Remembers the names of messages without dots that have become changes of the key, here or elsewhere.
fn stage_ingested(ledger: Ledger<'_>, place: &Place, turn: &Turn) -> Result<()> {
    let known: BTreeSet<_> = turn.before.list().iter().map(|sibling| &sibling.dot).collect();
    let is_new = |sibling: &&Sibling| !known.contains(&sibling.dot);
    let names = turn.after.list().iter().filter(is_new).filter_map(|new| Ingested::name(&new.event_id));
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        return Ok(());
    }
    let mut ingested = ledger.ingested(place)?;
    names.into_iter().for_each(|name| ingested.add(name));
    ledger.stage_ingested(place, &ingested)
}

fn stage_open(ledger: Ledger<'_>, place: &Place, turn: &Turn, now_us: i64) -> Result<()> {
    let (before, after) = turn.pending();
    match (turn.before.is_conflict(), turn.after.is_conflict()) {
        // What a person decides is told again by its case.
        (false, true) => {
            let since_ms = u64::try_from(now_us / 1000).unwrap_or(0);
            ledger.stage_open(place, Some(Open { since_ms, is_announced: after.is_some() }))
        }
        (true, true) if before.is_some() != after.is_some() => {
            let open = ledger.open(place)?.map(|open| Open { is_announced: after.is_some(), ..open });
            ledger.stage_open(place, open)
        }
        (true, false) => ledger.stage_open(place, None),
        _ => Ok(()),
    }
}
