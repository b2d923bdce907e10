mod changes;
mod listed;

use super::*;
use lockstep_plugin_api::testing::{self, MemoryHost, Place, TransformDriver};
use serde_json::{Value, json};
use std::{sync::mpsc, thread};

/// A lock on a host in memory, as pipelines through the log have it.
struct Site {
    host: MemoryHost,
    lock: TransformDriver,
    place: Place,
}

fn site_with(config: &Value) -> Site {
    let place = Place { through_log: true, ..Place::default() };
    let lock = testing::transform_at::<Lock>(&config.to_string(), &place).expect("a lock");
    Site { host: place.host.clone(), lock, place }
}

fn site() -> Site {
    site_with(&json!({}))
}

impl Site {
    fn acquire(&self, user: &str, session: &str) -> Result<Value> {
        self.acquire_with(json!({ "user_id": user, "session": session }))
    }

    fn acquire_with(&self, mut arguments: Value) -> Result<Value> {
        arguments["config_key"] = json!("app.x");
        self.host.call("lock.acquire", &arguments)
    }

    fn of_key(&self, operation: &str, mut arguments: Value) -> Result<Value> {
        arguments["config_key"] = json!("app.x");
        self.host.call(operation, &arguments)
    }

    /// The code of the rejection of a change, `None` if it passed.
    fn change(&mut self, change: Value, session: Option<&str>) -> Option<Error> {
        let mut record = Record::new(change.to_string());
        if let Some(session) = session {
            record.set_header(SESSION_HEADER, session);
        }
        let applied = self.lock.apply(vec![record]).expect("applied");
        assert!(applied.out.iter().all(|record| record.header(SESSION_HEADER).is_none()));
        assert_eq!(applied.out.len() + applied.failed.len(), 1);
        applied.failed.into_iter().next().map(|(_, error)| error)
    }

    /// What the audit says happened, in order.
    fn audited(&self) -> Vec<String> {
        let what = |entry: &String| {
            let entry: Value = serde_json::from_str(entry).expect("JSON");
            entry["event_type"].as_str().expect("a type").to_owned()
        };
        self.host.audit().iter().map(what).collect()
    }
}

fn code(answer: Result<Value>) -> String {
    answer.expect_err("refused").code().expect("a code").to_owned()
}

fn change(value: i32) -> Value {
    json!({ "config_key": "app.x", "new_value": value })
}

fn fenced(token: u64) -> Value {
    json!({ "config_key": "app.x", "new_value": 1, "fence": { "token": token } })
}

#[test]
fn a_lease_is_shown_and_told_as_the_guide_has_it() {
    let site = site();
    let arguments =
        json!({ "user_id": "alice", "session": "s1", "ttl_ms": 60_000, "metadata": { "why": "x" } });
    let lease = site.acquire_with(arguments).expect("granted");
    assert_eq!(
        (&lease["token"], &lease["depth"], &lease["heartbeat_interval"]),
        (&json!(1), &json!(1), &json!(20))
    );
    assert_eq!(lease["lock_key"], "config_lock:global:app.x");
    assert_eq!(lease["metadata"], json!({ "why": "x" }));
    assert_eq!(site.of_key("lock.info", json!({})).expect("info")["session"], "s1");
    site.of_key("lock.release", json!({ "session": "s1", "token": 1 })).expect("released");
    assert_eq!(site.of_key("lock.info", json!({})).expect("info"), Value::Null);

    let notices: Vec<Value> = site.host.notices().iter().map(|notice| notice.json().expect("JSON")).collect();
    assert_eq!(notices[0]["event_type"], "config_locked");
    assert_eq!(notices[0]["user_id"], "alice");
    assert_eq!(notices[0]["metadata"]["expires_at"], lease["expires_at"]);
    assert_eq!(notices[1]["event_type"], "config_unlocked");
    assert_eq!(notices[1]["metadata"], json!({ "reason": "released" }));
    assert_eq!(site.audited(), ["lock_acquired", "lock_released"]);
}

