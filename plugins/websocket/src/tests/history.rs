//! Subscribers on the log: from where, without a gap, nothing twice.

use super::support::{Client, LogPipeline, change, config, free_address};
use crate::{sink::WebSocketSink, source::WebSocketSource};
use lockstep_plugin_api::{
    prelude::*,
    testing::{self, MemoryHost, Place},
};
use serde_json::{Value, json};

/// The revisions of these messages.
fn revisions(messages: &[Value]) -> Vec<u64> {
    messages.iter().filter_map(|message| message["revision"].as_u64()).collect()
}

fn subscribe(client: &mut Client, fields: Value) -> Value {
    let mut message = json!({"type": "subscribe", "id": 1, "patterns": ["*"]});
    for (name, value) in fields.as_object().expect("fields") {
        message[name] = value.clone();
    }
    client.send(&message);
    client.receive_type("subscribed")
}

#[test]
fn welcome_answer_and_sync_say_where_in_the_log_they_are() {
    let pipeline = LogPipeline::start(json!({}));
    pipeline.commit("app.old", 1);
    let mut client = Client::connect(pipeline.address, "/");
    let welcome = client.receive();
    assert_eq!(
        (&welcome["epoch"], &welcome["revision"], &welcome["resumed"]),
        (&json!(pipeline.host.epoch()), &json!(1), &json!(false)),
        "{welcome}"
    );
    client.send(&change("app.x", 1));
    let answer = client.receive();
    assert_eq!(
        answer,
        json!({"type": "config_change_response", "success": true, "config_key": "app.x", "revision": 2}),
        "the answer comes before the author's own change"
    );
    let sync = client.receive();
    assert_eq!((&sync["revision"], &sync["epoch"]), (&json!(2), &json!(pipeline.host.epoch())), "{sync}");
}

#[test]
fn a_new_client_gets_exactly_what_comes_after_its_welcome() {
    let pipeline = LogPipeline::start(json!({}));
    pipeline.hold_back();
    pipeline.commit("app.a", 1);
    let mut client = pipeline.client();
    pipeline.commit("app.b", 1);
    pipeline.deliver();
    assert_eq!(revisions(&client.messages_so_far()), [2]);
    pipeline.deliver_again();
    assert_eq!(client.messages_so_far(), [] as [Value; 0], "what comes again after a crash is known");
}

#[test]
fn a_client_that_names_what_it_saw_gets_everything_later_once() {
    let pipeline = LogPipeline::start(json!({}));
    for n in 1..=1000 {
        pipeline.commit(&format!("app.{}", n % 10), n);
    }
    let mut client = pipeline.client();
    let subscribed =
        subscribe(&mut client, json!({"since": {"epoch": pipeline.host.epoch(), "revision": 400}}));
    assert_eq!(
        subscribed,
        json!({"type": "subscribed", "id": 1, "patterns": ["*"], "epoch": pipeline.host.epoch(), "revision": 400})
    );
    let history = client.messages_before("bookmark");
    assert_eq!(revisions(&history), (401..=1000).collect::<Vec<_>>());
    pipeline.commit("app.x", 1);
    assert_eq!(client.receive()["revision"], 1001);

    subscribe(&mut client, json!({"since": {"revision": 990}, "patterns": ["app.3"]}));
    assert_eq!(revisions(&client.messages_before("bookmark")), [993], "of these patterns alone");
}

