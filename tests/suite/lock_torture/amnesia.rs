//! Redis has lost everything, its counters too: no token is given a second time, and whoever has a lock may write.

use super::pair::{Node, Pair};
use lockstep_test_support::Request;
use serde_json::{Value, json};

const KEY: &str = "app.counter";

#[test]
fn after_redis_has_lost_everything_tokens_go_on_and_the_next_holder_may_write() {
    let pair = Pair::start();
    let first = revision(&write(&pair.a, 0, None, None));
    // The other host knows nothing of these.
    for number in 0..5 {
        let lease = take(&pair.a, &format!("s{number}"));
        give_back(&pair.a, &lease);
    }
    let before = take(&pair.a, "before");
    let second = revision(&write(&pair.a, 1, Some(&before), Some(first)));

    pair.redis.wipe();
    pair.redis.restart();
    let after = take(&pair.b, "after");
    let tokens = [&before, &after].map(|lease| lease["token"].as_u64().expect("a token"));
    println!("amnesia: token {} before, {} after", tokens[0], tokens[1]);
    assert!(tokens[0] < tokens[1], "a token that was given is given again: {tokens:?}");
    let late = write(&pair.a, 2, Some(&before), Some(second));
    assert_eq!(late["error"]["code"], "stale_fence", "{late}");
    revision(&write(&pair.a, 2, Some(&after), Some(second)));
}

fn take(node: &Node, session: &str) -> Value {
    let acquire = json!({ "config_key": KEY, "session": session, "ttl_ms": 60_000, "wait_ms": 5_000 });
    node.call("lock.acquire", &acquire).unwrap_or_else(|code| panic!("{session}: {code}"))
}

fn give_back(node: &Node, lease: &Value) {
    let release = json!({ "config_key": KEY, "session": lease["session"], "token": lease["token"] });
    node.call("lock.release", &release).expect("it is held");
}

/// A change under a lease, or under none, made from a revision.
fn write(node: &Node, number: u64, lease: Option<&Value>, base: Option<u64>) -> Value {
    let mut change = json!({ "config_key": KEY, "new_value": number, "user_id": "suite" });
    if let Some(lease) = lease {
        change["fence"] = json!({ "lock": KEY, "token": lease["token"] });
        change["session"] = lease["session"].clone();
    }
    if let Some(base) = base {
        change["base_revision"] = base.into();
    }
    let request = Request::new("POST", "/v1/changes").bearer(&node.sync.token()).json(&change);
    request.send(node.host.admin()).expect("the admin server answers").json()
}

fn revision(answer: &Value) -> u64 {
    answer["revision"].as_u64().unwrap_or_else(|| panic!("refused: {answer}"))
}
