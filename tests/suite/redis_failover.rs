//! Redis behind sentinels and as a cluster: a pipeline writes and reads through each, one server dies, and it goes on.

use lockstep_test_support::{Cluster, Host, LIMIT, PASSWORD, Sentinels, Site, USER, eventually};
use serde_json::{Value, json};
use std::time::Duration;

const LOG: &str = "apg-config:log:global";
const CACHE: &str = "apg-config:cache:global";

/// What a test needs of either.
trait Servers {
    fn strings(&self, words: &[&str]) -> Option<String>;
    fn length(&self, name: &str) -> i64;
    fn fail_over(&self, meanwhile: impl FnOnce());
    /// Where a component connects, as fields of its configuration.
    fn place(&self) -> String;
}

impl Servers for Sentinels {
    fn strings(&self, words: &[&str]) -> Option<String> {
        self.command(words)
    }

    fn length(&self, name: &str) -> i64 {
        self.command(&["XLEN", name])
    }

    fn fail_over(&self, meanwhile: impl FnOnce()) {
        Sentinels::fail_over(self, meanwhile);
    }

    fn place(&self) -> String {
        format!("sentinel: {{ master_name: {}, nodes: {} }}", self.master_name(), nodes(&self.ports()))
    }
}

impl Servers for Cluster {
    fn strings(&self, words: &[&str]) -> Option<String> {
        self.command(words)
    }

    fn length(&self, name: &str) -> i64 {
        self.command(&["XLEN", name])
    }

    fn fail_over(&self, meanwhile: impl FnOnce()) {
        Cluster::fail_over(self, LOG, meanwhile);
    }

    fn place(&self) -> String {
        format!("cluster: {{ nodes: {} }}", nodes(&self.ports()))
    }
}

fn nodes(ports: &[u16]) -> String {
    json!(ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>()).to_string()
}

fn site(servers: &impl Servers) -> Site {
    let config = format!("{{ {}, username: {USER}, password: {PASSWORD} }}", servers.place());
    let yaml = format!(
        "sources:\n  - plugin: redis\n    config: {config}\ntransforms:\n  - plugin: resolver\nsinks:\n  - plugin: redis\n    config: {config}\n"
    );
    Site::new().pipeline("p", &yaml)
}

fn foreign(servers: &impl Servers, key: &str, value: &Value) {
    let data = json!({ "config_key": key, "new_value": value }).to_string();
    servers.strings(&["XADD", LOG, "*", "data", &data]).expect("an entry");
}

fn set(site: &Site, key: &str, value: i64) {
    site.run(["set", key, &value.to_string()]).expect_code(0);
}

fn wait_known(host: &mut Host, site: &Site, key: &str) {
    host.wait_until(key, LIMIT, |_| site.run(["get", key]).code == Some(0));
}

#[track_caller]
fn wait_cell(servers: &impl Servers, key: &str, value: i64) {
    let shown = eventually(LIMIT, || {
        let cell: Value = serde_json::from_str(&servers.strings(&["HGET", CACHE, key])?).expect("JSON");
        (cell["new_value"] == value).then_some(())
    });
    assert!(shown.is_some(), "{key} = {value}");
}

fn is_connected(host: &Host, kind: &str) -> bool {
    let status = host.status();
    status.component("p", kind, "redis")["state"] == "running"
}

#[track_caller]
fn survives_a_failover(servers: &impl Servers) {
    let site = site(servers);
    let mut host = site.start();
    host.wait_ready();
    for number in 0..5 {
        set(&site, &format!("before.n{number}"), number);
    }
    foreign(servers, "before.foreign", &json!(1));
    wait_known(&mut host, &site, "before.foreign");
    wait_cell(servers, "before.foreign", 1);
    (0..5).for_each(|number| wait_cell(servers, &format!("before.n{number}"), number));
    servers.fail_over(|| {
        host.wait_until("the loss of the server to be seen", LIMIT, |host| {
            !host.logged("lost Redis, reconnecting").is_empty()
        });
        (0..5).for_each(|number| set(&site, &format!("during.n{number}"), number));
    });
    (0..5).for_each(|number| wait_cell(servers, &format!("during.n{number}"), number));
    set(&site, "after.x", 7);
    wait_cell(servers, "after.x", 7);
    foreign(servers, "after.foreign", &json!(2));
    wait_known(&mut host, &site, "after.foreign");
    wait_cell(servers, "after.foreign", 2);
    (0..5).for_each(|number| wait_cell(servers, &format!("before.n{number}"), number));
    assert!(servers.length(LOG) >= 13, "every change has its entry");
    host.wait_until("both to be connected", LIMIT, |host| {
        is_connected(host, "sources") && is_connected(host, "sinks")
    });
    host.stop();
}

#[test]
fn a_pipeline_goes_on_with_the_master_that_the_sentinels_name_next() {
    survives_a_failover(&Sentinels::start());
}

#[test]
fn a_pipeline_goes_on_with_the_replica_of_a_node_of_a_cluster_that_died() {
    survives_a_failover(&Cluster::start());
}

fn process(info: &str) -> i32 {
    let id = info.lines().find_map(|line| line.strip_prefix("process_id:")).expect("a server has a process");
    id.trim().parse().expect("a number")
}

fn ask(port: u16, words: &[&str]) -> String {
    let client =
        ::redis::Client::open(format!("redis://{USER}:{PASSWORD}@127.0.0.1:{port}")).expect("a client");
    let mut command = ::redis::Cmd::new();
    command.arg(words);
    command.query(&mut client.get_connection().expect("a connection")).expect("an answer")
}

fn signal(process: i32, signal: i32) {
    // SAFETY: plain system call; the process is a child of a child of this one and is not ended before it returns.
    assert_eq!(unsafe { libc::kill(process, signal) }, 0);
}

#[test]
fn a_node_that_comes_back_as_a_replica_leaves_nobody_without_a_connection() {
    let cluster = Cluster::start();
    let site = site(&cluster);
    let mut host = site.start();
    host.wait_ready();
    set(&site, "before.x", 1);
    wait_cell(&cluster, "before.x", 1);
    cluster.hang(LOG, Duration::from_secs(5));
    set(&site, "during.x", 2);
    wait_cell(&cluster, "during.x", 2);
    foreign(&cluster, "after.foreign", &json!(3));
    wait_known(&mut host, &site, "after.foreign");
    host.wait_until("both to be connected", LIMIT, |host| {
        is_connected(host, "sources") && is_connected(host, "sinks")
    });
    host.stop();
}

#[test]
fn a_replica_that_hangs_keeps_nobody_from_the_masters() {
    let cluster = Cluster::start();
    let site = site(&cluster);
    // Replicas come behind the masters. Nobody finds out that one hangs and leaves it out of the list of nodes.
    let replica = cluster.ports()[3];
    let info: String = ask(replica, &["INFO", "server"]);
    let replica = process(&info);
    signal(replica, libc::SIGSTOP);
    let mut host = site.start();
    host.wait_ready();
    set(&site, "app.x", 1);
    wait_cell(&cluster, "app.x", 1);
    host.wait_until("both to be connected", LIMIT, |host| {
        is_connected(host, "sources") && is_connected(host, "sinks")
    });
    signal(replica, libc::SIGCONT);
    host.stop();
}
