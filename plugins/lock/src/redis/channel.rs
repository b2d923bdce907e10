//! What hosts tell each other: that a lock is taken or free, and whose turn it is.
//!
//! A message has three lines: the name of the waiter whose turn it is, who says it and why, and the lease. It is a hint and
//! never the truth: whoever waits looks by itself, and what is missed is missed by subscribers alone.

use super::{
    connection::Fault,
    locks::{Locks, blocking},
    text::AnyText,
};
use crate::{
    event::{Event, What},
    lease::Lease,
    name::LockName,
};
use futures_util::StreamExt;
use lockstep_plugin_api::{backoff::Backoff, prelude::*};
use redis::{Msg, aio::PubSub};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

/// After how long without a message it is asked whether the connection lives.
const QUIET: Duration = Duration::from_secs(10);

/// How many messages become one commit.
const MOST_AT_ONCE: usize = 256;

/// How many messages are sent together.
const MOST_SENT_AT_ONCE: usize = 64;

/// How many may wait to be sent; more are not, and the other hosts miss them.
const MOST_UNSENT: usize = 1024;

/// Says what this host does, in the order in which it does it.
pub struct Announcer {
    context: Context,
    /// This process, which knows what it said itself.
    me: String,
    unsent: mpsc::Sender<String>,
}

/// Who says what.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    from: String,
    node: String,
    /// Why the lock is free; nothing if it is taken.
    reason: Option<String>,
}

impl Announcer {
    /// An announcer, and what is left to be [sent](announce).
    pub fn new(context: Context, me: String) -> (Self, mpsc::Receiver<String>) {
        let (unsent, messages) = mpsc::channel(MOST_UNSENT);
        (Self { context, me, unsent }, messages)
    }

    /// What this host is called.
    pub fn node(&self) -> &str {
        self.context.node_id()
    }

    /// The second line of a message.
    pub fn message(&self, what: &What) -> String {
        let said = Said {
            from: self.me.clone(),
            node: self.node().to_owned(),
            reason: what.unlocked_because().map(str::to_owned),
        };
        serde_json::to_string(&said).expect("it has only fields that JSON has")
    }

    /// Tells the other hosts, without waiting for it.
    pub fn tell(&self, locks: &Locks, name: &LockName, lease: &Lease, what: &What) {
        let shown = locks.shown(name, lease);
        let message = format!("\n{}\n{}", self.message(what), json!(shown));
        if self.unsent.try_send(message).is_err() {
            debug!("the other hosts are not told of a lock: too much waits to be told");
        }
    }
}

/// Sends what is to be told until the pipeline ends: one after the other, so that no message overtakes another, and again
/// if the server is away. Whoever hears one twice knows.
pub async fn announce(locks: Arc<Locks>, mut unsent: mpsc::Receiver<String>) {
    let mut stopped = locks.stopped.clone();
    let sending = async {
        let mut messages = Vec::new();
        while unsent.recv_many(&mut messages, MOST_SENT_AT_ONCE).await > 0 {
            send(&locks, &messages).await;
            messages.clear();
        }
    };
    tokio::select! {
        _ = stopped.changed() => {}
        () = sending => {}
    }
}

async fn send(locks: &Locks, messages: &[String]) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
    while let Err(fault) = locks.remote.tell(messages).await {
        debug!(reason = %fault, "the other hosts could not be told of locks");
        if !matches!(fault, Fault::Away(_)) {
            return;
        }
        sleep(backoff.next_wait()).await;
    }
}

/// Hears what others say until the pipeline ends.
pub async fn listen(locks: Arc<Locks>) {
    let mut stopped = locks.stopped.clone();
    let (hear, mut heard) = mpsc::channel(1024);
    let listening = async {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut is_away = false;
        loop {
            match locks.remote.pool().server().subscribe(&locks.remote.names().channel()).await {
                Ok(connection) => {
                    if std::mem::take(&mut is_away) {
                        info!("other hosts' locks are heard of again");
                    }
                    backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
                    locks.waiting.wake_all();
                    hear_all(&locks, connection, &hear).await;
                }
                Err(fault) if !is_away => {
                    is_away = true;
                    warn!(reason = %fault, "other hosts' locks are not heard of; whoever waits looks by itself");
                }
                Err(_) => {}
            }
            sleep(backoff.next_wait()).await;
        }
    };
    let telling = async {
        let mut events = Vec::new();
        while heard.recv_many(&mut events, MOST_AT_ONCE).await > 0 {
            let (locks, events) = (locks.clone(), std::mem::take(&mut events));
            if let Err(error) = blocking(move || locks.registry.hear(&events)).await {
                debug!(%error, "what other hosts did cannot be committed");
            }
        }
    };
    tokio::select! {
        _ = stopped.changed() => {}
        () = telling => {}
        () = listening => {}
    }
}

/// Takes messages until the connection is lost; one on which nothing comes, not even what this host says itself, is.
async fn hear_all(locks: &Locks, connection: PubSub, hear: &mpsc::Sender<(Event, String)>) {
    let mut messages = connection.into_on_message();
    let mut is_asked = false;
    loop {
        match timeout(QUIET, messages.next()).await {
            Ok(Some(message)) => {
                is_asked = false;
                take(locks, &message, hear);
            }
            Ok(None) => return,
            Err(_) if is_asked => return,
            Err(_) => {
                is_asked = true;
                let _ = locks.remote.tell(&["\n\n".to_owned()]).await;
            }
        }
    }
}

fn take(locks: &Locks, message: &Msg, hear: &mpsc::Sender<(Event, String)>) {
    let Ok(text) = std::str::from_utf8(message.get_payload_bytes()) else { return };
    let mut lines = text.splitn(3, '\n');
    let [next, said, lease] = std::array::from_fn(|_| lines.next().unwrap_or_default());
    if !next.is_empty() {
        locks.waiting.wake(next);
    }
    let Ok(said) = serde_json::from_str::<Said>(said) else { return };
    if said.from == locks.announcer.me {
        return;
    }
    if let Some(event) = event(&said, &AnyText::read(lease.as_bytes())) {
        // A host that cannot write down so fast what the others do misses some of it, and is not late with its own.
        let _ = hear.try_send((event, said.node));
    }
}

/// What another host says happened.
fn event(said: &Said, text: &AnyText) -> Option<Event> {
    let what = match said.reason.as_deref() {
        None => What::Acquired,
        Some("released") => What::Released,
        Some("expired") => What::Expired,
        Some("lost") => What::Lost,
        // Who did it and why is in that host's audit.
        Some("forced") => What::Forced { admin: String::new(), reason: String::new() },
        Some(_) => return None,
    };
    Some(Event { name: text.name()?, lease: Arc::new(text.to_lease()), what })
}
