//! The redis plugin against a real server: what it leaves there, and what it makes of what others leave.

use crate::broker_pipelines::stream;
use lockstep_test_support::{Host, LIMIT, PASSWORD, Redis, RedisOptions, Site, USER, eventually};
use serde_json::{Value, json};

const LOG: &str = "apg-config:log:global";
const CACHE: &str = "apg-config:cache:global";

const SYNC: &str = "
sources:
  - plugin: redis
    config: { url: '${env:REDIS_URL}' }
transforms:
  - plugin: resolver
sinks:
  - plugin: redis
    config: { url: '${env:REDIS_URL}' }
";

fn url(redis: &Redis) -> String {
    format!("redis://{USER}:{PASSWORD}@127.0.0.1:{}/0", redis.port)
}

/// A site whose only pipeline is called `p`.
fn site(redis: &Redis, yaml: &str) -> Site {
    Site::new().env("REDIS_URL", url(redis)).env("LOCKSTEP_NODE_ID", "here").pipeline("p", yaml)
}

/// What a program that knows no dots writes.
fn write(redis: &Redis, key: &str, value: &Value) {
    let data = json!({ "config_key": key, "new_value": value, "user_id": "foreign" }).to_string();
    let _: String = redis.command(&["XADD", LOG, "*", "data", &data]);
}

fn cell(redis: &Redis, key: &str) -> Option<Value> {
    let cell: Option<String> = redis.command(&["HGET", CACHE, key]);
    cell.map(|cell| serde_json::from_str(&cell).expect("a cell is JSON"))
}

/// Waits until the cell of a key shows this value as the state of a host.
#[track_caller]
fn wait_cell(redis: &Redis, key: &str, value: &Value) {
    let shown = eventually(LIMIT, || {
        cell(redis, key).filter(|cell| cell["new_value"] == *value && cell["dot"].is_object())
    });
    assert!(shown.is_some(), "{key} = {value} in the cache: {:?}", cell(redis, key));
}

/// What this host's group took and did not acknowledge.
fn n_unacknowledged(redis: &Redis) -> i64 {
    let (n, ..): (i64, ::redis::Value, ::redis::Value, ::redis::Value) =
        redis.command(&["XPENDING", LOG, "apg-config-here"]);
    n
}

#[track_caller]
fn wait_acknowledged(redis: &Redis) {
    let done = eventually(LIMIT, || (n_unacknowledged(redis) == 0).then_some(()));
    assert!(done.is_some(), "{} entries are not acknowledged", n_unacknowledged(redis));
}

fn get(site: &Site, key: &str) -> Value {
    serde_json::from_str(site.run(["get", key]).expect_code(0).stdout.trim()).expect("JSON")
}

#[test]
fn what_another_program_wrote_is_in_the_cache_too_and_stands_in_the_stream_once() {
    let redis = Redis::start(&RedisOptions::default());
    let sync = site(&redis, SYNC);
    let host = sync.started();
    sync.run(["set", "app.x", "1"]).expect_code(0);
    wait_cell(&redis, "app.x", &json!(1));
    // Each of these is followed by a change made here: neither may bring back what it replaces.
    for value in 2..20 {
        write(&redis, "app.x", &json!(value));
        write(&redis, &format!("app.n{value}"), &json!(value));
    }
    wait_cell(&redis, "app.x", &json!(19));
    (2..20).for_each(|value| wait_cell(&redis, &format!("app.n{value}"), &json!(value)));
    sync.run(["set", "app.x", "20"]).expect_code(0);
    wait_cell(&redis, "app.x", &json!(20));
    let data = json!({ "config_key": "app.n2", "event_type": "config_deleted" }).to_string();
    let _: String = redis.command(&["XADD", LOG, "*", "data", &data]);
    let deleted =
        eventually(LIMIT, || cell(&redis, "app.n2").filter(|cell| cell["event_type"] == "config_deleted"));
    assert!(deleted.is_some());
    assert_eq!(stream(&redis, LOG).len(), 2 * 18 + 3, "nothing is told a second time");
    wait_acknowledged(&redis);
    host.stop();

    // Who comes when the stream has forgotten it finds it in the cache.
    let _: i64 = redis.command(&["XTRIM", LOG, "MAXLEN", "0"]);
    let other = site(&redis, SYNC).env("LOCKSTEP_NODE_ID", "other");
    let host = other.started();
    assert_eq!((get(&other, "app.x"), get(&other, "app.n19")), (json!(20), json!(19)));
    host.stop();
}

#[test]
fn a_cell_that_was_not_written_when_the_host_died_is_written_by_the_next_one() {
    let redis = Redis::start(&RedisOptions::default());
    let site = site(&redis, SYNC);
    let mut host = site.started();
    write(&redis, "app.x", &json!(1));
    wait_cell(&redis, "app.x", &json!(1));
    // No cell can be written while the cache's name holds something else.
    let _: String = redis.command(&["RENAME", CACHE, "aside"]);
    let _: String = redis.command(&["SET", CACHE, "no hash"]);
    write(&redis, "app.x", &json!(2));
    host.wait_until("the change in the log", LIMIT, |_| get(&site, "app.x") == json!(2));
    host.kill();
    assert_eq!(n_unacknowledged(&redis), 1, "the server remembers what is owed");
    let _: String = redis.command(&["RENAME", "aside", CACHE]);
    let host = site.started();
    wait_cell(&redis, "app.x", &json!(2));
    wait_acknowledged(&redis);
    assert_eq!(stream(&redis, LOG).len(), 2);
    host.stop();
}

