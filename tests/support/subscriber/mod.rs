//! A WebSocket subscriber that resumes, and writes down what it saw for the oracle of `watch`.
//!
//! What it does between messages (stay away, not read) is measured in revisions committed meanwhile, never in time.

#[cfg(test)]
mod tests;

use crate::{
    connection::Connection,
    wait::LIMIT,
    watch::{Committed, Observation, Seen, Session},
    websocket::{Frame, runtime},
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// What a subscriber does besides reading.
#[derive(Debug, Clone, Copy)]
pub enum Habit {
    /// Nothing.
    Reads,
    /// After so many messages it disconnects, and comes back at once.
    Reconnects { after: usize },
    /// After so many messages it disconnects, and comes back when so many more changes were committed.
    Leaves { after: usize, n_revisions: u64 },
    /// After so many messages it reads nothing until so many more changes were committed.
    Stalls { after: usize, n_revisions: u64 },
}

/// Who subscribes to what.
#[derive(Debug, Clone)]
pub struct Subscription {
    pub name: String,
    pub port: u16,
    pub patterns: Vec<String>,
    pub habit: Habit,
    /// The newest revision, by the authors' answers.
    pub head: watch::Receiver<u64>,
}

/// A running subscriber.
#[derive(Debug)]
pub struct Subscriber {
    task: JoinHandle<Observation>,
    last: watch::Sender<Option<u64>>,
    position: watch::Receiver<u64>,
}

struct Driver {
    subscription: Subscription,
    last: watch::Receiver<Option<u64>>,
    position: watch::Sender<u64>,
    epoch: Option<String>,
    observation: Observation,
}

/// Why a connection is not read any more.
enum Ended {
    Finished,
    /// By either side.
    Disconnected,
}

impl Subscriber {
    /// Starts one; it has subscribed when this comes back.
    ///
    /// # Panics
    /// If there is no server.
    pub fn start(subscription: Subscription) -> Self {
        let (last, stopped) = watch::channel(None);
        let (reached, mut position) = watch::channel(u64::MAX);
        let observation = Observation {
            name: subscription.name.clone(),
            patterns: subscription.patterns.clone(),
            sessions: Vec::new(),
        };
        let driver = Driver { subscription, last: stopped, position: reached, epoch: None, observation };
        let task = runtime().spawn(driver.run());
        let subscribed = runtime().block_on(async {
            timeout(LIMIT, position.wait_for(|position| *position != u64::MAX)).await.is_ok()
        });
        assert!(subscribed, "a subscription is answered");
        Self { task, last, position }
    }

    /// The newest revision it has seen.
    pub fn position(&self) -> u64 {
        *self.position.borrow()
    }

    /// Tells it which revision is the last one that it wants.
    pub fn finish_at(&self, revision: u64) {
        self.last.send_replace(Some(revision));
    }

    /// What it saw, once it has seen the last revision or has waited for it too long.
    ///
    /// # Panics
    /// If it saw what no server should send.
    pub fn observation(self) -> Observation {
        runtime().block_on(self.task).expect("the subscriber does not panic")
    }
}

impl Driver {
    async fn run(mut self) -> Observation {
        loop {
            let Some(mut connection) = self.connect().await else { return self.observation };
            match self.session(&mut connection).await {
                Ended::Finished => return self.observation,
                Ended::Disconnected => drop(connection),
            }
            if let Habit::Leaves { n_revisions, .. } = self.subscription.habit {
                self.until_committed(n_revisions).await;
            }
        }
    }

    /// Tries until there is a server.
    async fn connect(&self) -> Option<Connection> {
        let is_narrow = matches!(self.subscription.habit, Habit::Stalls { .. });
        let start = Instant::now();
        while start.elapsed() < 2 * LIMIT {
            if let Ok(connection) = Connection::open_with(self.subscription.port, "/", is_narrow).await {
                return Some(connection);
            }
            sleep(Duration::from_millis(20)).await;
        }
        None
    }

    async fn session(&mut self, connection: &mut Connection) -> Ended {
        let since = self.observation.sessions.iter().rev().find_map(Session::position);
        let mut subscribe =
            json!({ "type": "subscribe", "id": "resume", "patterns": self.subscription.patterns });
        if let (Some(revision), Some(epoch)) = (since, &self.epoch) {
            subscribe["since"] = json!({ "epoch": epoch, "revision": revision });
        }
        if connection.send(&subscribe).await.is_err() {
            return Ended::Disconnected;
        }
        // Who leaves in the middle may leave while the machine has made it slow.
        let is_slow = matches!(self.subscription.habit, Habit::Stalls { .. } | Habit::Reconnects { .. });
        self.observation.sessions.push(Session { since, is_slow, seen: Vec::new() });
        let mut n_left = self.n_messages();
        let mut is_subscribed = false;
        loop {
            let mut last = self.last.clone();
            let is_seen = |last: &Option<u64>| last.is_some_and(|last| *self.position.borrow() >= last);
            // A frame that is not taken stays in the connection.
            let frame = tokio::select! {
                _ = last.wait_for(is_seen) => return Ended::Finished,
                frame = timeout(LIMIT, connection.next()) => frame,
            };
            let message = match frame {
                Ok(Frame::Message(message)) => message,
                Ok(Frame::Closed(_)) => return Ended::Disconnected,
                Err(_) if self.last.borrow().is_some() => return Ended::Finished,
                Err(_) => continue,
            };
            // The host has just begun, and the sink that has the history is not there yet.
            if message["code"] == "unavailable" && message["retryable"] == true {
                sleep(Duration::from_millis(20)).await;
                return Ended::Disconnected;
            }
            if !self.see(&message, &mut is_subscribed) {
                continue;
            }
            n_left = n_left.saturating_sub(1);
            if n_left == 0 && self.last.borrow().is_none() {
                match self.subscription.habit {
                    Habit::Stalls { n_revisions, .. } => self.until_committed(n_revisions).await,
                    _ => return Ended::Disconnected,
                }
                n_left = self.n_messages();
            }
        }
    }

    /// Writes a message down; false if it is none of the subscription's.
    fn see(&mut self, message: &Value, is_subscribed: &mut bool) -> bool {
        let revision = message["revision"].as_u64();
        let seen = match message["type"].as_str() {
            Some("error") => panic!("{}: {message}", self.subscription.name),
            Some("subscribed") => {
                self.same_epoch(message);
                *is_subscribed = true;
                let revision = revision.expect("`subscribed` has a revision");
                self.position.send_if_modified(|position| {
                    std::mem::replace(position, (*position).min(revision)) > revision
                });
                // With `since`, what lies between follows.
                let session = self.observation.sessions.last().expect("a session was begun");
                if session.since.is_some() {
                    return false;
                }
                Seen::Bookmark { revision }
            }
            // Whatever comes before `subscribed` is about the patterns that every connection begins with.
            _ if !*is_subscribed => return false,
            Some("bookmark") => {
                let revision = revision.expect("a bookmark has a revision");
                self.position.send_replace(revision);
                Seen::Bookmark { revision }
            }
            Some("resync") => {
                self.same_epoch(message);
                let reason = message["reason"].as_str().unwrap_or_default().to_owned();
                Seen::Resync { revision: revision.expect("`resync` has a revision"), reason }
            }
            Some("config_sync") => {
                self.position.send_replace(revision.expect("`config_sync` has a revision"));
                let from_revision = message["from_revision"].as_u64();
                Seen::Change { change: Committed::new(message), from_revision }
            }
            _ => return false,
        };
        self.observation.sessions.last_mut().expect("a session was begun").seen.push(seen);
        true
    }

    fn same_epoch(&mut self, message: &Value) {
        let epoch = message["epoch"].as_str().expect("an epoch").to_owned();
        assert_eq!(*self.epoch.get_or_insert_with(|| epoch.clone()), epoch, "the log is the same");
    }

    fn n_messages(&self) -> usize {
        match self.subscription.habit {
            Habit::Reads => usize::MAX,
            Habit::Reconnects { after } | Habit::Leaves { after, .. } | Habit::Stalls { after, .. } => after,
        }
    }

    /// Waits until so many more changes were committed, or no more are to come.
    async fn until_committed(&mut self, n_revisions: u64) {
        let (mut head, mut last) = (self.subscription.head.clone(), self.last.clone());
        let goal = *head.borrow() + n_revisions;
        // Both only look.
        tokio::select! {
            _ = head.wait_for(|head| *head >= goal) => {}
            _ = last.wait_for(Option::is_some) => {}
        }
    }
}
