//! Full queues make sources wait; slow subscribers cost nobody else.

use futures_util::{SinkExt, StreamExt};
use lockstep_test_support::{Host, LIMIT, Probe, Site, WsClient, free_port, quiet, runtime, scale};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

const MIB: u64 = 1 << 20;

/// What memory may grow by beyond the bound itself.
const SLACK: u64 = 16 * MIB;

#[test]
fn a_sink_that_blocks_stops_the_source_at_the_bound_of_what_is_in_flight() {
    let site = Site::new()
        .pipeline(
            "flow",
            "
sources: [ { plugin: probe, config: { dir: SITE/in, count: 100000, bytes: 1000 } } ]
sinks: [ { plugin: probe, config: { dir: SITE/out } } ]
delivery: { in_flight: { records: 100000, bytes: 8MiB } }
",
        )
        // The sink blocks on purpose and for long; it is not to be taken for hung.
        .env("LOCKSTEP_WATCHDOG", "600s");
    let sink = Probe::new(&site, "out");
    sink.down();
    let mut host = site.start();
    host.wait_until("the sink to be away", LIMIT, |host| {
        host.status().errors("flow").contains("told to be down")
    });
    let before = host.rss();
    sink.block();
    sink.up();
    host.wait_until("a blocked sink", LIMIT, |_| !sink.offered().is_empty());

    let read = |host: &Host| host.metrics().sum("lockstep_records_read_total", &[("pipeline", "flow")]);
    host.wait_until("the bound to be made use of", LIMIT, |host| read(host) * 1_000.0 >= 4.0 * MIB as f64);
    let n_read = settled(&mut host, read);
    assert!(n_read * 1_000.0 <= 9.0 * MIB as f64, "the source was stopped at the bound: {n_read} records");
    let grown = host.rss().saturating_sub(before);
    println!("{n_read} of 100000 records in flight, memory grew by {} KiB", grown / 1024);
    assert!(grown <= 8 * MIB + SLACK, "memory grew by {grown} bytes");

    sink.unblock();
    host.wait_until("all 100 MB", 4 * LIMIT, |_| sink.written().len() >= 100_000);
    let grown = host.rss().saturating_sub(before);
    assert!(grown <= 8 * MIB + SLACK, "memory grew by {grown} bytes while 100 MB went through");
}

/// A number once it has not changed for a while.
fn settled(host: &mut Host, number: impl Fn(&Host) -> f64) -> f64 {
    let mut last = (number(host), Instant::now());
    host.wait_for("a number to stand still", LIMIT, |host| {
        let now = number(host);
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_secs(1)).then_some(now)
    })
}

/// A host with one WebSocket endpoint, on a port.
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
fn a_subscriber_that_stops_reading_costs_no_memory() {
    let (_site, mut host, port) = start();
    // Warm: every path has run once before memory is looked at.
    fan_out(port, 20);
    let before = host.rss();
    let large = LargeChanges::start(port, false);
    let mut highest = 0;
    host.wait_until("100 MB to be offered", 4 * LIMIT, |host| {
        highest = highest.max(host.rss());
        large.is_finished()
    });
    let grown = highest.saturating_sub(before);
    println!(
        "memory grew by {} KiB while 100 MB were offered to a subscriber that does not read",
        grown / 1024
    );
    assert!(grown <= MIB + SLACK, "memory grew by {grown} bytes");
    assert_eq!(host.metrics().sum("lockstep_plugin_slow_closed_total", &[]), 1.0, "it was closed");
}

