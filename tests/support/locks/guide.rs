//! The guide's own lock in `peers/guide_lock.py`: another program on the same Redis.

use crate::{
    artifacts::python,
    python::Python,
    servers::{PASSWORD, Redis, USER},
};
use serde_json::Value;
use std::{process::Command, time::Duration};

const PROGRAM: &str = include_str!("../peers/guide_lock.py");

/// A program that takes locks as the guide has it. Killed when it is dropped.
#[derive(Debug)]
pub struct GuidePeer(Python);

impl GuidePeer {
    /// Starts it.
    ///
    /// # Panics
    /// If Python or its package is missing.
    pub fn start(redis: &Redis) -> Self {
        Self(Python::start(PROGRAM, &[&redis.port.to_string(), USER, PASSWORD]))
    }

    /// Takes the lock of a key for so many seconds, and says whether it has it.
    pub fn acquire(&mut self, key: &str, user: &str, seconds: u32) -> bool {
        self.ask(&format!("acquire {key} {user} {seconds}"))["acquired"] == true
    }

    /// Gives it back, and says whether it had it.
    pub fn release(&mut self, key: &str, user: &str) -> bool {
        self.ask(&format!("release {key} {user}"))["released"] == true
    }

    /// Takes it away from whoever has it.
    pub fn force_release(&mut self, key: &str) -> bool {
        self.ask(&format!("force_release {key}"))["released"] == true
    }

    /// What it sees of the lock of a key; null if there is none.
    pub fn info(&mut self, key: &str) -> Value {
        self.ask(&format!("info {key}"))["lock"].clone()
    }

    /// Every lock that it sees.
    pub fn list(&mut self) -> Vec<Value> {
        self.ask("list")["locks"].as_array().expect("a list").clone()
    }

    fn ask(&mut self, command: &str) -> Value {
        self.0.ask(command)
    }

    /// A command that runs another one under the lock of a key.
    pub fn run(redis: &Redis, key: &str, user: &str, ttl: Duration, command: &[&str]) -> Command {
        let mut run = Command::new(python());
        run.args(["-c", PROGRAM, &redis.port.to_string(), USER, PASSWORD, "run", key, user]);
        run.arg(ttl.as_millis().to_string()).args(command);
        run
    }
}
