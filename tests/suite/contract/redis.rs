//! A redis-py program and a host exchange changes over the contract's channel, stream and cache.

use super::bridge::{Bridge, Isoformat, ORDER, assert_fields, assert_without, change, delete, shown, synced};
use crate::dead_letter::dead_letters;
use lockstep_test_support::{LIMIT, PASSWORD, Python, Redis, RedisOptions, USER};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A host and its server.
struct Exchange {
    redis: Redis,
    bridge: Bridge,
    time: Isoformat,
    naive: bool,
}

impl Exchange {
    fn start(naive: bool, sink: &str) -> Self {
        Self::start_with(naive, "", sink)
    }

    fn start_with(naive: bool, source: &str, sink: &str) -> Self {
        let redis = Redis::start(&RedisOptions::default());
        let login = format!("host: 127.0.0.1, port: {}, username: {USER}, password: {PASSWORD}", redis.port);
        let source = format!("{login} {source}");
        let sink = format!("{login}, compat: {{ naive_timestamps: {naive} }} {sink}");
        let bridge = Bridge::start("node-redis", "redis", &source, &sink);
        Self { redis, bridge, time: Isoformat::start(), naive }
    }

    /// The program, for a tenant as names spell it.
    fn program(&self, tenant: &str) -> Python {
        let program = include_str!("../../support/peers/redis.py");
        let mut program = Python::start(program, &[&self.redis.port.to_string(), USER, PASSWORD, tenant]);
        assert_eq!(program.ask("listen")["channel"], format!("apg-config:events:{tenant}"));
        program
    }

    /// Waits until the cache shows this of a key, and gives all of it.
    fn cached(&mut self, tenant: &str, key: &str, fields: &Value) -> Value {
        let hash = format!("apg-config:cache:{tenant}");
        let Self { redis, bridge, .. } = self;
        bridge.host.wait_for(&format!("{key} in the cache with {fields}"), LIMIT, |_| {
            let cell: Option<String> = redis.command(&["HGET", &hash, key]);
            let cell: Value = serde_json::from_str(&cell?).expect("JSON");
            let mut wanted = fields.as_object().expect("fields").iter();
            wanted.all(|(name, value)| &cell[name] == value).then_some(cell)
        })
    }

    fn changes_reach_the_program(&mut self, tenant: Option<&str>) {
        let name = tenant.unwrap_or("global");
        let (mut program, mut author) = (self.program(name), self.bridge.client(tenant));
        for (value, event_type) in
            [(json!("db1"), "config_created"), (json!({ "host": "db2" }), "config_updated")]
        {
            let answer = change(&mut author, "app.database.host", &value);
            let expected = json!({
                "event_type": event_type, "config_key": "app.database.host", "new_value": value, "user_id": "suite",
                "source_node": "node-redis", "revision": answer["revision"],
            });
            let shown = shown(&mut program, &json!({ "event_type": event_type }));
            assert_fields(&shown["change"], &expected);
            assert_eq!(shown["change"]["tenant_id"], json!(tenant));
            self.time.assert_now(&shown["change"]["timestamp"], self.naive);
            let beside = json!({
                "event_type": event_type, "config_key": "app.database.host", "source_node": "node-redis",
                "event_id": shown["change"]["event_id"],
            });
            assert_fields(&shown["fields"], &beside);
            assert_eq!(shown["hint"], shown["fields"]["data"], "the channel tells the same");
            let cell = self.cached(name, "app.database.host", &json!({ "new_value": value }));
            assert_fields(&cell, &expected);
            assert_eq!(program.ask("cached app.database.host")["change"], cell);
        }
        delete(&mut author, "app.database.host");
        let deletion = json!({ "event_type": "config_deleted", "new_value": null });
        assert_fields(&shown(&mut program, &deletion)["change"], &deletion);
        self.cached(name, "app.database.host", &deletion);
    }

    fn changes_of_the_program_reach_clients(&mut self, tenant: Option<&str>) {
        let name = tenant.unwrap_or("global");
        let (mut program, mut author) = (self.program(name), self.bridge.client(tenant));
        let change_of_python = json!({
            "config_key": "app.features.beta", "new_value": [1, 2], "tenant_id": tenant, "user_id": "eve",
            "timestamp": "2024-01-01T12:00:00",
        });
        program.ask(&format!("change {change_of_python}"));
        let message = synced(&mut author, "app.features.beta");
        let expected =
            json!({ "new_value": [1, 2], "user_id": "eve", "timestamp": "2024-01-01T12:00:00.000000Z" });
        assert_fields(&message, &expected);
        assert_eq!(message["tenant_id"], json!(tenant));

        // Sinks keep the order of revisions: behind this one, nothing of the one before is still to come.
        change(&mut author, "app.last", &json!(1));
        shown(&mut program, &json!({ "config_key": "app.last" }));
        let stream = format!("apg-config:log:{name}");
        let entries: Vec<(String, Vec<(String, String)>)> =
            self.redis.command(&["XRANGE", &stream, "-", "+"]);
        let of_beta = entries
            .iter()
            .filter(|(_, fields)| fields.iter().any(|(_, value)| value.contains("app.features.beta")));
        assert_eq!(of_beta.count(), 1, "the program's own alone: {entries:?}");
    }

