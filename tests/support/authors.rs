//! Many WebSocket connections that make numbered changes, each with many of them unanswered.
//!
//! The invariant: a number is sent at most once, by whichever connection, over all rounds that share [`Numbers`].

use crate::{
    connection::Connection,
    wait::LIMIT,
    websocket::{Frame, runtime},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

/// What the authors do.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub n_connections: usize,
    /// Most unanswered changes of one connection.
    pub in_flight: usize,
    /// Changes per second of all connections together; without it, as fast as they are answered.
    pub per_second: Option<u32>,
    /// Number `n` goes to the key `app.load.{n % n_keys}`.
    pub n_keys: u64,
    /// How much a value is filled up with.
    pub bytes: usize,
}

/// Where the numbers come from, and how far the log has come by the answers: one of these for a whole test.
#[derive(Debug, Clone)]
pub struct Numbers {
    next: Arc<AtomicU64>,
    head: watch::Sender<u64>,
}

/// One change that was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    pub number: u64,
    pub key: String,
    /// When it should have been sent: lateness of the author counts as latency.
    due: Instant,
    pub answer: Option<Answered>,
}

/// What the server answered.
#[derive(Debug, Clone)]
pub struct Answered {
    /// `success: true`, at this revision.
    pub revision: Option<u64>,
    /// The whole answer.
    pub message: Value,
    at: Instant,
}

/// Running authors.
#[derive(Debug)]
pub struct Authors {
    tasks: JoinSet<Vec<Sent>>,
    stop: watch::Sender<bool>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    load: Load,
    numbers: Numbers,
    n_answered: AtomicUsize,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { next: Arc::default(), head: watch::Sender::new(0) }
    }
}

impl Numbers {
    /// The newest revision that was answered, and its changes.
    pub fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// A number that nobody else gets.
    pub fn take(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn reached(&self, revision: u64) {
        self.head.send_if_modified(|head| {
            let newest = revision.max(*head);
            std::mem::replace(head, newest) != newest
        });
    }
}

impl Load {
    /// The key of a number.
    pub fn key(&self, number: u64) -> String {
        format!("app.load.{}", number % self.n_keys)
    }
}

impl Sent {
    /// When it should have been sent.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// From when it was due to its answer.
    pub fn latency(&self) -> Option<Duration> {
        self.answer.as_ref().map(|answer| answer.at - self.due)
    }

    /// The revision, if it was answered `success: true`.
    pub fn revision(&self) -> Option<u64> {
        self.answer.as_ref()?.revision
    }
}

impl Authors {
    /// Connects all of them, and starts.
    ///
    /// # Panics
    /// If there is no server.
    pub fn start(port: u16, load: Load, numbers: &Numbers) -> Self {
        let (stop, stopped) = watch::channel(false);
        let n_answered = AtomicUsize::new(0);
        let shared = Arc::new(Shared { load, numbers: numbers.clone(), n_answered });
        let connections: Vec<Connection> = runtime().block_on(async {
            let mut connections = Vec::new();
            for _ in 0..load.n_connections {
                let mut connection = Connection::open(port).await.expect("the server is there");
                let nothing = json!({ "type": "subscribe", "patterns": [] });
                connection.send(&nothing).await.expect("the server is there");
                connections.push(connection);
            }
            connections
        });
        let mut tasks = JoinSet::new();
        for connection in connections {
            tasks.spawn_on(author(connection, shared.clone(), stopped.clone()), runtime().handle());
        }
        Self { tasks, stop, shared }
    }

    /// How many changes were answered.
    pub fn n_answered(&self) -> usize {
        self.shared.n_answered.load(Ordering::Relaxed)
    }

    /// Sends nothing more, waits for the answers that are still to come, and gives everything that was sent. A connection
    /// that ended before has unanswered changes.
    pub fn finish(mut self) -> Vec<Sent> {
        self.stop.send_replace(true);
        runtime().block_on(async {
            let mut sent = Vec::new();
            while let Some(ended) = self.tasks.join_next().await {
                sent.extend(ended.expect("an author does not panic"));
            }
            sent.sort_by_key(|sent| sent.number);
            sent
        })
    }
}

async fn author(
    mut connection: Connection,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) -> Vec<Sent> {
    let load = shared.load;
    let filler = "x".repeat(load.bytes);
    let between = load.per_second.map(|all| Duration::from_secs(1) * load.n_connections as u32 / all);
    let mut ticks = interval(between.unwrap_or(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut answered, mut unanswered) = (Vec::new(), HashMap::new());
    loop {
        let may_send = !*stopped.borrow() && unanswered.len() < load.in_flight;
        if *stopped.borrow() && unanswered.is_empty() {
            break;
        }
        // A frame that is not taken stays in the connection, a tick that is not taken comes at once the next time.
        let due = tokio::select! {
            biased;
            frame = timeout(LIMIT, connection.next()) => match frame {
                Ok(Frame::Message(message)) => {
                    answered.extend(shared.answer(&mut unanswered, message));
                    continue;
                }
                _ => break,
            },
            due = ticks.tick(), if may_send && between.is_some() => due.into_std(),
            () = std::future::ready(()), if may_send && between.is_none() => Instant::now(),
            _ = stopped.changed(), if !*stopped.borrow() => continue,
        };
        let number = shared.numbers.take();
        let key = load.key(number);
        let change = json!({
            "type": "config_change", "id": number, "config_key": key, "user_id": "author",
            "new_value": { "n": number, "filler": filler },
        });
        unanswered.insert(number, Sent { number, key, due, answer: None });
        if connection.send(&change).await.is_err() {
            break;
        }
    }
    answered.extend(unanswered.into_values());
    answered
}

impl Shared {
    fn answer(&self, unanswered: &mut HashMap<u64, Sent>, message: Value) -> Option<Sent> {
        let mut sent = unanswered.remove(&message["id"].as_u64()?)?;
        let revision = if message["success"] == true { message["revision"].as_u64() } else { None };
        self.n_answered.fetch_add(1, Ordering::Relaxed);
        self.numbers.reached(revision.unwrap_or(0));
        sent.answer = Some(Answered { revision, message, at: Instant::now() });
        Some(sent)
    }
}
