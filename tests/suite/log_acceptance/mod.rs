//! What the log promises, asked of the real host with real plugins: one question per file.
//!
//! `websocket -> lock, resolver -> websocket + file`, and what a question needs beside that. Everything is judged by what
//! clients were answered, what subscribers saw and what sinks hold; nothing looks into the store.

mod crash;
mod rotation;
mod outage;
mod retention;
mod clock;
mod contention;
mod fencing;
mod holder;
mod granted_in_between;
mod two_writers;
mod arrival_order;
mod connections;
mod subscribers;
mod forged;
mod intervals;
mod retries;
mod idempotency;

use lockstep_test_support::{Host, LIMIT, Request, Site, WsClient, free_port};
use serde_json::{Value, json};
use std::{fs, path::PathBuf};

/// A site with the pipeline through the log, and the port that its clients use.
pub(crate) struct Sync {
    pub(crate) site: Site,
    pub(crate) port: u16,
}

/// What a question adds to the pipeline.
#[derive(Default)]
pub(crate) struct Added<'a> {
    /// Fields of the WebSocket server.
    pub(crate) websocket: &'a str,
    /// A list of sources beside it.
    pub(crate) sources: &'a str,
    /// The lock's fields.
    pub(crate) lock: &'a str,
    /// What stands between the lock and the resolver.
    pub(crate) between: &'a str,
    /// The resolver's fields.
    pub(crate) resolver: &'a str,
    /// A list of sinks beside WebSocket and file.
    pub(crate) sinks: &'a str,
}

impl Sync {
    pub(crate) fn new() -> Self {
        Self::with(Added::default())
    }

    pub(crate) fn with(added: Added<'_>) -> Self {
        let port = free_port();
        let Added { websocket, sources, lock, between, resolver, sinks } = added;
        let config = format!("{{ listen: 127.0.0.1:{port}, max_messages_per_second: 0{websocket} }}");
        let yaml = format!(
            "
sources:
  - {{ plugin: websocket, config: {config} }}
{sources}
transforms:
  - {{ plugin: lock, config: {{ {lock} }} }}
{between}
  - {{ plugin: resolver, config: {{ {resolver} }} }}
sinks:
  - {{ plugin: websocket, config: {config} }}
  - {{ plugin: file, config: {{ path: SITE/out.ndjson }} }}
{sinks}
"
        );
        // Notices would take revisions at times that no test can know.
        let site =
            Site::new().pipeline("sync", &yaml).env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "24h");
        Self { site, port }
    }

    pub(crate) fn env(self, name: &str, value: &str) -> Self {
        Self { site: self.site.env(name, value), ..self }
    }

    pub(crate) fn start(&self) -> Host {
        let mut host = self.site.start();
        host.wait_ready();
        host
    }

    pub(crate) fn client(&self) -> WsClient {
        WsClient::connect(self.port)
    }

    /// A client that is shown nothing but answers.
    pub(crate) fn author(&self) -> WsClient {
        let mut client = self.client();
        client.subscribe(&[]);
        client
    }

    /// How many changes came after a revision, for somebody who has seen that one; nothing if history does not reach back.
    fn n_after(&self, since: u64) -> Option<usize> {
        let mut client = self.client();
        let since = json!({ "epoch": client.welcome()["epoch"], "revision": since });
        client.send(&json!({ "type": "subscribe", "id": 1, "patterns": ["app.*"], "since": since }));
        client.next_of_type("subscribed");
        let mut n_changes = 0;
        loop {
            match client.next_message()["type"].as_str() {
                Some("config_sync") => n_changes += 1,
                Some("resync") => return None,
                Some("bookmark") => return Some(n_changes),
                _ => {}
            }
        }
    }

    /// Where the file sink writes.
    pub(crate) fn output(&self) -> PathBuf {
        self.site.path("out.ndjson")
    }

    /// What lets a request change something.
    pub(crate) fn token(&self) -> String {
        let token = fs::read_to_string(self.site.path("data/admin.token")).expect("the host wrote a token");
        token.trim().to_owned()
    }

    /// Calls an operation as an operator would.
    pub(crate) fn call(&self, host: &Host, operation: &str, arguments: &Value) -> Value {
        let request = Request::new("POST", &format!("/v1/operations/{operation}"));
        let answer = request.bearer(&self.token()).json(arguments).send(host.admin());
        let answer = answer.expect("the admin server answers");
        assert_eq!(answer.code, 200, "{operation} {arguments}: {answer:?}");
        answer.json()
    }
}

/// The newest entry of a key, as the admin server shows it.
pub(crate) fn key(host: &Host, key: &str) -> Value {
    let answer = host.get(&format!("/v1/keys/{key}"));
    assert_eq!(answer.code, 200, "{key}: {answer:?}");
    answer.json()
}

/// Sends a message, and gives the answer that has its id.
pub(crate) fn ask(client: &mut WsClient, mut message: Value) -> Value {
    let id = format!("ask-{}", fastrand::u64(..));
    message["id"] = json!(id);
    client.send(&message);
    let start = std::time::Instant::now();
    loop {
        let answer = client.next_message();
        if answer["id"] == *id {
            return answer;
        }
        assert!(start.elapsed() < LIMIT, "{message} is not answered");
    }
}

/// A change with more fields than a plain one.
pub(crate) fn change(client: &mut WsClient, key: &str, value: &Value, more: &Value) -> Value {
    let mut message =
        json!({ "type": "config_change", "config_key": key, "new_value": value, "user_id": "suite" });
    for (name, field) in more.as_object().into_iter().flatten() {
        message[name] = field.clone();
    }
    ask(client, message)
}

/// The revision of an answer to a change that was accepted.
pub(crate) fn revision(answer: &Value) -> u64 {
    assert_eq!(answer["success"], true, "{answer}");
    answer["revision"].as_u64().unwrap_or_else(|| panic!("no revision: {answer}"))
}

/// Takes a lock, and gives the answer.
pub(crate) fn lock(client: &mut WsClient, key: &str, ttl_ms: u64, wait_ms: u64) -> Value {
    ask(client, json!({ "type": "config_lock", "config_key": key, "ttl_ms": ttl_ms, "wait_ms": wait_ms }))
}
