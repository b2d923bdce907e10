//! Sessions of WebSocket clients that all want one lock, each as often as it can have it.

use super::history::{Grant, monotonic_us};
use crate::{
    connection::Connection,
    wait::LIMIT,
    websocket::{Frame, runtime},
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::timeout};

/// How long a session does something under the lock.
const HELD: Duration = Duration::from_millis(1);

/// Every grant, in the order of the grants: of this time, and so many at least. The sessions are spread over the servers at
/// these ports.
///
/// # Panics
/// If a session is refused, or is not answered.
pub fn contend(
    ports: &[u16],
    n_sessions: usize,
    key: &str,
    duration: Duration,
    n_least: usize,
) -> Vec<Grant> {
    let end = Instant::now() + duration;
    // Each session asks before each grant and once more.
    let (n_asked, n_least) = (Arc::new(AtomicUsize::new(0)), n_least + n_sessions);
    let mut grants = runtime().block_on(async {
        let mut tasks = JoinSet::new();
        for number in 0..n_sessions {
            let n_asked = n_asked.clone();
            let is_over = move || n_asked.fetch_add(1, Ordering::Relaxed) >= n_least && Instant::now() >= end;
            tasks.spawn(session(ports[number % ports.len()], number, key.to_owned(), is_over));
        }
        let mut grants = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            grants.extend(ended.expect("a session does not panic"));
        }
        grants
    });
    grants.sort_by_key(|grant| grant.granted);
    grants
}

async fn session(port: u16, client: usize, key: String, is_over: impl Fn() -> bool) -> Vec<Grant> {
    let mut connection = Connection::open(port).await.expect("the server is there");
    connection.send(&json!({ "type": "subscribe", "patterns": [] })).await.expect("connected");
    let mut grants = Vec::new();
    while !is_over() {
        let asked = monotonic_us();
        let lock = json!({ "type": "config_lock", "id": grants.len(), "config_key": key,
            "user_id": format!("user-{client}"), "ttl_ms": 30_000, "wait_ms": 20_000 });
        let answer = answer(&mut connection, &lock).await;
        assert_eq!(answer["success"], true, "session {client}: {answer}");
        let granted = monotonic_us();
        // Long enough that somebody else's holding at the same time does not hide between two looks at the clock.
        tokio::time::sleep(HELD).await;
        let token = answer["token"].as_u64().expect("a token");
        let (key, released) = (key.clone(), monotonic_us());
        let unlock = json!({ "type": "config_unlock", "id": "unlock", "config_key": key });
        grants.push(Grant { client, key, asked, granted, released, token });
        let answer = self::answer(&mut connection, &unlock).await;
        assert_eq!(answer["success"], true, "session {client}: {answer}");
    }
    grants
}

async fn answer(connection: &mut Connection, message: &Value) -> Value {
    connection.send(message).await.expect("connected");
    loop {
        match timeout(LIMIT, connection.next()).await {
            Ok(Frame::Message(answer)) if answer["id"] == message["id"] => return answer,
            Ok(Frame::Message(_)) => {}
            other => panic!("{message} is not answered: {other:?}"),
        }
    }
}
