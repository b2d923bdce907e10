//! The guide's record at `conflict:{conflict_id}`, and two hosts that meet there.

use super::{Clash, conflicts, listed, shown};
use crate::log_acceptance::change;
use lockstep_test_support::{
    Host, LIMIT, PASSWORD, Redis, RedisOptions, Site, USER, WsClient, eventually, free_port,
};
use serde_json::{Value, json};

struct Place {
    site: Site,
    host: Host,
    authors: [WsClient; 2],
}

/// A host that keeps its changes and its conflicts in Redis.
fn place(redis: &Redis, name: &str) -> Place {
    let port = free_port();
    let yaml = format!(
        "
sources:
  - {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port} }} }}
  - {{ plugin: redis, config: {{ url: '${{env:REDIS_URL}}' }} }}
transforms:
  - {{ plugin: resolver, config: {{ strategy: manual }} }}
sinks:
  - {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port} }} }}
  - {{ plugin: redis, config: {{ url: '${{env:REDIS_URL}}' }} }}
"
    );
    let url = format!("redis://{USER}:{PASSWORD}@127.0.0.1:{}/0", redis.port);
    let site = Site::new().env("REDIS_URL", url).env("LOCKSTEP_NODE_ID", name).pipeline("p", &yaml);
    let mut host = site.start();
    host.wait_ready();
    let author = || {
        let mut author = WsClient::connect(port);
        author.subscribe(&[]);
        author
    };
    Place { host, authors: [author(), author()], site }
}

fn record(redis: &Redis, id: &str) -> Option<Value> {
    let record: Option<String> = redis.command(&["GET", &format!("conflict:{id}")]);
    record.map(|record| serde_json::from_str(&record).expect("JSON"))
}

/// Waits until the record has this in a field, and gives it.
#[track_caller]
fn wait_record(redis: &Redis, id: &str, field: &str, value: &Value) -> Value {
    let found = eventually(LIMIT, || record(redis, id).filter(|record| record[field] == *value));
    found.unwrap_or_else(|| panic!("{field} = {value}: {:?}", record(redis, id)))
}

fn ttl(redis: &Redis, id: &str) -> i64 {
    redis.command(&["TTL", &format!("conflict:{id}")])
}

#[test]
fn d_44b_the_guides_record_is_in_redis_for_seven_days_and_says_what_became_of_it() {
    let redis = Redis::start(&RedisOptions::default());
    let mut here = place(&redis, "here");
    let clash = Clash::of(&mut here.authors, "app.pool");
    let first = clash.id();
    let found = wait_record(&redis, &first, "status", &json!("pending_manual_resolution"));
    for (field, value) in [
        ("conflict_id", json!(first)),
        ("config_key", json!("app.pool")),
        ("tenant_id", Value::Null),
        ("assigned_to", Value::Null),
        ("shown_value", json!({ "max": 5, "min": 2 })),
    ] {
        assert_eq!(found.get(field), Some(&value), "{field}");
    }
    let changes = &found["competing_changes"];
    assert_eq!(
        (&changes[0]["user_id"], &changes[0]["new_value"]),
        (&json!("eve"), &json!({ "max": 7, "min": 1 }))
    );
    assert_eq!(
        (&changes[1]["user_id"], &changes[1]["old_value"]),
        (&json!("adam"), &json!({ "max": 5, "min": 1 }))
    );
    assert!(found["created_at"].is_string());
    let left = ttl(&redis, &first);
    assert!((604_700..=604_800).contains(&left), "{left}");

    conflicts(&here.site, &format!("assign {first} carol")).expect_code(0);
    wait_record(&redis, &first, "assigned_to", &json!("carol"));
    let late = change(&mut here.authors[0], "app.pool", &json!(3), &clash.base);
    let second = late["resolution"]["conflict_id"].as_str().expect("an id").to_owned();
    wait_record(&redis, &first, "superseded_by", &json!(second));
    wait_record(&redis, &second, "supersedes", &json!(first));
    conflicts(&here.site, &format!("resolve {second} --use 3 --user carol")).expect_code(0);
    let decided = wait_record(&redis, &second, "status", &json!("resolved"));
    assert_eq!(decided["resolution"]["user_id"], "carol");
    assert_eq!(decided["competing_changes"].as_array().map(Vec::len), Some(3));
    for id in [&first, &second] {
        assert!((1..=604_800).contains(&ttl(&redis, id)), "what is written over it lasts no longer");
    }
    here.host.stop();
}

#[test]
fn two_hosts_have_one_conflict_and_whoever_decides_it_decides_it_for_both() {
    let redis = Redis::start(&RedisOptions::default());
    let (mut here, there) = (place(&redis, "here"), place(&redis, "there"));
    let id = Clash::of(&mut here.authors, "app.pool").id();
    let seen = eventually(LIMIT, || (listed(&there.site, "") == [id.as_str()]).then_some(()));
    assert!(seen.is_some(), "{:?} is not {id}", listed(&there.site, ""));
    conflicts(&there.site, &format!("resolve {id} --use 1 --user carol")).expect_code(0);
    let decided = eventually(LIMIT, || (shown(&here.site, &id)["status"] == "resolved").then_some(()));
    assert!(decided.is_some(), "{}", shown(&here.site, &id));
    for place in [&here, &there] {
        let record = shown(&place.site, &id);
        assert_eq!(record["resolution"]["user_id"], "carol");
        assert!(listed(&place.site, "").is_empty());
    }
    wait_record(&redis, &id, "status", &json!("resolved"));
}
