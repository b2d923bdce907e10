//! Which server, and how to introduce oneself: plain data, from a configuration that was checked.

use lockstep_plugin_api::{config::ClientTls, prelude::*};
use redis::{ConnectionAddr, IntoConnectionInfo};
use std::{fmt, time::Duration};

/// Where the data lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// One server.
    One { host: String, port: u16, db: u32 },
    /// Whichever server these sentinels call the master.
    Sentinel { master_name: String, nodes: Vec<(String, u16)>, login: Login, db: u32 },
    /// A cluster with these nodes among others.
    Cluster { nodes: Vec<(String, u16)> },
}

/// Two spellings of one place are one place only for this machine's own names.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |nodes: &[(String, u16)]| {
            nodes.iter().map(|(host, port)| format!("{}:{port}", plain(host))).collect::<Vec<_>>().join(",")
        };
        match self {
            Self::One { host, port, db } => write!(f, "{}:{port}/{db}", plain(host)),
            Self::Sentinel { master_name, nodes, db, .. } => write!(f, "{master_name}@{}/{db}", list(nodes)),
            Self::Cluster { nodes } => write!(f, "cluster@{}", list(nodes)),
        }
    }
}

fn plain(host: &str) -> &str {
    if host.eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { host }
}

/// A user and a password; without a password, nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) connect: Duration,
    pub(crate) response: Duration,
}

/// A server, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerSettings {
    pub(crate) address: Address,
    pub(crate) login: Login,
    pub(crate) is_tls: bool,
    pub(crate) tls: Option<ClientTls>,
    pub(crate) timeouts: Timeouts,
}

impl ServerSettings {
    pub(crate) fn new(address: Address, login: Login, is_tls: bool) -> Self {
        let timeouts = Timeouts { connect: Duration::from_secs(3), response: Duration::from_secs(3) };
        Self { address, login, is_tls, tls: None, timeouts }
    }

    /// Reads `redis://user:password@host:port/db` or `rediss://…`.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it: it may hold a password.
    pub(crate) fn from_url(url: &str) -> Result<Self, &'static str> {
        let info = url.into_connection_info().map_err(|_| "is no `redis://user:password@host:port/db`")?;
        let (host, port, is_tls) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (host, *port, false),
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                return Err("asks to believe every certificate, which is not offered");
            }
            ConnectionAddr::TcpTls { host, port, .. } => (host, *port, true),
            _ => return Err("must begin with `redis://` or `rediss://`"),
        };
        let redis = info.redis_settings();
        let db = u32::try_from(redis.db()).map_err(|_| "names no database")?;
        let login = Login {
            username: redis.username().map(str::to_owned),
            password: redis.password().map(Secret::from),
        };
        Ok(Self::new(Address::One { host: host.clone(), port, db }, login, is_tls))
    }

    /// Who connects, for messages; never the password.
    pub(crate) fn user(&self) -> &str {
        self.login.username.as_deref().unwrap_or("default")
    }
}