#[test]
fn a_session_enters_again_and_a_repeat_does_not_count() {
    let site = site();
    let take = |request: &str| {
        let arguments = json!({ "user_id": "alice", "session": "s1", "request_id": request });
        site.acquire_with(arguments).expect("granted")["depth"].clone()
    };
    assert_eq!([take("r1"), take("r1"), take("r2")], [1, 1, 2]);
    assert_eq!(code(site.acquire("alice", "s2")), "locked");
    let give = |request: &str| {
        site.of_key("lock.release", json!({ "session": "s1", "request_id": request })).expect("released")
    };
    // Giving back is no repeat of taking, whatever it is called.
    assert_eq!(give("r2"), json!({ "released": false, "depth": 1 }));
    assert_eq!(give("r2"), json!({ "released": false, "depth": 1 }));
    assert_eq!(give("r4"), json!({ "released": true, "depth": 0 }));
    assert_eq!(code(site.of_key("lock.release", json!({ "session": "s1" }))), "not_found");
    assert_eq!((site.host.counter("locks_acquired"), site.host.counter("locks_released")), (2, 2));
    assert_eq!(site.host.counter("lock_contentions"), 1);
}

/// How long a machine with much else to do may take for what should come at once.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits for a condition that another thread brings about.
fn eventually(condition: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !condition() {
        assert!(started.elapsed() < LIMIT, "it did not happen within {LIMIT:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn whoever_waits_is_served_in_order() {
    let site = site();
    site.acquire("alice", "s0").expect("granted");
    let (granted, grants) = mpsc::sync_channel(8);
    let waiters: Vec<_> = (1..=5)
        .map(|n| {
            let (host, granted) = (site.host.clone(), granted.clone());
            let arguments = json!({ "config_key": "app.x", "session": format!("s{n}"), "wait_ms": 60_000 });
            let waiter = thread::spawn(move || {
                host.call("lock.acquire", &arguments).expect("granted");
                granted.send(n).expect("the test listens");
                let release = json!({ "config_key": "app.x", "session": format!("s{n}") });
                host.call("lock.release", &release).expect("released");
            });
            eventually(|| site.host.gauge("locks_waiting") == n);
            waiter
        })
        .collect();
    site.of_key("lock.release", json!({ "session": "s0" })).expect("released");
    let order: Vec<i64> = (0..5).map(|_| grants.recv_timeout(LIMIT).expect("somebody is next")).collect();
    assert_eq!(order, [1, 2, 3, 4, 5]);
    waiters.into_iter().for_each(|waiter| waiter.join().expect("it ends"));
    assert_eq!(site.host.counter("lock_contentions"), 0, "whoever got it was not refused");
}

#[test]
fn waiting_ends_with_a_refusal_and_a_lease_with_its_time() {
    let held = site();
    held.acquire("alice", "s1").expect("granted");
    let short = json!({ "user_id": "bob", "session": "s2", "wait_ms": 50 });
    assert_eq!(code(held.acquire_with(short)), "locked");
    assert_eq!(held.host.counter("lock_contentions"), 1);
    // Longer than the lease lasts.
    let mut site = site();
    site.acquire_with(json!({ "user_id": "alice", "session": "s1", "ttl_ms": 1000 })).expect("granted");
    let long = json!({ "user_id": "bob", "session": "s2", "wait_ms": 30_000 });
    assert_eq!(site.acquire_with(long).expect("granted")["token"], 2);
    assert_eq!(site.audited(), ["lock_acquired", "lock_expired", "lock_acquired"]);
    assert_eq!(site.change(fenced(1), Some("s1")).expect("refused").code(), Some("stale_fence"));
    let reasons: Vec<_> =
        site.host.notices().iter().map(|notice| notice.json::<Value>().expect("JSON")).collect();
    assert_eq!(reasons[1]["metadata"]["reason"], "expired");
}

#[test]
fn a_closed_session_gives_everything_back_and_waits_no_more() {
    let site = site();
    site.acquire("alice", "s1").expect("granted");
    let other = json!({ "config_key": "app.y", "session": "s2" });
    site.host.call("lock.acquire", &other).expect("granted");
    let host = site.host.clone();
    let waiter = thread::spawn(move || {
        host.call("lock.acquire", &json!({ "config_key": "app.x", "session": "s2", "wait_ms": 60_000 }))
    });
    eventually(|| site.host.gauge("locks_waiting") == 1);
    let closed = site.host.call("lock.session_closed", &json!({ "session": "s2" })).expect("closed");
    assert_eq!(closed, json!({ "released": 1, "waiting": 1 }));
    assert_eq!(code(waiter.join().expect("it ends")), "not_found");
    let listed = site.host.call("lock.list", &json!({})).expect("listed");
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
}

#[test]
fn force_is_for_whoever_says_who_and_why() {
    let site = site();
    let force = |arguments| site.of_key("lock.force_release", arguments);
    assert_eq!(code(force(json!({ "admin_user_id": "root" }))), "not_found");
    site.acquire("alice", "s1").expect("granted");
    assert_eq!(code(force(json!({ "admin_user_id": "root", "expected_token": 7 }))), "stale_fence");
    let reason = json!({ "admin_user_id": "root", "reason": "alice left", "expected_token": 1 });
    assert_eq!(force(reason).expect("forced")["user_id"], "alice");
    assert_eq!(code(site.of_key("lock.extend", json!({ "session": "s1", "token": 1 }))), "not_found");
    let entry: Value = serde_json::from_str(&site.host.audit()[1]).expect("JSON");
    assert_eq!(entry["event_type"], "lock_force_released");
    assert_eq!((&entry["admin_user_id"], &entry["reason"]), (&json!("root"), &json!("alice left")));
    assert_eq!(site.acquire("bob", "s2").expect("granted")["token"], 3, "force counts one on");
}

#[test]
fn leases_outlive_the_instance_that_granted_them() {
    let Site { host, lock, place } = site();
    let acquire = json!({ "config_key": "app.x", "user_id": "alice", "session": "s1" });
    host.call("lock.acquire", &acquire).expect("granted");
    drop(lock);
    let lock = testing::transform_at::<Lock>("{}", &place).expect("a lock");
    let mut site = Site { host, lock, place };
    assert_eq!(site.change(change(1), Some("s2")).expect("refused").code(), Some("locked"));
    assert_eq!(code(site.acquire("alice", "s2")), "locked");
    let extended = site.of_key("lock.extend", json!({ "session": "s1", "token": 1 })).expect("extended");
    assert_eq!(extended["depth"], 1);
}

/// Writes into the leases behind the plugin's back, as an instance that is just ending might.
struct Meddler(Context);

#[config]
struct NoConfig {}

impl Transform for Meddler {
    type Config = NoConfig;

    fn new(_: NoConfig, context: &Context) -> Result<Self> {
        Ok(Self(context.clone()))
    }

    fn apply(&mut self, record: Record, _: &mut Output) -> Result<()> {
        let key = record.key().expect("a key").to_vec();
        self.0.state("lock").stage(&key, record.raw_value().cloned())
    }
}

#[test]
fn a_conflict_is_read_again_and_decided_anew() {
    let site = site();
    let mut meddler = testing::transform_at::<Meddler>("{}", &site.place).expect("a meddler");
    let name = LockName::new(None, "app.x").expect("a name");
    let lease = crate::lease::tests::lease("s9", 7, crate::clock::Clock::start().now());
    let writes = [(name.lease_key(LEASES), lease.to_stored()), (name.fence_key(), Bytes::from("7"))];
    let records = writes.into_iter().map(|(key, value)| {
        let mut record = Record::new("").with_key(Bytes::from(key));
        record.set_value(Some(value));
        record
    });
    meddler.apply(records.collect()).expect("written");
    assert_eq!(code(site.acquire("bob", "s2")), "locked", "a lease that this instance has not seen before");
    let mut gone = Record::new("").with_key(Bytes::from(name.lease_key(LEASES)));
    gone.set_value(None);
    meddler.apply(vec![gone]).expect("written");
    assert_eq!(code(site.of_key("lock.release", json!({ "session": "s9" }))), "not_found");
    assert_eq!(site.acquire("bob", "s2").expect("granted")["token"], 8);
}

#[test]
fn one_user_has_so_many_locks_and_no_more() {
    let site = site_with(&json!({ "max_locks_per_user": 2 }));
    let take = |key: &str, user: &str| {
        let arguments = json!({ "config_key": key, "user_id": user, "session": "s1" });
        site.host.call("lock.acquire", &arguments)
    };
    take("a", "alice").expect("granted");
    take("b", "alice").expect("granted");
    assert_eq!(code(take("c", "alice")), "too_large");
    take("a", "alice").expect("entering again takes no other lock");
    take("c", "bob").expect("granted");
    site.host.call("lock.session_closed", &json!({ "session": "s1" })).expect("closed");
    take("c", "alice").expect("granted");
}

#[test]
fn users_of_one_name_in_two_tenants_have_their_own_locks_to_hold() {
    let site = site_with(&json!({ "max_locks_per_user": 1 }));
    let take = |tenant: &Value| {
        let arguments = json!({ "config_key": "a", "tenant_id": tenant, "session": "s1" });
        site.host.call("lock.acquire", &arguments).map(|lease| lease["user_id"].clone())
    };
    for tenant in [json!("t1"), json!("t2"), Value::Null] {
        assert_eq!(take(&tenant).expect("its own first"), "anonymous");
        let more = json!({ "config_key": "b", "tenant_id": tenant, "session": "s1" });
        assert_eq!(code(site.host.call("lock.acquire", &more)), "too_large");
    }
}

#[test]
fn every_answer_about_a_lease_says_the_same_end() {
    let site = site();
    let granted = site.acquire("ann", "s1").expect("granted");
    for _ in 0..20 {
        let shown = site.of_key("lock.info", json!({})).expect("shown");
        assert_eq!(shown["expires_at"], granted["expires_at"]);
    }
    let refused = site.acquire("bob", "s2").expect_err("held");
    let details: Value = serde_json::from_str(refused.details().expect("details")).expect("JSON");
    assert_eq!(details["expires_at"], granted["expires_at"]);
}

#[test]
fn arguments_outside_the_limits_are_refused_with_their_place() {
    let site = site();
    let cases = [
        (json!({ "config_key": "a..b" }), "bad_key"),
        (json!({ "config_key": "a", "tenant_id": "global" }), "bad_tenant"),
        (json!({ "config_key": "a", "ttl_ms": 99 }), "bad_message"),
        (json!({ "config_key": "a", "ttl_ms": 86_400_001 }), "bad_message"),
        (json!({ "config_key": "a", "wait_ms": 60_001 }), "bad_message"),
        (json!({ "config_key": "a", "session": "" }), "bad_message"),
        (json!({ "config_key": "a", "session": "x".repeat(257) }), "too_large"),
        (json!({ "config_key": "a", "metadata": { "x": "y".repeat(4096) } }), "too_large"),
        (json!({ "config_key": "a", "timeout": 5 }), "bad_message"),
        (json!({}), "bad_message"),
    ];
    for (arguments, expected) in cases {
        assert_eq!(code(site.host.call("lock.acquire", &arguments)), expected, "{arguments}");
    }
    for tenant in ["global", "a:b", ""] {
        assert_eq!(
            code(site.host.call("lock.list", &json!({ "tenant_id": tenant }))),
            "bad_tenant",
            "{tenant}"
        );
    }
    let lease = site.host.call("lock.acquire", &json!({ "config_key": "a" })).expect("granted");
    assert_eq!((&lease["user_id"], &lease["ttl_ms"]), (&json!("anonymous"), &json!(300_000)));
    assert_eq!(lease["session"].as_str().map(str::len), Some(36), "a session of its own");
}

#[test]
fn what_cannot_work_is_refused_before_it_starts() {
    let refused = |config: Value, place: &Place| {
        let error = testing::transform_at::<Lock>(&config.to_string(), place).err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::CONFIG, "{error}");
        format!("{} {}", error.detail(), error.message())
    };
    let through = Place { through_log: true, ..Place::default() };
    assert!(refused(json!({ "default_timeout": "50ms" }), &through).starts_with("default_timeout"));
    for (field, value) in [("redis", json!({})), ("lock_prefix", json!("locks:"))] {
        let config = json!({ field: value });
        assert!(refused(config, &through).starts_with(&format!("{field} `{field}` is for leases in Redis")));
    }
    let redis = |mut config: Value| {
        config["backend"] = json!("redis");
        refused(config, &through)
    };
    assert!(redis(json!({ "redis": { "url": "redis://a", "port": 1 } })).starts_with("redis.port"));
    assert!(redis(json!({ "lock_prefix": "{a}:" })).starts_with("lock_prefix"));
    assert!(refused(json!({ "max_locks_per_user": 0 }), &through).starts_with("max_locks_per_user"));
    assert!(refused(json!({}), &Place::default()).contains("through the log"));
}
