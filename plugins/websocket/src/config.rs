//! What `config:` of the websocket source and sink accepts, and the checks that need nothing but the text.
//!
//! The source and the sink read the same fields: whichever of them comes first opens the server for both.

use lockstep_plugin_api::{
    prelude::*,
    schemars::{JsonSchema, Schema, SchemaGenerator},
};
use serde::Deserialize;
use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// What `plugin: websocket` accepts under `config:`.
#[config]
#[serde(default)]
pub(crate) struct WebSocketConfig {
    /// The address to listen on: an IP address, or `localhost` for 127.0.0.1. Default: 127.0.0.1.
    host: Option<String>,
    /// The port to listen on; 0 takes a free one, which is then logged and shared with nobody. Default: 8765.
    port: Option<u16>,
    /// `host:port` in one field; write either this or `host` and `port`.
    listen: Option<String>,
    /// Serves `wss://` with this certificate; without it, `ws://`.
    ssl_context: Option<ServerTls>,
    /// How often a connection is asked for a sign of life; 0 never asks.
    ping_interval: Seconds,
    /// How long the sign of life may take before the connection is closed.
    ping_timeout: Seconds,
    /// How many clients may be connected; the next one is answered HTTP 503.
    max_connections: u32,
    /// How large a change's `new_value` may be.
    max_value_bytes: Size,
    /// How many patterns one connection may subscribe to.
    max_patterns: u32,
    /// How much may wait for a client that reads slowly before it is disconnected with 1013.
    max_queue_bytes: Size,
    /// How many messages one connection may send per second, with bursts of the same size; 0 sets no limit.
    max_messages_per_second: u32,
    /// Who may connect. `none`, everybody, is all there is; it must be written to listen beyond this machine.
    auth: Option<Auth>,
    /// Which web pages may connect, by origin, such as `https://app.example`; `*` is any page. Default: on an address of
    /// this machine alone, pages of this machine; elsewhere, any page. Programs that are no browsers are not asked.
    allowed_origins: Option<Vec<String>>,
    /// Deviations for clients of older systems.
    compat: Compat,
}

/// Who may connect.
#[config]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Auth {
    /// Everybody; `user_id` is then a label and proves nothing.
    None,
}

/// Deviations for clients of older systems.
#[config]
#[serde(default)]
#[derive(Default)]
pub(crate) struct Compat {
    /// Timestamps without the `Z` at their end.
    naive_timestamps: bool,
}

impl Default for WebSocketConfig {
    fn default() -> Self {
        Self {
            host: None,
            port: None,
            listen: None,
            ssl_context: None,
            ping_interval: Seconds(Duration::from_secs(30)),
            ping_timeout: Seconds(Duration::from_secs(10)),
            max_connections: 1000,
            max_value_bytes: Size(1 << 20),
            max_patterns: 256,
            max_queue_bytes: Size(1 << 20),
            max_messages_per_second: 10_000,
            auth: None,
            allowed_origins: None,
            compat: Compat::default(),
        }
    }
}

/// A checked [`WebSocketConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WebSocketConfig")]
pub(crate) struct Settings {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<TlsFiles>,
    /// Zero asks for no sign of life.
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) max_value_bytes: usize,
    pub(crate) max_patterns: usize,
    pub(crate) max_queue_bytes: usize,
    /// Zero sets no limit.
    pub(crate) max_messages_per_second: u32,
    /// Which web pages may connect; `None` says nothing about it.
    pub(crate) allowed_origins: Option<Vec<String>>,
    pub(crate) naive_timestamps: bool,
    /// Whether `auth: none` is written.
    pub(crate) takes_everybody: bool,
}

/// The files of `ssl_context`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) certfile: PathBuf,
    pub(crate) keyfile: PathBuf,
    pub(crate) cafile: Option<PathBuf>,
}

/// Operators write a [`WebSocketConfig`].
impl JsonSchema for Settings {
    fn schema_name() -> Cow<'static, str> {
        WebSocketConfig::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        WebSocketConfig::json_schema(generator)
    }
}

impl TryFrom<WebSocketConfig> for Settings {
    type Error = String;

    fn try_from(config: WebSocketConfig) -> Result<Self, String> {
        let address = address(config.listen.as_deref(), config.host.as_deref(), config.port)?;
        Ok(Self {
            address,
            tls: config.ssl_context.map(TlsFiles::from),
            ping_interval: config.ping_interval.0,
            ping_timeout: above_zero("ping_timeout", config.ping_timeout.0, Duration::ZERO)?,
            max_connections: above_zero("max_connections", config.max_connections as usize, 0)?,
            max_value_bytes: above_zero("max_value_bytes", config.max_value_bytes.0 as usize, 0)?,
            max_patterns: above_zero("max_patterns", config.max_patterns as usize, 0)?,
            max_queue_bytes: above_zero("max_queue_bytes", config.max_queue_bytes.0 as usize, 0)?,
            max_messages_per_second: config.max_messages_per_second,
            allowed_origins: config.allowed_origins,
            naive_timestamps: config.compat.naive_timestamps,
            takes_everybody: config.auth == Some(Auth::None),
        })
    }
}

fn above_zero<T: PartialOrd>(field: &str, value: T, zero: T) -> Result<T, String> {
    if value > zero { Ok(value) } else { Err(format!("`{field}` must be above 0")) }
}

