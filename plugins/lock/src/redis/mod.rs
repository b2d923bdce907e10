//! The backend `redis`: leases in a server that several hosts share, and with them programs that have the guide's own lock
//! class.
//!
//! Reading order: `names` and `text` (what lies there), `scripts` (what is done there, atomically), `remote` (how it is
//! asked for), `known` and `registry` (what this host remembers and writes down), `locks`, `taking`, `returning` and `showing`
//! (what callers ask), `keeping` and `channel` (what happens beside that).
//! Invariant: the server decides who holds a lock; a caller hears of a grant only when its token is registered here.

mod config;
mod connection;
mod names;
mod text;
mod scripts;
mod answers;
mod remote;
mod recent;
mod known;
mod order;
mod registry;
mod turns;
mod waiting;
mod channel;
mod locks;
mod taking;
mod returning;
mod showing;
mod keeping;

#[cfg(test)]
mod tests;

pub use config::RedisConfig;

use crate::{
    check::Holder,
    config::Rules,
    name::LockName,
    request::{Answer, Request},
};
use answers::Found;
use channel::{Announcer, announce, listen};
use connection::{Fault, Pool, Server, ServerSettings};
use keeping::{keep, try_again};
use locks::Locks;
use lockstep_plugin_api::prelude::*;
use names::Names;
use registry::Registry;
use remote::Remote;
use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
};
use tokio::sync::{mpsc::Receiver, watch};
use uuid::Uuid;

/// Which server, and what locks are called there; checked.
pub struct Settings {
    server: ServerSettings,
    names: Names,
}

/// The locks in Redis.
pub struct Redis {
    locks: Arc<Locks>,
    context: Context,
    /// What the server said about the locks of the batch that is applied.
    seen: HashMap<LockName, Option<Holder>>,
    /// Everything here ends when this is dropped.
    _alive: watch::Sender<()>,
}

/// Asks about them; cheap to clone.
#[derive(Clone)]
pub struct Asking(Arc<Locks>);

impl Settings {
    /// # Errors
    /// `Config`, with the field inside `redis:`.
    pub fn new(config: &RedisConfig, prefix: &str) -> Result<Self> {
        Ok(Self { server: config.server()?, names: Names::new(prefix) })
    }
}

impl Asking {
    /// # Errors
    /// What the request is refused with.
    pub async fn ask(&self, request: Request) -> Result<Answer> {
        self.0.ask(request).await
    }
}

impl Redis {
    /// Connects to nothing yet: a server that is away keeps no host from starting.
    ///
    /// # Errors
    /// `Config`, if a certificate cannot be read; or if the host's store cannot.
    pub fn open(settings: Settings, context: &Context, rules: Rules) -> Result<Self> {
        let (locks, unsent, alive) = Self::locks(settings, context, rules)?;
        context.spawn(keep(locks.clone()));
        context.spawn(try_again(locks.clone()));
        context.spawn(listen(locks.clone()));
        context.spawn(announce(locks.clone(), unsent));
        Ok(Self { locks, context: context.clone(), seen: HashMap::new(), _alive: alive })
    }

    /// The locks, what of them is to be announced, and what ends with them.
    fn locks(
        settings: Settings,
        context: &Context,
        rules: Rules,
    ) -> Result<(Arc<Locks>, Receiver<String>, watch::Sender<()>)> {
        context.feeds("lock_redis_operations", "redis_operations");
        let pool_size = settings.server.pool_size;
        let pool = Pool::new(Server::open(settings.server, context)?, pool_size);
        let (alive, stopped) = watch::channel(());
        let me = Uuid::new_v4().to_string();
        let (announcer, unsent) = Announcer::new(context.clone(), me.clone());
        let locks = Locks {
            remote: Remote::new(pool, settings.names, me, context.counter("lock_redis_operations")),
            registry: Registry::open(context, rules)?,
            waiting: Default::default(),
            turns: Default::default(),
            announcer,
            stopped,
        };
        Ok((Arc::new(locks), unsent, alive))
    }

    pub fn asking(&self) -> Asking {
        Asking(self.locks.clone())
    }

    /// Asks the server about every lock of a batch, in one round trip.
    ///
    /// # Errors
    /// `NotConnected`, if it does not answer.
    pub fn prepare(&mut self, names: Vec<LockName>) -> Result<()> {
        self.seen.clear();
        if names.is_empty() {
            return Ok(());
        }
        // Read before the server is asked, and watched from then on: a token that is registered here in between makes the
        // batch run again.
        for name in &names {
            self.locks.registry.store.fence(name)?;
        }
        let (tell, told) = mpsc::sync_channel(1);
        let (locks, asked) = (self.locks.clone(), names.clone());
        self.context.spawn(async move {
            let _ = tell.send(locks.remote.look(&asked).await);
        });
        let found = told.recv().map_err(|_| Error::fatal("the question about the locks was given up"))?;
        let found = found.map_err(|fault| match fault {
            Fault::Away(why) => Error::not_connected(why),
            refused => Error::not_connected(format!("the server refuses to show locks: {refused}")),
        })?;
        let holders = found.into_iter().map(|found| found.map(|found| self.holder_of(found)));
        self.seen = names.into_iter().zip(holders).collect();
        Ok(())
    }

    fn holder_of(&self, found: Found) -> Holder {
        let now = self.locks.registry.clock.now();
        Holder {
            user_id: found.text.user_id(),
            session: found.text.session(),
            token: found.text.token(),
            expires_at_us: found.left.map(|left| found.text.ends_at_us(now, left)),
        }
    }

    /// Who holds a lock of the batch.
    ///
    /// # Errors
    /// If the batch was not prepared for it.
    pub fn holder(&self, name: &LockName) -> Result<Option<Holder>> {
        let seen = self.seen.get(name).cloned();
        seen.ok_or_else(|| Error::fatal("the server was not asked about a lock of the batch"))
    }
}