#[test]
fn a_stream_that_the_access_list_hides_is_read_when_it_hides_it_no_more() {
    let redis = Redis::start(&RedisOptions::default());
    let allow = |names: &str| {
        let keys = [format!("~apg-config:log:{names}"), format!("~apg-config:cache:{names}")];
        let _: String =
            redis.command(&["ACL", "SETUSER", "reader", "on", ">s", "+@all", "&*", &keys[0], &keys[1]]);
    };
    allow("global");
    let data = json!({ "config_key": "app.x", "new_value": 1 }).to_string();
    let _: String = redis.command(&["XADD", "apg-config:log:acme", "*", "data", &data]);
    let yaml = SYNC.replacen("}' }", "}', discover_interval: 200ms }", 1);
    let site = Site::new()
        .env("REDIS_URL", format!("redis://reader:s@127.0.0.1:{}/0", redis.port))
        .pipeline("p", &yaml);
    let mut host = site.started();
    write(&redis, "app.y", &json!(2));
    host.wait_until("the other stream", LIMIT, |_| site.run(["get", "app.y"]).code == Some(0));
    assert_eq!(host.logged("Redis refuses the reading of a stream").len(), 1);
    assert_eq!(site.run(["get", "--tenant", "acme", "app.x"]).code, Some(1));
    allow("acme");
    host.wait_until("the stream", LIMIT, |_| site.run(["get", "--tenant", "acme", "app.x"]).code == Some(0));
    assert_eq!(host.logged("Redis refuses the reading of a stream").len(), 1, "said once");
    host.stop();
}

/// How many connections of the sink the server lists.
fn n_sink_connections(redis: &Redis) -> usize {
    let list: String = redis.command(&["CLIENT", "LIST"]);
    list.lines().filter(|line| line.contains(" name=lockstep:redis ")).count()
}

#[test]
fn the_sink_writes_over_pool_size_connections_and_keeps_each_keys_order() {
    let redis = Redis::start(&RedisOptions::default());
    let from = Redis::start(&RedisOptions::default());
    for number in 0..2000 {
        let (key, value) = (format!("k{}", number % 40), number.to_string());
        let _: String = from.command(&["XADD", "orders", "*", "key", &key, "value", &value]);
    }
    let yaml = "
sources:
  - plugin: redis
    config: { url: '${env:FROM_URL}', streams: [orders] }
sinks:
  - plugin: redis
    config: { url: '${env:REDIS_URL}', stream: copies, pool_size: 7 }
";
    let host = site(&redis, yaml).env("FROM_URL", url(&from)).started();
    let copied = eventually(LIMIT, || Some(stream(&redis, "copies")).filter(|all| all.len() >= 2000));
    let copies = copied.expect("every entry");
    assert_eq!((copies.len(), n_sink_connections(&redis)), (2000, 7));
    for key in (0..40).map(|key| format!("k{key}")) {
        let of_key = copies.iter().filter(|entry| entry["key"] == key.as_bytes());
        let numbers: Vec<u64> =
            of_key.map(|entry| String::from_utf8_lossy(&entry["value"]).parse().expect("a number")).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b) && numbers.len() == 50, "{key}: {numbers:?}");
    }
    host.stop();
}

#[test]
fn a_source_goes_on_behind_what_was_committed_and_reads_the_cache_where_entries_are_gone() {
    let redis = Redis::start(&RedisOptions::default());
    let here = site(&redis, SYNC);
    let other = site(&redis, SYNC).env("LOCKSTEP_NODE_ID", "other");
    let host = here.started();
    write(&redis, "app.x", &json!(1));
    wait_cell(&redis, "app.x", &json!(1));
    wait_acknowledged(&redis);
    host.stop();

    // While it is away: first what it finds in the stream, then what it finds in the cache alone.
    write(&redis, "app.y", &json!(2));
    let mut host = here.started();
    assert_eq!(get(&here, "app.y"), json!(2), "what was there at the start is there when it is ready");
    let read = |host: &Host| host.metrics().sum("lockstep_plugin_redis_entries_read_total", &[]);
    assert!((read(&host) - 1.0).abs() < 0.1, "the first entry is not read again: {}", read(&host));
    host.kill();
    let second = other.started();
    other.run(["set", "app.z", "3"]).expect_code(0);
    other.run(["set", "app.x", "4"]).expect_code(0);
    wait_cell(&redis, "app.z", &json!(3));
    wait_cell(&redis, "app.x", &json!(4));
    second.stop();
    let _: i64 = redis.command(&["XTRIM", LOG, "MAXLEN", "0"]);
    let host = here.started();
    assert_eq!(host.logged("gap: entries of the stream are gone").len(), 1);
    assert_eq!((get(&here, "app.z"), get(&here, "app.x")), (json!(3), json!(4)));
    host.stop();
}

#[test]
fn a_login_that_is_refused_is_said_without_the_password_and_ends_nothing() {
    let redis = Redis::start(&RedisOptions::default());
    let wrong = format!("redis://{USER}:wrong-hunter2@127.0.0.1:{}/0", redis.port);
    let site = Site::new().env("REDIS_URL", wrong).pipeline("p", SYNC);
    let mut host = site.start();
    host.wait_until("the refusal in the status", LIMIT, |host| {
        host.status().errors("p").contains(&format!("refuses the login of user `{USER}`"))
    });
    assert_eq!(host.status().state("p"), "running");
    let shown = format!("{}{}", host.status().json(), host.log());
    assert!(!shown.contains("hunter2"), "the password is nowhere");
    let _: String = redis.command(&["ACL", "SETUSER", USER, ">wrong-hunter2"]);
    host.wait_ready();
    site.run(["set", "app.x", "1"]).expect_code(0);
    wait_cell(&redis, "app.x", &json!(1));
    host.stop();
}
