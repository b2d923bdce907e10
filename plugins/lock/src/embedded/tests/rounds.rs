//! This plugin's rules as a subject: a table, drafts, and a store that is a map.

use super::{ACTORS, Does, Kind, RULES, Step, Subject, Told, name};
use crate::{
    clock::Now,
    embedded::{draft::Draft, effects::Effects},
    event::What,
    lease::Lease,
    name::{LEASES, LockName},
    request::{Answer, Ask, Request},
    table::{Held, Table},
};
use lockstep_plugin_api::Bytes;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub struct Rounds {
    table: Table,
    now: Now,
    store: BTreeMap<Vec<u8>, Bytes>,
}

impl Rounds {
    pub fn new() -> Self {
        Self {
            table: Table::default(),
            now: Now { mono: Duration::ZERO, wall_us: 0 },
            store: BTreeMap::new(),
        }
    }

    fn commit(&mut self, effects: &Effects) {
        let writes = effects.writes.leases.iter().map(|write| {
            (
                write.name.lease_key(LEASES),
                &write.before,
                write.after.as_ref().map(|held| held.stored.clone()),
            )
        });
        let fences = effects
            .writes
            .fences
            .iter()
            .map(|write| (write.name.fence_key(), &write.before, Some(write.after.clone())));
        for (key, before, after) in writes.chain(fences) {
            assert_eq!(self.store.get(&key), before.as_ref(), "a draft knows what it replaces");
            match after {
                Some(after) => drop(self.store.insert(key, after)),
                None => drop(self.store.remove(&key)),
            }
        }
    }
}

impl Subject for Rounds {
    fn round(&mut self, steps: &[(Step, u64)], first_call: u64, is_lost: bool) -> Told {
        let store = self.store.clone();
        let read_fence = |name: &LockName| Ok(store.get(&name.fence_key()).cloned());
        let mut draft = Draft::new(&self.table, &RULES, self.now, &read_fence).expect("a map can be read");
        for ((step, token), call) in steps.iter().zip(first_call..) {
            draft.decide(call, &request(step, *token)).expect("a map can be read");
        }
        let mut effects = draft.finish();
        if is_lost {
            return Told::default();
        }
        self.commit(&effects);
        let told = told(&effects);
        self.table.adopt(&mut effects);
        told
    }

    fn advance(&mut self, by: Duration) {
        self.now.mono += by;
        self.now.wall_us += by.as_micros() as i64;
    }

    fn restart(&mut self, clock_step_s: i64) {
        self.now = Now { mono: Duration::ZERO, wall_us: self.now.wall_us + clock_step_s * 1_000_000 };
        self.table = Table::default();
        for (key, stored) in &self.store {
            let Some(name) = LockName::from_lease_key(LEASES, key) else { continue };
            let lease = Arc::new(Lease::from_stored(stored, self.now).expect("a lease"));
            self.table.set(&name, Some(Held { lease, stored: stored.clone() }));
        }
    }
}

fn request(step: &Step, token: u64) -> Request {
    let (session, user_id) = ACTORS[step.actor];
    let (session, user_id, name) = (session.to_owned(), user_id.to_owned(), name(step.key));
    match step.what {
        Does::Acquire { ttl_s, wait_s, request } => {
            let request_id = request.map(|id| id.to_string());
            let (ttl, wait) = (Duration::from_secs(ttl_s), Duration::from_secs(wait_s));
            let ask = Ask { user_id, session, ttl, metadata: crate::lease::Fields::new(), request_id };
            Request::Acquire { name, ask, wait }
        }
        Does::Extend { ttl_s } => {
            Request::Extend { name, session, token, ttl: Some(Duration::from_secs(ttl_s)) }
        }
        Does::Release => Request::Release { name, session, token: None, request_id: None },
        Does::Force => Request::ForceRelease {
            name,
            admin: "root".to_owned(),
            reason: "test".to_owned(),
            expected_token: None,
        },
        Does::Close => Request::SessionClosed { session },
    }
}

fn told(effects: &Effects) -> Told {
    let answers = effects.answers.iter().map(|(call, answer)| {
        let token = match answer {
            Ok(Answer::Lease(lease)) => Some(lease.token),
            Ok(_) => Some(0),
            Err(_) => None,
        };
        (*call, token)
    });
    let events = effects.writes.events.iter().map(|event| {
        let kind = match event.what {
            What::Acquired => Kind::Acquired,
            What::Released => Kind::Released,
            What::Expired | What::Lost => Kind::Expired,
            What::Forced { .. } => Kind::Forced,
        };
        let key = usize::from(event.name == name(1));
        (key, event.lease.session.clone(), event.lease.token, kind)
    });
    Told { answers: answers.collect(), events: events.collect() }
}