#[test]
fn a_subscriber_that_stops_reading_is_closed_and_the_others_do_not_notice() {
    let _quiet = quiet();
    let (_site, host, port) = start();
    // Warm: every path has run once before memory and time are looked at.
    fan_out(port, 20);

    // The two kinds of run differ in nothing but whether the subscriber of large changes reads, and take turns, so that
    // whatever else the machine does meets both.
    let before = host.rss();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    // A machine that did something else meanwhile is given more turns; somebody who notices does so in all of them.
    let is_unnoticed = (0..4).any(|_| {
        for _ in 0..scale(5, 9) {
            for (times, reads) in [(&mut without, true), (&mut with, false)] {
                let large = LargeChanges::start(port, reads);
                times.push(fan_out(port, 200));
                drop(large);
            }
        }
        let (without, with) = (middle(&mut without), middle(&mut with));
        println!(
            "p99 of 50 subscribers: {without:?} beside one that reads, {with:?} beside one that does not"
        );
        with <= 2 * without.max(Duration::from_millis(scale(5, 2)))
    });
    let grown = host.rss().saturating_sub(before);
    assert!(grown <= MIB + SLACK, "memory grew by {grown} bytes");
    assert!(is_unnoticed, "{with:?} against {without:?}");
    assert!(
        host.metrics().sum("lockstep_plugin_slow_closed_total", &[]) >= 1.0,
        "the slow subscriber was closed"
    );
}

fn middle(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// An author of large changes, 100 MB of them, and one subscriber that wants them: it reads, or it does not.
struct LargeChanges {
    /// Held, and so connected, for as long as it is not read.
    _stalled: Option<WsClient>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl LargeChanges {
    fn start(port: u16, reads: bool) -> Self {
        let mut subscriber = WsClient::connect(port);
        subscriber.subscribe(&["big.*"]);
        let mut author = WsClient::connect(port);
        author.subscribe(&[]);
        let mut author = author.into_stream();
        let value = "x".repeat(100_000);
        let change =
            json!({ "type": "config_change", "config_key": "big.key", "new_value": value }).to_string();
        let mut tasks = vec![runtime().spawn(async move {
            for _ in 0..1_000 {
                if author.send(Message::text(change.clone())).await.is_err() {
                    return;
                }
                while author.next().await.is_some_and(|answer| answer.is_ok_and(|answer| !answer.is_text())) {
                }
            }
        })];
        let stalled = if reads {
            let mut subscriber = subscriber.into_stream();
            tasks.push(runtime().spawn(async move { while let Some(Ok(_)) = subscriber.next().await {} }));
            None
        } else {
            Some(subscriber)
        };
        Self { _stalled: stalled, tasks }
    }
}

impl LargeChanges {
    /// Whether the author has sent everything.
    fn is_finished(&self) -> bool {
        self.tasks[0].is_finished()
    }
}

impl Drop for LargeChanges {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// 50 subscribers and an author of small changes; the time from a change being sent to its arrival, for the slowest of a
/// hundred arrivals.
fn fan_out(port: u16, n_changes: usize) -> Duration {
    let subscribers: Vec<_> = (0..50)
        .map(|_| {
            let mut client = WsClient::connect(port);
            client.subscribe(&["small.*"]);
            runtime().spawn(arrivals(client, n_changes))
        })
        .collect();
    let mut author = WsClient::connect(port);
    author.subscribe(&[]);
    let start = Instant::now();
    for number in 0..n_changes {
        let sent_us = u64::try_from(epoch().elapsed().as_micros()).expect("a short test");
        author.send_change(&format!("small.{number}"), &json!(sent_us));
        author.next_of_type("config_change_response");
        assert!(start.elapsed() < 4 * LIMIT, "the author is answered");
    }
    let mut times: Vec<Duration> =
        subscribers.into_iter().flat_map(|task| runtime().block_on(task).expect("no panic")).collect();
    assert_eq!(times.len(), 50 * n_changes, "every subscriber got every change");
    times.sort();
    times[times.len() * 99 / 100]
}

fn epoch() -> Instant {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

async fn arrivals(client: WsClient, n_changes: usize) -> Vec<Duration> {
    let mut stream = client.into_stream();
    let mut times = Vec::new();
    while times.len() < n_changes {
        let next = tokio::time::timeout(LIMIT, stream.next()).await;
        let Ok(Some(Ok(Message::Text(text)))) = next else { break };
        let message: Value = serde_json::from_str(&text).expect("JSON");
        if message["config_key"].as_str().is_some_and(|key| key.starts_with("small.")) {
            let sent = Duration::from_micros(message["new_value"].as_u64().expect("a time"));
            times.push(epoch().elapsed().saturating_sub(sent));
        }
    }
    times
}
