//! The WebSocket messages of a pipeline through the log: where clients stand in it, what they get when they come back, and
//! who may change what is locked.

use lockstep_test_support::{Frame, Host, Site, WsClient, free_port};
use serde_json::{Value, json};
use std::time::Duration;

struct Log {
    site: Site,
    port: u16,
}

impl Log {
    fn new() -> Self {
        Self::with("")
    }

    /// With more settings of the WebSocket server.
    fn with(more: &str) -> Self {
        Self::with_delivery(more, "")
    }

    /// With more settings of the WebSocket server and of the pipeline.
    fn with_delivery(more: &str, delivery: &str) -> Self {
        let port = free_port();
        let config = format!("{{ listen: 127.0.0.1:{port}, max_messages_per_second: 0{more} }}");
        let yaml = format!(
            "
sources: [ {{ plugin: websocket, config: {config} }} ]
transforms: [ {{ plugin: lock }}, {{ plugin: resolver }} ]
sinks: [ {{ plugin: websocket, config: {config} }} ]
{delivery}
"
        );
        Self { site: Site::new().pipeline("sync", &yaml), port }
    }

    fn start(&self) -> Host {
        let mut host = self.site.start();
        host.wait_ready();
        host
    }

    fn client(&self) -> WsClient {
        WsClient::connect(self.port)
    }
}

/// Asks for these patterns with these fields, and gives `subscribed`.
fn subscribe(client: &mut WsClient, patterns: &[&str], fields: Value) -> Value {
    let mut message = json!({ "type": "subscribe", "id": 1, "patterns": patterns });
    for (name, value) in fields.as_object().expect("fields") {
        message[name] = value.clone();
    }
    client.send(&message);
    client.next_of_type("subscribed")
}

/// Every `config_sync` up to the bookmark, as revision and value.
fn history(client: &mut WsClient) -> Vec<(u64, Value)> {
    let mut changes = Vec::new();
    loop {
        let message = client.next_message();
        match message["type"].as_str() {
            Some("bookmark") => return changes,
            Some("config_sync") => changes.push((revision(&message), message["new_value"].clone())),
            _ => {}
        }
    }
}

fn revision(message: &Value) -> u64 {
    message["revision"].as_u64().unwrap_or_else(|| panic!("no revision: {message}"))
}

#[test]
fn welcome_answer_and_sync_agree_on_where_in_the_log_they_are() {
    let log = Log::new();
    let _host = log.start();
    let mut author = log.client();
    let welcome = author.welcome().clone();
    assert_eq!(welcome["resumed"], false, "{welcome}");
    author.send_change("app.x", &json!(1));
    let answer = author.next_message();
    assert_eq!(
        (&answer["type"], &answer["success"]),
        (&json!("config_change_response"), &json!(true)),
        "{answer}"
    );
    assert!(revision(&answer) > revision(&welcome), "{answer}");
    let sync = author.next_message();
    assert_eq!(
        (&sync["type"], &sync["event_type"]),
        (&json!("config_sync"), &json!("config_created")),
        "{sync}"
    );
    assert_eq!((&sync["revision"], &sync["epoch"]), (&answer["revision"], &welcome["epoch"]), "{sync}");
    let later = log.client();
    assert_eq!(revision(later.welcome()), revision(&answer));
}

#[test]
fn who_comes_back_after_a_kill_gets_what_it_missed_once_and_then_what_happens() {
    let log = Log::new();
    let mut host = log.start();
    let mut author = log.client();
    let epoch = author.welcome()["epoch"].clone();
    author.subscribe(&[]);
    let revisions: Vec<u64> =
        (0..20).map(|n| revision(&author.change(&format!("app.{}", n % 3), &json!(n)))).collect();
    host.kill();
    let _host = log.start();
    let mut author = log.client();
    assert_eq!(author.welcome()["epoch"], epoch, "the same log");
    author.subscribe(&[]);
    let mut reader = log.client();
    let since = json!({ "since": { "epoch": epoch, "revision": revisions[4] } });
    assert_eq!(revision(&subscribe(&mut reader, &["app.*"], since)), revisions[4]);
    let last = revision(&author.change("app.new", &json!(20)));
    let mut seen = history(&mut reader);
    while seen.last().is_none_or(|(revision, _)| *revision < last) {
        let sync = reader.next_of_type("config_sync");
        seen.push((revision(&sync), sync["new_value"].clone()));
    }
    let expected: Vec<(u64, Value)> =
        revisions.iter().copied().chain([last]).zip((0..).map(|n| json!(n))).collect();
    assert_eq!(seen, expected[5..]);
}

