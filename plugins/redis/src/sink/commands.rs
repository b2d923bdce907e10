//! Jobs as commands, and answers as what became of them.
//!
//! A change is written in two steps, the cell and then the entry and the message: what the cell does not take is told to
//! nobody, and in a cluster they lie on different nodes.

use super::{
    job::{CellWrite, ChangeWrite},
    once,
};
use crate::{
    cell::{self, Digest},
    connection::{Away, Fault, Link, Placed, Refusal},
    entry::bytes,
    names::Names,
};
use lockstep_plugin_api::Bytes;
use redis::{Cmd, Script, Value, cmd};
use std::time::Duration;

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
    /// What decides about a write at the server, and its text.
    script: (Script, &'static str),
    /// How long the count of a record is kept that is applied once.
    once_for: Duration,
    stream_max_len: u64,
}

/// What the server said to a cell.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It is as it was to be.
    Taken,
    /// It was applied before.
    Known,
    /// It holds this instead.
    Holds(Vec<u8>),
    /// The server has forgotten the script.
    NoScript,
    Refused(Refusal),
}

impl Commands {
    /// The commands of a sink that applies records once, and remembers them for so long, or of any other.
    pub(crate) fn new(stream_max_len: u64, once_for: Option<Duration>) -> Self {
        let text = if once_for.is_some() { once::SCRIPT } else { cell::SCRIPT };
        Self { script: (Script::new(text), text), once_for: once_for.unwrap_or_default(), stream_max_len }
    }

    /// Gives the script to the server.
    pub(crate) async fn load(&self, link: &mut Link) -> Result<(), Away> {
        let mut load = cmd("SCRIPT");
        load.arg("LOAD").arg(self.script.1);
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
                set.arg(self.script.0.get_hash()).arg(1).arg(cache).arg(field).arg(&change.data[..]);
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

    /// The entry of a change whose cell is written.
    pub(crate) fn entry<'a>(&self, change: &ChangeWrite, places: &'a Places) -> Placed<'a> {
        self.add(&places.stream, change.entry())
    }

    /// The message of a change whose cell is written.
    pub(crate) fn message<'a>(&self, change: &ChangeWrite, places: &'a Places) -> Placed<'a> {
        let mut publish = cmd("PUBLISH");
        publish.arg(&places.channel).arg(&change.data[..]);
        Placed { command: publish, at: &places.channel }
    }

    /// An entry with these fields.
    pub(crate) fn raw<'a>(&self, stream: &'a str, fields: &[(String, Bytes)]) -> Placed<'a> {
        self.add(stream, raw_entry(fields))
    }

    /// An entry with these fields, unless there was one for this record.
    pub(crate) fn raw_once<'a>(&self, stream: &'a str, fields: &[(String, Bytes)], id: &[u8]) -> Placed<'a> {
        let mut command = self.once(&[&once::count_name(stream, id), stream.as_bytes()], &[]);
        put_fields(&mut command, raw_entry(fields));
        Placed { command, at: stream }
    }

    /// The cell and the entry of a change, unless they were written for this record.
    pub(crate) fn change_once<'a>(&self, change: &ChangeWrite, places: &'a Places, id: &[u8]) -> Placed<'a> {
        let count = once::count_name(&places.stream, id);
        let field = change.config_key.as_str().as_bytes();
        let names = [&count[..], places.stream.as_bytes(), places.cache.as_bytes()];
        let mut command = match change.cell {
            CellWrite::Remove => self.once(&names, &[field]),
            CellWrite::State(_) | CellWrite::Blind => self.once(&names, &[field, &change.data]),
        };
        put_fields(&mut command, change.entry());
        Placed { command, at: &places.stream }
    }

    /// The beginning of a call of the script, up to the fields of the entry.
    fn once(&self, names: &[&[u8]], cell: &[&[u8]]) -> Cmd {
        let mut call = cmd("EVALSHA");
        call.arg(self.script.0.get_hash()).arg(names.len()).arg(names);
        call.arg(self.once_for.as_secs()).arg(self.stream_max_len).arg(cell.len()).arg(cell);
        call
    }

    fn add<'a, 'f>(&self, stream: &'a str, fields: impl Iterator<Item = (&'f str, &'f [u8])>) -> Placed<'a> {
        let mut command = cmd("XADD");
        command.arg(stream).arg("MAXLEN").arg("~").arg(self.stream_max_len).arg("*");
        put_fields(&mut command, fields);
        Placed { command, at: stream }
    }
}

fn raw_entry(fields: &[(String, Bytes)]) -> impl Iterator<Item = (&str, &[u8])> {
    fields.iter().map(|(name, value)| (name.as_str(), &value[..]))
}

fn put_fields<'f>(command: &mut Cmd, fields: impl Iterator<Item = (&'f str, &'f [u8])>) {
    for (name, value) in fields {
        command.arg(name).arg(value);
    }
}

impl Answer {
    /// To a record that is applied once.
    pub(crate) fn of_once(answer: Result<Value, Refusal>) -> Self {
        match answer {
            Err(refusal) if refusal.code == "NOSCRIPT" => Self::NoScript,
            Err(refusal) => Self::Refused(refusal),
            Ok(Value::Int(0)) => Self::Known,
            Ok(_) => Self::Taken,
        }
    }

    pub(crate) fn of(cell: &CellWrite, answer: Result<Value, Refusal>) -> Self {
        match (cell, answer) {
            (_, Err(refusal)) if refusal.code == "NOSCRIPT" => Self::NoScript,
            (_, Err(refusal)) => Self::Refused(refusal),
            (CellWrite::State(_), Ok(value)) => bytes(value).map_or(Self::Taken, Self::Holds),
            (CellWrite::Blind | CellWrite::Remove, Ok(_)) => Self::Taken,
        }
    }
}
