//! Jobs as commands, and answers as what became of them.
//!
//! A change is written in two steps, the cell and then the entry and the message: what the cell does not take is told to
//! nobody, and in a cluster they lie on different nodes.

use super::job::{CellWrite, ChangeWrite};
use crate::{
    cell::{Digest, SCRIPT},
    connection::{Away, Fault, Link, Placed, Refusal},
    entry::{DATA, bytes},
    names::Names,
};
use lockstep_plugin_api::Bytes;
use redis::{Cmd, Script, Value, cmd};

/// The names of a change's cache, stream and channel.
#[derive(Debug)]
pub(crate) struct Places {
    cache: String,
    stream: String,
    channel: String,
}

impl Places {
    pub(crate) fn of(names: &Names, tenant: Option<&str>) -> Self {
        Self { cache: names.cache(tenant), stream: names.stream(tenant), channel: names.channel(tenant) }
    }
}

/// Makes the commands of one sink.
#[derive(Debug)]
pub(crate) struct Commands {
    script: Script,
    stream_max_len: u64,
}

/// What the server said to a cell.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It is as it was to be.
    Taken,
    /// It holds this instead.
    Holds(Vec<u8>),
    /// The server has forgotten the script.
    NoScript,
    Refused(Refusal),
}

impl Commands {
    pub(crate) fn new(stream_max_len: u64) -> Self {
        Self { script: Script::new(SCRIPT), stream_max_len }
    }

    /// Gives the script to the server.
    pub(crate) async fn load(&self, link: &mut Link) -> Result<(), Away> {
        let mut load = cmd("SCRIPT");
        load.arg("LOAD").arg(SCRIPT);
        match link.call_masters(&load).await {
            Ok(_) => Ok(()),
            Err(Fault::Away(away)) => Err(away),
            Err(Fault::Refused(refusal)) => Err(Away(format!("the server takes no script: {refusal}"))),
        }
    }

    /// Writes the cell.
    pub(crate) fn cell<'a>(
        &self,
        change: &ChangeWrite,
        places: &'a Places,
        expected: Option<Digest>,
    ) -> Placed<'a> {
        let (cache, field) = (&places.cache, change.config_key.as_str().as_bytes());
        let command = match change.cell {
            CellWrite::State(_) => {
                let mut set = cmd("EVALSHA");
                set.arg(self.script.get_hash()).arg(1).arg(cache).arg(field).arg(&change.data[..]);
                set.arg(expected.map(|digest| digest.hex()).unwrap_or_default());
                set
            }
            CellWrite::Blind => {
                let mut set = cmd("HSET");
                set.arg(cache).arg(field).arg(&change.data[..]);
                set
            }
            CellWrite::Remove => {
                let mut remove = cmd("HDEL");
                remove.arg(cache).arg(field);
                remove
            }
        };
        Placed { command, at: cache }
    }

    /// The entry and the message of a change whose cell is written.
    pub(crate) fn tell<'a>(&self, change: &ChangeWrite, places: &'a Places) -> [Placed<'a>; 2] {
        let mut add = self.add(&places.stream);
        for (name, value) in &change.fields {
            add.arg(name).arg(value.as_str().as_bytes());
        }
        add.arg(DATA).arg(&change.data[..]);
        let mut publish = cmd("PUBLISH");
        publish.arg(&places.channel).arg(&change.data[..]);
        [Placed { command: add, at: &places.stream }, Placed { command: publish, at: &places.channel }]
    }

    /// An entry with these fields.
    pub(crate) fn raw<'a>(&self, stream: &'a str, fields: &[(String, Bytes)]) -> Placed<'a> {
        let mut command = self.add(stream);
        for (name, value) in fields {
            command.arg(name).arg(&value[..]);
        }
        Placed { command, at: stream }
    }

    fn add(&self, stream: &str) -> Cmd {
        let mut add = cmd("XADD");
        add.arg(stream).arg("MAXLEN").arg("~").arg(self.stream_max_len).arg("*");
        add
    }
}

impl Answer {
    pub(crate) fn of(cell: &CellWrite, answer: Result<Value, Refusal>) -> Self {
        match (cell, answer) {
            (_, Err(refusal)) if refusal.code == "NOSCRIPT" => Self::NoScript,
            (_, Err(refusal)) => Self::Refused(refusal),
            (CellWrite::State(_), Ok(value)) => bytes(value).map_or(Self::Taken, Self::Holds),
            (CellWrite::Blind | CellWrite::Remove, Ok(_)) => Self::Taken,
        }
    }
}
