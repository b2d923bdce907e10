//! Opens connections.

use super::{Address, Away, Link, Login, ServerSettings, Timeouts};
use lockstep_plugin_api::{config::ClientTls, prelude::*};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ErrorKind as Kind,
    IntoConnectionInfo, RedisConnectionInfo, RedisError, TlsCertificates, TlsMode,
    aio::PubSub,
    cluster::ClusterClientBuilder,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use std::{fs, time::Duration};

/// How often the client of a cluster tries another node before it gives a command up.
const CLUSTER_RETRIES: u32 = 3;

/// A place to connect to. Opening it connects nowhere.
pub(crate) struct Server {
    settings: ServerSettings,
    certificates: Option<TlsCertificates>,
    operations: Counter,
}

impl Server {
    /// Reads the certificates.
    ///
    /// # Errors
    /// `Config`, if a file cannot be read.
    pub(crate) fn open(settings: ServerSettings, operations: Counter, context: &Context) -> Result<Self> {
        if settings.is_tls {
            // Another one may be there only if an earlier component of this library has set it, and that is the same.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let certificates = match (&settings.tls, settings.is_tls) {
            (Some(files), true) => Some(certificates(files, context)?),
            _ => None,
        };
        Ok(Self { settings, certificates, operations })
    }

    /// Where this is, for messages.
    pub(crate) fn address(&self) -> &Address {
        &self.settings.address
    }

