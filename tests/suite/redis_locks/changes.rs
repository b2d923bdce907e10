//! What becomes of changes: a lock of another session refuses them, a token counts at every host, and a server that is away
//! holds them back.

use super::{LOCK, Node, call, node, place, redis, two};
use lockstep_test_support::{LIMIT, Request, eventually};
use serde_json::{Value, json};
use std::{
    thread,
    time::{Duration, Instant},
};

/// The code that a change is refused with; `ok` if it is not.
fn outcome(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or(if answer["revision"].is_u64() { "ok" } else { "?" })
}

/// A change under a token, based on what the key is at this host.
fn fenced(node: &Node, session: &str, token: &Value, value: u64) -> String {
    let rest = json!({ "session": session, "fence": { "token": token }, "base_revision": node.revision() });
    outcome(&node.change(&json!(value), rest)).to_owned()
}

#[test]
fn only_the_holders_changes_pass_at_every_host() {
    let (redis, a, b) = two();
    a.acquire("s1", json!({ "user_id": "alice", "ttl_ms": 60_000 })).expect("free");
    for host in [&a, &b] {
        for rest in [json!({}), json!({ "session": "s2" })] {
            let refused = host.change(&json!(1), rest);
            assert_eq!(outcome(&refused), "locked", "{refused}");
            assert_eq!(refused["error"]["message"], "Configuration is locked by another user");
            assert_eq!(refused["error"]["details"]["locked_by"], "alice");
            assert!(refused["error"]["details"]["expires_at"].is_string(), "{refused}");
        }
        assert_eq!(outcome(&host.change(&json!(2), json!({ "session": "s1" }))), "ok");
    }
    let mut client = b.client();
    client.subscribe(&[]);
    let refused = client.change("app.x", &json!(3));
    assert_eq!(
        (&refused["error"], &refused["success"]),
        (&json!("Configuration is locked by another user"), &json!(false))
    );
    b.release("s1").expect("held");
    assert_eq!(outcome(&a.change(&json!(4), json!({}))), "ok");

    // The guide's own class has taken it, and set no end.
    let theirs = json!({ "config_key": "app.x", "user_id": "guido", "tenant_id": null }).to_string();
    let _: String = redis.command(&["SET", LOCK, &theirs]);
    let refused = a.change(&json!(5), json!({ "session": "s1" }));
    assert_eq!((outcome(&refused), &refused["error"]["details"]["locked_by"]), ("locked", &json!("guido")));
    let _: i64 = redis.command(&["DEL", LOCK]);
    assert_eq!(outcome(&a.change(&json!(6), json!({}))), "ok");
}

#[test]
fn a_token_counts_at_every_host_while_it_is_the_one_in_force() {
    let (_redis, a, b) = two();
    let first = a.acquire("s1", json!({})).expect("free")["token"].clone();
    for host in [&a, &b, &a] {
        assert_eq!(fenced(host, "s1", &first, 1), "ok");
    }
    assert_eq!(fenced(&b, "s2", &first, 2), "locked", "somebody else's session");
    assert_eq!(fenced(&b, "s1", &json!(9), 2), "stale_fence", "no token that there is");
    b.release("s1").expect("held");
    for host in [&a, &b] {
        assert_eq!(fenced(host, "s1", &first, 3), "stale_fence", "it was given back");
    }
    let second = b.acquire("s2", json!({})).expect("free")["token"].clone();
    for host in [&a, &b] {
        assert_eq!(fenced(host, "s1", &first, 4), "stale_fence");
        assert_eq!(fenced(host, "s2", &second, 5), "ok");
    }
    b.ask("lock.force_release", json!({ "admin_user_id": "root" })).expect("held");
    for host in [&a, &b] {
        assert_eq!(fenced(host, "s2", &second, 6), "stale_fence", "taken away");
    }
}

#[test]
fn a_change_under_a_token_says_what_it_is_based_on_and_is_compared_with_it() {
    let redis = redis();
    let a = node("a", &place(redis.port));
    let token = a.acquire("s1", json!({})).expect("free")["token"].clone();
    let with = |rest: Value| {
        let mut change = json!({ "session": "s1", "fence": { "token": token } });
        change.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        change
    };
    assert_eq!(outcome(&a.change(&json!(1), with(json!({})))), "base_required");
    let read = a.revision();
    assert_eq!(outcome(&a.change(&json!(1), with(json!({ "base_revision": read })))), "ok");
    let late = a.change(&json!(2), with(json!({ "base_revision": read })));
    assert_eq!(outcome(&late), "conflict", "{late}");
    assert_eq!(a.host.get("/v1/keys/app.x").json()["new_value"], 1);
    assert!(a.host.get("/v1/keys/app.x").json()["siblings"].is_null(), "nothing stands beside it");

    // By the command line, which looks by itself what is current, unless it is told.
    let token = token.to_string();
    let holder = ["--session", "s1", "--token", &token];
    let set = |more: &[&str]| a.site.run([&["set", "app.x", "7"], &holder[..], more].concat());
    let old = read.to_string();
    assert!(set(&["--base-revision", &old]).expect_code(1).stderr.contains("conflict"));
    set(&["--base-revision", &a.revision().to_string()]).expect_code(0);
    set(&[]).expect_code(0);
}

#[test]
fn a_command_under_a_lock_changes_the_locked_key_and_others_while_the_lock_lasts() {
    let redis = redis();
    let a = node("a", &place(redis.port));
    let lockstep = lockstep_test_support::host_binary();
    let script = "set -e
        $L set app.x 1; $L set app.x 2; $L delete app.x; $L set app.x 3
        $L set app.other 1; $L set app.other 2
        $L locks release app.x --force
        for key in app.x app.other; do
            if $L set $key 9 2> refused; then exit 5; fi
            grep -q stale_fence refused
        done";
    let script = script.replace("$L", lockstep.to_str().expect("text"));
    // The lock is not seen to be lost before the script has ended.
    let run = ["locks", "run", "app.x", "--ttl", "60s", "--", "sh", "-c", &script];
    let ran = a.site.run(run);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(a.host.get("/v1/keys/app.x").json()["new_value"], 3);
    assert_eq!(a.host.get("/v1/keys/app.other").json()["new_value"], 2);
}

#[test]
fn a_server_that_is_away_holds_changes_back_and_loses_none() {
    let redis = redis();
    let mut a = node("a", &place(redis.port));
    assert_eq!(outcome(&a.change(&json!(0), json!({}))), "ok");
    redis.kill();
    let start = Instant::now();
    let refused = a.acquire("s1", json!({})).expect_err("away");
    assert_eq!((refused.code.as_str(), &refused.error["retryable"]), ("unavailable", &json!(true)));
    assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
    thread::scope(|scope| {
        let (admin, token) = (a.host.admin().to_owned(), super::token(&a.site));
        let changing = scope.spawn(move || {
            let change = json!({ "config_key": "app.x", "new_value": 1 });
            let request = Request::new("POST", "/v1/changes").bearer(&token).json(&change);
            request.send(&admin).expect("an answer").json()
        });
        a.host.wait_until("the lock's breaker to open", LIMIT, |host| {
            host.status().component("sync", "transforms", "lock")["state"] != "running"
        });
        assert!(!changing.is_finished());
        redis.restart();
        let answer = changing.join().expect("no panic");
        assert_eq!(outcome(&answer), "ok", "{answer}");
    });
    let again = eventually(LIMIT, || {
        call(&a.site, a.host.admin(), "lock.acquire", &json!({ "config_key": "app.x" })).ok()
    });
    assert!(again.is_some());
}
