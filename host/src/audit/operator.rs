//! What an operator does, and who that is as far as the host can know: a user of the machine, or whoever has the token.

use serde::Serialize;
use serde_json::{Map, Value};

/// Who came in by the admin server, or works on the data folder itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// `uid 1000`, as the system says who opened the socket; over TCP `token`, for whoever has it.
    pub by: String,
    /// From where: a process of this machine, or an address.
    pub remote: String,
}

/// Something that an operator did.
#[derive(Debug, Clone, Serialize)]
pub struct Act<'a> {
    /// `admin_...`.
    pub event_type: &'a str,
    /// What it was done to.
    pub target: &'a str,
    pub by: &'a str,
    pub remote: &'a str,
    /// What else is known of it. No value of a key, no argument but those that name what it is about.
    #[serde(flatten)]
    pub details: &'a Map<String, Value>,
    pub outcome: Outcome,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done,
    /// It goes on, and what becomes of it is told elsewhere.
    Begun,
    Refused,
    Failed,
    /// Nobody waited for it, or it took too long.
    NotKnown,
}

impl Operator {
    /// A user of this machine.
    pub fn of_user(uid: u32, remote: String) -> Self {
        Self { by: format!("uid {uid}"), remote }
    }

    /// Whoever runs this process, which works on a data folder without its host.
    pub fn here() -> Self {
        // SAFETY: plain system call; it cannot fail.
        let uid = unsafe { libc::geteuid() };
        Self::of_user(uid, format!("data folder, pid {}", std::process::id()))
    }

    /// Whoever runs this host, with settings that it does something by at its start.
    pub fn of_settings() -> Self {
        Self { remote: format!("settings, pid {}", std::process::id()), ..Self::here() }
    }

    /// Whoever has the token of the admin server.
    pub fn with_token(remote: String) -> Self {
        Self { by: "token".to_owned(), remote }
    }

    /// A component that makes a change of its own, for whoever called an operation of it: that call has its own entry.
    pub fn component(name: &str) -> Self {
        Self { by: format!("component {name}"), remote: "host".to_owned() }
    }
}
