//! What happens at the limits.

use super::support::{Client, Pipeline, SOON, change};
use crate::{server::MAX_BYTES_IN_PIPELINE, session::MAX_BAD_IN_A_ROW, unanswered::MAX_UNANSWERED};
use serde_json::json;
use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use tokio_tungstenite::tungstenite::{
    Error as WsError, Message,
    protocol::frame::{
        Frame,
        coding::{CloseCode, Data, OpCode},
    },
};

#[test]
fn a_page_of_another_site_does_not_get_in() {
    let pipeline = Pipeline::start(json!({}));
    let status = |origin: &str| {
        let mut stream = TcpStream::connect(pipeline.address).expect("connected");
        let request = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{origin}\r\n"
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("an answer");
        String::from_utf8_lossy(&status).into_owned()
    };
    assert_eq!(status("Origin: https://evil.example\r\n"), "HTTP/1.1 403");
    assert_eq!(status("Origin: http://localhost:3000\r\n"), "HTTP/1.1 101");
    assert_eq!(status(""), "HTTP/1.1 101", "no browser");
}

#[test]
fn abuse_ends_with_1008() {
    let pipeline = Pipeline::start(json!({}));
    let mut client = pipeline.client();
    for _ in 0..MAX_BAD_IN_A_ROW {
        client.send_raw(Message::text("nonsense"));
    }
    assert_eq!(client.closed(), Some(CloseCode::Policy));
}

#[test]
fn a_frame_over_the_limit_ends_with_1009_and_one_that_is_not_utf8_with_1007() {
    let pipeline = Pipeline::start(json!({"max_value_bytes": "64KiB"}));
    let mut client = pipeline.client();
    client.send(&change("app.x", "x".repeat(100 * 1024)));
    assert_eq!(client.receive()["code"], "too_large", "inside of the frame limit");
    client.send(&change("app.x", "x".repeat(200 * 1024)));
    assert_eq!(client.closed(), Some(CloseCode::Size));

    let mut client = pipeline.client();
    client.send_raw(Message::Frame(Frame::message(vec![b'"', 0xff, b'"'], OpCode::Data(Data::Text), true)));
    assert_eq!(client.closed(), Some(CloseCode::Invalid));
}

#[test]
fn a_large_value_arrives_whole() {
    let pipeline = Pipeline::start(json!({}));
    let (mut author, mut reader) = (pipeline.client(), pipeline.client());
    let value = "ü".repeat(400 * 1024);
    author.send(&change("app.x", value.as_str()));
    assert_eq!(reader.receive()["new_value"], value);
    author.send(&change("app.y", 1));
    assert_eq!(reader.receive()["config_key"], "app.y");
}

#[test]
fn who_sends_too_much_is_told_when_to_come_back() {
    let pipeline = Pipeline::start(json!({"max_messages_per_second": 5}));
    let start = Instant::now();
    let mut client = pipeline.client();
    let mut answers = Vec::new();
    // Where a machine lets the client wait for a second, it may send more.
    let at = loop {
        let sent = answers.len()..answers.len() + 10;
        sent.clone().for_each(|n| client.send(&json!({"type": "ping", "id": n})));
        answers.extend(sent.map(|_| client.receive()));
        if let Some(at) = answers.iter().position(|answer| answer["type"] != "pong") {
            break at;
        }
    };
    let most = 5.0 * (1.0 + start.elapsed().as_secs_f64());
    assert!(at >= 5 && at as f64 <= most, "{at} were taken, of at most {most}");
    let error = &answers[at];
    assert_eq!(
        (&error["code"], &error["id"], &error["retryable"]),
        (&json!("rate_limited"), &json!(at), &json!(true))
    );
    let wait = error["retry_after_ms"].as_u64().expect("a time");
    assert!((1..=201).contains(&wait), "{wait}");
}

#[test]
fn a_reader_that_stops_reading_is_closed_with_1013_and_holds_up_nobody() {
    // So long the slow one may take to read that it is closed, and it begins when everything is sent.
    let pipeline = Pipeline::start(
        json!({"max_queue_bytes": "128KiB", "max_messages_per_second": 0, "ping_timeout": "120s"}),
    );
    let (mut author, mut slow, mut healthy) = (pipeline.client(), pipeline.client(), pipeline.client());
    author.send(&json!({"type": "subscribe", "patterns": []}));
    // More than the sockets' own buffers take.
    let value = "x".repeat(32 * 1024);
    for n in 0..500 {
        author.send(&change(&format!("app.n{n}"), value.as_str()));
        assert_eq!(author.receive()["success"], true);
        assert_eq!(healthy.receive()["config_key"], format!("app.n{n}"));
    }
    assert_eq!(slow.closed(), Some(CloseCode::Again));
}

