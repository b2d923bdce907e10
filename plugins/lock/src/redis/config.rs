//! What `redis:` of the lock accepts, and the checks that need nothing but the text.

use super::connection::{Address, Login, ReadUrl, ServerSettings, Timeouts, read_url};
use lockstep_plugin_api::{config::ClientTls, prelude::*};
use std::time::Duration;

/// A call of the host may take 10 s; what a command waits for ends well before.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(8);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(50);

const MAX_POOL: u16 = 256;

/// The server that keeps the leases.
#[config]
#[serde(default)]
#[derive(Clone)]
pub struct RedisConfig {
    /// The server's name or address. Default: 127.0.0.1.
    host: Option<String>,
    /// The server's port. Default: 6379.
    port: Option<u16>,
    /// The number of the database. Default: 0.
    db: Option<u32>,
    /// The user of the server's access list; without one, the server's default user.
    username: Option<String>,
    /// The user's password.
    password: Option<Secret>,
    /// Whether to connect by TLS. Default: false.
    ssl: Option<bool>,
    /// Whom to believe and what to show when connecting by TLS; without it, the authorities the system trusts.
    ssl_context: Option<ClientTls>,
    /// Server, database and login in one field, `redis://user:password@host:port/db`, or `rediss://` for TLS; write either
    /// this or the single fields.
    url: Option<Secret>,
    /// Sentinels that know where the server is, in place of `host` and `port`.
    sentinel: Option<SentinelConfig>,
    /// A cluster, in place of `host` and `port`.
    cluster: Option<ClusterConfig>,
    /// How many connections requests are spread over, 1 to 256; each carries many at a time.
    pool_size: u16,
    /// How long connecting may take, login included; 50 ms to 8 s.
    connect_timeout: Seconds,
    /// How long an answer may take before the connection counts as lost; 50 ms to 8 s.
    response_timeout: Seconds,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            host: None,
            port: None,
            db: None,
            username: None,
            password: None,
            ssl: None,
            ssl_context: None,
            url: None,
            sentinel: None,
            cluster: None,
            pool_size: 4,
            connect_timeout: Seconds(Duration::from_secs(2)),
            response_timeout: Seconds(Duration::from_secs(2)),
        }
    }
}

/// Sentinels that know the master.
#[config]
#[derive(Clone)]
pub struct SentinelConfig {
    /// The master's name at the sentinels.
    master_name: String,
    /// The sentinels, each as `host:port`.
    nodes: Vec<String>,
    /// The user at the sentinels.
    #[serde(default)]
    username: Option<String>,
    /// The password at the sentinels; theirs, not the server's.
    #[serde(default)]
    password: Option<Secret>,
}

/// A cluster.
#[config]
#[derive(Clone)]
pub struct ClusterConfig {
    /// Some of its nodes, each as `host:port`; they tell of the others.
    nodes: Vec<String>,
}

impl RedisConfig {
    /// The server, checked.
    ///
    /// # Errors
    /// `Config`, with the field inside `redis:`.
    pub fn server(&self) -> Result<ServerSettings> {
        let ReadUrl { address, login, is_tls } = match &self.url {
            Some(url) => self.by_url(url)?,
            None => self.by_fields()?,
        };
        match &self.ssl_context {
            Some(_) if !is_tls => {
                let message = "`ssl_context` is for TLS: write `ssl: true` too, or a `rediss://` URL";
                return Err(Error::config(message).at("ssl_context"));
            }
            Some(tls) => tls.check("ssl_context")?,
            None => {}
        }
        if !(1..=MAX_POOL).contains(&self.pool_size) {
            return Err(Error::config("`pool_size` must lie between 1 and 256").at("pool_size"));
        }
        let timeouts = Timeouts {
            connect: timeout("connect_timeout", self.connect_timeout)?,
            response: timeout("response_timeout", self.response_timeout)?,
        };
        let tls = self.ssl_context.clone();
        Ok(ServerSettings { address, login, is_tls, tls, timeouts, pool_size: self.pool_size.into() })
    }

    fn by_url(&self, url: &Secret) -> Result<ReadUrl> {
        let fields = [
            ("host", self.host.is_some()),
            ("port", self.port.is_some()),
            ("db", self.db.is_some()),
            ("username", self.username.is_some()),
            ("password", self.password.is_some()),
            ("ssl", self.ssl.is_some()),
            ("sentinel", self.sentinel.is_some()),
            ("cluster", self.cluster.is_some()),
        ];
        if let Some((field, _)) = fields.into_iter().find(|(_, is_there)| *is_there) {
            let message = format!("`url` says the same as `{field}`: write one of the two forms");
            return Err(Error::config(message).at(field));
        }
        // The message leaves the text out: it may hold a password.
        read_url(url.expose()).map_err(|why| Error::config(format!("`url` {why}")).at("url"))
    }

    fn by_fields(&self) -> Result<ReadUrl> {
        if self.username.is_some() && self.password.is_none() {
            return Err(Error::config("`username` needs a `password`").at("username"));
        }
        let login = Login { username: self.username.clone(), password: self.password.clone() };
        Ok(ReadUrl { address: self.address()?, login, is_tls: self.ssl.unwrap_or(false) })
    }

