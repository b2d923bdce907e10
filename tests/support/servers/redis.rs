//! Redis: one server with a user, TLS, and a log on disk that survives a crash.

use super::{
    PASSWORD, USER,
    certificates::{Certificates, Identity},
    redis_server::{Server, client},
};
use crate::ports::free_port;
use redis::{Client, ClientTlsConfig, FromRedisValue, TlsCertificates};
use std::{fs, path::Path};

/// What a test wants otherwise than usual.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// More lines of `redis.conf`, for example `maxmemory 10mb`, or `tls-auth-clients yes`.
    pub settings: String,
    /// The certificate by TLS is one whose time is over.
    pub is_expired: bool,
}

/// A server. Gone when it is dropped.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    /// The port without TLS. `app` may do everything, `guest` reads, nobody comes in without a name.
    pub port: u16,
    /// The port with TLS.
    pub tls_port: u16,
}

impl Redis {
    /// A server with nothing in it.
    ///
    /// # Panics
    /// If Redis is missing or refuses the options.
    pub fn start(options: &RedisOptions) -> Self {
        let tls_port = free_port();
        let certificates = Certificates::shared();
        let identity = if options.is_expired { &certificates.expired } else { &certificates.server };
        let settings = format!("{USERS}{ON_DISK}{}{}", by_tls(tls_port, identity), options.settings);
        let server = Server::start(&settings);
        Self { port: server.port, server, tls_port }
    }

    /// Runs a command as `app` on a connection of its own.
    ///
    /// # Panics
    /// If the server refuses it, or the answer has another type.
    pub fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.server.command(words)
    }

    /// The same, while the server may be away; nothing if it is.
    pub fn try_command<T: FromRedisValue>(&self, words: &[&str]) -> Option<T> {
        self.server.ask(words).ok()
    }

    /// A client of the port without TLS, with this user and password.
    pub fn client(&self, user: &str, password: &str) -> Client {
        client(self.port, user, password)
    }

    /// A client of the port with TLS that trusts this authority, and has this certificate.
    ///
    /// # Panics
    /// If the files cannot be read.
    pub fn tls_client(&self, ca: &Path, client: Option<&Identity>) -> Client {
        let read = |path: &Path| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let certificates = TlsCertificates {
            client_tls: client.map(|identity| ClientTlsConfig {
                client_cert: read(&identity.certificate),
                client_key: read(&identity.key),
            }),
            root_cert: Some(read(ca)),
        };
        let url = format!("rediss://{USER}:{PASSWORD}@127.0.0.1:{}", self.tls_port);
        Client::build_with_tls(url, certificates).expect("a client can be made")
    }

    /// How many connections of this user there are.
    pub fn n_connections(&self, user: &str) -> usize {
        let list: String = self.command(&["CLIENT", "LIST"]);
        let of_user = format!(" user={user} ");
        // The one that asks is not counted.
        list.lines().filter(|line| line.contains(&of_user) && !line.contains(" cmd=client|list ")).count()
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.server.daemon.id()
    }

    /// Ends it as a crash would (SIGKILL).
    pub fn kill(&self) {
        self.server.daemon.kill();
    }

    /// Ends it as a crash would, and its disk is lost: after [`Redis::restart`] there is nothing in it.
    pub fn wipe(&self) {
        self.server.wipe();
    }

    /// It does nothing from now on, but its connections stay open (SIGSTOP).
    pub fn stop(&self) {
        self.server.daemon.stop();
    }

    /// It goes on where it was stopped (SIGCONT).
    pub fn cont(&self) {
        self.server.daemon.cont();
    }

    /// Starts it again with what it has on disk, and waits until it answers.
    pub fn restart(&self) {
        self.server.daemon.restart();
    }
}

/// The user without a name is off and may do everything: reading its log again, the server acts as that user, and would
/// drop what transactions and scripts had written (redis/redis#14541).
const USERS: &str = "user default off ~* &* +@all
user guest on >guest-secret ~* &* -@all +@read +@connection
";

const ON_DISK: &str = "appendonly yes
appendfsync everysec
";

fn by_tls(port: u16, server: &Identity) -> String {
    format!(
        "tls-port {port}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients optional\n",
        server.certificate.display(),
        server.key.display(),
        Certificates::shared().ca.display()
    )
}
