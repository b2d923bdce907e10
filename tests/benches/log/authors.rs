//! Authors that each wait for the answer to a change before they send the next.

use crate::host::{Host, Socket, answered, send};
use futures_util::{SinkExt, future::join_all};
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

/// How long every answer took, in microseconds, and how long all of it took.
pub async fn closed_loop(host: &Host, n_authors: usize, time: Duration) -> (Duration, Histogram<u64>) {
    let mut sockets = Vec::new();
    for _ in 0..n_authors {
        let mut socket = host.connect().await;
        // Nothing but answers: what subscribers cost is measured elsewhere.
        let quiet = Message::text(r#"{"type":"subscribe","patterns":[]}"#);
        socket.send(quiet).await.expect("it is connected");
        sockets.push(socket);
    }
    let start = Instant::now();
    let authors = sockets.into_iter().enumerate().map(|(n, socket)| author(socket, n, start, time));
    let mut all = Histogram::new(3).expect("three digits");
    for one in join_all(authors).await {
        all.add(one).expect("it grows");
    }
    (start.elapsed(), all)
}

async fn author(mut socket: Socket, n: usize, start: Instant, time: Duration) -> Histogram<u64> {
    let mut latencies = Histogram::new(3).expect("three digits");
    let key = format!("app.bench.author{n}");
    while start.elapsed() < time {
        let sent = Instant::now();
        send(&mut socket, &key, 0).await;
        answered(&mut socket).await;
        latencies.record(sent.elapsed().as_micros() as u64).expect("it grows");
    }
    latencies
}
