//! What `config:` of the redis source and sink accepts, and the checks that need nothing but the text.
//!
//! Both read the same connection fields; `connection!` writes them once for both.

use crate::{
    connection::{Address, Login, ServerSettings, Timeouts},
    names::{Names, check_prefix, tenant_of_text},
    sink::once::{can_count, hash_tag},
};
use lockstep_plugin_api::{config::ClientTls, prelude::*};
use std::time::Duration;

/// A call of the host may take 10 s; what a command waits for ends well before.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(8);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(50);

/// For how long a record that is applied once may be remembered.
const SHORTEST_MEMORY: Duration = Duration::from_secs(1);
const LONGEST_MEMORY: Duration = Duration::from_secs(366 * 24 * 3600);

const MAX_POOL: u16 = 256;

/// A configuration with the fields of every redis component in front.
macro_rules! connection {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[config]
        #[serde(default)]
        pub(crate) struct $name {
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
            /// Server, database and login in one field, `redis://user:password@host:port/db`, or `rediss://` for TLS;
            /// write either this or the single fields.
            url: Option<Secret>,
            /// Asks these sentinels where the master is, in place of `host` and `port`.
            sentinel: Option<SentinelConfig>,
            /// Connects to a cluster by these of its nodes, in place of `host` and `port`.
            cluster: Option<ClusterConfig>,
            /// How many connections the sink writes over, 1 to 256; changes of one key always take the same one. The
            /// source needs three and ignores this.
            pool_size: u16,
            /// How long connecting may take, login included.
            connect_timeout: Seconds,
            /// How long an answer may take before the connection counts as lost.
            response_timeout: Seconds,
            /// What the tenant, or `global`, is put behind to name the channel that is told of every change.
            channel_prefix: String,
            /// What the tenant, or `global`, is put behind to name the stream that holds the changes.
            stream_prefix: String,
            /// What the tenant, or `global`, is put behind to name the hash that holds the newest state of every key.
            cache_prefix: String,
            /// Deviations for clients of older systems.
            compat: Compat,
            $($(#[$field_doc])* pub(crate) $field: $type,)*
        }

        impl Default for $name {
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
                    connect_timeout: Seconds(Duration::from_secs(3)),
                    response_timeout: Seconds(Duration::from_secs(3)),
                    channel_prefix: "apg-config:events:".to_owned(),
                    stream_prefix: "apg-config:log:".to_owned(),
                    cache_prefix: "apg-config:cache:".to_owned(),
                    compat: Compat::default(),
                    $($field: $default,)*
                }
            }
        }

        impl $name {
            /// The settings every redis component has, checked.
            pub(crate) fn settings(&self) -> Result<Settings> {
                let fields = Fields {
                    host: self.host.as_deref(),
                    port: self.port,
                    db: self.db,
                    username: self.username.as_deref(),
                    password: self.password.as_ref(),
                    ssl: self.ssl,
                    url: self.url.as_ref(),
                    sentinel: self.sentinel.as_ref(),
                    cluster: self.cluster.as_ref(),
                };
                let server = fields.server(self.ssl_context.as_ref())?;
                let names = Names::new(&self.channel_prefix, &self.stream_prefix, &self.cache_prefix)?;
                if !(1..=MAX_POOL).contains(&self.pool_size) {
                    return Err(Error::config("`pool_size` must lie between 1 and 256").at("pool_size"));
                }
                let timeouts = Timeouts {
                    connect: timeout("connect_timeout", self.connect_timeout)?,
                    response: timeout("response_timeout", self.response_timeout)?,
                };
                Ok(Settings {
                    server: ServerSettings { timeouts, ..server },
                    names,
                    pool_size: self.pool_size.into(),
                    naive_timestamps: self.compat.naive_timestamps,
                })
            }
        }
    };
}

connection! {
    /// What `plugin: redis` accepts under `config:` of a source.
    RedisSourceConfig {
        /// Whose changes are read, `global` for those without a tenant; without the list, everybody's.
        tenants: Option<Vec<String>> = None,
        /// Exact names of streams to read in place of those of tenants; in direct pipelines only.
        streams: Option<Vec<String>> = None,
        /// The consumer group; hosts that share one get a part of the entries each, which only a direct pipeline can want.
        /// Default: `apg-config-{node_id}`, and in a direct pipeline the pipeline's and the component's name behind it.
        group: Option<String> = None,
        /// Where a direct pipeline begins that has not read here before. Through the log the cache is read first.
        from: From = From::Beginning,
        /// How long an entry that another consumer of the group took may go unacknowledged before it is taken over.
        claim_idle: Seconds = Seconds(Duration::from_secs(30)),
        /// How often new tenants are looked for, besides what the channels tell; every time all names in the database are
        /// gone through. A stream that the server does not let be read is tried again as often.
        discover_interval: Seconds = Seconds(Duration::from_secs(10)),
    }
}

