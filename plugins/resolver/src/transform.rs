//! The transform: reads the key's state, lets the change meet it, stages what becomes of both, and says so.

use crate::{
    advice, calls, carry,
    config::{ResolverConfig, Strategies},
    draft::Wish,
    ingested::Ingested,
    ledger::{Ledger, Place},
    manual::{Claim, Moved},
    metrics::Metrics,
    node::Node,
    notice, report,
    siblings::{Sibling, Siblings},
    staging::stage,
    strategy::Strategy,
    sweep,
    turn::{self, Stamp, Turn},
    wire::{self, Base},
};
use lockstep_plugin_api::{
    causality::Dot,
    change::{CONFIG_CREATED, CONFIG_DELETED, CONFIG_UPDATED, MAX_DEPTH, depth},
    names::{check_key, tenant_problem},
    prelude::*,
    record::ENDPOINT_HEADER,
    time,
};
use std::{cell::LazyCell, sync::Arc, time::Duration};
use uuid::Uuid;

/// How many changes may stand against each other before this host takes in no further one that does not know them: an
/// author that never reads again must not fill the store. What another host took in is never refused.
const MOST_SIBLINGS: usize = 100;

/// How much they may weigh: every entry of a key in conflict holds all of them.
const MOST_SIBLING_BYTES: usize = 8 << 20;

/// How long a value operations may make, in bytes, unless one as long was there or was sent: what the doors take of values.
const MAX_MADE: usize = 1 << 20;

/// The `resolver` transform.
pub struct Resolver {
    context: Context,
    /// The log that changes go into.
    epoch: Text,
    strategies: Arc<Strategies>,
    max_clock_ahead: Duration,
    metrics: Metrics,
    /// The sweep ends when this is gone.
    _alive: Arc<()>,
}

impl Transform for Resolver {
    type Config = ResolverConfig;

    fn check(config: &ResolverConfig) -> Result<()> {
        config.check()
    }

    fn advise(config: &ResolverConfig, advice: &mut Advice) {
        advice.reads_values(config.merged_keys(), "to merge or transform them");
        advice.makes_values(config.merged_keys());
        advice::advise(config, advice);
    }

    fn new(config: ResolverConfig, context: &Context) -> Result<Self> {
        let alive = Arc::new(());
        let mut metrics = Metrics::new(context);
        let epoch = if context.through_log() { Text::from(context.log()?.epoch) } else { Text::from("") };
        if context.through_log() {
            metrics.start(&Ledger::new(context).node()?.counts);
            context.spawn(sweep::run(context.clone(), config.patience(), Arc::downgrade(&alive)));
        }
        Ok(Self {
            context: context.clone(),
            epoch,
            strategies: Arc::new(Strategies::new(&config)?),
            max_clock_ahead: config.max_clock_ahead.0,
            metrics,
            _alive: alive,
        })
    }

    fn apply(&mut self, mut record: Record, out: &mut Output) -> Result<()> {
        let change = record.change()?;
        check_names(change)?;
        if !is_configuration(change) {
            // Another host's notice, or an event of a later version: for subscribers, no state of the key.
            out.push(Record::notice(change.clone()));
            return Ok(());
        }
        let place = Place::of(change.tenant_id(), change.config_key());
        let ledger = Ledger::new(&self.context);
        let (before, known) = (ledger.siblings(&place)?, ledger.node()?);
        let mut node = known.clone().in_epoch(&self.epoch, self.context.node_id());
        let (mut is_more, state, claim) = (false, wire::state_of(change)?, Claim::of(change));
        // What has its place is taken in whatever is said beside it: who refused it would never come to what others have.
        let claim = if state.is_some() { claim.unwrap_or_default() } else { claim? };
        let turn = match state {
            Some(state) => {
                let shown = state.known();
                let turn = self.meet(&mut node, before, change, state)?;
                // Where the message was read, the key shows less than it does here now.
                is_more = turn.as_ref().is_some_and(|turn| !turn.is_covered_by(&shown));
                turn
            }
            None if self.is_known(change, &place)? => None,
            None => self.author(&mut node, before, change, &claim)?,
        };
        if let Some(turn) = &turn {
            turn.write(record.change_mut()?)?;
        }
        // From here on nothing may fail for this record alone: what is staged would stay without it.
        let moved =
            turn.as_ref().map_or(Ok(Moved::default()), |turn| stage(&self.context, turn, &claim, &place));
        let moved = moved.map_err(Error::fatal)?;
        if let Some(turn) = &turn {
            node.counts = node.counts.after(turn, &moved);
        }
        if node != known {
            ledger.stage_node(&node).map_err(Error::fatal)?;
            self.metrics.follow(&node.counts);
        }
        if let Some(turn) = turn {
            self.announce(&turn, &moved, &place, out).map_err(Error::fatal)?;
            if is_more {
                record.remove_header(ENDPOINT_HEADER);
            }
            out.push(record);
        }
        Ok(())
    }

