//! Who holds locks: sessions, each known by a secret. A session outlives its connection for a while, so that a client that
//! comes back is still the one who holds them; and while it has a connection, its leases are extended.
//!
//! Everybody else knows a session by a name that is made of the secret and does not tell it.

mod keeper;

use crate::{
    subscriptions::ConnectionNumber,
    wire::{Refusal, TOO_MANY_SESSIONS},
};
use serde::Serialize;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

/// How long a session waits for its client to come back.
pub(crate) const RESUMABLE: Duration = Duration::from_secs(10);
/// Leases are not extended more often than this, however short they are.
const MIN_PERIOD: Duration = Duration::from_millis(100);
/// The shortest secret that is taken.
const MIN_SECRET_BYTES: usize = 32;

/// A lock: a key of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub(crate) struct LockName {
    pub(crate) config_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant_id: Option<String>,
}

/// A session's two names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    /// What its client alone knows.
    pub(crate) secret: String,
    /// What everybody may know.
    pub(crate) public: String,
}

/// The sessions of a server.
pub(crate) struct Sessions {
    state: Mutex<State>,
    changed: Notify,
    /// How many there may be.
    limit: usize,
}

#[derive(Default)]
struct State {
    /// By public name.
    sessions: HashMap<String, Session>,
    /// The public name of a connection's session.
    of: HashMap<ConnectionNumber, String>,
}

struct Session {
    secret: String,
    connection: Option<ConnectionNumber>,
    leases: HashMap<LockName, Lease>,
    /// When it ends, unless its client comes back.
    closes_at: Option<Instant>,
    /// Its locks are being given back: whoever comes back now begins anew, under the same name.
    is_closing: bool,
}

struct Lease {
    token: u64,
    period: Duration,
    extend_at: Instant,
}

impl Names {
    fn of_secret(secret: String) -> Self {
        let public = blake3::hash(secret.as_bytes()).to_hex()[..32].to_owned();
        Self { secret, public }
    }

    fn random() -> Self {
        Self::of_secret(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
    }
}

impl Sessions {
    /// No sessions, and never more than `limit`.
    pub(crate) fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), limit }
    }

    /// The public name of a connection's session, if it has one.
    pub(crate) fn public_name(&self, connection: ConnectionNumber) -> Option<String> {
        self.state().of.get(&connection).cloned()
    }

    /// A connection's session; a new one, if it has none.
    pub(crate) fn open(&self, connection: ConnectionNumber) -> Result<Names, Refusal> {
        let mut state = self.state();
        if let Some(public) = state.of.get(&connection).cloned() {
            let secret = state.sessions.get(&public).map(|session| session.secret.clone());
            return Ok(Names { secret: secret.expect("a connection's session is there"), public });
        }
        let names = Names::random();
        state.begin(&names, connection, self.limit)?;
        Ok(names)
    }

    /// Lets the session of this secret go on in a connection, wherever it was before; what the connection had instead ends
    /// as if its client were gone. Tells whether the session was known: one of an earlier process is not, and may still
    /// hold locks.
    pub(crate) fn resume(
        &self,
        secret: &str,
        connection: ConnectionNumber,
    ) -> Result<(Names, bool), Refusal> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(Refusal::of_field("/session", "is shorter than any secret of a session"));
        }
        let names = Names::of_secret(secret.to_owned());
        let mut state = self.state();
        if state.of.get(&connection) == Some(&names.public) {
            return Ok((names, true));
        }
        state.leave(connection);
        let is_known = state.sessions.get(&names.public).is_some_and(|session| !session.is_closing);
        state.begin(&names, connection, self.limit)?;
        self.changed.notify_one();
        Ok((names, is_known))
    }

    /// The connection is gone, in whatever way.
    pub(crate) fn disconnected(&self, connection: ConnectionNumber) {
        if self.state().leave(connection) {
            self.changed.notify_one();
        }
    }

    /// A session got a lease, or has it still; it is extended from now on.
    pub(crate) fn hold(&self, public: &str, name: LockName, token: u64, period: Duration) {
        let period = period.max(MIN_PERIOD);
        if let Some(session) = self.state().sessions.get_mut(public) {
            session.leases.insert(name, Lease { token, period, extend_at: Instant::now() + period });
        }
        self.changed.notify_one();
    }

    /// A session gave a lease back, or does not have it.
    pub(crate) fn let_go(&self, public: &str, name: &LockName) {
        if let Some(session) = self.state().sessions.get_mut(public) {
            session.leases.remove(name);
        }
    }

    /// A session lost the lease of this token; one that it took of the same lock since then it has still.
    fn lost(&self, public: &str, name: &LockName, token: u64) {
        let mut state = self.state();
        let Some(session) = state.sessions.get_mut(public) else { return };
        if session.leases.get(name).is_some_and(|lease| lease.token == token) {
            session.leases.remove(name);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self, names: &Names, connection: ConnectionNumber, limit: usize) -> Result<(), Refusal> {
        if self.sessions.len() >= limit && !self.sessions.contains_key(&names.public) {
            return Err(TOO_MANY_SESSIONS);
        }
        let session = self.sessions.entry(names.public.clone()).or_insert_with(|| Session {
            secret: names.secret.clone(),
            connection: None,
            leases: HashMap::new(),
            closes_at: None,
            is_closing: false,
        });
        session.closes_at = None;
        if std::mem::take(&mut session.is_closing) {
            session.leases.clear();
        }
        // Whoever knows the secret is the client; its old connection may be dead without anybody having noticed.
        if let Some(old) = session.connection.replace(connection) {
            self.of.remove(&old);
        }
        self.of.insert(connection, names.public.clone());
        Ok(())
    }

    /// Whether the connection had a session.
    fn leave(&mut self, connection: ConnectionNumber) -> bool {
        let Some(public) = self.of.remove(&connection) else { return false };
        if let Some(session) = self.sessions.get_mut(&public) {
            session.connection = None;
            session.closes_at = Some(Instant::now() + RESUMABLE);
        }
        true
    }
}
