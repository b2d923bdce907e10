//! A value under a sealed key lies nowhere in clear, wherever its change fails; one beside it is found by the same search.

use super::*;
use lockstep_test_support::{LIMIT, RedisOptions, WsClient, append, free_port, lines};
use serde_json::json;
use std::collections::BTreeSet;
use tokio_tungstenite::tungstenite::Message;

/// Under keys that are sealed.
const CANARY: &str = "canary-2c84e9f1";
/// Under keys that are not.
const CONTROL: &str = "control-77d0a3b6";

/// Every path: authors with and without an answer, what is no change, changes that fail before, at and behind `encrypt`,
/// conflicts, locks, and sinks of all kinds.
fn site(port: u16, redis: &Redis) -> Site {
    let yaml = format!(
        "
sources:
  - {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port} }} }}
  - {{ plugin: file, config: {{ path: SITE/in.ndjson }} }}
transforms:
  - plugin: validate
    config: {{ schemas: [ {{ match: app.*.typed, schema: {{ type: object }} }} ] }}
  - {{ plugin: faulty, name: early, config: {{ fault: {{ at: apply, how: nack, key: app.sealed.early, mended: SITE/never }} }}, on_error: &once {{ retry: {{ attempts: 1, backoff: 10ms, max: 10ms }}, then: dead_letter }} }}
  - {{ plugin: faulty, name: early-too, config: {{ fault: {{ at: apply, how: nack, key: app.clear.early, mended: SITE/never }} }}, on_error: *once }}
  - {{ plugin: encrypt, config: {{ keys: ['app.sealed.*'], ring: [ {{ file: ../keys/ring }} ] }} }}
  - {{ plugin: faulty, name: late, config: {{ fault: {{ at: apply, how: nack, key: app.sealed.late, mended: SITE/never }} }}, on_error: *once }}
  - {{ plugin: lock }}
  - {{ plugin: resolver }}
sinks:
  - {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port} }} }}
  - {{ plugin: redis, config: {{ url: '${{env:REDIS_URL}}' }} }}
  - {{ plugin: file, config: {{ path: SITE/out.ndjson }} }}
  - name: opened
    plugin: file
    transforms: [ {{ plugin: decrypt, config: {{ ring: [ {{ file: ../keys/ring }} ] }} }} ]
    config: {{ path: SITE/opened.ndjson }}
"
    );
    let site = Site::new()
        .pipeline("everything", &yaml)
        .env("REDIS_URL", redis_url(redis))
        .env("LOCKSTEP_LOG__FILTER", "trace");
    set_ring(&site, &[("k1", 1)]);
    site
}

/// Sends everything twice: under keys that are sealed, and under keys that are not.
fn fill(site: &Site, host: &mut Host, port: u16) {
    let mut client = WsClient::connect(port);
    client.subscribe(&["*"]);
    for (keys, value) in [("sealed", CANARY), ("clear", CONTROL)] {
        let key = |name: &str| format!("app.{keys}.{name}");
        let answer = client.change(&key("good"), &json!({ "pin": value }));
        assert_eq!(answer["success"], true, "{answer}");
        assert_eq!(client.change(&key("good"), &json!([value]))["success"], true);
        assert_eq!(client.change(&key("typed"), &json!(value))["code"], "invalid_value");
        // Two that did not know of each other.
        for _ in 0..2 {
            client.send(&json!({
                "type": "config_change", "config_key": key("good"), "new_value": { "pin": value, "b": 1 }, "base_revision": 1,
            }));
            client.next_of_type("config_change_response");
        }
        append(
            &site.path("in.ndjson"),
            [
                json!({ "config_key": key("line"), "new_value": value, "old_value": value, "beside": value })
                    .to_string(),
                json!({ "config_key": key("typed"), "new_value": value }).to_string(),
                json!({ "config_key": key("early"), "new_value": value, "old_value": { "a": value } })
                    .to_string(),
                json!({ "config_key": key("late"), "new_value": value }).to_string(),
                json!({ "config_key": key("ops"), "new_value": value, "ops": [value] }).to_string(),
                json!({ "config_key": key("line"), "event_type": "config_deleted" }).to_string(),
                json!({ "config_key": key("line"), "new_value": { value: value } }).to_string(),
            ],
        );
    }
    client.send_frame(Message::text(format!("{{ not json {CANARY}")));
    append(
        &site.path("in.ndjson"),
        [format!("no change {CANARY}"), format!("{{\"config_key\":[\"{CANARY}\"]}}")],
    );
    append(&site.path("in.ndjson"), [json!({ "config_key": "app.last", "new_value": 1 }).to_string()]);
    host.wait_until("the last line everywhere", LIMIT, |_| {
        let seen = |path: &str| lines(&site.path(path)).iter().any(|line| line.contains("app.last"));
        seen("out.ndjson") && seen("opened.ndjson")
    });
}

