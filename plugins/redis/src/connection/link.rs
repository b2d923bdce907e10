//! One connection: commands alone, and many in one go.

use super::{Away, Fault, Refusal};
use futures_util::future::join_all;
use lockstep_plugin_api::prelude::*;
use redis::{
    Cmd, Pipeline, RedisError, Value,
    aio::MultiplexedConnection,
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo},
};

/// A connection that was logged in. To be dropped after the first [`Away`]: what was sent may still arrive.
pub(crate) struct Link {
    to: To,
    operations: Counter,
}

enum To {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A command, and the name whose place in a cluster decides where it goes.
pub(crate) struct Placed<'a> {
    pub(crate) command: Cmd,
    pub(crate) at: &'a str,
}

impl Link {
    pub(super) fn one(connection: MultiplexedConnection, operations: Counter) -> Self {
        Self { to: To::One(connection), operations }
    }

    pub(super) fn cluster(connection: ClusterConnection, operations: Counter) -> Self {
        Self { to: To::Cluster(connection), operations }
    }

    /// Names the connection, and finds out whether the server serves: a login that is missing, a server that still loads
    /// or a cluster without some of its parts shows only in the first answer.
    pub(super) async fn introduce(&mut self, name: &str) -> Result<(), Away> {
        let mut set_name = redis::cmd("CLIENT");
        set_name.arg("SETNAME").arg(name);
        for command in [set_name, redis::cmd("PING")] {
            // A user may be allowed neither, and still be allowed what matters.
            if let Err(Fault::Away(away)) = self.call_masters(&command).await {
                return Err(away);
            }
        }
        Ok(())
    }

    /// Sends one command and waits for its answer.
    pub(crate) async fn call(&mut self, command: &Cmd) -> Result<Value, Fault> {
        self.operations.add(1);
        let answer = match &mut self.to {
            To::One(connection) => command.query_async(connection).await,
            To::Cluster(connection) => command.query_async(connection).await,
        };
        answer.map_err(Fault::of)
    }

    /// Sends one command to every master of a cluster, or to the one server. The client would send some commands to the
    /// replicas too, and one that is stopped or still loads would keep everybody out.
    pub(crate) async fn call_masters(&mut self, command: &Cmd) -> Result<(), Fault> {
        let To::Cluster(connection) = &mut self.to else { return self.call(command).await.map(drop) };
        self.operations.add(1);
        let masters = (MultipleNodeRoutingInfo::AllMasters, Some(ResponsePolicy::AllSucceeded));
        let routing = RoutingInfo::MultiNode(masters);
        connection.route_command(command.clone(), routing).await.map(drop).map_err(Fault::of)
    }

    /// Sends commands in one go and gives each its answer, in their order. Those of one place are carried out in it.
    ///
    /// # Errors
    /// The connection is gone, or one command met a server that cannot now: any of them may have been carried out.
    pub(crate) async fn send(
        &mut self,
        commands: Vec<Placed<'_>>,
    ) -> Result<Vec<Result<Value, Refusal>>, Away> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        self.operations.add(commands.len() as u64);
        let answers = match &mut self.to {
            To::One(connection) => {
                let mut pipeline = Pipeline::with_capacity(commands.len());
                for placed in commands {
                    pipeline.add_command(placed.command);
                }
                pipeline.ignore_errors();
                pipeline.query_async::<Vec<Result<Value, RedisError>>>(connection).await
            }
            To::Cluster(connection) => send_to_cluster(connection, commands).await,
        };
        let answers = answers.map_err(|error| Away::of(&error))?;
        answers.into_iter().map(settle).collect()
    }

    /// The connection to a cluster, for what has to name its nodes.
    pub(crate) fn as_cluster(&mut self) -> Option<&mut ClusterConnection> {
        match &mut self.to {
            To::One(_) => None,
            To::Cluster(connection) => Some(connection),
        }
    }

    /// Counts operations that were sent through [`Link::as_cluster`].
    pub(crate) fn count(&self, n: u64) {
        self.operations.add(n);
    }
}

fn settle(answer: Result<Value, RedisError>) -> Result<Result<Value, Refusal>, Away> {
    match answer.map_err(Fault::of) {
        Ok(value) => Ok(Ok(value)),
        Err(Fault::Refused(refusal)) => Ok(Err(refusal)),
        Err(Fault::Away(away)) => Err(away),
    }
}

/// A pipeline goes to one node: one for each name, all at once.
async fn send_to_cluster(
    connection: &ClusterConnection,
    commands: Vec<Placed<'_>>,
) -> Result<Vec<Result<Value, RedisError>>, RedisError> {
    let n_commands = commands.len();
    let mut parts: Vec<(&str, Pipeline, Vec<usize>)> = Vec::new();
    for (i, Placed { command, at }) in commands.into_iter().enumerate() {
        let part = match parts.iter().position(|(name, ..)| *name == at) {
            Some(part) => &mut parts[part],
            None => {
                parts.push((at, Pipeline::new(), Vec::new()));
                parts.last_mut().expect("it was pushed")
            }
        };
        part.1.add_command(command);
        part.2.push(i);
    }
    let sent = parts.into_iter().map(|(_, mut pipeline, places)| {
        let mut connection = connection.clone();
        async move {
            pipeline.ignore_errors();
            let answers = pipeline.query_async::<Vec<Result<Value, RedisError>>>(&mut connection).await?;
            Ok::<_, RedisError>((places, answers))
        }
    });
    let mut all: Vec<Result<Value, RedisError>> = (0..n_commands).map(|_| Ok(Value::Nil)).collect();
    for part in join_all(sent).await {
        let (places, answers) = part?;
        places.into_iter().zip(answers).for_each(|(place, answer)| all[place] = answer);
    }
    Ok(all)
}
