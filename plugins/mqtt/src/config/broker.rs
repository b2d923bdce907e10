//! A broker, and how to speak to it.

use crate::{
    filter::topic_problem,
    packet::{Protocol, Quality},
    topic::Tree,
};
use lockstep_plugin_api::prelude::*;
use std::time::Duration;

/// A broker, and how to speak to it.
#[derive(Debug, Clone)]
pub(crate) struct Broker {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `None` speaks plain TCP.
    pub(crate) tls: Option<ClientTls>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) client_id: Option<String>,
    pub(crate) protocol: Protocol,
    pub(crate) keepalive: Duration,
    pub(crate) answer_timeout: Duration,
    pub(crate) qos: Quality,
    pub(crate) tree: Tree,
    pub(crate) max_packet_size: usize,
}

impl Broker {
    /// `host:port`, as people write it.
    pub(crate) fn address(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    pub(crate) fn keepalive_secs(&self) -> u16 {
        self.keepalive.as_secs().try_into().unwrap_or(u16::MAX)
    }

    /// User name and password.
    pub(crate) fn login(&self) -> Option<(String, String)> {
        let password = self.password.as_ref().map_or("", Secret::expose);
        self.username.clone().map(|username| (username, password.to_owned()))
    }

    /// The name of this place, alike for a source and a sink.
    pub(crate) fn endpoint(&self) -> String {
        format!("mqtt:{}/{}", self.address(), self.tree.prefix())
    }

    pub(super) fn check(&self, written_tls: Option<&ClientTls>) -> Result<()> {
        match written_tls {
            Some(_) if self.tls.is_none() => {
                return Err(
                    Error::config("it needs `tls_enabled: true` or `url: mqtts://...`").at("ssl_context")
                );
            }
            Some(tls) => tls.check("ssl_context")?,
            None => {}
        }
        let prefix = self.tree.prefix();
        let bad_prefix = topic_problem(prefix).or_else(|| {
            let has_empty_level = prefix.split('/').any(str::is_empty);
            (has_empty_level || prefix.starts_with('$')).then_some("has an empty level, or starts with `$`")
        });
        let client_id = self.client_id.as_deref().unwrap_or("-");
        let refusals = [
            ("broker_host", self.host.is_empty(), "must not be empty"),
            ("broker_port", self.port == 0, "must not be 0"),
            ("username", self.username.is_none() && self.password.is_some(), "a password needs a user name"),
            ("client_id", client_id.is_empty() || client_id.len() > 256, "must have 1 to 256 bytes"),
            (
                "client_id",
                topic_problem(client_id).is_some() || client_id.contains('/'),
                "has a character that no level of a topic can have",
            ),
            ("keepalive", self.keepalive.as_secs() > u16::MAX.into(), "must be at most 65535 s"),
            ("answer_timeout", self.answer_timeout < Duration::from_millis(100), "must be at least 100ms"),
            (
                "max_packet_size",
                !(1024..=MOST_BYTES).contains(&self.max_packet_size),
                "must be 1 KiB to 256 MiB",
            ),
        ];
        let mut refusals = refusals.into_iter().filter(|(_, is_wrong, _)| *is_wrong);
        match (refusals.next(), bad_prefix) {
            (Some((field, _, why)), _) => Err(Error::config(why).at(field)),
            (None, Some(why)) => Err(Error::config(format!("the prefix {why}")).at("topic_prefix")),
            (None, None) => Ok(()),
        }
    }
}

/// The largest packet there can be.
const MOST_BYTES: usize = 268_435_455;

/// What a URL says, or the three fields.
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) tls: bool,
}

/// The message leaves the text out: whoever wrote it may have put a password into it.
pub(super) fn address_of(url: &str) -> Result<Address> {
    let refused = |why: &str| Error::config(why).at("url");
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let tls = match scheme {
        "mqtt" => false,
        "mqtts" => true,
        _ => return Err(refused("write `mqtt://host:port` or `mqtts://host:port`")),
    };
    if rest.contains('@') {
        return Err(refused("write user name and password as `username` and `password`"));
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if is_port(port) => {
            let port = port.parse().map_err(|_| refused("the port must be a number up to 65535"))?;
            (host, Some(port))
        }
        _ => (rest, None),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || host.contains(['/', '?', '#', '[', ']']) {
        return Err(refused("write `mqtt://host:port`, with nothing behind the port"));
    }
    Ok(Address { host: host.to_owned(), port, tls })
}