#[test]
fn a_sealed_value_lies_nowhere_in_clear_and_one_beside_it_is_found() {
    let (port, redis) = (free_port(), Redis::start(&RedisOptions::default()));
    let site = site(port, &redis);
    let mut host = site.started();
    fill(&site, &mut host, port);
    host.wait_until("the last cell", LIMIT, |_| {
        redis.command::<Option<String>>(&["HGET", "apg-config:cache:global", "app.last"]).is_some()
    });
    let sealed = get(&site, "app.sealed.good").expect("a value");
    assert!(sealed["$enc"]["ct"].is_string(), "{sealed}");

    // Where the pipeline opens values, they are.
    let opened = lines(&site.path("opened.ndjson")).concat();
    assert!(opened.contains(CANARY) && opened.contains(CONTROL));

    let commands = [
        &["dlq", "list", "--json"][..],
        &["audit", "list", "--json"],
        &["history", "app.sealed.good", "--json"],
        &["conflicts", "list", "--json"],
    ];
    let letters = site.run(["dlq", "list", "--json"]).expect_code(0).json();
    let letters = letters["dead_letters"].as_array().expect("a list").clone();
    let shown: Vec<Value> = letters
        .iter()
        .map(|letter| site.run(["dlq", "show", &letter["id"].to_string(), "--json"]).expect_code(0).json())
        .collect();
    for command in commands {
        let said = site.run(command);
        assert!(!format!("{}{}", said.stdout, said.stderr).contains(CANARY), "{command:?}");
    }
    check_letters(&site, &shown);

    let dump: Vec<String> = redis.command(&["KEYS", "*"]);
    let cells: Vec<String> = redis.command(&["HVALS", "apg-config:cache:global"]);
    let stream =
        format!("{:?}", redis.command::<::redis::Value>(&["XRANGE", "apg-config:log:global", "-", "+"]));
    let redis_says = format!("{dump:?}{cells:?}{stream}");
    assert!(redis_says.contains(CONTROL) && !redis_says.contains(CANARY), "what lies in Redis");
    let out = lines(&site.path("out.ndjson")).concat();
    assert!(out.contains(CONTROL) && !out.contains(CANARY), "what a file sink wrote");

    let found = |text: &str| files_holding(&site.path("data"), text);
    assert_eq!(found(CANARY), [""; 0], "while the host runs");
    host.kill();
    assert_eq!(found(CANARY), [""; 0], "after a crash");
    assert!(!found(CONTROL).is_empty(), "the search finds what is there");
    assert!(!host.log().contains(CANARY));
}

/// Those that failed before they were sealed have no value, those behind it a sealed one, and others their own.
fn check_letters(site: &Site, letters: &[Value]) {
    let of = |key: &str| {
        let is_it = |letter: &&Value| letter["record"].to_string().contains(key);
        letters.iter().find(is_it).unwrap_or_else(|| panic!("{key} in {letters:?}"))
    };
    for key in ["app.clear.early", "app.clear.typed"] {
        assert!(of(key)["record"]["value"]["text"].to_string().contains(CONTROL), "{key}");
    }
    assert!(of("app.sealed.late")["record"]["value"]["text"].to_string().contains("$enc"));
    let withheld: Vec<&Value> =
        letters.iter().filter(|letter| letter["record"]["withheld"].is_object()).collect();
    let at = |component: &str| withheld.iter().filter(|letter| letter["component"] == component).count();
    assert_eq!((at("early"), at("validate"), at("file")), (1, 2, 1), "{withheld:?}");
    for letter in &withheld {
        assert!(letter["record"]["withheld"]["bytes"].as_u64().is_some_and(|bytes| bytes > 20), "{letter}");
        assert!(
            letter["record"].get("value").is_none() && letter["record"]["position"].is_array(),
            "{letter}"
        );
    }
    let id = withheld[0]["id"].to_string();
    let shown = site.run(["dlq", "show", &id]).expect_code(0).stdout;
    assert!(shown.contains("withheld:") && shown.contains("state.encryption"), "{shown}");
    let retried = site.run(["dlq", "retry", &id]).expect_code(1);
    assert!(retried.stderr.contains("have the change made again"), "{retried:?}");
}

