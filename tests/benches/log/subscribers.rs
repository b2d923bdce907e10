//! Subscribers that note how old a change is when they see it.

use crate::host::{Socket, connect, send};
use futures_util::StreamExt;
use hdrhistogram::Histogram;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::time::{Instant as Due, sleep, sleep_until};

/// Sends at a fixed rate, whatever the answers do; gives how many microseconds after it was due each subscriber saw
/// each change.
pub async fn open_loop(
    server: SocketAddr,
    n_subscribers: usize,
    per_second: u32,
    time: Duration,
) -> Histogram<u64> {
    let (start, seen) = (Instant::now(), Arc::new(Mutex::new(Histogram::new(3).expect("three digits"))));
    for _ in 0..n_subscribers {
        tokio::spawn(subscribe(connect(server).await, start, seen.clone()));
    }
    let mut author = connect(server).await;
    let n_changes = (time.as_secs_f64() * f64::from(per_second)) as u32;
    let first = Due::now() + Duration::from_secs(1);
    for n in 0..n_changes {
        let due = first + Duration::from_secs(1) * n / per_second;
        sleep_until(due).await;
        let due_us = due.into_std().duration_since(start).as_micros() as u64;
        send(&mut author, "app.bench.delivery", due_us).await;
    }
    let expected = u64::from(n_changes) * n_subscribers as u64;
    for _ in 0..200 {
        if seen.lock().expect("no panic").len() >= expected {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    let seen = seen.lock().expect("no panic").clone();
    assert_eq!(seen.len(), expected, "every subscriber sees every change once");
    seen
}

async fn subscribe(mut socket: Socket, start: Instant, seen: Arc<Mutex<Histogram<u64>>>) {
    while let Some(Ok(message)) = socket.next().await {
        let now_us = start.elapsed().as_micros() as u64;
        let Ok(text) = message.to_text() else { continue };
        // The old value has the same field; the new one is named first, before its own.
        let Some(sent_us) = text.split("\"new_value\":{\"sent_us\":").nth(1).and_then(leading_number) else {
            continue;
        };
        let age = now_us.saturating_sub(sent_us);
        seen.lock().expect("no panic").record(age).expect("it grows");
    }
}

fn leading_number(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    text[..end].parse().ok()
}