#[test]
fn a_connection_with_too_many_unanswered_changes_is_not_read_until_they_are_answered() {
    let pipeline = Pipeline::start(json!({"max_messages_per_second": 0}));
    let mut client = pipeline.client();
    client.send(&json!({"type": "subscribe", "patterns": []}));
    pipeline.is_stuck.store(true, Ordering::Relaxed);
    let value = "x".repeat(64 * 1024);
    let n_taken = || pipeline.taken.lock().expect("unpoisoned").len();
    let is_full = || n_taken() >= MAX_UNANSWERED;
    let n_sent = client.send_until_stuck(|n| change(&format!("app.n{n}"), value.as_str()), 2000, is_full);
    assert!(n_sent < 2000, "the server reads no more");
    assert_eq!(n_taken(), MAX_UNANSWERED);
    pipeline.is_stuck.store(false, Ordering::Relaxed);
    for n in 0..n_sent {
        assert_eq!(client.receive()["config_key"], format!("app.n{n}"));
    }
}

#[test]
fn what_all_connections_have_in_the_pipeline_is_bounded_in_bytes() {
    let pipeline = Pipeline::start(json!({}));
    pipeline.is_stuck.store(true, Ordering::Relaxed);
    let value = "x".repeat(1 << 19);
    let n_fitting = MAX_BYTES_IN_PIPELINE / value.len();
    let n_taken = || pipeline.taken.lock().expect("unpoisoned").len();
    let is_full = || n_taken() >= n_fitting - 1;
    let mut clients: Vec<Client> = (0..4).map(|_| pipeline.client()).collect();
    for client in &mut clients {
        client.send(&json!({"type": "subscribe", "patterns": []}));
        client.is_served();
        client.send_until_stuck(|n| change(&format!("app.n{n}"), value.as_str()), n_fitting, is_full);
    }
    let n_taken = n_taken();
    assert!((n_fitting - 1..=n_fitting).contains(&n_taken), "{n_taken} of {n_fitting}");
    pipeline.is_stuck.store(false, Ordering::Relaxed);
    for client in &mut clients {
        assert_eq!(client.receive()["success"], true);
    }
}

#[test]
fn one_connection_too_many_is_answered_503() {
    let pipeline = Pipeline::start(json!({"max_connections": 2}));
    let (mut one, two) = (pipeline.client(), pipeline.client());
    match Client::try_connect(pipeline.address, "/").map(drop) {
        Err(WsError::Http(response)) => {
            assert_eq!(response.status(), 503);
            assert!(response.headers().contains_key("retry-after"));
        }
        other => panic!("refused over HTTP, not {other:?}"),
    }
    one.is_served();
    drop(two);
    let start = Instant::now();
    while Client::try_connect(pipeline.address, "/").is_err() {
        assert!(start.elapsed() < SOON, "the place is free again");
    }
}

#[test]
fn plain_http_is_answered_426() {
    let pipeline = Pipeline::start(json!({}));
    for request in
        ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(pipeline.address).expect("connected");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer and the end");
        assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    }
}

#[test]
fn a_client_without_a_sign_of_life_is_closed() {
    let pipeline = Pipeline::start(json!({"ping_interval": "100ms", "ping_timeout": "200ms"}));
    let mut silent = TcpStream::connect(pipeline.address).expect("connected");
    silent.set_read_timeout(Some(SOON)).expect("set");
    let handshake = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    silent.write_all(handshake.as_bytes()).expect("sent");
    let start = Instant::now();
    let mut received = Vec::new();
    silent.read_to_end(&mut received).expect("the server ends the connection");
    // Long before anything else would end it.
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    let closing = received.windows(2).any(|pair| pair == 1011_u16.to_be_bytes());
    assert!(received.contains(&0x89) && closing, "it was pinged before, and told why");
}

#[test]
fn a_client_that_answers_pings_stays_connected() {
    // A client that the machine keeps from answering in time is closed, so it is tried again with more time.
    let stays = |timeout_ms: u64| {
        let timeout = format!("{timeout_ms}ms");
        let pipeline = Pipeline::start(json!({"ping_interval": "20ms", "ping_timeout": timeout}));
        let mut client = pipeline.client();
        client.count_pings(Duration::from_millis(7 * timeout_ms / 2)).is_some_and(|n_pings| n_pings > 5)
    };
    assert!([200, 2_000, 10_000].into_iter().any(stays));
}