#[test]
fn in_a_sealed_store_dead_letters_keep_their_values() {
    let site = Site::new().env("STORE_KEY", "5".repeat(64)).pipeline(
        "p",
        "
sources: [ { plugin: file, config: { path: SITE/in.ndjson } } ]
transforms:
  - { plugin: validate, config: { schemas: [ { match: '*', schema: { type: object } } ] } }
  - { plugin: encrypt, config: { keys: ['*'], ring: [ { file: ../keys/ring } ] } }
sinks: [ { plugin: file, config: { path: SITE/out.ndjson } } ]
",
    );
    set_ring(&site, &[("k1", 1)]);
    site.write("lockstep.yaml", "state: { encryption: { keys: [ { id: k, env: STORE_KEY } ] } }\n");
    let mut host = site.started();
    append(&site.path("in.ndjson"), [json!({ "config_key": "app.x", "new_value": CANARY }).to_string()]);
    host.wait_until("a dead letter", LIMIT, |_| site.run(["dlq", "show", "1"]).stdout.contains(CANARY));
    assert_eq!(files_holding(&site.path("data"), CANARY), [""; 0]);
    host.stop();
}

/// Two pipelines that open what was sealed, and where it fails after that: in a sink's chain, at a sink, and in the middle
/// of a direct pipeline.
fn opening(on_unknown_key: &str) -> Site {
    let ring = "keys: ['app.sealed.*'], ring: [ { file: ../keys/ring } ]";
    let decrypt = |name: &str| {
        format!("{{ name: {name}, plugin: decrypt, config: {{ {ring}, on_unknown_key: {on_unknown_key} }} }}")
    };
    let faulty = |name: &str, at: &str, more: &str| {
        format!(
            "name: {name}, plugin: faulty, config: {{ fault: {{ at: {at}, how: nack, key: app.sealed.x, mended: SITE/never }}{more} }}, \
             on_error: {{ retry: {{ attempts: 1, backoff: 10ms, max: 10ms }}, then: dead_letter }}"
        )
    };
    let to = |name: &str| format!("plugin: file, config: {{ path: SITE/{name}.ndjson }}");
    let log = format!(
        "
sources: [ {{ {} }} ]
transforms: [ {{ plugin: encrypt, config: {{ {ring} }} }}, {{ plugin: resolver }} ]
sinks:
  - {{ {} }}
  - {{ name: chained, {}, transforms: [ {}, {{ {} }} ] }}
  - {{ {}, transforms: [ {} ] }}
",
        to("in"),
        to("sealed"),
        to("chained"),
        decrypt("first"),
        faulty("in-a-chain", "apply", ""),
        faulty("a-sink", "put", ", written: SITE/written"),
        decrypt("second"),
    );
    let direct = format!(
        "
sources: [ {{ name: again, {} }} ]
transforms: [ {}, {{ {} }} ]
sinks: [ {{ {} }} ]
",
        to("sealed"),
        decrypt("third"),
        faulty("in-the-middle", "apply", ""),
        to("opened"),
    );
    let site = Site::new().pipeline("log", &log).pipeline("direct", &direct);
    set_ring(&site, &[("k1", 1)]);
    site
}

#[test]
fn what_was_opened_again_is_no_more_written_down_than_what_is_not_sealed_yet() {
    for on_unknown_key in ["reject", "pass"] {
        let site = opening(on_unknown_key);
        let mut host = site.started();
        for (key, value) in [("sealed.x", CANARY), ("clear.x", CONTROL), ("last", CONTROL)] {
            let change = json!({ "config_key": format!("app.{key}"), "new_value": value });
            append(&site.path("in.ndjson"), [change.to_string()]);
        }
        let letters = || {
            let listed = site.run(["dlq", "list", "--json"]).expect_code(0).json();
            listed["dead_letters"].as_array().expect("a list").clone()
        };
        let failed =
            || letters().iter().map(|letter| letter["component"].to_string()).collect::<BTreeSet<_>>();
        host.wait_until("dead letters of all three", LIMIT, |_| failed().len() == 3);
        host.wait_until("the rest", LIMIT, |_| {
            let is_there = |path: &str| lines(&site.path(path)).iter().any(|line| line.contains("app.last"));
            is_there("opened.ndjson") && is_there("chained.ndjson") && is_there("sealed.ndjson")
        });
        host.stop();
        assert_eq!(files_holding(&site.path("data"), CANARY), [""; 0], "{on_unknown_key}");
        assert!(!files_holding(&site.path("data"), CONTROL).is_empty(), "the search finds what is there");
    }
}
