//! Locks in Redis, asked of real hosts that share a real server: who holds one, what is told of it, what becomes of changes,
//! and what the server may go through meanwhile.

mod scripts;
mod leases;
mod line;
mod ends;
mod changes;
mod server;
mod topologies;
mod guide;
mod regressions;

use lockstep_test_support::{
    Host, LIMIT, PASSWORD, Redis, RedisOptions, Request, Site, USER, WsClient, eventually, free_port,
};
use serde_json::{Value, json};
use std::fs;

/// The lock of the key `app.x`, as the server has it.
const LOCK: &str = "config_lock:global:app.x";

/// A host that keeps its locks in Redis.
struct Node {
    site: Site,
    host: Host,
    /// Where WebSocket clients connect.
    port: u16,
}

/// A refusal: its code, and the whole of it.
#[derive(Debug)]
struct Refused {
    code: String,
    error: Value,
}

/// A server that forgets nothing.
fn redis() -> Redis {
    Redis::start(&RedisOptions { settings: "appendfsync always\n".to_owned(), ..RedisOptions::default() })
}

/// Fields that name a server.
fn place(port: u16) -> String {
    format!("port: {port}, username: {USER}, password: {PASSWORD}")
}

/// A host, started.
fn node(name: &str, place: &str) -> Node {
    let (site, port) = site(name, place);
    let mut host = site.start();
    host.wait_ready();
    Node { site, host, port }
}

fn site(name: &str, place: &str) -> (Site, u16) {
    let port = free_port();
    let websocket = format!("{{ listen: 127.0.0.1:{port}, max_messages_per_second: 0 }}");
    let yaml = format!(
        "
sources: [ {{ plugin: websocket, config: {websocket} }} ]
transforms:
  - {{ plugin: lock, config: {{ backend: redis, redis: {{ {place} }} }} }}
  - {{ plugin: resolver }}
sinks: [ {{ plugin: websocket, config: {websocket} }} ]
"
    );
    let site = Site::new().pipeline("sync", &yaml).env("LOCKSTEP_NODE_ID", name);
    (site, port)
}

/// Two hosts and their server.
fn two() -> (Redis, Node, Node) {
    let redis = redis();
    let (a, b) = (node("a", &place(redis.port)), node("b", &place(redis.port)));
    // Hosts are ready before they hear of each other.
    let listen = eventually(LIMIT, || {
        let (_, n_hosts): (String, u64) = redis.command(&["PUBSUB", "NUMSUB", "config_lock:events"]);
        (n_hosts == 2).then_some(())
    });
    assert!(listen.is_some(), "both hosts listen to the channel");
    (redis, a, b)
}

impl Node {
    /// Calls an operation as an operator.
    fn call(&self, operation: &str, arguments: &Value) -> Result<Value, Refused> {
        call(&self.site, self.host.admin(), operation, arguments)
    }

    /// The same, about `app.x`.
    fn ask(&self, operation: &str, mut arguments: Value) -> Result<Value, Refused> {
        arguments["config_key"] = json!("app.x");
        self.call(operation, &arguments)
    }

    fn acquire(&self, session: &str, mut rest: Value) -> Result<Value, Refused> {
        rest["session"] = json!(session);
        if rest["user_id"].is_null() {
            rest["user_id"] = json!(format!("user-{session}"));
        }
        self.ask("lock.acquire", rest)
    }

    fn release(&self, session: &str) -> Result<Value, Refused> {
        self.ask("lock.release", json!({ "session": session }))
    }

    /// What the audit has about locks, the oldest first: event, and which of the tokens in it that is.
    fn audited(&self) -> Vec<(String, usize)> {
        let answer = self.host.get("/v1/audit?limit=1000").json();
        let entries = answer.as_array().or(answer["entries"].as_array()).cloned().expect("a list");
        let mut locks: Vec<Value> = entries.into_iter().map(|entry| entry["entry"].clone()).collect();
        locks.retain(|entry| entry["event_type"].as_str().is_some_and(|kind| kind.starts_with("lock_")));
        // The newest come first.
        locks.reverse();
        let mut tokens: Vec<u64> = locks.iter().filter_map(|entry| entry["token"].as_u64()).collect();
        tokens.sort_unstable();
        tokens.dedup();
        let read = |entry: &Value| {
            let place = entry["token"].as_u64().and_then(|token| tokens.binary_search(&token).ok());
            let what = entry["event_type"].as_str().expect("a type");
            (what.to_owned(), place.map_or(0, |place| place + 1))
        };
        locks.iter().map(read).collect()
    }

    fn client(&self) -> WsClient {
        WsClient::connect(self.port)
    }

    /// Changes `app.x` as an operator; the answer's body.
    fn change(&self, value: &Value, mut rest: Value) -> Value {
        rest["config_key"] = json!("app.x");
        rest["new_value"] = value.clone();
        let request = Request::new("POST", "/v1/changes").bearer(&token(&self.site)).json(&rest);
        request.send(self.host.admin()).expect("an answer").json()
    }

    /// The revision of what `app.x` is, 0 if it is not there.
    fn revision(&self) -> u64 {
        let answer = self.host.get("/v1/keys/app.x");
        if answer.code == 404 { 0 } else { answer.json()["revision"].as_u64().expect("a revision") }
    }
}

/// The token of a lease.
fn token_of(lease: &Value) -> u64 {
    lease["token"].as_u64().unwrap_or_else(|| panic!("no token: {lease}"))
}

fn token(site: &Site) -> String {
    fs::read_to_string(site.path("data/admin.token")).expect("a token").trim().to_owned()
}

/// Calls an operation of a host, from any thread.
fn call(site: &Site, admin: &str, operation: &str, arguments: &Value) -> Result<Value, Refused> {
    let request = Request::new("POST", &format!("/v1/operations/{operation}"));
    let answer = request.bearer(&token(site)).json(arguments).send(admin).expect("the admin server answers");
    let body = answer.json();
    match answer.code {
        200 => Ok(body),
        _ => Err(Refused {
            code: body["error"]["code"].as_str().unwrap_or("no code").to_owned(),
            error: body["error"].clone(),
        }),
    }
}

#[track_caller]
fn code(answer: Result<Value, Refused>) -> String {
    answer.expect_err("refused").code
}
