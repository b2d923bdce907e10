//! WebSocket clients that make changes. Every value says when it was sent, or should have been.

use crate::websocket::{Socket, answered, change, connect, send};
use futures_util::{SinkExt, StreamExt, future::join_all};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::time::{Instant as Due, sleep_until};
use tokio_tungstenite::tungstenite::Message;

/// How many keys one author changes by turns.
const N_KEYS: u32 = 16;

/// Several authors that each wait for the answer to a change before they send the next; gives how many were answered.
pub async fn closed_loop(server: SocketAddr, n_authors: usize, time: Duration, clock: Instant) -> u64 {
    let end = Instant::now() + time;
    let authors = (0..n_authors).map(|n| author(server, n, end, clock));
    join_all(authors).await.into_iter().sum()
}

async fn author(server: SocketAddr, n: usize, end: Instant, clock: Instant) -> u64 {
    let mut socket = quiet(server).await;
    let (key, mut n_answered) = (format!("app.bench.author{n}"), 0);
    while Instant::now() < end {
        send(&mut socket, &key, clock.elapsed().as_micros() as u64).await;
        answered(&mut socket).await;
        n_answered += 1;
    }
    n_answered
}

/// One author that sends at a fixed rate, whatever the answers do; gives how many it sent.
pub async fn open_loop(server: SocketAddr, per_second: u32, time: Duration, clock: Instant) -> u64 {
    let (mut changes, answers) = quiet(server).await.split();
    tokio::spawn(answers.for_each(async |_| {}));
    let n_changes = (time.as_secs_f64() * f64::from(per_second)) as u32;
    let first = Due::now();
    for n in 0..n_changes {
        let due = first + Duration::from_secs(1) * n / per_second;
        sleep_until(due).await;
        let sent_us = due.into_std().duration_since(clock).as_micros() as u64;
        let change = change(&format!("app.bench.key{}", n % N_KEYS), sent_us);
        changes.send(change).await.expect("it is connected");
    }
    n_changes.into()
}

/// A connection that gets nothing but answers.
async fn quiet(server: SocketAddr) -> Socket {
    let mut socket = connect(server).await;
    let quiet = Message::text(r#"{"type":"subscribe","patterns":[]}"#);
    socket.send(quiet).await.expect("it is connected");
    socket
}