    /// Whether names lie on different servers, so that one command cannot reach all of them.
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.settings.address, Address::Cluster { .. })
    }

    /// Connects, logs in and says who it is (`CLIENT SETNAME`).
    pub(crate) async fn connect(&self, name: &str) -> Result<Link, Away> {
        self.connect_for(name, Duration::ZERO).await
    }

    /// As [`Server::connect`], for commands that wait on the server for up to `blocking` before they answer.
    pub(crate) async fn connect_for(&self, name: &str, blocking: Duration) -> Result<Link, Away> {
        let timeouts = self.settings.timeouts;
        let timeouts = Timeouts { response: timeouts.response + blocking, ..timeouts };
        let connecting = async {
            let mut link = self.link(timeouts).await.map_err(|error| self.unreachable(&error))?;
            link.introduce(name).await.map_err(|away| Away(format!("{}: {away}", self.settings.address)))?;
            Ok(link)
        };
        // The client's own limit is per server; sentinels and clusters ask several.
        let limit = timeouts.connect * 2 + timeouts.response;
        tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_| Err(self.silent()))
    }

    async fn link(&self, timeouts: Timeouts) -> Result<Link, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeouts.connect))
            .set_response_timeout(Some(timeouts.response));
        match &self.settings.address {
            Address::One { host, port, db } => {
                let client = self.client(host, *port, *db)?;
                let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
                Ok(Link::one(connection, self.operations.clone()))
            }
            Address::Sentinel { .. } => {
                let connection = self.sentinel()?.get_async_connection_with_config(&config).await?;
                Ok(Link::one(connection, self.operations.clone()))
            }
            Address::Cluster { nodes } => {
                let client = self.cluster(nodes, timeouts)?.build()?;
                Ok(Link::cluster(client.get_async_connection().await?, self.operations.clone()))
            }
        }
    }

    /// Subscribes to channels by a pattern. A message reaches every node of a cluster, so any will do.
    pub(crate) async fn subscribe(&self, pattern: &str) -> Result<PubSub, Away> {
        let subscribing = async {
            let client = match &self.settings.address {
                Address::One { host, port, db } => self.client(host, *port, *db)?,
                Address::Sentinel { .. } => self.sentinel()?.async_get_client().await?,
                Address::Cluster { nodes } => return self.subscribe_to_any(nodes, pattern).await,
            };
            subscribed(&client, pattern).await
        };
        let limit = self.settings.timeouts.connect + self.settings.timeouts.response;
        match tokio::time::timeout(limit, subscribing).await {
            Ok(subscribed) => subscribed.map_err(|error| self.unreachable(&error)),
            Err(_) => Err(self.silent()),
        }
    }

    async fn subscribe_to_any(&self, nodes: &[(String, u16)], pattern: &str) -> Result<PubSub, RedisError> {
        let mut last = None;
        for (host, port) in nodes {
            match subscribed(&self.client(host, *port, 0)?, pattern).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| (Kind::ClusterConnectionNotFound, "no node is known").into()))
    }

    fn client(&self, host: &str, port: u16, db: u32) -> Result<Client, RedisError> {
        let info =
            self.at(host, port)?.set_redis_settings(redis_info(&self.settings.login).set_db(db.into()));
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    fn at(&self, host: &str, port: u16) -> Result<ConnectionInfo, RedisError> {
        let info = (host, port).into_connection_info()?;
        Ok(info.set_addr(address(host, port, self.settings.is_tls)))
    }

    fn sentinel(&self) -> Result<SentinelClient, RedisError> {
        let Address::Sentinel { master_name, nodes, login, db } = &self.settings.address else {
            return Err((Kind::InvalidClientConfig, "no sentinels are configured").into());
        };
        let is_tls = self.settings.is_tls;
        let nodes = nodes.iter().map(|(host, port)| address(host, *port, is_tls));
        let mut builder = SentinelClientBuilder::new(nodes, master_name, SentinelServerType::Master)?
            .set_client_to_redis_db((*db).into());
        if is_tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        let own = &self.settings.login;
        if let Some(username) = &own.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &own.password {
            builder = builder.set_client_to_redis_password(password.expose());
        }
        if let Some(username) = &login.username {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = &login.password {
            builder = builder.set_client_to_sentinel_password(password.expose());
        }
        builder.build()
    }

    fn cluster(
        &self,
        nodes: &[(String, u16)],
        timeouts: Timeouts,
    ) -> Result<ClusterClientBuilder, RedisError> {
        let nodes = nodes.iter().map(|(host, port)| self.at(host, *port)).collect::<Result<Vec<_>, _>>()?;
        let mut builder = ClusterClientBuilder::new(nodes)
            .retries(CLUSTER_RETRIES)
            .connection_timeout(timeouts.connect)
            .response_timeout(timeouts.response)
            .overall_response_timeout(Some(timeouts.response));
        if self.settings.is_tls {
            builder = builder.tls(TlsMode::Secure);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder.certs(certificates.clone());
        }
        if let Some(username) = &self.settings.login.username {
            builder = builder.username(username);
        }
        if let Some(password) = &self.settings.login.password {
            builder = builder.password(password.expose());
        }
        Ok(builder)
    }

    fn unreachable(&self, error: &RedisError) -> Away {
        let (address, user) = (&self.settings.address, self.settings.user());
        if error.kind() == Kind::AuthenticationFailed {
            let why = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
            return Away(format!(
                "{address} refuses the login of user `{user}` (wrong password, or no such user){why}"
            ));
        }
        Away(format!("{address}: {}", Away::of(error)))
    }

    fn silent(&self) -> Away {
        Away(format!("{}: no connection within the time limits", self.settings.address))
    }
}

async fn subscribed(client: &Client, pattern: &str) -> Result<PubSub, RedisError> {
    let mut connection = client.get_async_pubsub().await?;
    connection.psubscribe(pattern).await?;
    Ok(connection)
}

fn address(host: &str, port: u16, is_tls: bool) -> ConnectionAddr {
    let host = host.to_owned();
    match is_tls {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    }
}

fn redis_info(login: &Login) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default().set_lib_name("lockstep", env!("CARGO_PKG_VERSION"));
    if let Some(username) = &login.username {
        info = info.set_username(username);
    }
    if let Some(password) = &login.password {
        info = info.set_password(password.expose());
    }
    info
}

fn certificates(files: &ClientTls, context: &Context) -> Result<TlsCertificates> {
    let read = |path: &str, field: &str| {
        let path = context.resolve(path);
        fs::read(&path).map_err(|error| {
            Error::config(format!("`{}` cannot be read: {error}", path.display()))
                .at(format!("ssl_context.{field}"))
        })
    };
    let client_tls = match (&files.certfile, &files.keyfile) {
        (Some(certificate), Some(key)) => Some(ClientTlsConfig {
            client_cert: read(certificate, "certfile")?,
            client_key: read(key, "keyfile")?,
        }),
        _ => None,
    };
    let root_cert = files.cafile.as_deref().map(|path| read(path, "cafile")).transpose()?;
    Ok(TlsCertificates { client_tls, root_cert })
}
