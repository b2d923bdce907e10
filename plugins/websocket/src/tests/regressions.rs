//! What the guide's own code does wrong, by the number it has in the contract (D-01 to D-05).

use super::{
    locks::offer,
    support::{Client, LogPipeline, SOON, change},
};
use crate::sessions::RESUMABLE;
use serde_json::json;
use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};
use tokio_tungstenite::tungstenite::Message;

/// The guide takes the head of a time-ordered id: all connections of 16 s or more share one.
#[test]
fn d_01_a_thousand_connections_of_one_moment_have_distinct_ids() {
    let pipeline = LogPipeline::start(json!({}));
    let server = crate::endpoint::server_at(pipeline.address);
    let start = Instant::now();
    let connections: Vec<_> = (0..1000).map(|_| server.connect(None, None).expect("there is room")).collect();
    // Sooner than the guide's ids differ.
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    let ids: HashSet<String> = connections.iter().map(|connection| connection.name()).collect();
    assert_eq!(ids.len(), 1000);
    for id in ids {
        let hex = id.strip_prefix("ws_").expect("the guide's prefix");
        assert!(hex.len() == 8 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{id}");
    }
    assert!(server.connect(None, None).is_none(), "they are all counted");
}

/// The guide registers a connection before it sends the welcome.
#[test]
fn d_02_the_welcome_comes_first_under_a_running_broadcast() {
    // Nobody is told that it is slow, whatever else the machine does.
    let pipeline = LogPipeline::start(json!({"max_queue_bytes": "64MiB"}));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                pipeline.commit("app.x", 1);
            }
        });
        for _ in 0..200 {
            let mut client = Client::connect(pipeline.address, "/");
            let welcome = client.receive();
            assert_eq!(welcome["type"], "connection_established", "{welcome}");
            let next = client.receive();
            assert_eq!(next["revision"], welcome["revision"].as_u64().expect("a revision") + 1, "{next}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// In the guide one bad frame ends the connection, and the answer to a bad change is an internal text.
#[test]
fn d_03_a_bad_frame_ends_no_connection_and_tells_nothing_internal() {
    let pipeline = LogPipeline::start(json!({}));
    let mut client = pipeline.client();
    for text in [
        "nonsense",
        "{",
        "[]",
        r#"{"type":"config_change","new_value":1}"#,
        r#"{"type":"subscribe","since":5}"#,
    ] {
        client.send_raw(Message::text(text));
        let error = client.receive();
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("bad_message")), "{error}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.len() > 20 && !message.contains("config_key"), "a fixed text: {message}");
        client.is_served();
    }
    client.send(&change("app.x", 1));
    assert_eq!(client.receive_type("config_change_response")["success"], true);
}

/// In the guide whoever says a name is that user: with it go locks and tenants.
#[test]
fn d_04_a_name_in_a_message_gives_nobody_the_rights_of_another() {
    let pipeline = LogPipeline::start(json!({}));
    let _locks = offer(&pipeline.host);
    let (mut eve, mut forger) = (pipeline.client(), pipeline.client());
    eve.send(&json!({"type": "config_lock", "config_key": "app.x", "user_id": "eve"}));
    assert_eq!(eve.receive_type("config_lock_response")["success"], true);
    forger.send(&json!({"type": "config_lock", "config_key": "app.x", "user_id": "eve"}));
    assert_eq!(
        forger.receive_type("config_lock_response")["code"],
        "locked",
        "the same name, another session"
    );
    forger.send(&json!({"type": "config_unlock", "config_key": "app.x", "user_id": "eve"}));
    assert_eq!(forger.receive_type("config_lock_response")["code"], "not_found");

    let mut one = Client::connect(pipeline.address, "/?tenant=t1");
    one.welcome();
    for (message, answer) in [
        (
            json!({"type": "subscribe", "patterns": ["*"], "tenant_id": "t2", "since": {"revision": 0}}),
            "error",
        ),
        (json!({"type": "config_lock", "config_key": "app.x", "tenant_id": "t2"}), "config_lock_response"),
        (
            json!({"type": "config_change", "config_key": "app.x", "new_value": 1, "tenant_id": "t2"}),
            "config_change_response",
        ),
    ] {
        one.send(&message);
        assert_eq!(one.receive_type(answer)["code"], "forbidden");
    }
}

/// In the guide a lock stays for ever when its connection ends or its change fails.
#[test]
fn d_05_locks_end_with_their_session_however_that_ends() {
    let pipeline = LogPipeline::start(json!({}));
    let locks = offer(&pipeline.host);
    let mut clients: Vec<Client> = (0..2).map(|_| pipeline.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&json!({"type": "config_lock", "config_key": format!("app.{n}")}));
        assert_eq!(client.receive_type("config_lock_response")["success"], true);
    }
    let server = crate::endpoint::server_at(pipeline.address);
    let panicking = server.connect(None, None).expect("there is room");
    server.sessions.open(panicking.number).expect("there is room");
    let panicked = std::thread::spawn(move || {
        let _connection = panicking;
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    let start = Instant::now();
    clients[0].send_raw(Message::Close(None));
    assert_eq!(clients[0].closed(), None);
    // Without a word, while a change is on its way.
    clients[1].send(&change("app.1", 1));
    clients.clear();

    std::thread::sleep(Duration::from_secs(9).saturating_sub(start.elapsed()));
    let closed = locks.calls("lock.session_closed");
    assert!(closed.is_empty() || start.elapsed() >= RESUMABLE, "they may come back: {closed:?}");
    while locks.calls("lock.session_closed").len() < 3 {
        assert!(start.elapsed() < RESUMABLE + SOON, "{:?}", locks.calls("lock.session_closed"));
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut next = pipeline.client();
    for key in ["app.0", "app.1"] {
        next.send(&json!({"type": "config_lock", "config_key": key}));
        assert_eq!(next.receive_type("config_lock_response")["success"], true, "{key} is free");
    }
}
