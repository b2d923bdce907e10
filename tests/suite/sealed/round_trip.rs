//! Two hosts that meet at Redis, with everything sealed on the way: the same values, the same siblings, the same texts.

use super::*;
use lockstep_test_support::{LIMIT, RedisOptions, eventually};
use serde_json::json;

const CANARY: &str = "canary-90ab11d2";

/// A host that seals what it sends and opens what it reads.
fn site(redis: &Redis, node: &str) -> Site {
    let site = Site::new().env("REDIS_URL", redis_url(redis)).env("LOCKSTEP_NODE_ID", node).pipeline(
        "p",
        "
sources:
  - plugin: redis
    transforms: [ { plugin: decrypt, config: { keys: ['app.*'], on_clear: reject, ring: [ { file: ../keys/ring } ] } } ]
    config: { url: '${env:REDIS_URL}' }
transforms:
  - plugin: resolver
    config: { strategies: [ { match: app.text.*, strategy: operational_transform }, { match: app.set.*, strategy: merge_strategies } ] }
sinks:
  - plugin: redis
    transforms: [ { plugin: encrypt, config: { keys: ['app.*'], ring: [ { file: ../keys/ring } ] } } ]
    config: { url: '${env:REDIS_URL}' }
",
    );
    set_ring(&site, &[("k1", 1)]);
    site
}

fn wait_same(sites: [&Site; 2], key: &str, is_expected: impl Fn(&Value) -> bool) {
    let shown = || sites.map(|site| get(site, key));
    let is_same = eventually(LIMIT, || match shown() {
        [Some(one), Some(other)] if one == other && is_expected(&one) => Some(()),
        _ => None,
    });
    assert!(is_same.is_some(), "{key}: {:?}", shown());
}

/// The changes that stand in a key, as a host has them: every byte of every field.
fn siblings(host: &Host, key: &str) -> Value {
    host.get(&format!("/v1/keys/{key}")).json()["siblings"].clone()
}

#[test]
fn values_siblings_and_texts_are_the_same_at_both_ends_and_sealed_between() {
    let redis = Redis::start(&RedisOptions::default());
    let sites = [site(&redis, "one"), site(&redis, "two")];
    let hosts = sites.each_ref().map(|site| site.started());
    let [one, two] = &sites;
    one.run(["set", "app.text.x", &format!("\"{CANARY} in the middle\"")]).expect_code(0);
    one.run(["set", "app.set.x", &json!({ "a": CANARY, "b": [1, 2] }).to_string()]).expect_code(0);
    two.run(["set", "app.pin", "1.50"]).expect_code(0);
    two.run(["set", "app.null", "null"]).expect_code(0);
    for key in ["app.text.x", "app.set.x"] {
        wait_same([one, two], key, |value| value.to_string().contains(CANARY));
    }
    wait_same([one, two], "app.pin", |value| *value == json!(1.5));
    wait_same([one, two], "app.null", Value::is_null);

    // Apart, both write; together again, both have both.
    redis.stop();
    one.run(["set", "app.text.x", &format!("\"first {CANARY} in the middle\"")]).expect_code(0);
    two.run(["set", "app.text.x", &format!("\"{CANARY} in the middle and last\"")]).expect_code(0);
    one.run(["set", "app.set.x", &json!({ "a": CANARY, "b": [1, 2], "one": 1 }).to_string()]).expect_code(0);
    two.run(["set", "app.set.x", &json!({ "a": CANARY, "b": [1, 2], "two": 2 }).to_string()]).expect_code(0);
    one.run(["set", "app.pin", "2"]).expect_code(0);
    two.run(["delete", "app.pin"]).expect_code(0);
    redis.cont();
    wait_same([one, two], "app.text.x", |value| {
        *value == json!(format!("first {CANARY} in the middle and last"))
    });
    let merged = json!({ "a": CANARY, "b": [1, 2], "one": 1, "two": 2 });
    wait_same([one, two], "app.set.x", |value| *value == merged);

    let [first, second] = &hosts;
    for key in ["app.text.x", "app.set.x"] {
        let (one, other) = (siblings(first, key), siblings(second, key));
        assert!(one == other && one.as_array().is_some_and(|list| list.len() == 2), "{key}:\n{one}\n{other}");
    }
    let cells: Vec<String> = redis.command(&["HVALS", "apg-config:cache:global"]);
    let stream =
        format!("{:?}", redis.command::<::redis::Value>(&["XRANGE", "apg-config:log:global", "-", "+"]));
    assert!(!stream.contains(CANARY) && !cells.concat().contains(CANARY));
    assert!(stream.contains("$enc") && cells.iter().any(|cell| cell.contains("siblings")), "{cells:?}");

    // Who comes later reads the cells.
    let third = site(&redis, "three");
    let host = third.started();
    assert_eq!(get(&third, "app.set.x"), Some(merged));
    for host in hosts.into_iter().chain([host]) {
        for key in ["app.text.x", "app.set.x", "app.null"] {
            assert_eq!(host.get(&format!("/v1/keys/{key}")).code, 200, "{key}");
        }
        assert!(host.get("/v1/dead-letters").json()["dead_letters"].as_array().is_some_and(Vec::is_empty));
        host.stop();
    }
}
