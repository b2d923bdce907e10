//! Which server, and how to introduce oneself: plain data, from a configuration that was checked.

use lockstep_plugin_api::{config::ClientTls, prelude::*};
use redis::{ConnectionAddr, IntoConnectionInfo};
use std::{fmt, time::Duration};

/// Where the locks lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// One server.
    One { host: String, port: u16, db: u32 },
    /// Whichever server these sentinels call the master.
    Sentinel { master_name: String, nodes: Vec<(String, u16)>, login: Login, db: u32 },
    /// A cluster with these nodes among others.
    Cluster { nodes: Vec<(String, u16)> },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |nodes: &[(String, u16)]| {
            nodes.iter().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>().join(",")
        };
        match self {
            Self::One { host, port, db } => write!(f, "{host}:{port}/{db}"),
            Self::Sentinel { master_name, nodes, db, .. } => write!(f, "{master_name}@{}/{db}", list(nodes)),
            Self::Cluster { nodes } => write!(f, "cluster@{}", list(nodes)),
        }
    }
}

/// A user and a password; without a password, nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    pub username: Option<String>,
    pub password: Option<Secret>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    pub response: Duration,
}

/// A server, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    pub address: Address,
    pub login: Login,
    pub is_tls: bool,
    pub tls: Option<ClientTls>,
    pub timeouts: Timeouts,
    pub pool_size: usize,
}

/// What a URL says.
pub struct ReadUrl {
    pub address: Address,
    pub login: Login,
    pub is_tls: bool,
}

/// Reads `redis://user:password@host:port/db` or `rediss://…`.
///
/// # Errors
/// What is wrong with it, without quoting it: it may hold a password.
pub fn read_url(url: &str) -> Result<ReadUrl, &'static str> {
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
    let login =
        Login { username: redis.username().map(str::to_owned), password: redis.password().map(Secret::from) };
    Ok(ReadUrl { address: Address::One { host: host.clone(), port, db }, login, is_tls })
}