#[test]
fn nothing_is_lost_or_doubled_between_history_and_now() {
    let pipeline = LogPipeline::start(json!({"max_messages_per_second": 0, "max_queue_bytes": "64MiB"}));
    let mut client = pipeline.client();
    client.send(&json!({"type": "subscribe", "patterns": []}));
    client.is_served();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                pipeline.commit("app.x", 1);
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        });
        let mut seen = 0;
        for _ in 0..30 {
            subscribe(&mut client, json!({"since": {"epoch": pipeline.host.epoch(), "revision": seen}}));
            let mut messages = client.messages_before("bookmark");
            messages.extend((0..50).map(|_| client.receive()));
            let revisions = revisions(&messages);
            let last = *revisions.last().expect("something");
            assert_eq!(revisions, (seen + 1..=last).collect::<Vec<_>>());
            seen = last;
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_snapshot_is_the_newest_entry_of_every_key_and_then_everything_later() {
    let pipeline = LogPipeline::start(json!({}));
    for (key, value) in [("app.a", 1), ("app.b", 1), ("app.a", 2), ("other", 1), ("app.c", 1)] {
        pipeline.commit(key, value);
    }
    let mut deleted = Change::new("app.c", Json::null());
    deleted.set_event_type("config_deleted");
    pipeline.commit_record(Record::from_change(deleted));
    let mut client = pipeline.client();
    let subscribed = subscribe(&mut client, json!({"snapshot": true, "patterns": ["app.*"]}));
    assert_eq!((&subscribed["snapshot"], &subscribed["revision"]), (&json!(true), &json!(6)), "{subscribed}");
    let state = client.messages_before("bookmark");
    assert_eq!(revisions(&state), [2, 3, 6]);
    assert_eq!(state[2]["event_type"], "config_deleted", "deletions too");
    pipeline.commit("app.a", 3);
    assert_eq!(client.receive()["revision"], 7);
}

#[test]
fn who_saw_more_than_history_has_left_is_told_and_gets_the_state() {
    let pipeline = LogPipeline::start(json!({}));
    for n in 1..=20 {
        pipeline.commit(&format!("app.{}", n % 4), n);
    }
    pipeline.host.compact(10);
    let mut client = pipeline.client();
    subscribe(&mut client, json!({"since": {"epoch": pipeline.host.epoch(), "revision": 5}}));
    assert_eq!(
        client.receive(),
        json!({"type": "resync", "epoch": pipeline.host.epoch(), "revision": 20, "reason": "compacted"})
    );
    assert_eq!(revisions(&client.messages_before("bookmark")), [17, 18, 19, 20]);
    subscribe(&mut client, json!({"since": {"epoch": pipeline.host.epoch(), "revision": 10}}));
    assert_eq!(revisions(&client.messages_before("bookmark")), (11..=20).collect::<Vec<_>>());
    assert_eq!(pipeline.host.counter("resyncs"), 1);
}

#[test]
fn who_saw_another_log_is_told_and_gets_the_state() {
    let pipeline = LogPipeline::start(json!({}));
    pipeline.commit("app.a", 1);
    pipeline.commit("app.a", 2);
    let mut client = pipeline.client();
    for since in [json!({"epoch": "another", "revision": 1}), json!({"revision": 3})] {
        let subscribed = subscribe(&mut client, json!({"since": since}));
        assert_eq!((&subscribed["snapshot"], &subscribed["revision"]), (&json!(true), &json!(2)));
        assert_eq!(client.receive()["reason"], "epoch_changed");
        assert_eq!(revisions(&client.messages_before("bookmark")), [2]);
    }
}

#[test]
fn an_author_that_reads_history_is_answered_before_it_sees_its_own_change() {
    let pipeline = LogPipeline::start(json!({}));
    for n in 1..=500 {
        pipeline.commit(&format!("app.{n}"), n);
    }
    let mut client = pipeline.client();
    client.send(&json!({"type": "subscribe", "patterns": ["*"], "since": {"revision": 0}}));
    client.send(&change("own", 1));
    let messages: Vec<Value> = (0..504).map(|_| client.receive()).collect();
    let place = |is: &dyn Fn(&Value) -> bool| messages.iter().position(is).expect("it came");
    let answered = place(&|message| message["type"] == "config_change_response");
    let shown = place(&|message| message["type"] == "config_sync" && message["config_key"] == "own");
    assert!(answered < shown, "{answered} {shown}");
}

#[test]
fn notices_reach_those_who_subscribed_to_their_key_and_stay_in_their_tenant() {
    let pipeline = LogPipeline::start(json!({}));
    let mut one = Client::connect(pipeline.address, "/?tenant=t1");
    let mut two = Client::connect(pipeline.address, "/?tenant=t2");
    let mut other = Client::connect(pipeline.address, "/?tenant=t1");
    for client in [&mut one, &mut two, &mut other] {
        client.welcome();
    }
    subscribe(&mut other, json!({"patterns": ["b.*"]}));
    let mut notice = Change::new("a.x", Json::null());
    notice.set_event_type("config_locked");
    notice.set_tenant_id(Some("t1".into()));
    notice.set_user_id(Some("eve".into()));
    notice.set_metadata(Some(Json::parse(r#"{"expires_at":"later"}"#).expect("JSON")));
    pipeline.commit_record(Record::notice(notice));
    let locked = json!({
        "type": "config_locked", "config_key": "a.x", "tenant_id": "t1", "user_id": "eve", "expires_at": "later",
        "epoch": pipeline.host.epoch(), "revision": 1,
    });
    assert_eq!(one.receive(), locked);
    assert_eq!(two.messages_so_far(), [] as [Value; 0]);
    assert_eq!(other.messages_so_far(), [] as [Value; 0]);
    subscribe(&mut one, json!({"since": {"revision": 0}}));
    assert_eq!(one.receive(), locked, "history has it too");
}

#[test]
fn what_the_author_had_seen_and_holds_goes_with_the_change() {
    let pipeline = LogPipeline::start(json!({}));
    let mut client = pipeline.client();
    let epoch = pipeline.host.epoch();
    for (fields, base) in [
        (json!({"base_revision": 3}), Some(json!({"epoch": epoch, "revision": 3}))),
        (json!({"base": {"epoch": "e", "revision": 3}}), Some(json!({"epoch": "e", "revision": 3}))),
        (json!({"fence": {"lock": "app.x", "token": 4}}), None),
    ] {
        let mut message = change("app.x", 1);
        for (name, value) in fields.as_object().expect("fields") {
            message[name] = value.clone();
        }
        client.send(&message);
        assert_eq!(client.receive_type("config_change_response")["success"], true);
        let taken = pipeline.taken.lock().expect("unpoisoned").pop().expect("a record");
        let taken = taken.known_change().expect("a change");
        assert_eq!(taken.base().map(|base| base.read::<Value>().expect("JSON")), base);
        assert_eq!(taken.fence().is_some(), fields.get("fence").is_some());
    }
}

/// GAP-10.
#[test]
fn what_the_author_did_goes_with_the_change_and_needs_no_value() {
    let pipeline = LogPipeline::start(json!({}));
    let mut client = pipeline.client();
    client
        .send(&json!({"type": "config_change", "config_key": "app.x", "ops": [5, "x"], "base_revision": 3}));
    assert_eq!(client.receive_type("config_change_response")["success"], true);
    let taken = pipeline.taken.lock().expect("unpoisoned").pop().expect("a record");
    let taken = taken.known_change().expect("a change");
    assert!(taken.is_unapplied() && taken.base().is_some());
    assert_eq!(taken.ops().map(Json::as_str), Some(r#"[5,"x"]"#));
}

#[test]
fn who_resumes_before_the_sink_is_there_is_told_to_try_again() {
    let (address, host) = (free_address(), MemoryHost::default());
    let place = Place { through_log: true, host, ..Place::default() };
    let settings = config(address, json!({}));
    let _source = testing::async_source::<WebSocketSource>(&settings, &place).expect("a source");
    let mut client = Client::connect(address, "/");
    client.welcome();
    let resume = json!({"type": "subscribe", "id": 1, "patterns": ["*"], "since": {"revision": 0}});
    client.send(&resume);
    let refused = client.receive();
    assert_eq!((&refused["code"], &refused["retryable"]), (&json!("unavailable"), &json!(true)), "{refused}");
    assert!(refused["message"].as_str().expect("a message").contains("or not yet"), "{refused}");
    let _sink = testing::sink::<WebSocketSink>(&settings, &place).expect("a sink");
    client.send(&resume);
    assert_eq!(client.receive_type("subscribed")["id"], 1);
}
