//! The observer: believes what it is told, and says when that cannot all be right.

use super::{ACTORS, Does, Kind, Step, Told};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

/// What cannot be right.
#[derive(Debug)]
#[expect(dead_code, reason = "shown when a history fails")]
pub enum Violation {
    TwoHolders {
        key: usize,
        holder: String,
        other: String,
    },
    TokenNotGreater {
        key: usize,
        token: u64,
        before: u64,
    },
    /// Somebody was told that a lease is theirs, or that they gave it back or keep it, and it was not theirs.
    NotTheHolder {
        key: usize,
        session: String,
    },
    EndedWithoutBeginning {
        key: usize,
        session: String,
    },
    EndedEarly {
        key: usize,
        session: String,
    },
    EndedLate {
        key: usize,
        session: String,
    },
    RefusedThoughFree {
        call: u64,
    },
    LostThoughInForce {
        call: u64,
    },
    Overtaken {
        call: u64,
        by: u64,
    },
    WaitsThoughFree {
        call: u64,
    },
    WaitsTooLong {
        call: u64,
    },
    AnsweredThoughLost {
        call: u64,
    },
}

#[derive(Debug, Clone)]
struct Holder {
    session: String,
    token: u64,
    /// By the observer's own time.
    until: Duration,
    /// By the wall clock, in milliseconds: what a restart goes by.
    wall_until_ms: i64,
    ttl: Duration,
}

#[derive(Debug)]
struct Asked {
    step: Step,
    /// What the actor knew when it asked.
    token: u64,
    /// How long it wants to wait.
    until: Duration,
}

#[derive(Debug, Default)]
pub struct Observer {
    time: Duration,
    wall_ms: i64,
    holders: HashMap<usize, Holder>,
    tokens: HashMap<usize, u64>,
    told: HashMap<(usize, usize), u64>,
    /// Calls that are not answered yet.
    waiting: BTreeMap<u64, Asked>,
    /// What was held at some time of this round: key, session, token.
    had: HashSet<(usize, String, u64)>,
    n_grants: u64,
}

impl Observer {
    pub fn n_grants(&self) -> u64 {
        self.n_grants
    }

    /// What the actor was told last about this key.
    pub fn last_token(&self, step: &Step) -> u64 {
        self.told.get(&(step.actor, step.key)).copied().unwrap_or(0)
    }

    pub fn advance(&mut self, by: Duration) {
        self.time += by;
        self.wall_ms += by.as_millis() as i64;
    }

    /// Whoever waited has lost its connection; what is left of a lease is said by its wall time.
    pub fn restart(&mut self, clock_step_s: i64) {
        self.wall_ms += clock_step_s * 1000;
        self.waiting.clear();
        for holder in self.holders.values_mut() {
            let left = Duration::from_millis((holder.wall_until_ms - self.wall_ms).max(0) as u64);
            holder.until = self.time + left.min(holder.ttl);
        }
    }

    /// Hears one round.
    pub fn see(
        &mut self,
        steps: &[Step],
        first_call: u64,
        told: &Told,
        is_lost: bool,
    ) -> Result<(), Violation> {
        if is_lost {
            // Nothing became true, so nobody is told anything but that.
            return match told.answers.iter().find(|(_, answer)| answer.is_some()) {
                Some((call, _)) => Err(Violation::AnsweredThoughLost { call: *call }),
                None => Ok(()),
            };
        }
        self.had = self.holders.iter().map(|(key, h)| (*key, h.session.clone(), h.token)).collect();
        for (step, call) in steps.iter().zip(first_call..) {
            let wait = if let Does::Acquire { wait_s, .. } = step.what { wait_s } else { 0 };
            let (token, until) = (self.last_token(step), self.time + Duration::from_secs(wait));
            self.waiting.insert(call, Asked { step: step.clone(), token, until });
        }
        let mut new_grants = HashSet::new();
        for (key, session, token, kind) in &told.events {
            self.happened(*key, session, *token, *kind)?;
            if *kind == Kind::Acquired {
                new_grants.insert((*key, session.clone(), *token));
            }
        }
        for (call, answer) in &told.answers {
            self.answered(*call, *answer, &mut new_grants)?;
        }
        self.look_around()
    }

