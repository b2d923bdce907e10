//! Hosts that have values sealed in their logs: the sealed value is the value, everywhere and to the letter.

use super::*;
use lockstep_test_support::{LIMIT, RedisOptions, eventually, lines};
use serde_json::json;

const CANARY: &str = "canary-51f7b003";

/// A host that seals before its log, and opens for one sink. Its schema takes no envelope: what an author, a rollback or
/// a resolution brings sealed is opened for it.
fn site(redis: &Redis, node: &str) -> Site {
    let site = Site::new().env("REDIS_URL", redis_url(redis)).env("LOCKSTEP_NODE_ID", node).pipeline(
        "p",
        "
sources: [ { plugin: redis, config: { url: '${env:REDIS_URL}' } } ]
transforms:
  - { name: opens, plugin: decrypt, config: { ring: [ { file: ../keys/ring } ] } }
  - { plugin: validate, config: { schemas: [ { match: app.*, schema: { not: { type: boolean }, properties: { $enc: false } } } ] } }
  - { plugin: encrypt, config: { keys: ['app.*'], ring: [ { file: ../keys/ring } ] } }
  - { plugin: resolver, config: { strategies: [ { match: app.first.*, strategy: first_write_wins } ] } }
sinks:
  - { plugin: redis, config: { url: '${env:REDIS_URL}' } }
  - plugin: file
    transforms: [ { plugin: decrypt, config: { ring: [ { file: ../keys/ring } ] } } ]
    config: { path: SITE/opened.ndjson }
",
    );
    set_ring(&site, &[("k1", 1)]);
    site
}

/// Waits until both hosts have one and the same envelope.
fn wait_same(sites: [&Site; 2], key: &str) -> Value {
    let shown = || sites.map(|site| get(site, key));
    let same = eventually(LIMIT, || match shown() {
        [Some(one), Some(other)] if one == other => Some(one),
        _ => None,
    });
    let same = same.unwrap_or_else(|| panic!("{key}: {:?}", shown()));
    assert!(same["$enc"]["ct"].is_string(), "{same}");
    same
}

/// The last value of a key as a host's sink has it, opened.
fn opened(site: &Site, key: &str) -> Option<Value> {
    let lines = lines(&site.path("opened.ndjson"));
    let read = |line: &String| serde_json::from_str::<Value>(line).expect("JSON");
    lines
        .iter()
        .map(read)
        .rfind(|change| change["config_key"] == key)
        .map(|change| change["new_value"].clone())
}

fn set(site: &Site, key: &str, value: &Value) {
    site.run(["set", key, &value.to_string()]).expect_code(0);
}

#[test]
fn a_sealed_value_is_the_same_on_every_host_and_conflicts_are_decided_without_opening_it() {
    let redis = Redis::start(&RedisOptions::default());
    let sites = [site(&redis, "one"), site(&redis, "two")];
    let hosts = sites.each_ref().map(|site| site.started());
    let [one, two] = &sites;
    let keys = ["app.first.x", "app.last.x"];
    keys.iter().for_each(|key| set(one, key, &json!({ "pin": CANARY })));
    let before = keys.map(|key| wait_same([one, two], key));

    redis.stop();
    for key in keys {
        set(one, key, &json!({ "pin": CANARY, "by": "one" }));
        set(two, key, &json!({ "pin": CANARY, "by": "two" }));
    }
    redis.cont();
    for (key, wins) in [("app.first.x", "one"), ("app.last.x", "two")] {
        let is_decided = eventually(LIMIT, || {
            let both = [one, two].map(|site| opened(site, key).map(|value| value["by"] == wins));
            (both == [Some(true); 2]).then_some(())
        });
        assert!(is_decided.is_some(), "{key}: {:?} {:?}", opened(one, key), opened(two, key));
        let after = wait_same([one, two], key);
        assert!(!before.contains(&after));
    }
    // A person covers both, and nobody has seen a value on the way.
    set(two, "app.last.x", &json!(5));
    wait_same([one, two], "app.last.x");
    let cells: Vec<String> = redis.command(&["HVALS", "apg-config:cache:global"]);
    let stream =
        format!("{:?}", redis.command::<::redis::Value>(&["XRANGE", "apg-config:log:global", "-", "+"]));
    assert!(!stream.contains(CANARY) && !cells.concat().contains(CANARY));
    for site in [one, two] {
        assert_eq!(files_holding(&site.path("data"), CANARY), [""; 0]);
        assert_eq!(site.run(["dlq", "list", "--json"]).expect_code(0).json()["dead_letters"], json!([]));
    }
    hosts.into_iter().for_each(Host::stop);
}

#[test]
fn a_value_that_is_set_again_or_rolled_back_to_is_sealed_under_the_key_in_use() {
    let redis = Redis::start(&RedisOptions::default());
    let site = site(&redis, "one");
    let mut host = site.started();
    let kid = |key: &str| get(&site, key).expect("a value")["$enc"]["kid"].clone();
    set(&site, "app.x", &json!(CANARY));
    set(&site, "app.y", &json!([CANARY]));
    set(&site, "app.y", &json!(2));
    set_ring(&site, &[("k2", 2), ("k1", 1)]);
    site.run(["call", "encrypt.rotate"]).expect_code(0);
    assert_eq!((kid("app.x"), kid("app.y")), (json!("k1"), json!("k1")));
    let sealed = get(&site, "app.x").expect("a value");
    set(&site, "app.x", &sealed);
    site.run(["rollback", "app.y", "--to", "2"]).expect_code(0);
    assert_eq!((kid("app.x"), kid("app.y")), (json!("k2"), json!("k2")));
    host.wait_until("both opened", LIMIT, |_| opened(&site, "app.y") == Some(json!([CANARY])));
    assert_eq!(opened(&site, "app.x"), Some(json!(CANARY)));

    // Without the old key, what is left under it can no longer be opened, and nothing else is lost.
    set_ring(&site, &[("k2", 2)]);
    site.run(["call", "encrypt.rotate"]).expect_code(0);
    let refused = site.run(["set", "app.x", &sealed.to_string()]).expect_code(1);
    assert!(refused.stderr.contains("sealed under an unknown key"), "{}", refused.stderr);
    set(&site, "app.x", &get(&site, "app.x").expect("a value"));
    let refused = site.run(["set", "app.x", "true"]).expect_code(1);
    assert!(refused.stderr.contains("does not match its schema"), "{}", refused.stderr);
    host.stop();
}
