//! The names in a database, gone through without stopping the server.

use super::group::list;
use crate::{
    connection::{Fault, Link},
    entry::bytes,
};
use redis::{
    Cmd, Value,
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo},
    cmd,
};
use std::collections::BTreeSet;

/// How many names one step looks at.
const STEP: usize = 1000;

/// The names that match a pattern and hold this kind of value, on every node.
pub(super) async fn names(link: &mut Link, pattern: &str, kind: &str) -> Result<BTreeSet<Vec<u8>>, Fault> {
    let mut found = BTreeSet::new();
    if link.as_cluster().is_some() {
        scan_cluster(link, pattern, kind, &mut found).await?;
        return Ok(found);
    }
    let mut cursor = 0;
    loop {
        cursor = take(link.call(&step(pattern, kind, cursor)).await?, &mut found);
        if cursor == 0 {
            return Ok(found);
        }
    }
}

/// A cursor is a node's own: the first step goes to every master and tells who they are.
async fn scan_cluster(
    link: &mut Link,
    pattern: &str,
    kind: &str,
    found: &mut BTreeSet<Vec<u8>>,
) -> Result<(), Fault> {
    let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
    let Value::Map(nodes) = route(link, step(pattern, kind, 0), everywhere).await? else { return Ok(()) };
    for (address, reply) in nodes {
        let mut cursor = take(reply.extract_error().map_err(Fault::of)?, found);
        let Some((host, port)) = bytes(address).and_then(host_and_port) else { continue };
        while cursor != 0 {
            let there = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port };
            let reply = route(link, step(pattern, kind, cursor), RoutingInfo::SingleNode(there)).await?;
            cursor = take(reply, found);
        }
    }
    Ok(())
}

async fn route(link: &mut Link, command: Cmd, routing: RoutingInfo) -> Result<Value, Fault> {
    link.count(1);
    let Some(cluster) = link.as_cluster() else { return Ok(Value::Nil) };
    let reply = cluster.route_command(command, routing).await.map_err(Fault::of)?;
    reply.extract_error().map_err(Fault::of)
}

fn host_and_port(address: Vec<u8>) -> Option<(String, u16)> {
    let address = String::from_utf8(address).ok()?;
    let (host, port) = address.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok()?))
}

fn step(pattern: &str, kind: &str, cursor: u64) -> Cmd {
    let mut scan = cmd("SCAN");
    scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(STEP).arg("TYPE").arg(kind);
    scan
}

/// Takes the names of a step and gives the next cursor; 0 is the end.
fn take(reply: Value, found: &mut BTreeSet<Vec<u8>>) -> u64 {
    let mut parts = list(reply).into_iter();
    let cursor = parts.next().and_then(bytes).and_then(|text| String::from_utf8(text).ok()?.parse().ok());
    found.extend(parts.next().map(list).unwrap_or_default().into_iter().filter_map(bytes));
    cursor.unwrap_or(0)
}