    fn happened(&mut self, key: usize, session: &str, token: u64, kind: Kind) -> Result<(), Violation> {
        let session = session.to_owned();
        if kind == Kind::Acquired {
            self.n_grants += 1;
            let before = self.tokens.insert(key, token).unwrap_or(0);
            if token <= before {
                return Err(Violation::TokenNotGreater { key, token, before });
            }
            let (until, wall_until_ms) = (self.time, self.wall_ms);
            let holder =
                Holder { session: session.clone(), token, until, wall_until_ms, ttl: Duration::ZERO };
            self.had.insert((key, session.clone(), token));
            return match self.holders.insert(key, holder) {
                Some(other) => Err(Violation::TwoHolders { key, holder: other.session, other: session }),
                None => Ok(()),
            };
        }
        let Some(holder) = self.holders.remove(&key).filter(|holder| holder.session == session) else {
            return Err(Violation::EndedWithoutBeginning { key, session });
        };
        match kind {
            Kind::Expired if holder.until > self.time => Err(Violation::EndedEarly { key, session }),
            Kind::Forced => {
                // One above the evicted token is registered.
                self.tokens.insert(key, token + 1);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn answered(
        &mut self,
        call: u64,
        answer: Option<u64>,
        new_grants: &mut HashSet<(usize, String, u64)>,
    ) -> Result<(), Violation> {
        let Some(Asked { step, token: known, until }) = self.waiting.remove(&call) else { return Ok(()) };
        let (key, session) = (step.key, ACTORS[step.actor].0.to_owned());
        let had = |token: u64| self.had.contains(&(key, session.clone(), token));
        match (step.what, answer) {
            (Does::Acquire { ttl_s, .. }, Some(token)) => {
                if !had(token) {
                    return Err(Violation::NotTheHolder { key, session });
                }
                self.told.insert((step.actor, key), token);
                self.keep(key, token, |ttl| ttl.max(Duration::from_secs(ttl_s)));
                // Only the first answer under a token is a new lease; the others enter it again.
                self.nobody_was_overtaken(call, &step, new_grants.remove(&(key, session, token)))
            }
            (Does::Extend { ttl_s }, Some(token)) => {
                if !had(token) {
                    return Err(Violation::NotTheHolder { key, session });
                }
                self.keep(key, token, |_| Duration::from_secs(ttl_s));
                Ok(())
            }
            (Does::Release, Some(_)) if !self.had.iter().any(|(of, by, _)| *of == key && *by == session) => {
                Err(Violation::NotTheHolder { key, session })
            }
            (Does::Acquire { .. }, None) if until <= self.time => {
                let others = self.had.iter().any(|(of, holder, _)| *of == key && *holder != session);
                if others { Ok(()) } else { Err(Violation::RefusedThoughFree { call }) }
            }
            (Does::Extend { .. }, None) => {
                let holder = self.holders.get(&key);
                let is_held = holder.is_some_and(|holder| holder.session == session && holder.token == known);
                if is_held { Err(Violation::LostThoughInForce { call }) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    fn keep(&mut self, key: usize, token: u64, ttl: impl Fn(Duration) -> Duration) {
        let (time, wall_ms) = (self.time, self.wall_ms);
        if let Some(holder) = self.holders.get_mut(&key).filter(|holder| holder.token == token) {
            holder.ttl = ttl(holder.ttl);
            holder.until = time + holder.ttl;
            holder.wall_until_ms = wall_ms + holder.ttl.as_millis() as i64;
        }
    }

    /// Whoever asked before and waits is not passed over; the holder's own session may enter again.
    fn nobody_was_overtaken(&self, by: u64, step: &Step, is_new: bool) -> Result<(), Violation> {
        let is_earlier = |(call, asked): &(&u64, &Asked)| {
            let is_waiting = matches!(asked.step.what, Does::Acquire { wait_s: 1.., .. });
            **call < by && is_waiting && asked.step.key == step.key && asked.step.actor != step.actor
        };
        // Answers come in the order of decisions: who has none was not decided before this one.
        match self.waiting.iter().find(is_earlier) {
            Some((call, _)) if is_new => Err(Violation::Overtaken { call: *call, by }),
            _ => Ok(()),
        }
    }

    fn look_around(&mut self) -> Result<(), Violation> {
        for (key, holder) in &self.holders {
            if holder.until <= self.time {
                return Err(Violation::EndedLate { key: *key, session: holder.session.clone() });
            }
        }
        for (call, Asked { step, until, .. }) in &self.waiting {
            if !self.holders.contains_key(&step.key) {
                return Err(Violation::WaitsThoughFree { call: *call });
            }
            if *until <= self.time {
                return Err(Violation::WaitsTooLong { call: *call });
            }
        }
        Ok(())
    }
}
