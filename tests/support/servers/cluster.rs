//! A Redis Cluster: three masters with a replica each, and a failover that is over when the call returns.

use super::{PASSWORD, redis_server::Server};
use crate::{
    ports::free_port,
    wait::{LIMIT, eventually},
};
use redis::{FromRedisValue, RedisError};
use std::{thread, time::Duration};

const N_MASTERS: usize = 3;

/// All slots of a cluster.
const N_SLOTS: usize = 16_384;

/// The nodes, masters first. Gone when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    server: Server,
    /// Where the nodes talk to each other.
    bus_port: u16,
    id: String,
}

impl Cluster {
    /// Nodes that know each other and serve every slot.
    ///
    /// # Panics
    /// If they do not find each other in time.
    pub fn start() -> Self {
        let cluster = Self { nodes: (0..2 * N_MASTERS).map(|_| Node::start()).collect() };
        cluster.share_out_slots();
        cluster.introduce();
        cluster.wait_until("the nodes to know each other", |all| {
            let known = all.nodes.iter().map(|node| node.server.ask::<String>(&["CLUSTER", "NODES"]));
            // By name: a node that has been met and has not answered yet is listed under another one.
            let has_all = |list: String| all.nodes.iter().all(|node| list.contains(&node.id));
            known.into_iter().all(|list| list.is_ok_and(has_all))
        });
        cluster.assign_replicas();
        cluster.wait_until("every slot to be served and every replica to be in step", |all| {
            all.nodes.iter().all(Node::serves_everything)
                && all.nodes[N_MASTERS..].iter().all(Node::is_in_step)
        });
        cluster
    }

    /// The ports of all nodes. The user is `app`.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.server.port).collect()
    }

    /// Runs a command on the node that has this key, as `app`.
    ///
    /// # Panics
    /// If no node runs it.
    pub fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let answers = self.nodes.iter().map(|node| node.server.ask(words));
        let mut refused = Vec::new();
        for answer in answers {
            match answer {
                Ok(answer) => return answer,
                Err(error) => refused.push(error.to_string()),
            }
        }
        panic!("{words:?}: {refused:?}")
    }

    /// Kills the master that has this key when its replica has everything, lets the test do something without it, and waits
    /// until the replica serves the key and every other node knows.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn fail_over(&self, key: &str, meanwhile: impl FnOnce()) {
        let master = self.master_of(key);
        self.nodes[master].server.daemon.kill();
        meanwhile();
        self.take_over(master, key);
    }

    /// The master that has this key does nothing for so long, and comes back when its replica has taken its place.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn hang(&self, key: &str, duration: Duration) {
        let master = self.master_of(key);
        self.nodes[master].server.daemon.stop();
        self.take_over(master, key);
        thread::sleep(duration);
        self.nodes[master].server.daemon.cont();
    }

    /// The master that has this key, whose replica has everything that it has.
    fn master_of(&self, key: &str) -> usize {
        let master =
            self.nodes[..N_MASTERS].iter().position(|node| node.has(key)).expect("a master has the key");
        self.nodes[master].server.wait_replicated();
        master
    }

    /// The nodes do not find out themselves: where the time after which they believe in a death is short, they take a slow
    /// machine for one, and what a master had acknowledged is gone.
    fn take_over(&self, master: usize, key: &str) {
        let replica = &self.nodes[N_MASTERS + master];
        replica.run(&["CLUSTER", "FAILOVER", "TAKEOVER"]);
        self.wait_until("the replica to serve", |all| {
            let mut living = all.nodes.iter().enumerate().filter(|(index, _)| *index != master);
            let knows = |node: &Node| node.sends_to(key).is_some_and(|port| port == replica.server.port);
            replica.has(key) && living.all(|(_, node)| knows(node) && node.serves_everything())
        });
    }

    fn share_out_slots(&self) {
        for (index, node) in self.nodes[..N_MASTERS].iter().enumerate() {
            let first = index * N_SLOTS / N_MASTERS;
            let last = (index + 1) * N_SLOTS / N_MASTERS - 1;
            node.run(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            node.run(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
        }
    }

    fn introduce(&self) {
        // Each to each: nodes that are patient with each other are slow to tell of others.
        for (index, node) in self.nodes.iter().enumerate() {
            let (port, bus_port) = (node.server.port.to_string(), node.bus_port.to_string());
            let others = &self.nodes[..index];
            others.iter().for_each(|other| other.run(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port]));
        }
    }

    fn assign_replicas(&self) {
        let (masters, replicas) = self.nodes.split_at(N_MASTERS);
        for (master, replica) in masters.iter().zip(replicas) {
            replica.run(&["CLUSTER", "REPLICATE", &master.id]);
        }
    }

    fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let met = eventually(LIMIT, || condition(self).then_some(()));
        assert!(met.is_some(), "waited {LIMIT:?} for {what}");
    }
}

impl Node {
    fn start() -> Self {
        let bus_port = free_port();
        let server = Server::start(&format!(
            "requirepass {PASSWORD}
masterauth {PASSWORD}
cluster-enabled yes
cluster-port {bus_port}
cluster-announce-ip 127.0.0.1
cluster-node-timeout 60000
repl-diskless-sync-delay 0"
        ));
        let id = server.command(&["CLUSTER", "MYID"]);
        Self { server, bus_port, id }
    }

    fn run(&self, words: &[&str]) {
        let _: String = self.server.command(words);
    }

    fn serves_everything(&self) -> bool {
        let info: Result<String, RedisError> = self.server.ask(&["CLUSTER", "INFO"]);
        info.is_ok_and(|info| info.contains("cluster_state:ok"))
    }

    fn is_in_step(&self) -> bool {
        let info: Result<String, RedisError> = self.server.ask(&["INFO", "replication"]);
        info.is_ok_and(|info| info.contains("master_link_status:up"))
    }

    /// The port of the node that has a key, as this one sees it.
    fn sends_to(&self, key: &str) -> Option<u16> {
        match self.server.ask::<i64>(&["EXISTS", key]) {
            Ok(_) => Some(self.server.port),
            Err(error) => error.redirect_node()?.0.rsplit_once(':')?.1.parse().ok(),
        }
    }

    /// Whether this node answers for a key, and does not send one elsewhere.
    fn has(&self, key: &str) -> bool {
        self.server.ask::<i64>(&["EXISTS", key]).is_ok()
    }
}
