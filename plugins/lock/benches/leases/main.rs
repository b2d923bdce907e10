//! How many leases are taken and given back in a second, up to the commit: decisions, the stored text of lease and token,
//! notices and audit entries. What the disk takes is the store's, and measured there.
//!
//! `cargo bench -p lockstep-plugin-lock --bench leases`; one thread, whose CPU time counts; the store is a map.
#![allow(
    dead_code,
    unused_imports,
    reason = "a benchmark of the rules needs a part of them, and none of their tests"
)]

#[path = "../../src/check.rs"]
mod check;
#[path = "../../src/clock.rs"]
mod clock;
#[path = "../../src/lease.rs"]
mod lease;
#[path = "../../src/owners.rs"]
mod owners;
#[path = "../../src/line.rs"]
mod line;
#[path = "../../src/meters.rs"]
mod meters;
#[path = "../../src/name.rs"]
mod name;
#[path = "../../src/refusal.rs"]
mod refusal;
#[path = "../../src/request.rs"]
mod request;
#[path = "../../src/table.rs"]
mod table;
#[path = "../../src/event.rs"]
mod event;
#[path = "../../src/writes.rs"]
mod writes;
/// The rules alone, of what the plugin's configuration is made into.
mod config {
    /// As the plugin has it.
    #[derive(Debug, Clone, Copy)]
    pub struct Rules {
        pub longest_heartbeat: std::time::Duration,
        pub max_per_user: u32,
    }
}
#[path = "../../src/embedded"]
mod embedded {
    pub mod decide;
    pub mod draft;
    pub mod effects;
}
#[path = "../../../../host/benches/measure/mod.rs"]
mod measure;

use clock::Clock;
use config::Rules;
use embedded::{draft::Draft, effects::Effects};
use lockstep_plugin_api::Bytes;
use measure::{Goal, own_cpu};
use name::{LEASES, LockName};
use request::{Ask, Request};
use std::{collections::HashMap, hint::black_box, time::Duration};
use table::Table;

/// Acquire and release, in pairs per second.
const GOAL: f64 = 100_000.0;

const N_LOCKS: usize = 10_000;
const SLICE: Duration = Duration::from_millis(500);
const N_SLICES: usize = 6;

const RULES: Rules = Rules { longest_heartbeat: Duration::from_secs(30), max_per_user: 1_000_000 };

fn main() {
    for (n_requests, n_held) in [(1, 0), (64, 0), (64, 100_000)] {
        let mut leases = Leases::holding(n_held);
        let per_second = (0..N_SLICES).map(|_| leases.slice(n_requests)).fold(0.0, f64::max);
        println!(
            "{n_requests:>3} requests a commit, {n_held:>6} other leases {per_second:>10.0} acquire+release/s   {}",
            Goal::at_least(per_second, GOAL)
        );
    }
}

/// The rules with a map for a store.
struct Leases {
    clock: Clock,
    table: Table,
    store: HashMap<Vec<u8>, Bytes>,
    next: usize,
}

impl Leases {
    /// With leases of other sessions, which nobody touches.
    fn holding(n_held: usize) -> Self {
        let mut leases =
            Self { clock: Clock::start(), table: Table::default(), store: HashMap::new(), next: 0 };
        let others: Vec<Request> = (0..n_held).map(|i| acquire(&format!("other.key-{i}"), i)).collect();
        leases.round(&others);
        leases
    }

    /// Takes and gives back locks until the time is over, each kind in rounds of `n_requests`.
    fn slice(&mut self, n_requests: usize) -> f64 {
        let (mut busy, mut n_pairs) = (Duration::ZERO, 0);
        while busy < SLICE {
            let numbers = (0..n_requests).map(|i| (self.next + i) % N_LOCKS);
            let keys: Vec<_> = numbers.map(|i| (format!("app.database.key-{i}"), i)).collect();
            self.next += n_requests;
            let acquires: Vec<Request> = keys.iter().map(|(key, i)| acquire(key, *i)).collect();
            let releases: Vec<Request> = keys.iter().map(|(key, i)| release(key, *i)).collect();
            let started = own_cpu();
            let taken = self.round(&acquires);
            let given = self.round(&releases);
            busy += own_cpu() - started;
            assert!(taken == n_requests && given == n_requests, "nothing is refused");
            n_pairs += n_requests;
        }
        n_pairs as f64 / busy.as_secs_f64()
    }

    /// One round as the plugin has it; gives how many requests were not refused.
    fn round(&mut self, requests: &[Request]) -> usize {
        let now = self.clock.now();
        let store = &self.store;
        let read_fence = |name: &LockName| Ok(store.get(&name.fence_key()).cloned());
        let mut draft = Draft::new(&self.table, &RULES, now, &read_fence).expect("a map can be read");
        for (call, request) in (0..).zip(requests) {
            draft.decide(call, request).expect("a map can be read");
        }
        let mut effects = draft.finish();
        self.commit(&effects, now.wall_us);
        self.table.adopt(&mut effects);
        let answers = effects.answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
        answers.inspect(|answer| drop(black_box(serde_json::to_string(answer).expect("JSON")))).count()
    }

    fn commit(&mut self, effects: &Effects, wall_us: i64) {
        for write in &effects.writes.leases {
            match &write.after {
                Some(held) => drop(self.store.insert(write.name.lease_key(LEASES), held.stored.clone())),
                None => drop(self.store.remove(&write.name.lease_key(LEASES))),
            }
        }
        for write in &effects.writes.fences {
            self.store.insert(write.name.fence_key(), write.after.clone());
        }
        for event in &effects.writes.events {
            black_box(event.to_notice("node-1", wall_us).expect("a notice").value());
            black_box(serde_json::to_string(&event.to_audit(wall_us)).expect("JSON"));
        }
    }
}

fn acquire(key: &str, i: usize) -> Request {
    let ask = Ask {
        user_id: format!("user-{i}"),
        session: format!("session-{i}"),
        ttl: Duration::from_secs(300),
        metadata: Default::default(),
        request_id: None,
    };
    Request::Acquire { name: lock(key), ask, wait: Duration::ZERO }
}

fn release(key: &str, i: usize) -> Request {
    Request::Release { name: lock(key), session: format!("session-{i}"), token: None, request_id: None }
}

fn lock(key: &str) -> LockName {
    LockName::new(Some("acme"), key).expect("a name")
}