connection! {
    /// What `plugin: redis` accepts under `config:` of a sink.
    RedisSinkConfig {
        /// About how many entries a stream keeps; the oldest go.
        stream_max_len: u64 = 100_000,
        /// Whether other hosts are to take the changes in; `false` writes plain fields for programs that only read, and
        /// the last writer of a key wins.
        replicate: bool = true,
        /// What the id of a conflict that a person decides is put behind to name its record, which lasts for 7 days at most.
        conflict_prefix: String = "conflict:".to_owned(),
        /// Writes every record as it is to this one stream, as fields `key` and `value` and one `header:` field per header;
        /// in direct pipelines only.
        stream: Option<String> = None,
        /// Applies every record once, however often it is read: in direct pipelines, with `stream` or `replicate: false`.
        /// Each record needs an `event_id`.
        once: Option<OnceConfig> = None,
    }
}

/// How records are applied once.
#[config]
#[serde(default)]
#[derive(Clone, Copy)]
pub(crate) struct OnceConfig {
    /// How long an `event_id` is remembered; a record that comes again after that is applied again. 1 s to 366 days,
    /// default 24 h.
    #[serde(rename = "for")]
    pub(crate) remembered: Seconds,
}

impl Default for OnceConfig {
    fn default() -> Self {
        Self { remembered: Seconds(Duration::from_secs(24 * 3600)) }
    }
}

/// Where a source begins that has not read before.
#[config]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// At the oldest entry that is there.
    Beginning,
    /// Behind the newest one.
    Latest,
}

/// Sentinels that know the master.
#[config]
pub(crate) struct SentinelConfig {
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
pub(crate) struct ClusterConfig {
    /// Some of its nodes, each as `host:port`; they tell of the others.
    nodes: Vec<String>,
}

/// Deviations for clients of older systems.
#[config]
#[serde(default)]
#[derive(Default)]
pub(crate) struct Compat {
    /// Timestamps without the `Z` at their end.
    naive_timestamps: bool,
}

/// What every redis component has, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) server: ServerSettings,
    pub(crate) names: Names,
    pub(crate) pool_size: usize,
    pub(crate) naive_timestamps: bool,
}

impl Settings {
    /// The place as the host compares it: alike for a source and a sink that meet there.
    pub(crate) fn endpoint(&self) -> String {
        format!("redis:{} {}", self.server.address, self.names.endpoint())
    }
}

impl RedisSourceConfig {
    /// Checks what the types do not.
    pub(crate) fn check(&self) -> Result<()> {
        self.settings()?;
        if self.tenants.is_some() && self.streams.is_some() {
            return Err(
                Error::config("`tenants` and `streams` say both what is read: write one").at("streams")
            );
        }
        if self.streams.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::config("`streams` names none").at("streams"));
        }
        for (i, name) in self.streams.iter().flatten().enumerate() {
            check_stream(name).map_err(|why| Error::config(why).at(format!("streams.{i}")))?;
        }
        for (i, tenant) in self.tenants.iter().flatten().enumerate() {
            tenant_of_text(tenant)
                .map_err(|why| Error::config(format!("a tenant {why}")).at(format!("tenants.{i}")))?;
        }
        if self.group.as_deref() == Some("") {
            return Err(Error::config("`group` must not be empty").at("group"));
        }
        if self.claim_idle.0 < Duration::from_secs(1) {
            return Err(Error::config("`claim_idle` must be at least 1s").at("claim_idle"));
        }
        if self.discover_interval.0 < Duration::from_millis(100) {
            return Err(Error::config("`discover_interval` must be at least 100ms").at("discover_interval"));
        }
        Ok(())
    }
}

impl RedisSinkConfig {
    /// Checks what the types do not.
    pub(crate) fn check(&self) -> Result<()> {
        self.settings()?;
        if self.stream_max_len == 0 {
            return Err(Error::config("`stream_max_len` must be above 0").at("stream_max_len"));
        }
        check_prefix("conflict_prefix", &self.conflict_prefix)?;
        if let Some(name) = &self.stream {
            check_stream(name).map_err(|why| Error::config(why).at("stream"))?;
        }
        self.once.map_or(Ok(()), |once| self.check_once(once))
    }

