//! One server for the source and the sinks of an address.

use super::support::{Client, SOON, change, config, free_address, sink, source};
use crate::{endpoint::server_at, sink::WebSocketSink};
use lockstep_plugin_api::{
    prelude::*,
    testing::{self, Place},
};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

fn record(key: &str) -> Record {
    Record::new(format!(r#"{{"config_key":"{key}","new_value":1,"old_value":0}}"#))
}

#[test]
fn without_a_source_a_server_is_read_only() {
    let address = free_address();
    let mut sink = sink(&config(address, json!({}))).expect("a sink");
    let mut client = Client::connect(address, "/");
    client.welcome();
    client.send(&change("app.x", 1));
    let answer = client.receive();
    assert_eq!((&answer["success"], &answer["code"]), (&json!(false), &json!("read_only")));
    assert!(sink.write(vec![record("app.x")]).expect("written").is_empty());
    let sync = client.receive();
    assert_eq!((&sync["config_key"], &sync["old_value"]), (&json!("app.x"), &json!(0)));
}

#[test]
fn a_record_that_is_no_change_fails_and_the_others_are_written() {
    let address = free_address();
    let mut sink = sink(&config(address, json!({}))).expect("a sink");
    let mut client = Client::connect(address, "/");
    client.welcome();
    let batch = vec![record("app.x"), Record::new("no JSON"), record("app.y")];
    let failed = sink.write(batch).expect("written");
    assert_eq!(
        failed.iter().map(|(id, error)| (*id, error.code())).collect::<Vec<_>>(),
        [(2, Some("bad_message"))]
    );
    assert_eq!(client.receive()["config_key"], "app.x");
    assert_eq!(client.receive()["config_key"], "app.y");
}

#[test]
fn settings_must_be_alike() {
    let address = free_address();
    let _source = source(&config(address, json!({}))).expect("a source");
    let error = sink(&config(address, json!({"max_patterns": 3}))).map(drop).expect_err("refused");
    assert_eq!((error.kind(), error.detail()), (ErrorKind::CONFIG, "max_patterns"), "{error}");
    let error = sink(&config(address, json!({"ssl_context": {"certfile": "a", "keyfile": "b"}}))).map(drop);
    assert_eq!(error.expect_err("refused").detail(), "ssl_context");
}

#[test]
fn a_second_source_is_refused_and_names_the_first_ones_pipeline() {
    let address = free_address();
    let first = source(&config(address, json!({}))).expect("a source");
    let error = source(&config(address, json!({}))).map(drop).expect_err("refused");
    assert!(error.kind() == ErrorKind::CONFIG && error.message().contains("pipeline `test`"), "{error}");
    drop(first);
    source(&config(address, json!({}))).map(drop).expect("the place is free again");
}

#[test]
fn an_address_is_free_as_soon_as_its_last_holder_is_gone() {
    let address = free_address();
    for _ in 0..3 {
        let source = source(&config(address, json!({}))).expect("a source");
        let sink = sink(&config(address, json!({}))).expect("a sink");
        let mut client = Client::connect(address, "/");
        client.welcome();
        drop(sink);
        client.is_served();
        drop(source);
        assert_eq!(client.closed(), Some(CloseCode::Restart));
    }
}

#[test]
fn an_address_of_another_program_is_not_connected() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let error =
        sink(&config(taken.local_addr().expect("an address"), json!({}))).map(drop).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::NOT_CONNECTED, "{error}");
}

#[test]
fn the_last_holder_to_go_answers_what_nobody_decided() {
    let address = free_address();
    let mut source = source(&config(address, json!({}))).expect("a source");
    let mut client = Client::connect(address, "/");
    client.welcome();
    client.send(&change("app.x", 1));
    assert_eq!(source.poll_until(1, SOON).expect("polled").len(), 1);
    client.send(&change("app.y", 1));
    client.is_served();
    drop(source);
    for key in ["app.x", "app.y"] {
        let answer = client.receive();
        assert_eq!(
            (&answer["config_key"], &answer["code"]),
            (&json!(key), &json!("unavailable")),
            "{answer}"
        );
    }
    assert_eq!(client.closed(), Some(CloseCode::Restart));
}

#[test]
fn changes_are_unavailable_once_the_source_is_gone() {
    let address = free_address();
    let mut source = source(&config(address, json!({}))).expect("a source");
    let _sink = sink(&config(address, json!({}))).expect("a sink");
    let mut client = Client::connect(address, "/");
    client.welcome();
    client.send(&change("app.x", 1));
    assert_eq!(source.poll_until(1, SOON).expect("polled").len(), 1);
    drop(source);
    client.send(&change("app.y", 1));
    for key in ["app.x", "app.y"] {
        let answer = client.receive();
        assert_eq!(
            (&answer["config_key"], &answer["code"]),
            (&json!(key), &json!("unavailable")),
            "{answer}"
        );
    }
}

/// The old patterns reach a client for the last time before it is told that the new ones count.
#[test]
fn nothing_of_the_old_patterns_comes_after_subscribed() {
    let address = free_address();
    let settings = json!({ "max_messages_per_second": 0, "max_queue_bytes": "64MiB" });
    let mut sink = sink(&config(address, settings)).expect("a sink");
    let mut client = Client::connect(address, "/");
    client.welcome();
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = std::thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(Ordering::Relaxed) {
                sink.write(vec![record("old.x")]).expect("written");
                // The client has to keep up.
                std::thread::sleep(Duration::from_micros(20));
            }
        }
    });
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        for pattern in ["old.*", "new.*"] {
            client.send(&json!({ "type": "subscribe", "id": 1, "patterns": [pattern] }));
            client.receive_type("subscribed");
        }
        client.send(&json!({ "type": "ping" }));
        assert_eq!(client.receive()["type"], "pong", "a change of the old patterns");
    }
    stop.store(true, Ordering::Relaxed);
    publisher.join().expect("no panic");
}

#[test]
fn a_sink_that_hangs_gives_way_to_its_next_instance() {
    let address = free_address();
    let place = Place { through_log: true, ..Place::default() };
    let open = || testing::sink::<WebSocketSink>(&config(address, json!({})), &place);
    let hanging = open().expect("a sink");
    let next = open().expect("the same sink once more");
    let server = server_at(address);
    drop(hanging);
    assert!(server.log.history().is_some(), "the late end of the first one is not the end of the other");
    drop(next);
    assert!(server.log.history().is_none() && server.has_ended());
}
