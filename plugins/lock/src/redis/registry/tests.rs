//! What this host writes down of its own leases and of what it hears.

use super::*;
use crate::{
    lease::tests::lease,
    redis::tests::{RULES, context},
};
use lockstep_plugin_api::testing::MemoryHost;
use serde_json::Value;

fn registry() -> (Registry, MemoryHost) {
    let (context, host) = context();
    (Registry::open(&context, RULES).expect("an empty store"), host)
}

fn name() -> LockName {
    LockName::new(None, "app.x").expect("a name")
}

impl Registry {
    fn of(&self, session: &str, token: u64) -> Lease {
        lease(session, token, self.clock.now())
    }

    fn take(&self, session: &str, token: u64, ended: Option<Lease>) {
        let grant = Grant { name: name(), lease: Arc::new(self.of(session, token)), is_first: true, ended };
        assert!(self.register(grant).expect("committed"), "{token} is greater than all before");
    }

    /// Hears of a lease of another host.
    fn told(&self, token: u64, what: What) {
        let lease = Arc::new(self.of("s9", token));
        self.hear(&[(Event { name: name(), lease, what }, "b".to_owned())]).expect("committed");
    }
}

/// What subscribers were told, in order.
fn notices(host: &MemoryHost) -> Vec<String> {
    let kind = |mut notice: Record| notice.change().expect("a notice").event_type().to_owned();
    host.notices().into_iter().map(kind).collect()
}

fn audited(host: &MemoryHost) -> Vec<String> {
    let kind = |entry: String| {
        let entry: Value = serde_json::from_str(&entry).expect("JSON");
        entry["event_type"].as_str().expect("a type").to_owned()
    };
    host.audit().into_iter().map(kind).collect()
}

#[test]
fn an_end_that_was_told_with_the_next_grant_is_not_told_again() {
    let (registry, host) = registry();
    let ended = registry.of("s9", 1);
    registry.take("s1", 2, Some(ended.clone()));
    let before = notices(&host);
    assert_eq!(before, ["config_unlocked", "config_locked"]);
    registry.told(1, What::Expired);
    let event = Event { name: name(), lease: Arc::new(ended), what: What::Lost };
    registry.end(event, None).expect("committed");
    assert_eq!(notices(&host), before);
    assert_eq!(audited(&host), ["lock_expired", "lock_acquired"]);
    assert_eq!(registry.lease(&name()).map(|lease| lease.token), Some(2));
}

#[test]
fn an_end_is_told_also_if_the_grant_that_found_it_out_is_not_registered() {
    let (registry, host) = registry();
    registry.take("s1", 5, None);
    let grant = Grant {
        name: name(),
        lease: Arc::new(registry.of("s2", 4)),
        is_first: true,
        ended: Some(registry.of("s9", 3)),
    };
    assert!(!registry.register(grant).expect("read"), "a greater token is registered");
    assert!(registry.pay());
    assert_eq!(audited(&host), ["lock_acquired", "lock_expired"]);
}

#[test]
fn an_end_that_is_owed_is_told_before_the_next_lease_begins() {
    let (registry, host) = registry();
    registry.take("s1", 5, None);
    let lease = Arc::new(registry.of("s1", 5));
    registry.change(|known| {
        known.ended(&name(), 5);
        known.owed.push((Event { name: name(), lease, what: What::Released }, None));
    });
    registry.take("s2", 6, None);
    assert_eq!(audited(&host), ["lock_acquired", "lock_released", "lock_acquired"]);
    assert!(registry.pay() && audited(&host).len() == 3, "nothing is owed any more");
}

#[test]
fn a_held_lock_is_not_free_because_an_earlier_lease_of_it_ended() {
    let (registry, host) = registry();
    registry.take("s1", 5, None);
    for (token, what) in [(4, What::Released), (3, What::Expired), (0, What::Lost)] {
        registry.told(token, what);
    }
    assert_eq!(notices(&host), ["config_locked"]);
    registry.told(5, What::Released);
    assert_eq!(notices(&host), ["config_locked", "config_unlocked"], "at another host");
    assert!(registry.lease(&name()).is_none());
    registry.told(4, What::Lost);
    assert_eq!(notices(&host).len(), 2, "a later one was told of here");
    registry.told(0, What::Lost);
    assert_eq!(notices(&host).len(), 3, "another program's, which has no token");
}

