//! Two hosts that share one Redis for their locks and nothing else.

use crate::log_acceptance::{Added, Sync};
use lockstep_test_support::{Host, LockEntry, PASSWORD, Redis, RedisOptions, Request, USER};
use serde_json::{Value, json};
use std::process::Command;

/// A lease is kept up for a client whose connection lives, so one that is gone has to be noticed first.
const NOTICED_SOON: &str = ", ping_interval: 300ms, ping_timeout: 1s";

/// A host and where it lives.
pub(super) struct Node {
    pub(super) sync: Sync,
    pub(super) host: Host,
}

/// The hosts and their Redis.
pub(super) struct Pair {
    pub(super) a: Node,
    pub(super) b: Node,
    pub(super) redis: Redis,
}

impl Node {
    /// A host whose locks lie in the Redis at this port.
    pub(super) fn start(redis_port: u16) -> Self {
        let lock = format!(
            "backend: redis, redis: {{ host: 127.0.0.1, port: {redis_port}, username: {USER}, password: {PASSWORD} }}"
        );
        Self::of(Sync::with(Added { lock: &lock, websocket: NOTICED_SOON, ..Added::default() }))
    }

    pub(super) fn of(sync: Sync) -> Self {
        let host = sync.start();
        Self { sync, host }
    }

    /// Starts it again after it was killed.
    pub(super) fn restart(&mut self) {
        self.host = self.sync.start();
    }

    /// Calls an operation; an error is its code.
    pub(super) fn call(&self, operation: &str, arguments: &Value) -> Result<Value, String> {
        let request = Request::new("POST", &format!("/v1/operations/{operation}"));
        let answer = request.bearer(&self.sync.token()).json(arguments).send(self.host.admin());
        let answer = answer.map_err(|error| format!("no answer: {error}"))?;
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        match answer.code {
            200 => Ok(body),
            _ => Err(body["error"]["code"].as_str().unwrap_or("no code").to_owned()),
        }
    }

    /// Puts a number where additions begin.
    pub(super) fn set(&self, key: &str, number: u64) {
        let change = json!({ "config_key": key, "new_value": number, "user_id": "suite" });
        let request = Request::new("POST", "/v1/changes").bearer(&self.sync.token()).json(&change);
        let answer = request.send(self.host.admin()).expect("the admin server answers");
        assert_eq!(answer.code, 200, "{answer:?}");
    }

    /// `lockstep locks run` through this host, of the program that adds one to a number of another host.
    pub(super) fn run_addition(&self, key: &str, how: &[&str], addition: &[String]) -> Command {
        let mut command = self.sync.site.command(["locks", "run", key]);
        command.args(how).arg("--").args(addition);
        command
    }

    /// The program that adds one to a number of this host.
    pub(super) fn addition(&self, key: &str, think_ms: u128) -> Vec<String> {
        let program = env!("CARGO_BIN_EXE_addition").to_owned();
        let (admin, token) = (self.host.admin().to_owned(), self.sync.token());
        vec![program, admin, token, key.to_owned(), think_ms.to_string()]
    }

    /// What the audit says about the lock of a key, in order.
    pub(super) fn audited(&self, key: &str) -> Vec<LockEntry> {
        let (mut entries, mut before) = (Vec::new(), String::new());
        loop {
            let page = self.host.get(&format!("/v1/audit?limit=1000{before}")).json();
            entries.extend(
                page["entries"].as_array().expect("a list").iter().map(|entry| entry["entry"].clone()),
            );
            match page["next"].as_u64() {
                Some(next) => before = format!("&before={next}"),
                None => break,
            }
        }
        entries.reverse();
        LockEntry::of(&entries, key)
    }
}

impl Pair {
    pub(super) fn start() -> Self {
        // Nothing waits for the disk, so everything is with the system before it is answered: a process that is killed loses
        // nothing of that.
        let settings = "appendfsync no".to_owned();
        let redis = Redis::start(&RedisOptions { settings, ..RedisOptions::default() });
        let (a, b) = (Node::start(redis.port), Node::start(redis.port));
        Self { a, b, redis }
    }

    /// The one and the other in turn.
    pub(super) fn node(&self, number: usize) -> &Node {
        if number.is_multiple_of(2) { &self.a } else { &self.b }
    }

    /// The greatest token that Redis has given for the lock of a key.
    pub(super) fn fence(&self, key: &str) -> u64 {
        let counter = format!("{{config_lock:global:{key}}}:fence");
        self.redis.command::<Option<u64>>(&["GET", &counter]).unwrap_or(0)
    }
}
