//! Cells of keys that other programs changed: they write entries and no cells, and the host gives an entry back to
//! nobody where it was read. So when it has committed one, the sink of this place is asked to write the cell alone.
//!
//! Invariant: such an entry is acknowledged only when its cell shows it or something newer, or nobody here writes cells.

use super::{handed::Owed, reader::Common};
use crate::{
    meeting::Meeting,
    sink::renewal::{Outcome, Renewals},
};
use futures_util::{StreamExt, stream};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::warn;

/// How many cells are asked for at a time.
const AT_ONCE: usize = 64;

/// How long to wait before a cell that could not be written is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// How often it is said that cells are refused.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// A tenant's key.
type Place = (Option<String>, String);

/// What waits for a cell.
type Waiting = BTreeMap<Place, Vec<Owed>>;

/// Runs until the source ends.
pub(super) async fn settle(common: Arc<Common>, meeting: Meeting) {
    let mut waiting = Waiting::new();
    let mut told = None::<Instant>;
    loop {
        let pause = async {
            match waiting.is_empty() {
                true => std::future::pending().await,
                false => tokio::time::sleep(PAUSE).await,
            }
        };
        let owed = tokio::select! {
            owed = common.handed.take_owed() => owed,
            () = pause => Vec::new(),
            () = common.inbox.closed() => return,
        };
        for owed in owed {
            let key = (owed.stream.tenant.clone(), owed.key.as_str().to_owned());
            waiting.entry(key).or_default().push(owed);
        }
        // One that has ended is being opened again.
        let Some(sinks) = meeting.sinks() else { continue };
        let refused = write(&common, &sinks, &mut waiting).await;
        let is_news = told.is_none_or(|told| told.elapsed() > TELL_EVERY);
        if let Some(why) = refused.filter(|_| is_news) {
            told = Some(Instant::now());
            warn!(
                cells = waiting.len(),
                "cells of what other programs wrote are behind, trying again: {why}"
            );
        }
    }
}

/// Asks for every cell once, and keeps waiting for those that were not written; says why, if one was refused.
async fn write(common: &Common, sinks: &[Arc<Renewals>], waiting: &mut Waiting) -> Option<String> {
    let cells = std::mem::take(waiting).into_iter().map(|(place, owed)| async {
        let outcome = renew(sinks, &place).await;
        (place, owed, outcome)
    });
    let mut refused = None;
    let mut written = stream::iter(cells).buffer_unordered(AT_ONCE);
    loop {
        let one = tokio::select! {
            one = written.next() => one,
            () = common.inbox.closed() => return None,
        };
        let Some((place, owed, outcome)) = one else { return refused };
        match outcome {
            Outcome::Shown => done(common, owed),
            Outcome::NotYet => drop(waiting.insert(place, owed)),
            Outcome::Refused(error) => {
                refused = Some(error.to_string());
                waiting.insert(place, owed);
            }
        }
    }
}

/// Each sink writes the keys it is given.
async fn renew(sinks: &[Arc<Renewals>], (tenant, key): &Place) -> Outcome {
    for sink in sinks {
        match sink.renew(tenant.as_deref(), key).await {
            Outcome::Shown => {}
            other => return other,
        }
    }
    Outcome::Shown
}

fn done(common: &Common, owed: Vec<Owed>) {
    owed.into_iter().for_each(|owed| common.handed.done(&owed.stream, [owed.id]));
}
