//! One connection that was logged in, shared by whoever has something to ask.

use super::Fault;
use futures_util::future::join_all;
use redis::{
    Cmd, Pipeline, RedisError, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo, SingleNodeRoutingInfo},
};

/// A connection; clones are the same one. To be dropped after the first [`Fault::Away`].
#[derive(Clone)]
pub enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Commands about one name, whose place in a cluster decides where they go.
pub type Part = Vec<Cmd>;

impl Link {
    /// Sends one command and waits for its answer.
    pub async fn call(&mut self, command: &Cmd) -> Result<Value, Fault> {
        let answer = match self {
            Self::One(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        };
        answer.map_err(Fault::from)
    }

    /// Sends one command to every master of a cluster, or to the one server. The client would send some commands to the
    /// replicas too, and one that is stopped or still loads would keep everybody out.
    pub async fn call_masters(&mut self, command: &Cmd) -> Result<(), Fault> {
        let Self::Cluster(connection) = self else { return self.call(command).await.map(drop) };
        let masters = (MultipleNodeRoutingInfo::AllMasters, Some(ResponsePolicy::AllSucceeded));
        connection.route_command(command.clone(), RoutingInfo::MultiNode(masters)).await?;
        Ok(())
    }

    /// Sends commands in one go, and gives the answers to the commands of each part, in their order; `None` where the name
    /// holds something else than the command is about.
    pub async fn send(&mut self, parts: Vec<Part>) -> Result<Vec<Vec<Option<Value>>>, Fault> {
        match self {
            Self::One(connection) => {
                let lengths: Vec<usize> = parts.iter().map(Vec::len).collect();
                let all = parts.into_iter().flatten().collect();
                let mut answers = send(connection, all).await?.into_iter();
                Ok(lengths.into_iter().map(|length| answers.by_ref().take(length).collect()).collect())
            }
            // A pipeline goes to one node: one for each name, all at once.
            Self::Cluster(connection) => {
                let sent = parts.into_iter().map(|part| {
                    let mut connection = connection.clone();
                    async move { send(&mut connection, part).await }
                });
                join_all(sent).await.into_iter().collect()
            }
        }
    }

    /// The names that match a pattern, in every database that takes writes. The server goes on meanwhile.
    pub async fn names(&mut self, pattern: &str) -> Result<Vec<Vec<u8>>, Fault> {
        let mut found = Vec::new();
        let Self::Cluster(connection) = self else {
            let mut cursor = 0;
            loop {
                cursor = take(self.call(&step(pattern, cursor)).await?, &mut found);
                if cursor == 0 {
                    return Ok(found);
                }
            }
        };
        // A cursor is a node's own: the first step goes to every master and tells who they are.
        let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let Value::Map(nodes) = connection.route_command(step(pattern, 0), everywhere).await? else {
            return Ok(found);
        };
        for (address, reply) in nodes {
            let mut cursor = take(reply.extract_error()?, &mut found);
            let Some((host, port)) = bytes(address).and_then(host_and_port) else { continue };
            while cursor != 0 {
                let there = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port };
                let routing = RoutingInfo::SingleNode(there);
                let reply = connection.route_command(step(pattern, cursor), routing).await?;
                cursor = take(reply.extract_error()?, &mut found);
            }
        }
        Ok(found)
    }
}

async fn send(connection: &mut impl ConnectionLike, commands: Part) -> Result<Vec<Option<Value>>, Fault> {
    // The client refuses to send nothing.
    if commands.is_empty() {
        return Ok(Vec::new());
    }
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline.ignore_errors();
    let answers = pipeline.query_async::<Vec<Result<Value, RedisError>>>(connection).await?;
    answers.into_iter().map(settle).collect()
}

/// What is said of a name. A server that says nothing of it does not say that nothing is there.
fn settle(answer: Result<Value, RedisError>) -> Result<Option<Value>, Fault> {
    match answer.map_err(Fault::from) {
        Ok(value) => Ok(Some(value)),
        Err(Fault::Refused { code, .. }) if code == "WRONGTYPE" => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// How many names one step of a scan looks at.
const STEP: usize = 1000;

fn step(pattern: &str, cursor: u64) -> Cmd {
    let mut scan = redis::cmd("SCAN");
    scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(STEP);
    scan
}

/// Takes the names of a step and gives the next cursor; 0 is the end.
fn take(reply: Value, found: &mut Vec<Vec<u8>>) -> u64 {
    let Value::Array(parts) = reply else { return 0 };
    let mut parts = parts.into_iter();
    let cursor = parts.next().and_then(bytes).and_then(|text| String::from_utf8(text).ok()?.parse().ok());
    if let Some(Value::Array(names)) = parts.next() {
        found.extend(names.into_iter().filter_map(bytes));
    }
    cursor.unwrap_or(0)
}

fn host_and_port(address: Vec<u8>) -> Option<(String, u16)> {
    let address = String::from_utf8(address).ok()?;
    let (host, port) = address.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok()?))
}

/// The bytes of a text that a server answers.
pub fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::VerbatimString { text, .. } => Some(text.into_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_holds_something_else_has_no_answer() {
        let answer = |reply: &str| {
            let value = redis::parse_redis_value(format!("{reply}\r\n").as_bytes()).expect("a reply");
            settle(value.extract_error())
        };
        assert_eq!(answer("$-1").expect("an answer"), Some(Value::Nil));
        assert_eq!(answer("-WRONGTYPE Operation against a key").expect("an answer"), None);
        for refused in ["NOPERM No permissions to access a key", "ERR unknown command"] {
            let fault = answer(&format!("-{refused}")).expect_err(refused);
            assert!(matches!(fault, Fault::Refused { code, .. } if refused.starts_with(&code)), "{refused}");
        }
    }
}
