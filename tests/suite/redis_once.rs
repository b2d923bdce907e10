//! The redis sink where every record is applied once: whatever comes again, and whatever the server goes through.

use crate::broker_pipelines::stream;
use lockstep_test_support::{Host, LIMIT, PASSWORD, Redis, RedisOptions, Site, USER};
use serde_json::json;

const COUNTS: &str = "apg-config:applied:";

/// A host that moves the entries of the stream `in` to this sink.
fn start(redis: &Redis, sink: &str) -> (Site, Host) {
    let login = format!("port: {}, username: {USER}, password: {PASSWORD}", redis.port);
    let yaml = format!(
        "
sources: [ {{ plugin: redis, config: {{ {login}, streams: [in] }} }} ]
sinks: [ {{ plugin: redis, config: {{ {login}, {sink}, once: {{ for: 1h }} }} }} ]
"
    );
    let site = Site::new().pipeline("once", &yaml);
    let host = site.start();
    (site, host)
}

fn add(redis: &Redis, fields: &[&str]) {
    let _: String = redis.command(&[&["XADD", "in", "*"], fields].concat());
}

fn wait_for_known(host: &mut Host, n: f64) {
    host.wait_until("repeats that are known", LIMIT, |host| {
        host.metrics().sum("lockstep_plugin_redis_records_known_total", &[]) >= n
    });
}

#[test]
fn a_record_is_applied_once_although_it_comes_again_and_the_server_starts_again() {
    let options = RedisOptions { settings: "appendfsync always\n".to_owned(), ..RedisOptions::default() };
    let redis = Redis::start(&options);
    // Switched off, and still allowed everything: otherwise the server forgets what scripts wrote.
    let _: String = redis.command(&["ACL", "SETUSER", "default", "allkeys", "allchannels", "+@all"]);
    let _: String = redis.command(&["CONFIG", "REWRITE"]);
    let (_site, mut host) = start(&redis, "stream: out");
    let give = |redis: &Redis| {
        for number in 0..50 {
            let (id, value) = (format!("e{number}"), number.to_string());
            add(redis, &["key", "k", "value", &value, "header:event_id", &id]);
        }
    };
    give(&redis);
    give(&redis);
    wait_for_known(&mut host, 50.0);
    // The server forgets its scripts by itself when it starts again.
    redis.kill();
    redis.restart();
    give(&redis);
    wait_for_known(&mut host, 100.0);
    let _: String = redis.command(&["SCRIPT", "FLUSH"]);
    give(&redis);
    wait_for_known(&mut host, 150.0);
    assert_eq!(stream(&redis, "out").len(), 50);
    for number in 0..50 {
        let name = format!("{COUNTS}{{out}}:e{number}");
        assert_eq!(redis.command::<u64>(&["GET", &name]), 1, "{name}");
        assert!((1..=3600).contains(&redis.command::<i64>(&["TTL", &name])), "{name}");
    }
    add(&redis, &["value", "nameless"]);
    host.wait_until("a dead letter", LIMIT, |host| {
        host.metrics().sum("lockstep_records_dead_lettered_total", &[]) >= 1.0
    });
    host.stop();
}

#[test]
fn a_change_that_comes_again_brings_no_older_value_back() {
    let redis = Redis::start(&RedisOptions::default());
    let (_site, mut host) = start(&redis, "replicate: false");
    let give = |id: &str, change: serde_json::Value| {
        let mut change = change;
        change["event_id"] = json!(id);
        change["config_key"] = json!("app.x");
        add(&redis, &["data", &change.to_string()]);
    };
    let all = || {
        give("e1", json!({ "new_value": 1 }));
        give("e2", json!({ "event_type": "config_deleted" }));
        give("e3", json!({ "new_value": 3 }));
    };
    all();
    give("e1", json!({ "new_value": 1 }));
    give("e2", json!({ "event_type": "config_deleted" }));
    wait_for_known(&mut host, 2.0);
    let cell: String = redis.command(&["HGET", "apg-config:cache:global", "app.x"]);
    let cell: serde_json::Value = serde_json::from_str(&cell).expect("a cell is JSON");
    assert_eq!((&cell["new_value"], &cell["event_id"]), (&json!(3), &json!("e3")));
    assert_eq!(stream(&redis, "apg-config:log:global").len(), 3);
    assert_eq!(redis.command::<u64>(&["GET", &format!("{COUNTS}{{apg-config:log:global}}:e2")]), 1);
    host.stop();
}
