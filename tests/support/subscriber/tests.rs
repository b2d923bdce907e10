//! The drivers and the oracle together, against a server of a few lines that can be told to misbehave.

use super::*;
use crate::{
    authors::{Authors, Load, Numbers},
    watch::{History, Verdict, Violation, check},
};
use futures_util::{SinkExt, StreamExt};
use std::sync::{Arc, Mutex};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_tungstenite::{accept_async, tungstenite::Message};

/// What the server does to every twentieth change that it shows.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    Doubles,
    LeavesOut,
    Exchanges,
}

/// A log in memory.
struct Server {
    log: Mutex<Vec<Value>>,
    grown: Notify,
    fault: Fault,
}

async fn serve(listener: TcpListener, server: Arc<Server>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, server.clone()));
    }
}

async fn connection(stream: TcpStream, server: Arc<Server>) -> Option<()> {
    let mut stream = accept_async(stream).await.ok()?;
    let text = |message: Value| Message::text(message.to_string());
    stream.send(text(json!({ "type": "connection_established" }))).await.ok()?;
    let mut position = usize::MAX;
    loop {
        let shown = server.after(position);
        position = position.saturating_add(shown.len());
        for change in server.misbehave(shown) {
            stream.send(text(change)).await.ok()?;
        }
        let grown = server.grown.notified();
        let next = if server.after(position).is_empty() {
            tokio::select! {
                next = stream.next() => next?.ok()?,
                () = grown => continue,
            }
        } else {
            continue;
        };
        let Message::Text(next) = next else { continue };
        let message: Value = serde_json::from_str(&next).ok()?;
        if message["type"] == "config_change" {
            let revision = server.commit(&message);
            let answer = json!({ "type": "config_change_response", "id": message["id"], "success": true, "revision": revision });
            stream.send(text(answer)).await.ok()?;
        } else if message["patterns"] != json!([]) {
            let head = server.log.lock().expect("no panic").len();
            position = message["since"]["revision"].as_u64().map_or(head, |since| since as usize);
            let answer = json!({ "type": "subscribed", "id": message["id"], "epoch": "e", "revision": head });
            stream.send(text(answer)).await.ok()?;
        }
    }
}

impl Server {
    fn commit(&self, message: &Value) -> usize {
        let mut log = self.log.lock().expect("no panic");
        let revision = log.len() + 1;
        let mut change = message.clone();
        change["type"] = json!("config_sync");
        change["revision"] = json!(revision);
        log.push(change);
        drop(log);
        self.grown.notify_waiters();
        revision
    }

    fn after(&self, position: usize) -> Vec<Value> {
        let log = self.log.lock().expect("no panic");
        log.get(position..).unwrap_or_default().iter().take(50).cloned().collect()
    }

    fn misbehave(&self, mut shown: Vec<Value>) -> Vec<Value> {
        let is_victim =
            |change: &Value| change["revision"].as_u64().is_some_and(|revision| revision % 20 == 0);
        let Some(at) = shown.iter().position(is_victim) else { return shown };
        match self.fault {
            Fault::None => {}
            Fault::Doubles => shown.insert(at, shown[at].clone()),
            Fault::LeavesOut => drop(shown.remove(at)),
            Fault::Exchanges if at > 0 => shown.swap(at - 1, at),
            Fault::Exchanges => {}
        }
        shown
    }
}

/// Five hundred changes by several authors, shown to a subscriber that reconnects.
fn verdict(fault: Fault) -> Verdict {
    let server = Arc::new(Server { log: Mutex::default(), grown: Notify::new(), fault });
    let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let serving = runtime().spawn(serve(listener, server.clone()));
    let numbers = Numbers::default();
    let subscriber = Subscriber::start(Subscription {
        name: "test".to_owned(),
        port,
        patterns: vec!["app.*".to_owned()],
        habit: Habit::Reconnects { after: 70 },
        head: numbers.head(),
    });
    let load = Load { n_connections: 3, in_flight: 16, per_second: None, n_keys: 7, bytes: 10 };
    let authors = Authors::start(port, load, &numbers);
    crate::wait::eventually(LIMIT, || (authors.n_answered() >= 500).then_some(())).expect("answers");
    // It has been away a few times before it is told where to end.
    crate::wait::eventually(LIMIT, || (subscriber.position() >= 400).then_some(())).expect("it reads on");
    let sent = authors.finish();
    let history: History = server.log.lock().expect("no panic").iter().map(Committed::new).collect();
    history.assert_complete();
    assert_eq!(sent.len(), history.len());
    assert!(sent.iter().all(|sent| sent.revision().is_some() && sent.latency().is_some()));
    subscriber.finish_at(history.head());
    let observation = subscriber.observation();
    serving.abort();
    check(&history, &observation)
}

#[test]
fn a_server_that_behaves_is_found_right() {
    let verdict = verdict(Fault::None);
    assert_eq!(verdict.violations, []);
    assert!(verdict.n_resumes >= 3, "{verdict:?}");
}

#[test]
fn a_server_that_doubles_leaves_out_or_exchanges_messages_is_found_out() {
    let doubled = verdict(Fault::Doubles).violations;
    assert!(doubled.iter().any(|violation| matches!(violation, Violation::Repeated(_))), "{doubled:?}");
    let left_out = verdict(Fault::LeavesOut).violations;
    assert!(left_out.iter().any(|violation| matches!(violation, Violation::Missing(_))), "{left_out:?}");
    let exchanged = verdict(Fault::Exchanges).violations;
    assert!(
        exchanged.iter().any(|violation| matches!(violation, Violation::Unordered { .. })),
        "{exchanged:?}"
    );
}
