//! The owner of everything about leases: decides, commits, and answers only what is committed.
//!
//! Invariant: there is one of it, and it does one round after the other; what waits meanwhile becomes one commit.

use crate::{
    clock::{Clock, Now},
    config::Rules,
    embedded::{draft::Draft, effects::Effects},
    meters::Meters,
    name::LEASES,
    refusal::Refusal,
    request::{Answer, Request},
    store::Store,
    table::Table,
};
use lockstep_plugin_api::{prelude::*, state::Committed};
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};
use tokio::sync::oneshot;
use tracing::warn;

/// A request and where its answer goes.
pub struct Call {
    pub request: Request,
    pub reply: oneshot::Sender<Result<Answer>>,
}

/// How often a round is decided anew because somebody else wrote in between. Nobody else does, except an instance of
/// this plugin that is just coming to its end.
const MOST_CONFLICTS: usize = 16;

/// How long nothing ends by itself after the store refused a commit.
const PAUSE: Duration = Duration::from_secs(1);

/// Every lease of this host, and whoever waits for one.
pub struct Leases {
    store: Store,
    table: Table,
    rules: Rules,
    clock: Clock,
    replies: HashMap<u64, oneshot::Sender<Result<Answer>>>,
    next_call: u64,
    sweep_interval: Duration,
    sweep_at: Duration,
    /// Nothing ends by itself before this.
    paused_until: Duration,
    meters: Meters,
}

impl Leases {
    /// Reads what earlier processes left.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(context: &Context, rules: Rules, clock: Clock) -> Result<Self> {
        let mut leases = Self {
            store: Store::new(context.clone(), LEASES),
            table: Table::default(),
            rules,
            clock,
            replies: HashMap::new(),
            next_call: 1,
            sweep_interval: context.sync().cleanup_interval,
            sweep_at: Duration::ZERO,
            paused_until: Duration::ZERO,
            meters: Meters::new(context),
        };
        leases.sweep(leases.clock.now())?;
        Ok(leases)
    }

    /// How long until a round is due without anybody asking for it.
    pub fn idle_for(&self) -> Duration {
        let next = self.table.first_deadline().unwrap_or(Duration::MAX).min(self.sweep_at);
        next.max(self.paused_until).saturating_sub(self.clock.now().mono)
    }

    /// Decides on what ended by itself and on these calls, in this order, by one commit.
    pub fn round(&mut self, calls: Vec<Call>) {
        let requests: Vec<(u64, Request)> = calls.into_iter().map(|call| self.number(call)).collect();
        match self.commit(&requests) {
            Ok(effects) => self.answer(effects),
            Err(error) => self.refuse(&requests, &error),
        }
        self.meters.held.set(self.table.leases().len() as i64);
        self.meters.waiting.set(self.table.lines.len() as i64);
    }

    fn number(&mut self, call: Call) -> (u64, Request) {
        let number = self.next_call;
        self.next_call += 1;
        self.replies.insert(number, call.reply);
        (number, call.request)
    }

    fn commit(&mut self, requests: &[(u64, Request)]) -> Result<Effects> {
        let now = self.clock.now();
        if self.sweep_at <= now.mono {
            self.sweep(now)?;
        }
        for _ in 0..MOST_CONFLICTS {
            let now = self.clock.now();
            let mut effects = self.draft(requests, now)?;
            if effects.writes.is_empty() || self.store.commit(&effects.writes, now)? != Committed::Conflict {
                self.table.adopt(&mut effects);
                return Ok(effects);
            }
            self.read_again(&effects, now)?;
        }
        Err(Error::retry(PAUSE, "somebody else keeps writing the same leases"))
    }

    fn draft(&self, requests: &[(u64, Request)], now: Now) -> Result<Effects> {
        let read_fence = |name: &_| self.store.fence(name);
        let mut draft = Draft::new(&self.table, &self.rules, now, &read_fence)?;
        for (call, request) in requests {
            draft.decide(*call, request)?;
        }
        Ok(draft.finish())
    }

    /// Takes the leases that a commit met changed as they are now.
    fn read_again(&mut self, effects: &Effects, now: Now) -> Result<()> {
        for write in &effects.writes.leases {
            let held = self.store.lease(&write.name, now)?;
            // One that is as it was keeps its end by this process's clock.
            if held.as_ref().map(|held| &held.stored) != write.before.as_ref() {
                self.table.set(&write.name, held);
            }
        }
        Ok(())
    }

    /// Compares the table with the store: what an instance before this one wrote last may have come after this one read.
    fn sweep(&mut self, now: Now) -> Result<()> {
        let stored = self.store.leases(now)?;
        let names: BTreeSet<_> = stored.iter().map(|(name, _)| name).collect();
        let gone: Vec<_> =
            self.table.leases().map(|(name, _)| name).filter(|name| !names.contains(name)).cloned().collect();
        gone.iter().for_each(|name| self.table.set(name, None));
        for (name, held) in stored {
            if self.table.get(&name).is_none_or(|known| known.stored != held.stored) {
                self.table.set(&name, Some(held));
            }
        }
        self.sweep_at = now.mono + self.sweep_interval;
        Ok(())
    }

    fn answer(&mut self, effects: Effects) {
        self.meters.count(effects.tally, &effects.writes.events);
        effects.writes.events.iter().for_each(|event| event.log());
        for (call, answer) in effects.answers {
            let Some(reply) = self.replies.remove(&call) else { continue };
            // Whoever went away has a lease that ends with its session or its time.
            let _ = reply.send(answer.map_err(|refusal| refusal.to_error()));
        }
    }

    /// Nothing of the round is true: its callers may try again, and what is due is due later.
    fn refuse(&mut self, requests: &[(u64, Request)], error: &Error) {
        warn!(%error, "leases cannot be committed");
        self.paused_until = self.clock.now().mono + PAUSE;
        // A commit that was not answered may have happened all the same.
        self.sweep_at = Duration::ZERO;
        for (call, _) in requests {
            let Some(reply) = self.replies.remove(call) else { continue };
            let _ = reply.send(Err(Refusal::Unavailable.to_error()));
        }
    }
}
