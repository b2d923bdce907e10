//! Sentinels and clusters: a lock is where its master is, and goes on when that dies.

use super::{Node, code, node};
use lockstep_test_support::{Cluster, LIMIT, PASSWORD, Sentinels, USER, eventually};
use serde_json::{Value, json};
use std::{thread, time::Duration};

fn nodes(ports: &[u16]) -> String {
    json!(ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>()).to_string()
}

/// Keeps a lease while the server changes, and then gives it back.
fn survives(a: &Node, b: &Node, fail_over: impl FnOnce()) {
    let token =
        a.acquire("s1", json!({ "user_id": "alice", "ttl_ms": 120_000 })).expect("free")["token"].clone();
    fail_over();
    let extend = || a.ask("lock.extend", json!({ "session": "s1", "token": token })).ok();
    assert_eq!(eventually(LIMIT, extend).expect("held still")["token"], token);
    let refused = eventually(LIMIT, || {
        b.acquire("s2", json!({})).err().filter(|refused| refused.code != "unavailable")
    });
    assert_eq!(refused.expect("an answer").code, "locked");
    let change = json!({ "session": "s1", "fence": { "token": token }, "base_revision": b.revision() });
    assert!(b.change(&json!(1), change)["revision"].is_u64(), "the token counts at the other host");
    thread::scope(|scope| {
        let (admin, site) = (b.host.admin().to_owned(), &b.site);
        let waiting = scope.spawn(move || {
            let wait = json!({ "config_key": "app.x", "session": "s2", "wait_ms": 30_000 });
            super::call(site, &admin, "lock.acquire", &wait)
        });
        thread::sleep(Duration::from_millis(500));
        a.release("s1").expect("held");
        let lease = waiting.join().expect("no panic").expect("its turn came");
        assert!(lease["token"].as_u64() > token.as_u64());
    });
}

#[test]
fn a_lock_goes_on_with_the_master_that_the_sentinels_name_next() {
    let sentinels = Sentinels::start();
    let place = format!(
        "sentinel: {{ master_name: {}, nodes: {} }}, username: {USER}, password: {PASSWORD}",
        sentinels.master_name(),
        nodes(&sentinels.ports())
    );
    let (a, b) = (node("a", &place), node("b", &place));
    survives(&a, &b, || sentinels.fail_over(|| ()));
}

#[test]
fn a_lock_goes_on_with_the_replica_of_its_node_and_all_nodes_are_listed() {
    let cluster = Cluster::start();
    let place =
        format!("cluster: {{ nodes: {} }}, username: {USER}, password: {PASSWORD}", nodes(&cluster.ports()));
    let (a, b) = (node("a", &place), node("b", &place));
    let keys: Vec<String> = (0..12).map(|n| format!("spread.n{n}")).collect();
    for (n, key) in keys.iter().enumerate() {
        let host = if n % 2 == 0 { &a } else { &b };
        host.call("lock.acquire", &json!({ "config_key": key, "session": "s9" })).expect("free");
    }
    let listed = b.call("lock.list", &json!({})).expect("listed");
    let key = |lock: &Value| lock["config_key"].as_str().expect("a key").to_owned();
    let mut listed: Vec<String> = listed.as_array().expect("a list").iter().map(key).collect();
    listed.sort_by_key(|key| key.trim_start_matches("spread.n").parse::<u32>().expect("a number"));
    assert_eq!(listed, keys);
    assert_eq!(code(a.call("lock.acquire", &json!({ "config_key": keys[1], "session": "s1" }))), "locked");
    let closed = a.call("lock.session_closed", &json!({ "session": "s9" })).expect("closed");
    assert_eq!(closed["released"], 6, "what was granted at this host");
    survives(&a, &b, || cluster.fail_over(super::LOCK, || ()));
}
