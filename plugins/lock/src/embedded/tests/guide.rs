//! The guide's own lock class as a subject: the owner is the user, and a heartbeat extends whatever is there.

use super::{ACTORS, Does, Kind, Step, Subject, Told};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

#[derive(Default)]
pub struct Guide {
    time: Duration,
    redis: HashMap<usize, Stored>,
    /// By actor and key: the process's heartbeat goes on until this process releases.
    heartbeats: HashSet<(usize, usize)>,
    /// The guide has no tokens; the observer is given the number of the grant.
    n_grants: HashMap<usize, u64>,
}

struct Stored {
    actor: usize,
    expires: Duration,
    token: u64,
}

impl Guide {
    fn acquire(&mut self, step: &Step, ttl: Duration, told: &mut Told) -> Option<u64> {
        if let Some(stored) = self.redis.get_mut(&step.key) {
            if ACTORS[stored.actor].1 != ACTORS[step.actor].1 {
                return None;
            }
            // The guide's may end it earlier than before; this one has only the faults that are looked for.
            stored.expires = stored.expires.max(self.time + ttl);
            return Some(stored.token);
        }
        let token = self.n_grants.entry(step.key).or_default();
        *token += 1;
        let stored = Stored { actor: step.actor, expires: self.time + ttl, token: *token };
        told.events.push((step.key, ACTORS[step.actor].0.to_owned(), *token, Kind::Acquired));
        self.redis.insert(step.key, stored);
        self.heartbeats.insert((step.actor, step.key));
        Some(*token)
    }

    /// Extends whatever is there, by no matter whom; at least by what was asked for, which the guide's does not either.
    fn heartbeat(&mut self, step: &Step, ttl: Duration) -> Option<u64> {
        let stored =
            self.redis.get_mut(&step.key).filter(|_| self.heartbeats.contains(&(step.actor, step.key)))?;
        stored.expires = self.time + ttl;
        Some(stored.token)
    }

    fn release(&mut self, step: &Step, told: &mut Told) -> Option<u64> {
        let stored = self.redis.get(&step.key)?;
        if ACTORS[stored.actor].1 != ACTORS[step.actor].1 {
            return None;
        }
        self.heartbeats.remove(&(step.actor, step.key));
        self.delete(step.key, Kind::Released, told);
        Some(0)
    }

    fn delete(&mut self, key: usize, kind: Kind, told: &mut Told) -> Option<u64> {
        let stored = self.redis.remove(&key)?;
        told.events.push((key, ACTORS[stored.actor].0.to_owned(), stored.token, kind));
        // As if force release counted one on, which the guide does not do; the observer expects it.
        *self.n_grants.entry(key).or_default() += u64::from(kind == Kind::Forced);
        Some(0)
    }
}

impl Subject for Guide {
    fn round(&mut self, steps: &[(Step, u64)], first_call: u64, _: bool) -> Told {
        let mut told = Told::default();
        for key in 0..2 {
            if self.redis.get(&key).is_some_and(|stored| stored.expires <= self.time) {
                self.delete(key, Kind::Expired, &mut told);
            }
        }
        for ((step, _), call) in steps.iter().zip(first_call..) {
            let answer = match step.what {
                Does::Acquire { ttl_s, .. } => self.acquire(step, Duration::from_secs(ttl_s), &mut told),
                Does::Extend { ttl_s } => self.heartbeat(step, Duration::from_secs(ttl_s)),
                Does::Release => self.release(step, &mut told),
                Does::Force => self.delete(step.key, Kind::Forced, &mut told),
                Does::Close => Some(0),
            };
            told.answers.push((call, answer));
        }
        told
    }

    fn advance(&mut self, by: Duration) {
        self.time += by;
    }

    fn restart(&mut self, _: i64) {}
}
