//! The sweep: every `conflict_resolution_interval` the open conflicts are counted, those that stay open are named once
//! more, and whoever has to decide one is told again when it is time.
//!
//! Walks the index of open conflicts page by page, never all keys.

use crate::{
    config::Patience,
    ledger::{Ledger, Open, Place},
    manual::{self, Time},
    notice,
};
use lockstep_plugin_api::{prelude::*, time};
use std::{sync::Weak, time::Duration};
use tracing::{info, warn};

/// How many conflicts are looked at with one read of the store.
const PAGE: u32 = 256;

/// How many are announced in one sweep at most; the rest follows with the next.
const MOST_NOTICES: usize = 1000;

/// Sweeps until the component is gone.
pub async fn run(context: Context, patience: Patience, component: Weak<()>) {
    let interval = context.sync().conflict_resolution_interval;
    while context.pause(interval, &component).await {
        let sweeping = context.clone();
        // Reading and committing wait for the disk.
        let swept = tokio::task::spawn_blocking(move || {
            let now_us = time::now_us();
            let n_pending = manual::look_through(&sweeping, patience, interval, Time(now_us))?;
            Ok::<_, Error>((sweep(&sweeping, interval, now_us)?, n_pending))
        });
        match swept.await {
            Ok(Ok((n_open, n_pending))) => {
                context.gauge("resolver_open_conflicts").set(n_open as i64);
                context.gauge("resolver_pending_conflicts").set(n_pending as i64);
            }
            Ok(Err(error)) => warn!(%error, "open conflicts could not be looked through"),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// Looks through the open conflicts once and gives their number.
///
/// # Errors
/// What the store says.
pub fn sweep(context: &Context, interval: Duration, now_us: i64) -> Result<usize> {
    let ledger = Ledger::new(context);
    let (mut n_open, mut n_notices) = (0, 0);
    let mut after: Option<Bytes> = None;
    loop {
        let page = ledger.open_page(after.as_deref(), PAGE)?;
        n_open += page.len();
        for (key, entry) in &page {
            if n_notices < MOST_NOTICES && announce(ledger, key, entry, interval, now_us)? {
                n_notices += 1;
            }
        }
        match page.into_iter().last() {
            Some((last, _)) => after = Some(last),
            None => return Ok(n_open),
        }
    }
}

/// Says once that a conflict stays open, if it has been for longer than the interval; whether it did.
fn announce(ledger: Ledger<'_>, key: &Bytes, entry: &Bytes, interval: Duration, now_us: i64) -> Result<bool> {
    let open = Open::decode(entry).map_err(Error::fatal)?;
    let since_us = i64::try_from(open.since_ms).unwrap_or(i64::MAX).saturating_mul(1000);
    let is_due = i128::from(now_us) - i128::from(since_us) > interval.as_micros() as i128;
    let Some(place) = Place::of_open(key).filter(|_| is_due && !open.is_announced) else { return Ok(false) };
    let Some(names) = place.names() else { return Ok(false) };
    let siblings = ledger.siblings(&place)?;
    let Some(notice) = notice::still_open(names, &siblings, Time(since_us))? else { return Ok(false) };
    let announced = Open { is_announced: true, ..open };
    let commit =
        StateCommit::new().expect(key, Some(entry.clone())).put(key, announced.encode()).notice(notice);
    // A conflict of the commit means that the key moved on meanwhile; the next sweep sees where to.
    let is_done = matches!(ledger.commit(commit)?, Committed::Done { .. });
    if is_done {
        info!(config_key = names.1, tenant = names.0, "a conflict stays open");
    }
    Ok(is_done)
}
