//! Opens connections.

use super::{Address, Fault, Link, Login, ServerSettings, fault::said};
use lockstep_plugin_api::{config::ClientTls, prelude::*};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind as Kind,
    IntoConnectionInfo, RedisConnectionInfo, RedisError, TlsCertificates, TlsMode,
    aio::PubSub,
    cluster::ClusterClientBuilder,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use std::fs;
use tokio::time::timeout;

/// How often the client of a cluster tries another node before it gives a command up.
const CLUSTER_RETRIES: u32 = 3;

/// A place to connect to. Opening it connects nowhere.
pub struct Server {
    settings: ServerSettings,
    certificates: Option<TlsCertificates>,
    /// What the server lists the connections as.
    name: String,
}

impl Server {
    /// Reads the certificates.
    ///
    /// # Errors
    /// `Config`, if a file cannot be read.
    pub fn open(settings: ServerSettings, context: &Context) -> Result<Self> {
        if settings.is_tls {
            // Another one may be there only if an earlier component of this library has set it, and that is the same.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let certificates = match (&settings.tls, settings.is_tls) {
            (Some(files), true) => Some(certificates(files, context)?),
            _ => None,
        };
        Ok(Self { settings, certificates, name: format!("lockstep:{}", context.component()) })
    }

    /// Where this is, for messages.
    pub fn address(&self) -> &Address {
        &self.settings.address
    }

    /// Connects, logs in and says who it is (`CLIENT SETNAME`).
    ///
    /// # Errors
    /// `Away`, with a sentence that names the place.
    pub async fn connect(&self) -> Result<Link, Fault> {
        let timeouts = self.settings.timeouts;
        let connecting = async {
            let mut link = self.link().await.map_err(|error| self.unreachable(&error))?;
            self.introduce(&mut link).await?;
            Ok(link)
        };
        // The client's own limit is per server; sentinels and clusters ask several.
        let limit = timeouts.connect + timeouts.response;
        timeout(limit, connecting).await.unwrap_or_else(|_| Err(self.silent()))
    }

    /// A login that is missing, a server that still loads or a cluster without some of its parts shows only in the first
    /// answer. A user may be allowed neither command, and still be allowed what matters.
    async fn introduce(&self, link: &mut Link) -> Result<(), Fault> {
        let mut set_name = redis::cmd("CLIENT");
        set_name.arg("SETNAME").arg(&self.name);
        for command in [set_name, Cmd::ping()] {
            if let Err(Fault::Away(why)) = link.call_masters(&command).await {
                return Err(Fault::Away(format!("{}: {why}", self.settings.address)));
            }
        }
        Ok(())
    }

    async fn link(&self) -> Result<Link, RedisError> {
        let timeouts = self.settings.timeouts;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeouts.connect))
            .set_response_timeout(Some(timeouts.response));
        match &self.settings.address {
            Address::One { host, port, db } => {
                let client = self.client(host, *port, *db)?;
                Ok(Link::One(client.get_multiplexed_async_connection_with_config(&config).await?))
            }
            Address::Sentinel { .. } => {
                Ok(Link::One(self.sentinel()?.get_async_connection_with_config(&config).await?))
            }
            Address::Cluster { nodes } => {
                Ok(Link::Cluster(self.cluster(nodes)?.build()?.get_async_connection().await?))
            }
        }
    }

    /// Subscribes to a channel. A message reaches every node of a cluster, so any will do.
    ///
    /// # Errors
    /// `Away`, or that the channel may not be read.
    pub async fn subscribe(&self, channel: &str) -> Result<PubSub, Fault> {
        let subscribing = async {
            let client = match &self.settings.address {
                Address::One { host, port, db } => self.client(host, *port, *db)?,
                Address::Sentinel { .. } => self.sentinel()?.async_get_client().await?,
                Address::Cluster { nodes } => return self.subscribe_to_any(nodes, channel).await,
            };
            subscribed(&client, channel).await
        };
        let limit = self.settings.timeouts.connect + self.settings.timeouts.response;
        match timeout(limit, subscribing).await {
            Ok(subscribed) => subscribed.map_err(|error| match Fault::from(error.clone()) {
                Fault::Away(_) => self.unreachable(&error),
                refused => refused,
            }),
            Err(_) => Err(self.silent()),
        }
    }

    async fn subscribe_to_any(&self, nodes: &[(String, u16)], channel: &str) -> Result<PubSub, RedisError> {
        let mut last = None;
        let each = self.settings.timeouts.connect / 2;
        for (host, port) in nodes {
            let client = self.client(host, *port, 0)?;
            match timeout(each, subscribed(&client, channel)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => last = Some(error),
                Err(_) => {}
            }
        }
        Err(last.unwrap_or_else(|| (Kind::ClusterConnectionNotFound, "no node answers").into()))
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

    fn cluster(&self, nodes: &[(String, u16)]) -> Result<ClusterClientBuilder, RedisError> {
        let timeouts = self.settings.timeouts;
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

    fn unreachable(&self, error: &RedisError) -> Fault {
        let address = &self.settings.address;
        if error.kind() == Kind::AuthenticationFailed {
            let user = self.settings.login.username.as_deref().unwrap_or("default");
            let why = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
            return Fault::Away(format!(
                "{address} refuses the login of user `{user}` (wrong password, or no such user){why}"
            ));
        }
        Fault::Away(format!("{address}: {}", said(error)))
    }

    fn silent(&self) -> Fault {
        Fault::Away(format!("{}: no connection within the time limits", self.settings.address))
    }
}

async fn subscribed(client: &Client, channel: &str) -> Result<PubSub, RedisError> {
    let mut connection = client.get_async_pubsub().await?;
    connection.subscribe(channel).await?;
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
                .at(format!("redis.ssl_context.{field}"))
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