#[test]
fn a_snapshot_shows_the_newest_value_of_every_key() {
    let log = Log::new();
    let _host = log.start();
    let mut author = log.client();
    author.subscribe(&[]);
    for (key, value) in [("app.a", 1), ("app.b", 1), ("app.a", 2), ("other", 1)] {
        author.change(key, &json!(value));
    }
    let mut reader = log.client();
    let subscribed = subscribe(&mut reader, &["app.*"], json!({ "snapshot": true }));
    assert_eq!(subscribed["snapshot"], true, "{subscribed}");
    let values: Vec<Value> = history(&mut reader).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [json!(1), json!(2)]);
}

#[test]
fn an_epoch_of_another_log_is_answered_with_the_state() {
    let log = Log::new();
    let _host = log.start();
    let mut author = log.client();
    author.change("app.a", &json!(1));
    let mut reader = log.client();
    let since = json!({ "since": { "epoch": "7c9f1f5e-0000-4000-8000-000000000000", "revision": 1 } });
    subscribe(&mut reader, &["*"], since);
    assert_eq!(reader.next_of_type("resync")["reason"], "epoch_changed");
    assert_eq!(history(&mut reader).len(), 1);
}

#[test]
fn who_overwrites_what_it_has_not_seen_is_told() {
    let log = Log::new();
    let _host = log.start();
    let mut author = log.client();
    author.subscribe(&[]);
    let base = revision(&author.change("app.x", &json!(0)));
    let with_base = |author: &mut WsClient, value: u64| {
        author.send(&json!({
            "type": "config_change", "config_key": "app.x", "new_value": value, "base_revision": base,
        }));
        author.next_of_type("config_change_response")
    };
    let first = with_base(&mut author, 1);
    assert_eq!((&first["success"], &first["resolution"]), (&json!(true), &Value::Null), "{first}");
    let second = with_base(&mut author, 2);
    assert_eq!((&second["success"], &second["resolution"]["won"]), (&json!(true), &json!(true)), "{second}");
    author.send(&json!({
        "type": "config_change", "config_key": "app.x", "new_value": 3,
        "base": { "epoch": "7c9f1f5e-0000-4000-8000-000000000000", "revision": 1 },
    }));
    assert_eq!(author.next_of_type("config_change_response")["code"], "unknown_base");
}

#[test]
fn a_locked_key_is_changed_by_its_holder_alone_and_everybody_is_told() {
    let log = Log::new();
    let _host = log.start();
    let (mut holder, mut other, mut watcher) = (log.client(), log.client(), log.client());
    watcher.subscribe(&["app.*"]);
    holder.subscribe(&[]);
    other.subscribe(&[]);
    holder.send(&json!({ "type": "config_lock", "id": 1, "config_key": "app.x", "user_id": "eve" }));
    let granted = holder.next_message();
    assert_eq!(
        (&granted["type"], &granted["success"]),
        (&json!("config_lock_response"), &json!(true)),
        "{granted}"
    );
    let locked = watcher.next_message();
    assert_eq!(
        (&locked["type"], &locked["config_key"]),
        (&json!("config_locked"), &json!("app.x")),
        "{locked}"
    );
    assert_eq!(locked["user_id"], "eve", "{locked}");

    let refused = other.change("app.x", &json!(1));
    assert_eq!(
        (&refused["error"], &refused["code"], &refused["locked_by"]),
        (&json!("Configuration is locked by another user"), &json!("locked"), &json!("eve")),
        "{refused}"
    );
    assert_eq!(holder.change("app.x", &json!(2))["success"], true);
    assert_eq!(watcher.next_message()["new_value"], 2);
    holder.send(&json!({ "type": "config_unlock", "config_key": "app.x" }));
    assert_eq!(holder.next_message()["success"], true);
    let unlocked = watcher.next_message();
    assert_eq!(
        (&unlocked["type"], &unlocked["reason"]),
        (&json!("config_unlocked"), &json!("released")),
        "{unlocked}"
    );
    assert_eq!(other.change("app.x", &json!(3))["success"], true);
    holder.send(&json!({
        "type": "config_change", "config_key": "app.x", "new_value": 4,
        "fence": { "lock": "app.x", "token": granted["token"] },
    }));
    assert_eq!(holder.next_of_type("config_change_response")["code"], "stale_fence");
}

