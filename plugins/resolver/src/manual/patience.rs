//! Who has to decide is told again: once after the first interval, then every `remind_every`, and as urgent once before the
//! record in Redis ends (`escalate_after`). What was decided long ago is forgotten; what was not never is.

use super::{Case, Docket, Time};
use crate::{config::Patience, notice};
use lockstep_plugin_api::prelude::*;
use std::time::Duration;
use tracing::{info, warn};

/// How many cases are looked at with one read of the store.
const PAGE: u32 = 256;

/// How many are told again in one sweep at most; the rest follows with the next.
const MOST_NOTICES: usize = 1000;

/// Why somebody is told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Reminder,
    Escalation,
}

/// Looks through every case once and gives how many wait for a decision. `interval` is how often it is looked.
///
/// # Errors
/// What the store says.
pub fn look_through(context: &Context, patience: Patience, interval: Duration, now: Time) -> Result<usize> {
    let docket = Docket::new(context);
    let (mut n_pending, mut n_told) = (0, 0);
    let mut after: Option<Bytes> = None;
    loop {
        let page = docket.pending_page(b"", after.as_deref(), PAGE)?;
        n_pending += page.len();
        for (_, id) in &page {
            let Some((case, bytes)) = docket.stored(*id)? else { continue };
            let due = case.due(patience, interval, now).filter(|_| n_told < MOST_NOTICES);
            if let Some(due) = due
                && tell(docket, case, bytes, due, now)?
            {
                n_told += 1;
            }
        }
        match page.into_iter().last() {
            Some((last, _)) => after = Some(last),
            None => break,
        }
    }
    forget(docket, patience, now)?;
    Ok(n_pending)
}

impl Case {
    fn due(&self, patience: Patience, interval: Duration, now: Time) -> Option<Due> {
        let next = match self.reminded_at {
            None => self.open_since.after(interval),
            Some(last) => last.after(patience.remind_every),
        };
        if self.escalated_at.is_none() && now >= self.open_since.after(patience.escalate_after) {
            return Some(Due::Escalation);
        }
        (now > next).then_some(Due::Reminder)
    }
}

/// Tells it, if the case still is as it was read.
fn tell(docket: Docket<'_>, mut case: Case, bytes: Bytes, due: Due, now: Time) -> Result<bool> {
    let Some(siblings) = docket.standing(&case)? else { return Ok(false) };
    case.reminded_at = Some(now);
    if due == Due::Escalation {
        case.escalated_at = Some(now);
    }
    let Some(notice) = notice::reminder(&case, &siblings)? else { return Ok(false) };
    let is_told = docket.commit(bytes, &case, StateCommit::new().notice(notice))?;
    let ((tenant, config_key), conflict_id) = (case.names(), case.conflict_id);
    match due {
        _ if !is_told => {}
        Due::Reminder => info!(config_key, tenant, %conflict_id, "a conflict waits for a decision"),
        Due::Escalation => warn!(
            config_key,
            tenant,
            %conflict_id,
            "a conflict has waited long for a decision: `lockstep conflicts show` has it"
        ),
    }
    Ok(is_told)
}

/// Forgets some of what ended long ago; the rest follows with the next sweep.
fn forget(docket: Docket<'_>, patience: Patience, now: Time) -> Result<()> {
    let kept_us = i64::try_from(patience.keep_decided.as_micros()).unwrap_or(i64::MAX);
    let oldest = Time(now.0.saturating_sub(kept_us).max(0));
    for (over, id) in docket.over_page(Some(&Docket::over_before(oldest)), PAGE)? {
        docket.forget(&over, id)?;
    }
    Ok(())
}