fn address(listen: Option<&str>, host: Option<&str>, port: Option<u16>) -> Result<SocketAddr, String> {
    let Some(listen) = listen else {
        let ip = host.map_or(Ok(Ipv4Addr::LOCALHOST.into()), |host| ip("host", host))?;
        return Ok(SocketAddr::new(ip, port.unwrap_or(8765)));
    };
    if host.is_some() || port.is_some() {
        return Err("`listen` says the same as `host` and `port`: write one of the two forms".to_owned());
    }
    if let Ok(address) = listen.parse() {
        return Ok(address);
    }
    let parts = listen.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let (host, port) = parts
        .ok_or_else(|| format!("`listen` is `{listen}`: write `host:port`, such as `127.0.0.1:8765`"))?;
    Ok(SocketAddr::new(ip("listen", host)?, port))
}

/// The message leaves the text out: it may have been put there by `${env:...}` and be a secret.
fn ip(field: &str, host: &str) -> Result<IpAddr, String> {
    if host == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    host.parse().map_err(|_| format!("the host in `{field}` must be an IP address or `localhost`"))
}

impl From<ServerTls> for TlsFiles {
    fn from(files: ServerTls) -> Self {
        Self {
            certfile: files.certfile.into(),
            keyfile: files.keyfile.into(),
            cafile: files.cafile.map(PathBuf::from),
        }
    }
}

impl Settings {
    /// What an operator should know before the server is started.
    pub(crate) fn advise(&self, advice: &mut Advice) {
        if let Some(reason) = self.reason_to_stay_closed() {
            advice.warn("auth", &format!("the server will not start: {reason}"));
        }
    }

    /// Why the address must not be opened: nobody said that clients from other machines are welcome.
    pub(crate) fn reason_to_stay_closed(&self) -> Option<String> {
        let address = self.address;
        let is_open = !address.ip().is_loopback() && !self.takes_everybody;
        is_open.then(|| {
            format!(
                "`{address}` is reachable from other machines and clients are not authenticated: write `auth: none` to \
                 accept that, or listen on 127.0.0.1"
            )
        })
    }

    /// The same settings with relative paths made whole.
    pub(crate) fn resolved(&self, context: &Context) -> Self {
        let tls = self.tls.as_ref().map(|files| TlsFiles {
            certfile: context.resolve(&files.certfile),
            keyfile: context.resolve(&files.keyfile),
            cafile: files.cafile.as_ref().map(|path| context.resolve(path)),
        });
        Self { tls, ..self.clone() }
    }

    /// The first field that is not alike in two configurations of one address.
    pub(crate) fn difference(&self, other: &Self) -> Option<&'static str> {
        let fields = [
            ("ssl_context", self.tls == other.tls),
            ("ping_interval", self.ping_interval == other.ping_interval),
            ("ping_timeout", self.ping_timeout == other.ping_timeout),
            ("max_connections", self.max_connections == other.max_connections),
            ("max_value_bytes", self.max_value_bytes == other.max_value_bytes),
            ("max_patterns", self.max_patterns == other.max_patterns),
            ("max_queue_bytes", self.max_queue_bytes == other.max_queue_bytes),
            ("max_messages_per_second", self.max_messages_per_second == other.max_messages_per_second),
            ("allowed_origins", self.allowed_origins == other.allowed_origins),
            ("compat.naive_timestamps", self.naive_timestamps == other.naive_timestamps),
        ];
        fields.into_iter().find(|(_, alike)| !alike).map(|(field, _)| field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Settings, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_the_guides() {
        let settings = read("{}").expect("read");
        assert_eq!(settings.address.to_string(), "127.0.0.1:8765");
        assert_eq!(
            (settings.ping_interval.as_secs(), settings.ping_timeout.as_secs(), settings.max_connections),
            (30, 10, 1000)
        );
    }

    #[test]
    fn an_address_is_written_in_one_of_two_forms() {
        for json in [
            r#"{"host":"127.0.0.1","port":9000}"#,
            r#"{"listen":"127.0.0.1:9000"}"#,
            r#"{"listen":"localhost:9000"}"#,
        ] {
            assert_eq!(read(json).expect(json).address.to_string(), "127.0.0.1:9000");
        }
        assert_eq!(read(r#"{"listen":"[::1]:9000"}"#).expect("read").address.to_string(), "[::1]:9000");
        for json in [
            r#"{"listen":"127.0.0.1:9000","port":9000}"#,
            r#"{"listen":"9000"}"#,
            r#"{"host":"example.org"}"#,
            r#"{"ping_timeout":0}"#,
            r#"{"colour":"red"}"#,
        ] {
            read(json).expect_err(json);
        }
    }

    #[test]
    fn other_machines_are_let_in_only_on_purpose() {
        let refused = |json| read(json).expect(json).reason_to_stay_closed();
        let reason = refused(r#"{"host":"0.0.0.0"}"#).expect("a reason");
        assert!(reason.contains("auth: none"), "{reason}");
        for json in [r#"{"host":"0.0.0.0","auth":"none"}"#, r#"{"host":"::1"}"#, "{}"] {
            assert_eq!(refused(json), None, "{json}");
        }
    }

    #[test]
    fn the_first_difference_is_named() {
        let settings = read("{}").expect("read");
        assert_eq!(settings.difference(&settings), None);
        let other = read(r#"{"max_patterns":3}"#).expect("read");
        assert_eq!(settings.difference(&other), Some("max_patterns"));
    }
}