    fn check_once(&self, once: OnceConfig) -> Result<()> {
        if !(SHORTEST_MEMORY..=LONGEST_MEMORY).contains(&once.remembered.0) {
            return Err(Error::config("`for` must lie between 1s and 366 days").at("once.for"));
        }
        match &self.stream {
            Some(name) if can_count(name) => Ok(()),
            Some(_) => Err(Error::config(
                "with `once` the name of a stream has braces only around its hash tag, as in `{orders}:new`",
            )
            .at("stream")),
            None if self.replicate => Err(Error::config(
                "`once` needs `stream` or `replicate: false`: what hosts tell each other they know by its dot",
            )
            .at("once")),
            None if self.cluster.is_some() && !self.has_one_slot() => Err(Error::config(
                "in a cluster `once` needs one hash tag in `stream_prefix` and `cache_prefix`, as in `{apg-config}:log:`",
            )
            .at("once")),
            None if !can_count(&self.stream_prefix) => Err(Error::config(
                "with `once` a prefix has braces only around its hash tag, as in `{apg-config}:log:`",
            )
            .at("stream_prefix")),
            None => Ok(()),
        }
    }

    /// Whether everything about a change lies on one node of a cluster.
    fn has_one_slot(&self) -> bool {
        let tag = hash_tag(&self.stream_prefix);
        tag.is_some() && tag == hash_tag(&self.cache_prefix)
    }
}

/// Positions name their stream.
fn check_stream(name: &str) -> Result<(), String> {
    match name.len() {
        1..=200 => Ok(()),
        _ => Err("the name of a stream has 1 to 200 bytes".to_owned()),
    }
}

fn timeout(field: &str, timeout: Seconds) -> Result<Duration> {
    if (SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(&timeout.0) {
        return Ok(timeout.0);
    }
    Err(Error::config(format!("`{field}` must lie between 50ms and 8s")).at(field))
}

/// The fields that say which server, as they were written.
struct Fields<'a> {
    host: Option<&'a str>,
    port: Option<u16>,
    db: Option<u32>,
    username: Option<&'a str>,
    password: Option<&'a Secret>,
    ssl: Option<bool>,
    url: Option<&'a Secret>,
    sentinel: Option<&'a SentinelConfig>,
    cluster: Option<&'a ClusterConfig>,
}

impl Fields<'_> {
    fn server(&self, tls: Option<&ClientTls>) -> Result<ServerSettings> {
        let mut server = match self.url {
            Some(url) => self.by_url(url)?,
            None => self.by_fields()?,
        };
        match tls {
            Some(_) if !server.is_tls => {
                return Err(Error::config(
                    "`ssl_context` is for TLS: write `ssl: true` too, or a `rediss://` URL",
                )
                .at("ssl_context"));
            }
            Some(tls) => tls.check("ssl_context")?,
            None => {}
        }
        server.tls = tls.cloned();
        Ok(server)
    }

    fn by_url(&self, url: &Secret) -> Result<ServerSettings> {
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
            return Err(Error::config(format!(
                "`url` says the same as `{field}`: write one of the two forms"
            ))
            .at(field));
        }
        // The message leaves the text out: it may hold a password.
        ServerSettings::from_url(url.expose()).map_err(|why| Error::config(format!("`url` {why}")).at("url"))
    }

    fn by_fields(&self) -> Result<ServerSettings> {
        if self.username.is_some() && self.password.is_none() {
            return Err(Error::config("`username` needs a `password`").at("username"));
        }
        let login = Login { username: self.username.map(str::to_owned), password: self.password.cloned() };
        let address = self.address()?;
        Ok(ServerSettings::new(address, login, self.ssl.unwrap_or(false)))
    }

    fn address(&self) -> Result<Address> {
        let db = self.db.unwrap_or(0);
        let one_only = |field: &str| {
            Error::config(format!(
                "`{field}` stands in place of `host` and `port`: write one of the two forms"
            ))
        };
        match (self.sentinel, self.cluster) {
            (Some(_), Some(_)) => {
                Err(Error::config("`sentinel` and `cluster` exclude each other").at("cluster"))
            }
            (Some(_), None) if self.host.is_some() || self.port.is_some() => {
                Err(one_only("sentinel").at("sentinel"))
            }
            (None, Some(_)) if self.host.is_some() || self.port.is_some() => {
                Err(one_only("cluster").at("cluster"))
            }
            (None, Some(_)) if db != 0 => Err(Error::config("a cluster has no database besides 0").at("db")),
            (Some(sentinel), None) => sentinel.address(db),
            (None, Some(cluster)) => Ok(Address::Cluster { nodes: nodes("cluster", &cluster.nodes)? }),
            (None, None) => {
                let host = self.host.unwrap_or("127.0.0.1");
                if host.is_empty() || host.contains(['/', '@', ' ']) {
                    return Err(
                        Error::config("`host` must be a name or an address, without a port").at("host")
                    );
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
mod tests;
