//! One holder at a time, whichever host is asked; tokens that only grow; repeats that count once.

use super::{LOCK, code, node, place, redis, token_of, two};
use serde_json::{Value, json};

#[test]
fn one_session_holds_a_lock_whichever_host_is_asked() {
    let (redis, a, b) = two();
    let lease = a.acquire("s1", json!({ "user_id": "alice", "ttl_ms": 60_000 })).expect("free");
    assert_eq!(lease["depth"], 1);
    assert_eq!((&lease["lock_key"], &lease["heartbeat_interval"]), (&json!(LOCK), &json!(20)));
    for (host, session, user) in [(&a, "s2", "alice"), (&b, "s2", "alice"), (&b, "s1", "bob")] {
        let refused = host.acquire(session, json!({ "user_id": user })).expect_err("held");
        assert_eq!(
            (refused.code.as_str(), &refused.error["details"]["locked_by"]),
            ("locked", &json!("alice"))
        );
        assert_eq!(refused.error["message"], "Configuration is locked by another user");
    }
    let shown = b.ask("lock.info", json!({})).expect("shown");
    for field in [
        "config_key",
        "user_id",
        "tenant_id",
        "acquired_at",
        "metadata",
        "lock_key",
        "token",
        "session",
        "ttl_ms",
    ] {
        assert_eq!(shown[field], lease[field], "{field}");
    }
    let stored: String = redis.command(&["GET", LOCK]);
    let stored: Value = serde_json::from_str(&stored).expect("the guide's JSON");
    assert_eq!((&stored["user_id"], &stored["heartbeat_interval"]), (&json!("alice"), &json!(20)));
    let left: i64 = redis.command(&["PTTL", LOCK]);
    assert!((50_000..=60_000).contains(&left), "{left}");

    assert_eq!(code(b.release("s2")), "not_found");
    assert_eq!(b.release("s1").expect("held"), json!({ "released": true, "depth": 0 }), "by any host");
    assert_eq!(a.ask("lock.info", json!({})).expect("shown"), Value::Null);
    assert!(token_of(&a.acquire("s2", json!({})).expect("free")) > token_of(&lease));
}

#[test]
fn a_session_enters_again_with_its_token_and_a_repeat_counts_once() {
    let (_redis, a, b) = two();
    let take = |host: &super::Node, request: &str, ttl: u64| {
        let lease = host.acquire("s1", json!({ "request_id": request, "ttl_ms": ttl })).expect("its own");
        (lease["depth"].as_u64().expect("a depth"), lease["token"].as_u64().expect("a token"))
    };
    let (depth, token) = take(&a, "r1", 60_000);
    assert_eq!(depth, 1);
    assert_eq!(take(&a, "r1", 60_000), (1, token), "asked again");
    assert_eq!(take(&b, "r1", 60_000), (1, token), "at the other host");
    assert_eq!(take(&b, "r2", 1_000), (2, token));
    let left: i64 = _redis.command(&["PTTL", LOCK]);
    assert!(left > 50_000, "the time is never shortened: {left}");
    let give = |request: &str| {
        a.ask("lock.release", json!({ "session": "s1", "request_id": request })).expect("held")["depth"]
            .clone()
    };
    assert_eq!([give("r3"), give("r3"), give("r4"), give("r4")], [1, 1, 0, 0]);
    assert_eq!(code(a.release("s1")), "not_found", "another request finds nothing");
    assert_eq!(code(a.acquire("s1", json!({ "request_id": "r1" }))), "not_found", "a repeat from before");
    let (depth, next) = take(&a, "r5", 60_000);
    assert!(depth == 1 && next > token, "{depth}, {next} after {token}");
}

#[test]
fn a_token_is_greater_than_all_that_any_host_has_seen_also_when_the_server_has_forgotten() {
    let (redis, a, b) = two();
    let mut last = 0;
    // The second host has seen none of the first one's, nor has the server.
    for (host, session) in [(&a, "s1"), (&a, "s1"), (&b, "s2"), (&a, "s1"), (&b, "s2")] {
        let token = token_of(&host.acquire(session, json!({})).expect("free"));
        assert!(token > last, "{token} after {last}");
        last = token;
        host.release(session).expect("held");
        let _: String = redis.command(&["FLUSHALL"]);
    }
}

#[test]
fn locks_are_listed_by_tenant_and_wholly_for_operators() {
    let (redis, a, b) = two();
    for (host, tenant) in [(&a, Value::Null), (&a, json!("t1")), (&b, json!("t2")), (&b, json!("t1.x"))] {
        let name = json!({ "config_key": "app.x", "tenant_id": tenant, "session": "s1" });
        host.call("lock.acquire", &name).expect("free");
    }
    // Called like the key `b:c` of tenant `a`, and what is no JSON at all.
    let foreign = json!({ "config_key": "c", "tenant_id": "a:b", "user_id": "guido" }).to_string();
    let _: String = redis.command(&["SET", "config_lock:a:b:c", &foreign]);
    let _: String = redis.command(&["SET", "config_lock:t1:odd", "?"]);
    let listed = |arguments: Value| -> Vec<String> {
        let list = a.call("lock.list", &arguments).expect("listed");
        let key = |lock: &Value| lock["lock_key"].as_str().expect("a name").to_owned();
        list.as_array().expect("a list").iter().map(key).collect()
    };
    assert_eq!(listed(json!({})), [LOCK]);
    assert_eq!(listed(json!({ "tenant_id": "t1" })), ["config_lock:t1:app.x", "config_lock:t1:odd"]);
    assert_eq!(listed(json!({ "tenant_id": "a" })), [] as [&str; 0]);
    let all = [
        "config_lock:a:b:c",
        LOCK,
        "config_lock:t1.x:app.x",
        "config_lock:t1:app.x",
        "config_lock:t1:odd",
        "config_lock:t2:app.x",
    ];
    assert_eq!(listed(json!({ "all_tenants": true })), all);

    let shown = a.site.run(["locks", "list", "--all-tenants"]).expect_code(0).stdout;
    assert!(shown.contains("guido") && shown.contains("t1.x"), "{shown}");
    let shown = a.site.run(["locks", "info", "app.x", "--tenant", "t2"]).expect_code(0).stdout;
    assert!(shown.contains("token"), "{shown}");
}

#[test]
fn the_command_line_holds_a_lock_of_redis_while_a_command_runs() {
    let redis = redis();
    let node = node("a", &place(redis.port));
    let script = "test \"$LOCKSTEP_LOCK_TOKEN\" -gt 0 && sleep 5";
    let run = ["locks", "run", "app.x", "--ttl", "3s", "--user", "ann", "--", "sh", "-c", script];
    node.site.run(run).expect_code(0);
    assert_eq!(node.ask("lock.info", json!({})).expect("shown"), Value::Null, "given back");
    assert_eq!(node.audited(), [("lock_acquired".to_owned(), 1), ("lock_released".to_owned(), 1)]);
    assert_eq!(node.host.logged("Lock acquired for app.x by ann").len(), 1);
    assert_eq!(node.host.logged("Lock released for app.x by ann").len(), 1);
}