    fn address(&self) -> Result<Address> {
        let db = self.db.unwrap_or(0);
        let has_one = self.host.is_some() || self.port.is_some();
        let one_only = |field: &str| {
            let message =
                format!("`{field}` stands in place of `host` and `port`: write one of the two forms");
            Error::config(message).at(field)
        };
        match (&self.sentinel, &self.cluster) {
            (Some(_), Some(_)) => {
                Err(Error::config("`sentinel` and `cluster` exclude each other").at("cluster"))
            }
            (Some(_), None) if has_one => Err(one_only("sentinel")),
            (None, Some(_)) if has_one => Err(one_only("cluster")),
            (None, Some(_)) if db != 0 => Err(Error::config("a cluster has no database besides 0").at("db")),
            (Some(sentinel), None) => sentinel.address(db),
            (None, Some(cluster)) => Ok(Address::Cluster { nodes: nodes("cluster", &cluster.nodes)? }),
            (None, None) => {
                let host = self.host.as_deref().unwrap_or("127.0.0.1");
                if host.is_empty() || host.contains(['/', '@', ' ']) {
                    let message = "`host` must be a name or an address, without a port";
                    return Err(Error::config(message).at("host"));
                }
                Ok(Address::One { host: host.to_owned(), port: self.port.unwrap_or(6379), db })
            }
        }
    }
}

impl SentinelConfig {
    fn address(&self, db: u32) -> Result<Address> {
        if self.master_name.is_empty() {
            return Err(Error::config("`master_name` must not be empty").at("sentinel.master_name"));
        }
        if self.username.is_some() && self.password.is_none() {
            return Err(Error::config("`username` needs a `password`").at("sentinel.username"));
        }
        Ok(Address::Sentinel {
            master_name: self.master_name.clone(),
            nodes: nodes("sentinel", &self.nodes)?,
            login: Login { username: self.username.clone(), password: self.password.clone() },
            db,
        })
    }
}

fn timeout(field: &str, timeout: Seconds) -> Result<Duration> {
    if (SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(&timeout.0) {
        return Ok(timeout.0);
    }
    Err(Error::config(format!("`{field}` must lie between 50ms and 8s")).at(field))
}

/// `host:port` each, in a fixed order.
fn nodes(field: &str, nodes: &[String]) -> Result<Vec<(String, u16)>> {
    if nodes.is_empty() {
        return Err(Error::config("`nodes` must name at least one").at(format!("{field}.nodes")));
    }
    let read = |(i, node): (usize, &String)| {
        let parts = node.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        match parts {
            Some((host, port)) if !host.is_empty() => Ok((host.trim_matches(['[', ']']).to_owned(), port)),
            _ => Err(Error::config("a node is written `host:port`").at(format!("{field}.nodes.{i}"))),
        }
    };
    let mut nodes = nodes.iter().enumerate().map(read).collect::<Result<Vec<_>>>()?;
    nodes.sort_unstable();
    nodes.dedup();
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(json: &str) -> Result<ServerSettings> {
        serde_json::from_str::<RedisConfig>(json).map_err(Error::failed)?.server()
    }

    #[test]
    fn the_guides_settings_are_taken_as_they_are() {
        let json = r#"{"host": "redis-cluster.internal", "port": 6379, "password": "secret", "ssl": true, "pool_size": 20}"#;
        let server = server(json).expect("the guide's");
        assert_eq!(server.address.to_string(), "redis-cluster.internal:6379/0");
        assert_eq!((server.is_tls, server.pool_size), (true, 20));
    }

    #[test]
    fn what_cannot_work_is_refused_at_its_field() {
        for (json, field) in [
            (r#"{"url": "redis://a:1", "port": 2}"#, "port"),
            (r#"{"url": "http://a:1"}"#, "url"),
            (r#"{"username": "app"}"#, "username"),
            (r#"{"host": "a:1/0"}"#, "host"),
            (r#"{"ssl_context": {"cafile": "ca.crt"}}"#, "ssl_context"),
            (r#"{"cluster": {"nodes": ["a:1"]}, "db": 1}"#, "db"),
            (r#"{"cluster": {"nodes": []}}"#, "cluster.nodes"),
            (r#"{"cluster": {"nodes": ["a:1", "b"]}}"#, "cluster.nodes.1"),
            (r#"{"sentinel": {"master_name": "", "nodes": ["a:1"]}}"#, "sentinel.master_name"),
            (r#"{"sentinel": {"master_name": "m", "nodes": ["a:1"]}, "host": "a"}"#, "sentinel"),
            (r#"{"pool_size": 0}"#, "pool_size"),
            (r#"{"response_timeout": "10s"}"#, "response_timeout"),
        ] {
            let error = server(json).expect_err(json);
            assert_eq!((error.kind(), error.detail()), (ErrorKind::CONFIG, field), "{error}");
        }
        let leaky = server(r#"{"url": "redis:///hunter2@x"}"#).expect_err("no URL");
        assert!(!leaky.to_string().contains("hunter2"));
    }
}
