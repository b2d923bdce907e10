//! Redis behind three sentinels: a master, two replicas, and a failover that is over when the call returns.

use super::{PASSWORD, redis_server::Server};
use crate::wait::{LIMIT, eventually};
use redis::{FromRedisValue, RedisError};

/// The name under which the sentinels know their master.
const MASTER: &str = "lockstep";

/// Three sentinels and what they watch. Gone when it is dropped.
#[derive(Debug)]
pub struct Sentinels {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
}

impl Sentinels {
    /// A master, two replicas and three sentinels that know each other.
    ///
    /// # Panics
    /// If they do not find each other in time.
    pub fn start() -> Self {
        let master = server("");
        let port = master.port;
        let replica = format!("replicaof 127.0.0.1 {port}\n");
        let mut all =
            Self { servers: vec![master, server(&replica), server(&replica)], sentinels: Vec::new() };
        // A sentinel asks for replicas when it starts and then every ten seconds.
        all.wait_until("the replicas", |all| info(&all.servers[0]).contains("connected_slaves:2"));
        all.sentinels = (0..3).map(|_| sentinel(port)).collect();
        all.wait_until("the sentinels to find each other", Self::is_complete);
        all
    }

    /// The ports of the sentinels, which want no password.
    pub fn ports(&self) -> Vec<u16> {
        self.sentinels.iter().map(|sentinel| sentinel.port).collect()
    }

    /// The name under which the sentinels know their master.
    pub fn master_name(&self) -> &'static str {
        MASTER
    }

    /// Runs a command on the master as `app`.
    ///
    /// # Panics
    /// If it is refused.
    pub fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.master().command(words)
    }

    /// Kills the master when its replicas have everything, lets the test do something without one, has a sentinel choose
    /// another one, and waits until every sentinel knows it and it takes writes.
    ///
    /// The sentinels do not wait for the death themselves: where the time after which they believe in one is short, they
    /// take a slow machine for it, choose a second time, and what the first choice had acknowledged is gone.
    ///
    /// # Panics
    /// If there is none in time.
    pub fn fail_over(&self, meanwhile: impl FnOnce()) {
        let old = self.master();
        old.wait_replicated();
        old.daemon.kill();
        meanwhile();
        // A sentinel that has not heard of the replicas for a while refuses to choose one.
        self.wait_until("a sentinel to begin", |all| {
            match all.sentinels[0].ask::<String>(&["SENTINEL", "FAILOVER", MASTER]) {
                Ok(_) => true,
                Err(error) => error.code() == Some("INPROG"),
            }
        });
        self.wait_until("another master", |all| {
            let mut known = all.sentinels.iter().map(master_port);
            known.all(|port| port.is_ok_and(|port| port != old.port)) && is_master(all.master())
        });
    }

    fn master(&self) -> &Server {
        let port = master_port(&self.sentinels[0]).expect("a sentinel answers");
        self.servers.iter().find(|server| server.port == port).expect("the master is one of the servers")
    }

    fn is_complete(&self) -> bool {
        self.sentinels.iter().all(|one| {
            let known: Vec<String> = one.ask(&["SENTINEL", "MASTER", MASTER]).unwrap_or_default();
            let fact = |name: &str| known.iter().skip_while(|fact| *fact != name).nth(1).cloned();
            let n_others = [fact("num-other-sentinels"), fact("num-slaves")];
            n_others.iter().all(|n| n.as_deref() == Some("2"))
        })
    }

    fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let met = eventually(LIMIT, || condition(self).then_some(()));
        assert!(met.is_some(), "waited {LIMIT:?} for {what}");
    }
}

fn server(settings: &str) -> Server {
    let passwords = format!("requirepass {PASSWORD}\nmasterauth {PASSWORD}\n");
    Server::start(&format!("{passwords}repl-diskless-sync-delay 0\n{settings}"))
}

fn sentinel(master: u16) -> Server {
    Server::start_sentinel(&format!(
        "sentinel monitor {MASTER} 127.0.0.1 {master} 2
sentinel auth-pass {MASTER} {PASSWORD}
sentinel down-after-milliseconds {MASTER} 60000
sentinel failover-timeout {MASTER} 60000
sentinel parallel-syncs {MASTER} 2"
    ))
}

fn master_port(sentinel: &Server) -> Result<u16, RedisError> {
    let (_, port): (String, u16) = sentinel.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER])?;
    Ok(port)
}

fn is_master(server: &Server) -> bool {
    info(server).contains("role:master")
}

fn info(server: &Server) -> String {
    server.ask(&["INFO", "replication"]).unwrap_or_default()
}