    fn operations(&mut self) -> Operations {
        calls::operations(&self.context, &self.strategies)
    }
}

impl Resolver {
    /// A change that has its place already, from another host or from this one's own past.
    fn meet(
        &self,
        node: &mut Node,
        before: Siblings,
        change: &Change,
        state: Siblings,
    ) -> Result<Option<Turn>> {
        let now_ms = now_ms(time::now_us());
        let seen = LazyCell::new(|| before.seen());
        for sibling in state.list() {
            if sibling.hlc.is_ahead(now_ms, self.max_clock_ahead) {
                self.metrics.clock_ahead.add(1);
            }
            node.meet(sibling.hlc, now_ms, self.max_clock_ahead);
            // What its author knew of this host's changes tells as much as meeting them.
            for dot in std::iter::once(&sibling.dot).chain(sibling.ctx.newest()) {
                node.meet_own(dot, || seen.covers(dot), self.context.node_id());
            }
        }
        let own: Dot =
            change.dot().map(Json::read).transpose()?.unwrap_or_else(|| state.list()[0].dot.clone());
        drop(seen);
        Ok(Turn::take(before, state, own))
    }

    /// Whether a message without a dot was taken in before.
    fn is_known(&self, change: &Change, place: &Place) -> Result<bool> {
        let Some(name) = change.event_id().and_then(Ingested::name) else { return Ok(false) };
        Ok(Ledger::new(&self.context).ingested(place)?.contains(&name))
    }

    /// A change that gets its place here.
    fn author(
        &self,
        node: &mut Node,
        before: Siblings,
        change: &Change,
        claim: &Claim,
    ) -> Result<Option<Turn>> {
        if change.event_id().is_some_and(|event_id| before.has_event(event_id)) {
            return Ok(None);
        }
        let base = self.base(change)?;
        let seen = base.as_ref().map_or(&before, |base| &base.siblings);
        claim.check(&before, seen)?;
        let is_behind = base.as_ref().is_some_and(|base| !before.is_known_to(&base.siblings));
        if is_behind && change.fence().is_some() {
            // Whoever holds a lock compares and sets: what somebody else made of the key is never beside it.
            return Err(Error::rejected(
                "conflict",
                "the key has changed since its author read it: read it again",
            ));
        }
        if change.is_deletion() && before.value().is_none() && !before.is_conflict() {
            // Nobody awaits an answer to what was read somewhere: the key is gone, as it was to be.
            if change.event_id().and_then(Ingested::name).is_some() {
                return Ok(None);
            }
            return Err(Error::rejected("not_found", "there is no such key"));
        }
        let strategy = self.strategies.of(change.config_key());
        let shown = seen.value();
        let draft = Wish::of(change).draft(shown.as_deref(), &strategy)?;
        let carried = match &base {
            Some(base) if is_behind && strategy == Strategy::OperationalTransform => {
                let seen = (shown.as_deref(), base.revision);
                carry::forward(&self.context, change, seen, &before, &draft)?
            }
            _ => None,
        };
        let now_us = time::now_us();
        // The author's own stamp, if it has one, is met like any other: it cannot run away from this host's clock.
        if let Some(hlc) = change.hlc().and_then(|text| text.parse().ok()) {
            node.meet(hlc, now_ms(now_us), self.max_clock_ahead);
        }
        let (dot, hlc) = node.stamp(now_ms(now_us));
        let event_id = change.event_id().map_or_else(|| Uuid::now_v7().to_string().into(), Text::from);
        let stamp = Stamp { dot, hlc, event_id, strategy, node_id: self.context.node_id(), now_us };
        let (seen, draft) =
            carried.as_ref().map_or((seen, draft), |carried| (&before, carried.draft.clone()));
        refuse_unfit(&before, change, draft.value.as_deref())?;
        let authored = turn::authored(change, seen, draft, stamp);
        let dot = authored.dot.clone();
        refuse_too_many(&before, &authored)?;
        let Some(mut turn) = Turn::take(before, [authored].into_iter().collect(), dot) else {
            return Ok(None);
        };
        turn.base_revision = base.map(|base| base.revision);
        Ok(Some(match carried {
            Some(carried) => turn.carried(carried),
            None => turn,
        }))
    }