#[test]
fn a_lock_is_not_taken_under_a_token_that_is_over_or_earlier() {
    let (registry, host) = registry();
    for (token, what) in [(7, What::Released), (7, What::Acquired), (9, What::Acquired), (8, What::Acquired)]
    {
        registry.told(token, what);
    }
    assert_eq!(notices(&host), ["config_unlocked", "config_locked"]);
    registry.told(9, What::Acquired);
    assert_eq!(notices(&host).len(), 2, "it was heard of already");
}

#[test]
fn what_is_stored_of_a_later_lease_outlives_what_is_heard_of_an_earlier_one() {
    let (registry, _host) = registry();
    registry.take("s1", 5, None);
    // What this host remembers is behind what it has written.
    let earlier = Arc::new(registry.of("s1", 4));
    registry.set(&name(), Some(Held { stored: earlier.to_stored(), lease: earlier }));
    registry.told(4, What::Expired);
    let stored = registry.store.lease(&name(), registry.clock.now()).expect("read");
    assert_eq!(stored.map(|held| held.lease.token), Some(5));
    registry.take("s2", 6, None);
}

#[test]
fn a_lease_whose_end_was_heard_before_it_is_registered_does_not_begin() {
    let (registry, host) = registry();
    registry.told(7, What::Forced { admin: String::new(), reason: String::new() });
    let grant = Grant { name: name(), lease: Arc::new(registry.of("s1", 7)), is_first: true, ended: None };
    assert!(!registry.register(grant).expect("read"), "it is over");
    assert_eq!(notices(&host), ["config_unlocked"]);
    assert!(registry.lease(&name()).is_none());
}

#[test]
fn the_end_of_a_lease_is_not_told_to_whoever_heard_of_a_later_one() {
    let (registry, host) = registry();
    registry.take("s1", 5, None);
    registry.told(6, What::Acquired);
    let event = Event { name: name(), lease: Arc::new(registry.of("s1", 5)), what: What::Released };
    registry.end(event, None).expect("committed");
    assert_eq!(notices(&host), ["config_locked", "config_locked"]);
    assert_eq!(audited(&host), ["lock_acquired", "lock_released"]);
    registry.told(6, What::Released);
    assert_eq!(notices(&host).len(), 3);
}

#[test]
fn a_forced_end_that_is_owed_is_told_before_the_next_lease_begins() {
    let (registry, host) = registry();
    registry.take("s1", 5, None);
    let what = What::Forced { admin: "root".to_owned(), reason: String::new() };
    let lease = Arc::new(registry.of("s1", 5));
    registry.change(|known| {
        known.ended(&name(), 5);
        known.owed.push((Event { name: name(), lease, what }, Some(7)));
    });
    let grant = Grant { name: name(), lease: Arc::new(registry.of("s2", 6)), is_first: true, ended: None };
    assert!(!registry.register(grant).expect("read"), "a greater token is about to be registered");
    registry.take("s2", 8, None);
    assert_eq!(audited(&host), ["lock_acquired", "lock_force_released", "lock_acquired"]);
    assert!(registry.pay() && audited(&host).len() == 3, "nothing is owed any more");
}

#[test]
fn an_end_that_is_heard_while_its_lease_is_registered_has_the_last_word() {
    let (registry, host) = registry();
    for n in 0..200 {
        let name = LockName::new(None, &format!("app.{n}")).expect("a name");
        let lease = Arc::new(registry.of("s1", 7));
        let what = What::Forced { admin: String::new(), reason: String::new() };
        let end = (Event { name: name.clone(), lease: lease.clone(), what }, "b".to_owned());
        let grant = Grant { name: name.clone(), lease, is_first: true, ended: None };
        std::thread::scope(|scope| {
            scope.spawn(|| registry.hear(&[end]).expect("committed"));
            registry.register(grant).expect("committed");
        });
        assert_eq!(notices(&host).last().map(String::as_str), Some("config_unlocked"), "{n}");
        assert!(registry.lease(&name).is_none());
    }
}
