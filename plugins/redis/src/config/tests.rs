//! What a configuration may say, and what is answered to one that cannot work.

use super::*;

fn source(json: &str) -> Result<Settings> {
    let config: RedisSourceConfig = serde_json::from_str(json).map_err(Error::failed)?;
    config.check()?;
    config.settings()
}

fn sink(json: &str) -> Result<Settings> {
    let config: RedisSinkConfig = serde_json::from_str(json).map_err(Error::failed)?;
    config.check()?;
    config.settings()
}

#[test]
fn the_defaults_are_this_machine_without_a_login() {
    let settings = sink("{}").expect("the defaults");
    assert_eq!(settings.endpoint(), "redis:127.0.0.1:6379/0 apg-config:log: apg-config:cache:");
    assert_eq!(settings.endpoint(), source("{}").expect("the defaults").endpoint(), "source and sink meet");
    assert_eq!(settings.pool_size, 4);
    assert!(settings.server.login.password.is_none() && !settings.server.is_tls);
}

#[test]
fn the_guides_advanced_settings_are_taken_as_they_are() {
    let json = r#"{"host": "redis-cluster.internal", "port": 6379, "password": "redis-password", "ssl": true, "pool_size": 20}"#;
    for settings in [source(json), sink(json)] {
        let settings = settings.expect("the guide's");
        assert_eq!((settings.pool_size, settings.server.is_tls), (20, true));
        assert!(!format!("{settings:?}").contains("redis-password"), "a secret is shown nowhere");
    }
}

#[test]
fn a_url_says_what_the_fields_say() {
    let by_url = sink(r#"{"url": "rediss://app:p%40ss@redis.internal:6380/2"}"#).expect("a URL");
    let by_fields = sink(
        r#"{"host": "redis.internal", "port": 6380, "db": 2, "username": "app", "password": "p@ss", "ssl": true}"#,
    )
    .expect("fields");
    assert_eq!(by_url.server, by_fields.server);
    let short = sink(r#"{"url": "redis://localhost"}"#).expect("a URL");
    assert_eq!(short.endpoint(), sink("{}").expect("the defaults").endpoint(), "`localhost` is this machine");
    for json in [
        r#"{"url": "redis://localhost", "port": 6380}"#,
        r#"{"url": "http://localhost"}"#,
        r#"{"url": "redis://user:secret-word@/x"}"#,
        r#"{"url": "redis://localhost/many"}"#,
        r#"{"url": "localhost:6379"}"#,
    ] {
        let error = sink(json).expect_err(json);
        assert!(!error.message().contains("secret-word"), "{error}");
    }
}

#[test]
fn sentinels_and_clusters_stand_in_place_of_one_server() {
    let sentinel = r#"{"db": 1, "sentinel": {"master_name": "mymaster", "nodes": ["b:26379", "a:26379"], "password": "s"}}"#;
    assert_eq!(source(sentinel).expect("sentinels").server.address.to_string(), "mymaster@a:26379,b:26379/1");
    let cluster = r#"{"cluster": {"nodes": ["[::1]:7001", "a:7000"]}, "ssl": true, "ssl_context": {"cafile": "ca.crt"}}"#;
    assert_eq!(sink(cluster).expect("a cluster").server.address.to_string(), "cluster@::1:7001,a:7000");
}

#[test]
fn what_cannot_work_is_refused_where_it_is_written() {
    for (json, field) in [
        (r#"{"host": "a", "cluster": {"nodes": ["a:1"]}}"#, "cluster"),
        (r#"{"port": 1, "sentinel": {"master_name": "m", "nodes": ["a:1"]}}"#, "sentinel"),
        (r#"{"cluster": {"nodes": []}}"#, "cluster.nodes"),
        (r#"{"cluster": {"nodes": ["a"]}}"#, "cluster.nodes.0"),
        (r#"{"cluster": {"nodes": ["a:1"]}, "db": 1}"#, "db"),
        (r#"{"sentinel": {"master_name": "", "nodes": ["a:1"]}}"#, "sentinel.master_name"),
        (r#"{"username": "app"}"#, "username"),
        (r#"{"ssl_context": {"cafile": "ca.crt"}}"#, "ssl_context"),
        (r#"{"ssl": true, "ssl_context": {"certfile": "client.crt"}}"#, "ssl_context.keyfile"),
        (r#"{"pool_size": 0}"#, "pool_size"),
        (r#"{"response_timeout": 30}"#, "response_timeout"),
        (r#"{"connect_timeout": "1ms"}"#, "connect_timeout"),
        (r#"{"cache_prefix": "apg-config:log:"}"#, "cache_prefix"),
        (r#"{"host": "a b"}"#, "host"),
    ] {
        assert_eq!(sink(json).expect_err(json).detail(), field, "{json}");
        assert_eq!(source(json).expect_err(json).detail(), field, "{json}");
    }
    for (json, field) in [
        (r#"{"tenants": ["acme", "a:b"]}"#, "tenants.1"),
        (r#"{"tenants": ["acme"], "streams": ["s"]}"#, "streams"),
        (r#"{"streams": []}"#, "streams"),
        (r#"{"group": ""}"#, "group"),
        (r#"{"claim_idle": "10ms"}"#, "claim_idle"),
        (r#"{"discover_interval": 0}"#, "discover_interval"),
    ] {
        assert_eq!(source(json).expect_err(json).detail(), field, "{json}");
    }
    assert_eq!(sink(r#"{"stream_max_len": 0}"#).expect_err("none kept").detail(), "stream_max_len");
    assert_eq!(sink(r#"{"stream": ""}"#).expect_err("no name").detail(), "stream");
    for (json, field) in [
        (r#"{"once": {}}"#, "once"),
        (r#"{"stream": "s", "once": {"for": 0}}"#, "once.for"),
        (r#"{"stream": "s", "once": {"for": "9000h"}}"#, "once.for"),
        (r#"{"stream": "a}b", "once": {}}"#, "stream"),
        (r#"{"replicate": false, "stream_prefix": "a{b:", "once": {}}"#, "stream_prefix"),
        (r#"{"replicate": false, "cluster": {"nodes": ["a:1"]}, "once": {}}"#, "once"),
    ] {
        assert_eq!(sink(json).expect_err(json).detail(), field, "{json}");
    }
    sink(r#"{"stream": "s", "once": {"for": "24h"}}"#).expect("a stream of records that are applied once");
    sink(r#"{"replicate": false, "stream_prefix": "{a}:log:", "cache_prefix": "{a}:cache:", "cluster": {"nodes": ["a:1"]}, "once": {}}"#)
        .expect("one slot");
    sink(r#"{"colour": "red"}"#).expect_err("an unknown field");
    sink(r#"{"group": "g"}"#).expect_err("a field of the source");
}