#[test]
fn a_reader_that_stops_is_conflated_or_resynced_and_ends_with_the_newest_of_every_key() {
    let log = Log::with(", max_queue_bytes: 128KiB, ping_timeout: 600");
    let host = log.start();
    let mut slow = log.client();
    slow.subscribe(&["app.*"]);
    let mut author = log.client();
    author.subscribe(&[]);
    let value = |n: u64| json!({ "n": n, "fill": "x".repeat(32 * 1024) });
    let sum = |name: &str| host.metrics().sum(name, &[]);
    let told = || sum("lockstep_plugin_changes_conflated_total") + sum("lockstep_plugin_resyncs_total");
    // More than the sockets hold, whatever the system gives them.
    let (mut last, mut n) = (0, 0);
    while n < 400 || n < 4_000 && told() == 0.0 {
        last = revision(&author.change(&format!("app.{}", n % 40), &value(n)));
        n += 1;
    }
    assert!(told() > 0.0, "what the sockets did not hold was left out");
    let mut newest = std::collections::HashMap::new();
    let mut reached = 0;
    while reached < last {
        let message = slow.next_message();
        if message["type"] == "config_sync" {
            reached = reached.max(revision(&message));
            newest.insert(message["config_key"].to_string(), message["new_value"]["n"].clone());
        }
    }
    assert_eq!(newest.len(), 40);
    assert!(newest.values().all(|newest| newest.as_u64() >= Some(n - 40)), "{newest:?}");
    let end = slow.try_next(Duration::from_millis(300));
    assert!(!matches!(end, Some(Frame::Closed(_))), "it was never closed: {end:?}");
}

#[test]
fn authors_are_answered_before_they_are_shown_their_change_also_if_its_batch_takes_two_commits() {
    let log = Log::with_delivery("", "delivery: { batch: { linger: 100ms } }");
    let _host = log.start();
    let mut author = log.client();
    subscribe(&mut author, &["app.*"], json!({}));
    for round in 0..5 {
        // What follows a repeated name waits for the next commit.
        for (id, name) in [("first", "same"), ("again", "same"), ("other", "other")] {
            author.send(&json!({
                "type": "config_change", "id": id, "config_key": format!("app.{name}"), "new_value": round,
                "user_id": "suite", "idempotency_key": format!("{name}-{round}"),
            }));
        }
        let seen: Vec<Value> = std::iter::repeat_with(|| author.next_message())
            .filter(|message| {
                ["config_change_response", "config_sync"].iter().any(|kind| message["type"] == *kind)
            })
            .take(5)
            .collect();
        for shown in seen.iter().filter(|message| message["type"] == "config_sync") {
            let is_answer = |message: &&Value| {
                message["type"] == "config_change_response" && message["revision"] == shown["revision"]
            };
            let answered = seen.iter().take_while(|message| *message != shown).filter(is_answer).count();
            assert!(answered > 0, "shown before it was answered: {seen:#?}");
        }
    }
}
