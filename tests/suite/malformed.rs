//! Input that is not what it should be: counted, answered, and nobody else's problem.

use lockstep_test_support::{
    Frame, Host, LIMIT, Site, WsClient, append, free_port, key_of, lines, random, scale,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio_tungstenite::tungstenite::Message;

/// What the server does with a bad frame.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Expect {
    /// A message that says no, with this code; the connection stays.
    Answer(&'static str),
    /// The connection is closed with this code.
    Close(u16),
}

const CLASSES: [&str; 16] = [
    "not json",
    "cut json",
    "no object",
    "no key",
    "no value",
    "key of another type",
    "empty key",
    "empty segment",
    "forbidden character",
    "long key",
    "binary frame",
    "patterns of another type",
    "bad pattern",
    "deep json",
    "large value",
    "invalid utf-8",
];

/// A bad frame of a class, different each time.
fn bad_frame(class: &str, random: &mut fastrand::Rng) -> (Message, Expect) {
    let length = random.usize(1..40);
    let word: String = std::iter::repeat_with(|| random.alphanumeric()).take(length).collect();
    let change =
        |key: Value| json!({ "type": "config_change", "config_key": key, "new_value": word }).to_string();
    let text = match class {
        "not json" => format!("{word} is not json"),
        "cut json" => {
            let whole = change(json!("app.x"));
            whole[..random.usize(1..whole.len())].to_owned()
        }
        "no object" => ["[1]", "\"text\"", "17", "null", "true"][random.usize(0..5)].to_owned(),
        "no key" => json!({ "type": "config_change", "new_value": word }).to_string(),
        "no value" => json!({ "type": "config_change", "config_key": "app.x" }).to_string(),
        "key of another type" => {
            change([json!(1), json!(["a"]), json!({}), json!(null)][random.usize(0..4)].clone())
        }
        "empty key" => change(json!("")),
        "empty segment" => change(json!(["a..b", ".a", "a.", "."][random.usize(0..4)])),
        "forbidden character" => change(json!(format!(
            "app.{}{word}",
            ['/', '+', '#', '{', '}', ':', '\u{7}'][random.usize(0..7)]
        ))),
        "long key" => change(json!(format!("app.{}", "k".repeat(random.usize(509..3_000))))),
        "binary frame" => return (Message::binary(word.into_bytes()), Expect::Answer("bad_message")),
        "patterns of another type" => {
            let patterns = [json!(1), json!("app.*"), json!([1]), json!({})][random.usize(0..4)].clone();
            json!({ "type": "subscribe", "patterns": patterns }).to_string()
        }
        "bad pattern" => {
            let pattern = ["app.[", "[", "a.[!"][random.usize(0..3)];
            json!({ "type": "subscribe", "patterns": [pattern] }).to_string()
        }
        "deep json" => {
            let depth = random.usize(200..20_000);
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!("{{\"type\":\"config_change\",\"config_key\":\"app.deep\",\"new_value\":{open}{close}}}")
        }
        "large value" => {
            let value = "v".repeat((1 << 20) + random.usize(1..30_000));
            json!({ "type": "config_change", "config_key": "app.large", "new_value": value }).to_string()
        }
        "invalid utf-8" => return (raw_text(b"{\"type\": \"\xff\xfe\"}"), Expect::Close(1007)),
        other => panic!("no such class: {other}"),
    };
    let expect = match class {
        "empty key" | "empty segment" | "forbidden character" => Expect::Answer("bad_key"),
        "long key" => Expect::Answer("too_large"),
        "bad pattern" => Expect::Answer("bad_pattern"),
        "large value" => Expect::Answer("too_large"),
        _ => Expect::Answer("bad_message"),
    };
    (Message::text(text), expect)
}

/// A text frame whose payload is not text; the client library would refuse to make one from a string.
fn raw_text(payload: &[u8]) -> Message {
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    };
    Message::Frame(Frame::message(payload.to_vec(), OpCode::Data(Data::Text), true))
}

fn start() -> (Site, Host, u16) {
    let port = free_port();
    let yaml = format!(
        "
sources: [ {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port}, max_messages_per_second: 0 }} }} ]
sinks: [ {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port}, max_messages_per_second: 0 }} }} ]
"
    );
    let site = Site::new().pipeline("sync", &yaml);
    let mut host = site.start();
    host.wait_ready();
    (site, host, port)
}