    /// A program may also write each field of a change as one of the entry.
    fn fields_of_an_entry_make_a_change(&mut self) {
        let mut subscriber = self.bridge.client(Some("t1"));
        let entry = [
            "XADD",
            "apg-config:log:t1",
            "*",
            "config_key",
            "app.y",
            "new_value",
            "{\"a\":1}",
            "user_id",
            "eve",
        ];
        let _: String = self.redis.command(&entry);
        let made = synced(&mut subscriber, "app.y");
        assert_fields(&made, &json!({ "new_value": { "a": 1 }, "user_id": "eve", "tenant_id": "t1" }));
        let _: String = self.redis.command(&[
            "XADD",
            "apg-config:log:t1",
            "*",
            "config_key",
            "app.y",
            "event_type",
            "config_deleted",
        ]);
        assert_eq!(synced(&mut subscriber, "app.y")["event_type"], "config_deleted");
    }

    /// What is no change, or another tenant's, is put aside, and the entries behind it pass.
    fn bad_entries_are_put_aside(&mut self) {
        let mut subscriber = self.bridge.client(Some("t1"));
        let bad = [
            ["data", "{"],
            ["data", r#"{"config_key":"app.z","new_value":1,"tenant_id":"t2"}"#],
            ["temperature", "21"],
        ];
        for [name, value] in bad {
            let _: String = self.redis.command(&["XADD", "apg-config:log:t1", "*", name, value]);
        }
        let _: String =
            self.redis.command(&["XADD", "apg-config:log:t1", "*", "config_key", "app.z", "new_value", "2"]);
        assert_eq!(synced(&mut subscriber, "app.z")["new_value"], 2);
        let Self { bridge, .. } = self;
        bridge.host.wait_until("the bad ones", LIMIT, |_| dead_letters(&bridge.site).len() == bad.len());
    }

    /// There is nothing on the server besides what the contract names.
    fn nothing_else_is_there(&self) {
        let mut names: Vec<String> = self.redis.command(&["KEYS", "*"]);
        names.retain(|name| {
            !["apg-config:log:", "apg-config:cache:"].iter().any(|prefix| {
                name.strip_prefix(prefix).is_some_and(|tenant| ["global", "t1"].contains(&tenant))
            })
        });
        assert_eq!(names, [] as [String; 0]);
    }
}

fn exchange(naive: bool) {
    let mut exchange = Exchange::start(naive, "");
    for tenant in [None, Some("t1")] {
        exchange.changes_reach_the_program(tenant);
        exchange.changes_of_the_program_reach_clients(tenant);
    }
    exchange.fields_of_an_entry_make_a_change();
    exchange.bad_entries_are_put_aside();
    exchange.nothing_else_is_there();
    exchange.bridge.host.stop();
}

#[test]
fn a_redis_program_and_a_host_exchange_changes() {
    exchange(false);
}

#[test]
fn a_redis_program_and_a_host_exchange_changes_with_naive_timestamps() {
    exchange(true);
}

#[test]
fn entries_for_redis_programs_that_only_read_have_nothing_that_orders_them() {
    for replicate in [false, true] {
        let mut exchange = Exchange::start(false, &format!(", replicate: {replicate}"));
        let mut program = exchange.program("global");
        change(&mut exchange.bridge.client(None), "app.x", &json!(1));
        let entry = shown(&mut program, &json!({ "config_key": "app.x", "new_value": 1 }))["change"].clone();
        let cell = exchange.cached("global", "app.x", &json!({ "new_value": 1 }));
        for change in [entry, cell] {
            if replicate {
                assert!(ORDER.iter().all(|name| change.get(name).is_some()), "{change}");
            } else {
                assert_without(&change, &ORDER);
            }
        }
        exchange.bridge.host.stop();
    }
}

#[test]
fn names_begin_as_the_configuration_says() {
    let prefixes = ", channel_prefix: 'e:', stream_prefix: 's:', cache_prefix: 'c:'";
    let Exchange { redis, mut bridge, .. } = Exchange::start_with(false, prefixes, prefixes);
    change(&mut bridge.client(Some("t1")), "app.x", &json!(1));
    let names = || -> BTreeSet<String> { redis.command(&["KEYS", "*"]) };
    bridge.host.wait_until("the cell and the entry", LIMIT, |_| {
        names().is_superset(&["c:t1", "s:t1"].map(str::to_owned).into())
    });
    assert!(names().iter().all(|name| name.starts_with("c:") || name.starts_with("s:")), "{:?}", names());
    let mut subscriber = bridge.client(Some("t1"));
    let _: String = redis.command(&["XADD", "s:t1", "*", "data", r#"{"config_key":"app.y","new_value":2}"#]);
    assert_eq!(synced(&mut subscriber, "app.y")["new_value"], 2);
    bridge.host.stop();
}
