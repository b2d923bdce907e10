//! A reader of one stream.

use super::{Arrivals, PATIENCE, Witness};
use crate::{
    servers::{PASSWORD, Redis, USER},
    wait::eventually,
};
use redis::{Connection, RedisError, cmd, from_redis_value_ref, streams::StreamReadReply};
use serde_json::Value;
use std::time::Duration;

/// How long it tries to connect before it looks whether it is still wanted.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

impl Witness {
    /// Reads a stream from its beginning, and goes on where it was when the server was away.
    pub fn of_redis(redis: &Redis, stream: &str, arrivals: &Arrivals) -> Self {
        let (client, stream) = (redis.client(USER, PASSWORD), stream.to_owned());
        Self::start(arrivals, move |arrivals, is_over| {
            let mut last = "0".to_owned();
            while !is_over() {
                let connect = || client.get_connection_with_timeout(CONNECT_LIMIT).ok();
                let Some(mut connection) = eventually(CONNECT_LIMIT, connect) else { continue };
                while !is_over() && follow(&mut connection, &stream, &mut last, arrivals).is_ok() {}
            }
        })
    }
}

fn follow(
    connection: &mut Connection,
    stream: &str,
    last: &mut String,
    arrivals: &Arrivals,
) -> Result<(), RedisError> {
    connection.set_read_timeout(Some(10 * PATIENCE))?;
    let mut read = cmd("XREAD");
    read.arg("BLOCK").arg(PATIENCE.as_millis() as u64).arg("COUNT").arg(1_000);
    let reply: Option<StreamReadReply> =
        read.arg("STREAMS").arg(stream).arg(last.as_str()).query(connection)?;
    for entry in reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids) {
        *last = entry.id;
        // Whatever the field is called: it holds the change.
        let texts = entry.map.values().filter_map(|field| from_redis_value_ref::<Vec<u8>>(field).ok());
        let changes = texts.filter_map(|text| serde_json::from_slice::<Value>(&text).ok());
        changes.filter(Value::is_object).for_each(|change| arrivals.tell(&change));
    }
    Ok(())
}