#[test]
fn every_bad_frame_is_answered_counted_and_followed_by_a_good_change() {
    let n_frames = scale(1_000, 50_000);
    let mut random = random("malformed frames");
    let (_site, mut host, port) = start();
    let mut client = quiet_client(port);
    let mut n_by_class = BTreeMap::new();
    for number in 0..n_frames {
        // Every class comes, whatever the seed.
        let class = CLASSES.get(number).copied().unwrap_or_else(|| CLASSES[random.usize(..CLASSES.len())]);
        *n_by_class.entry(class).or_insert(0_u32) += 1;
        let (frame, expect) = bad_frame(class, &mut random);
        let sent = client.try_send_frame(frame);
        let got = client.try_next(LIMIT).unwrap_or_else(|| panic!("{class}: no answer, sent {sent:?}"));
        match (got, expect) {
            (Frame::Message(answer), Expect::Answer(code)) => {
                assert_eq!(answer["code"], code, "{class}: {answer}");
                let answer = client.change("app.good", &json!(number));
                assert_eq!(answer["success"], true, "{class}: {answer}");
            }
            (Frame::Closed(code), Expect::Close(expected)) => {
                assert!(code == Some(expected) || code.is_none(), "{class}: {code:?}");
                client = quiet_client(port);
                assert_eq!(client.change("app.good", &json!(number))["success"], true, "{class}");
            }
            (got, expect) => panic!("{class}: {got:?}, expected {expect:?}"),
        }
    }
    println!("{n_by_class:?}");
    let n_frames = n_frames as f64;
    host.wait_until("every bad frame to be counted", LIMIT, |host| n_bad(host) >= n_frames);
    assert_eq!(n_bad(&host), n_frames, "the counters equal the number of bad inputs");
    let metrics = host.metrics();
    assert_eq!(metrics.sum("lockstep_records_read_total", &[]), n_frames, "only the good changes were read");
}

/// A client that gets nothing it did not ask for.
fn quiet_client(port: u16) -> WsClient {
    let mut client = WsClient::connect(port);
    client.subscribe(&[]);
    client
}

fn n_bad(host: &Host) -> f64 {
    host.metrics().sum("lockstep_plugin_bad_messages_total", &[])
}

#[test]
fn a_frame_beyond_every_limit_closes_the_connection_as_too_large() {
    let (_site, _host, port) = start();
    let mut client = quiet_client(port);
    let huge = "v".repeat(40 << 20);
    let sent = client.try_send_frame(Message::text(huge));
    let end = client.try_next(Duration::from_secs(20));
    assert!(
        matches!(end, Some(Frame::Closed(Some(1009) | None))),
        "closed as too large or cut off while sending: {end:?}, sent {:?}",
        sent.is_ok()
    );
    assert_eq!(quiet_client(port).change("app.good", &json!(1))["success"], true);
}

#[test]
fn every_bad_line_is_counted_and_the_good_ones_between_them_arrive() {
    let n_bad_lines = scale(1_000, 50_000);
    let mut random = random("malformed lines");
    let site = Site::new().pipeline(
        "lines",
        "
sources: [ { plugin: file, config: { path: SITE/in.ndjson } } ]
transforms: [ { plugin: rename_key, config: { from: app.old., to: app.new. } } ]
sinks: [ { plugin: file, config: { path: SITE/out.ndjson } } ]
",
    );
    let (input, output) = (site.path("in.ndjson"), site.path("out.ndjson"));
    let mut bytes = Vec::new();
    for number in 0..n_bad_lines {
        bytes.extend_from_slice(&bad_line(number, &mut random));
        bytes.push(b'\n');
        bytes.extend_from_slice(
            format!("{{\"config_key\":\"app.old.{number}\",\"new_value\":1}}\n").as_bytes(),
        );
    }
    std::fs::write(&input, bytes).expect("the site can be written");
    append(&input, [r#"{"config_key":"app.old.last","new_value":1}"#]);
    let mut host = site.start();
    let arrived = || lines(&output).iter().filter(|line| line.contains("app.new.")).count();
    host.wait_until("every good line", 4 * LIMIT, |_| arrived() == n_bad_lines + 1);
    for line in lines(&output) {
        assert!(key_of(&line).starts_with("app.new."), "a bad line arrived");
    }
    let n_bad = |host: &Host| {
        let metrics = host.metrics();
        let sum = |name| metrics.sum(name, &[("pipeline", "lines")]);
        let by_the_source =
            sum("lockstep_plugin_file_bad_lines_total") + sum("lockstep_plugin_file_oversize_lines_total");
        (by_the_source, sum("lockstep_records_dead_lettered_total"))
    };
    let expected = (n_bad_lines as f64, n_bad_lines as f64);
    host.wait_until("every bad line to be counted", LIMIT, |host| n_bad(host).1 >= expected.1);
    assert_eq!(n_bad(&host), expected, "the counters equal the number of bad inputs");
}

fn bad_line(number: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    match number % 6 {
        0 => b"this is not json".to_vec(),
        1 => br#"{"config_key":"app.cut","new_value":"#.to_vec(),
        2 => b"{\"config_key\":\"app.\xff\xfe\",\"new_value\":1}".to_vec(),
        3 => {
            let deep = "[".repeat(random.usize(200..5_000));
            format!("{{\"config_key\":\"app.deep\",\"new_value\":{deep}}}").into_bytes()
        }
        4 if number < 60 => {
            format!("{{\"config_key\":\"app.large\",\"new_value\":\"{}\"}}", "v".repeat(2 << 20)).into_bytes()
        }
        4 => b"\x00\x01\x02".to_vec(),
        _ => br#"{"new_value":1} trailing"#.to_vec(),
    }
}
