//! Jobs as commands, and answers as what became of them.

use super::job::{CellWrite, ChangeWrite};
use crate::{
    cell::{Digest, SCRIPT},
    connection::{Away, Fault, Link, Placed, Refusal},
    names::Names,
};
use lockstep_plugin_api::Bytes;
use redis::{Cmd, Script, Value};

/// The names of a change's cache, stream and channel.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) cache: String,
    pub(crate) stream: String,
    pub(crate) channel: String,
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
    /// Cell, entry and message in one step on the server. In a cluster they lie on different nodes, and the entry and the
    /// message follow when the cell is written.
    pub(crate) is_one_step: bool,
}

/// What the server said to a change.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The cell took it.
    Taken {
        is_told: bool,
    },
    /// The cell holds this instead.
    Holds(Vec<u8>),
    /// The server has forgotten the script.
    NoScript,
    Refused(Refusal),
}

impl Commands {
    pub(crate) fn new(stream_max_len: u64, is_one_step: bool) -> Self {
        Self { script: Script::new(SCRIPT), stream_max_len, is_one_step }
    }

    /// Gives the script to the server.
    pub(crate) async fn load(&self, link: &mut Link) -> Result<(), Away> {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(SCRIPT);
        match link.call(&load).await {
            Ok(_) => Ok(()),
            Err(Fault::Away(away)) => Err(away),
            Err(Fault::Refused(refusal)) => Err(Away(format!("the server takes no script: {refusal}"))),
        }
    }

    /// Writes the cell if it is as expected, and where it can the entry and the message with it.
    pub(crate) fn change<'a>(
        &self,
        change: &ChangeWrite,
        places: &'a Places,
        expected: Option<Digest>,
    ) -> Placed<'a> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.script.get_hash());
        match self.is_one_step {
            true => command.arg(2).arg(&places.cache).arg(&places.stream),
            false => command.arg(1).arg(&places.cache),
        };
        command.arg(change.config_key.as_str().as_bytes()).arg(&change.data[..]);
        match change.cell {
            CellWrite::State(_) => command.arg(expected.map(|digest| digest.hex()).unwrap_or_default()),
            CellWrite::Blind => command.arg("*"),
            CellWrite::Remove => command.arg("-"),
        };
        if self.is_one_step {
            command.arg(&places.channel).arg(self.stream_max_len);
            for (name, value) in &change.fields {
                command.arg(name).arg(value.as_str().as_bytes());
            }
        }
        Placed { command, at: &places.cache }
    }

    /// The entry and the message of a change whose cell is written.
    pub(crate) fn tell<'a>(&self, change: &ChangeWrite, places: &'a Places) -> [Placed<'a>; 2] {
        let mut add = self.add(&places.stream);
        for (name, value) in &change.fields {
            add.arg(name).arg(value.as_str().as_bytes());
        }
        add.arg(crate::entry::DATA).arg(&change.data[..]);
        let mut publish = redis::cmd("PUBLISH");
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
        let mut add = redis::cmd("XADD");
        add.arg(stream).arg("MAXLEN").arg("~").arg(self.stream_max_len).arg("*");
        add
    }
}

impl Answer {
    pub(crate) fn of(answer: Result<Value, Refusal>) -> Self {
        let parts = match answer {
            Err(refusal) if refusal.code == "NOSCRIPT" => return Self::NoScript,
            Err(refusal) => return Self::Refused(refusal),
            Ok(Value::Array(parts)) => parts,
            Ok(_) => Vec::new(),
        };
        let mut parts = parts.into_iter();
        match (parts.next(), parts.next().and_then(crate::entry::bytes)) {
            (Some(Value::Int(0)), Some(cell)) => Self::Holds(cell),
            (_, untold) => Self::Taken { is_told: untold.is_none() },
        }
    }
}
