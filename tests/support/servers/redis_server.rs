//! One `redis-server` process: what a single Redis, a sentinel and a node of a cluster have in common.

use super::{
    PASSWORD, USER,
    daemon::{Daemon, Recipe},
    folder::Folder,
};
use crate::{
    ports::free_port,
    wait::{LIMIT, eventually},
};
use redis::{Client, Cmd, ConnectionLike, FromRedisValue, RedisError};
use std::{fs, process::Command, time::Duration};

/// How long one command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// A server, gone when it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) daemon: Daemon,
    pub(super) port: u16,
    client: Client,
    folder: Folder,
}

impl Server {
    /// A server that knows the user `app`.
    ///
    /// # Panics
    /// If Redis is missing or refuses the settings.
    pub(super) fn start(settings: &str) -> Self {
        let port = free_port();
        let settings = format!("user {USER} on >{PASSWORD} ~* &* +@all\nsave \"\"\n{settings}");
        Self::start_as("Redis", port, client(port, USER, PASSWORD), &settings, &[])
    }

    /// A sentinel, which wants no password.
    pub(super) fn start_sentinel(settings: &str) -> Self {
        let port = free_port();
        let anonymous = Client::open(format!("redis://127.0.0.1:{port}")).expect("a client can be made");
        Self::start_as("Redis sentinel", port, anonymous, settings, &["--sentinel"])
    }

    fn start_as(
        name: &'static str,
        port: u16,
        client: Client,
        settings: &str,
        arguments: &'static [&'static str],
    ) -> Self {
        let folder = Folder::new("redis");
        let place = format!("bind 127.0.0.1\nport {port}\ndir {}\n", folder.path().display());
        let file = folder.write("redis.conf", &format!("{place}{settings}\n"));
        let asked = client.clone();
        let recipe = Recipe {
            name,
            log: folder.file("redis.log"),
            command: Box::new(move || {
                let mut command = Command::new("redis-server");
                command.arg(&file).args(arguments);
                command
            }),
            answers: Box::new(move || ask::<String>(&asked, &["PING"]).is_ok()),
        };
        Self { daemon: recipe.start(), port, client, folder }
    }

    /// Ends it as a crash would, and forgets what it had on disk.
    pub(super) fn wipe(&self) {
        self.daemon.kill();
        let _ = fs::remove_dir_all(self.folder.file("appendonlydir"));
    }

    /// Waits until every replica has what this server has now: what it acknowledged is not lost with it.
    ///
    /// # Panics
    /// If there is no replica, or one does not have it in time.
    pub(super) fn wait_replicated(&self) {
        let info = || -> String { self.ask(&["INFO", "replication"]).unwrap_or_default() };
        let now = number_after(&info(), "master_repl_offset:").expect("a master knows how far it is");
        let has_all = |line: &str| number_after(line, ",offset=").is_some_and(|offset| offset >= now);
        let all_have_all = || {
            let info = info();
            let mut replicas = info.lines().filter(|line| line.contains(",offset=")).peekable();
            (replicas.peek().is_some() && replicas.all(has_all)).then_some(())
        };
        assert!(eventually(LIMIT, all_have_all).is_some(), "replicas lag behind {now}: {}", info());
    }

    /// Runs a command on a connection of its own.
    pub(super) fn ask<T: FromRedisValue>(&self, words: &[&str]) -> Result<T, RedisError> {
        ask(&self.client, words)
    }

    /// The same, for a command that succeeds.
    ///
    /// # Panics
    /// If the server refuses it, or the answer has another type.
    pub(super) fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.ask(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }
}

/// The number behind these words.
fn number_after(text: &str, words: &str) -> Option<u64> {
    let (_, rest) = text.split_once(words)?;
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

/// A client without TLS.
pub(super) fn client(port: u16, user: &str, password: &str) -> Client {
    Client::open(format!("redis://{user}:{password}@127.0.0.1:{port}")).expect("a client can be made")
}

fn ask<T: FromRedisValue>(client: &Client, words: &[&str]) -> Result<T, RedisError> {
    let mut connection = client.get_connection_with_timeout(COMMAND_LIMIT)?;
    connection.set_read_timeout(Some(COMMAND_LIMIT))?;
    let mut command = Cmd::new();
    for word in words {
        command.arg(*word);
    }
    Ok(redis::from_redis_value(connection.req_command(&command)?.extract_error()?)?)
}