    /// What the author says it had seen; `None` if it says nothing, which means what is current.
    fn base(&self, change: &Change) -> Result<Option<Seen>> {
        let Some(base) = change.base() else { return Ok(None) };
        let (epoch, revision) = match base.read()? {
            Base::Here(revision) => (None, revision),
            Base::At { epoch, revision } => (epoch, revision),
        };
        let log = self.context.log()?;
        if epoch.is_some_and(|epoch| epoch != log.epoch) || revision > log.head {
            return Err(unknown_base(&log));
        }
        let siblings = match self.context.entry_at(change.tenant_id(), change.config_key(), revision)? {
            EntryAt::Absent => Some(Siblings::default()),
            EntryAt::Compacted => None,
            EntryAt::Entry(mut entry) => wire::state_of(entry.change()?)?,
        };
        siblings.map(|siblings| Some(Seen { siblings, revision })).ok_or_else(|| unknown_base(&log))
    }

    /// Tells everybody who has to know what the change did to others.
    fn announce(&self, turn: &Turn, moved: &Moved, place: &Place, out: &mut Output) -> Result<()> {
        let Some(names) = place.names() else { return Ok(()) };
        if turn.ends_conflict() || moved.decided().is_some() {
            self.context.publish(notice::resolved(names, turn, moved)?)?;
        }
        match moved.decided() {
            Some(case) => {
                report::decision_entry(turn, case)?.map_or(Ok(()), |entry| self.context.audit(&entry))?;
                report::log_decided(case);
            }
            None if turn.ends_conflict() => report::log_closed(names, turn),
            None => {}
        }
        if let Some(notice) = notice::detected(names, turn, moved)? {
            self.context.publish(notice)?;
        }
        if let Some(outcome) = turn.outcome() {
            self.context.audit(&report::audit_entry(names, turn, outcome)?)?;
            report::log_resolved(names, outcome);
            out.tell(&report::told(turn, outcome)?)?;
        }
        Ok(())
    }
}

/// What an author says it had seen.
struct Seen {
    siblings: Siblings,
    revision: u64,
}

/// Operations are small beside what many of them make of a value, so each author is held to what a value may be. A deeper
/// one would be refused by the next host, which then never has it.
fn refuse_unfit(before: &Siblings, change: &Change, made: Option<&str>) -> Result<()> {
    if change.ops().is_some() && made.is_some_and(|made| depth(made) > MAX_DEPTH) {
        let text = format!(
            "the operations make a value of more than {MAX_DEPTH} arrays and objects inside each other"
        );
        return Err(Error::rejected("bad_message", text));
    }
    let n_bytes = |text: Option<&str>| text.map_or(0, str::len);
    let most = MAX_MADE.max(change.new_value().as_str().len()).max(n_bytes(before.value().as_deref()));
    if n_bytes(made) > most {
        return Err(Error::rejected(
            "too_large",
            format!("the operations make a value of {} bytes, more than {most}", n_bytes(made)),
        ));
    }
    Ok(())
}

/// Refuses a change if too many stand already that its author had not seen.
fn refuse_too_many(before: &Siblings, authored: &Sibling) -> Result<()> {
    let unseen = before.list().iter().filter(|standing| !authored.knew(standing));
    let (n_unseen, n_bytes) =
        unseen.fold((0, authored.n_bytes()), |(n, bytes), standing| (n + 1, bytes + standing.n_bytes()));
    if n_unseen >= MOST_SIBLINGS || (n_unseen > 0 && n_bytes > MOST_SIBLING_BYTES) {
        let message = "too many concurrent changes stand against each other: read the key again";
        return Err(Error::rejected("conflict", message));
    }
    Ok(())
}

fn is_configuration(change: &Change) -> bool {
    matches!(change.event_type(), CONFIG_CREATED | CONFIG_UPDATED | CONFIG_DELETED)
}

/// State is kept under these names, and every transport has to be able to write them.
fn check_names(change: &Change) -> Result<()> {
    check_key(change.config_key())?;
    match change.tenant_id().and_then(tenant_problem) {
        Some(reason) => Err(Error::rejected("bad_tenant", format!("the tenant {reason}"))),
        None => Ok(()),
    }
}

fn unknown_base(log: &LogPosition) -> Error {
    let details = serde_json::json!({ "epoch": log.epoch, "revision": log.head, "compacted": log.compacted });
    let message = "what the change is based on is not known here: read the key again";
    Error::rejected("unknown_base", message).with_details(&details)
}

fn now_ms(now_us: i64) -> u64 {
    u64::try_from(now_us / 1000).unwrap_or(0)
}

#[cfg(test)]
mod tests;
