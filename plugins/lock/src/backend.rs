//! Where leases lie: the one place that knows that there is more than one answer.

use crate::{
    check::Holder,
    config::{self, LockConfig},
    embedded::{self, Embedded},
    name::LockName,
    redis::{self, Redis},
    request::{Answer, Request},
};
use lockstep_plugin_api::prelude::*;

/// The leases, wherever they lie.
pub enum Backend {
    Embedded(Embedded),
    Redis(Redis),
}

/// Asks about leases; cheap to clone.
#[derive(Clone)]
pub enum Asking {
    Embedded(embedded::Asking),
    Redis(redis::Asking),
}

impl Backend {
    /// # Errors
    /// `Config`, or if the host's store cannot be read.
    pub fn open(config: &LockConfig, context: &Context) -> Result<Self> {
        let rules = config.rules(context.sync().heartbeat_interval);
        Ok(match config.backend {
            config::Backend::Embedded => Self::Embedded(Embedded::open(context, rules)?),
            config::Backend::Redis => Self::Redis(Redis::open(config.redis_settings()?, context, rules)?),
        })
    }

    pub fn asking(&self) -> Asking {
        match self {
            Self::Embedded(leases) => Asking::Embedded(leases.asking()),
            Self::Redis(leases) => Asking::Redis(leases.asking()),
        }
    }

    /// Finds out about all the locks that a batch is about, if they can be asked about together.
    ///
    /// # Errors
    /// `NotConnected` if they cannot be asked about now.
    pub fn prepare(&mut self, names: impl FnOnce() -> Vec<LockName>) -> Result<()> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Redis(leases) => leases.prepare(names()),
        }
    }

    /// Who holds a lock.
    ///
    /// # Errors
    /// If it cannot be found out.
    pub fn holder(&self, name: &LockName) -> Result<Option<Holder>> {
        match self {
            Self::Embedded(leases) => leases.holder(name),
            Self::Redis(leases) => leases.holder(name),
        }
    }

    /// Whether hosts share the leases, so that a change under a token has to say what it is based on: the token alone
    /// says nothing about what was written at another host.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Redis(_))
    }
}

impl Asking {
    /// Asks, and waits for what is committed.
    ///
    /// # Errors
    /// What the request is refused with.
    pub async fn ask(&self, request: Request) -> Result<Answer> {
        match self {
            Self::Embedded(leases) => leases.ask(request).await,
            Self::Redis(leases) => leases.ask(request).await,
        }
    }
}
