//! The consumer group: how entries are taken and acknowledged.
//!
//! A group is a host's own, and then the host's store says where to go on and the server is told; or hosts share it, and
//! then the server says what is whose.

use crate::{
    connection::{Fault, Link},
    entry::{Entry, EntryId, bytes, read_entries},
};
use redis::{Cmd, Value, cmd};
use std::time::Duration;

/// The group and this consumer in it.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) consumer: String,
    /// Whether consumers of other hosts take their part.
    pub(crate) is_shared: bool,
    /// Where a group begins that is new.
    pub(crate) begin: &'static str,
    pub(crate) claim_idle: Duration,
}

/// What the server tells of a stream.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamInfo {
    pub(crate) n_entries: u64,
    /// How many there ever were, if the server knows.
    pub(crate) n_added: Option<u64>,
    pub(crate) first: Option<EntryId>,
    /// The newest there ever was.
    pub(crate) last: EntryId,
}

impl StreamInfo {
    /// Whether entries behind this place are gone. Where it cannot be told it is taken to be so.
    pub(crate) fn is_gap_behind(&self, place: EntryId) -> bool {
        if self.last <= place {
            // Less than it was: another stream under the same name.
            return self.last < place;
        }
        self.first.is_none_or(|first| first > place) && self.n_added != Some(self.n_entries)
    }

    fn read(value: Value) -> Self {
        let mut info = Self::default();
        let mut flat = list(value).into_iter();
        while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
            match bytes(name).as_deref() {
                Some(b"length") => info.n_entries = number(&value).unwrap_or(0),
                Some(b"entries-added") => info.n_added = number(&value),
                Some(b"last-generated-id") => info.last = bytes(value).and_then(read_id).unwrap_or_default(),
                Some(b"first-entry") => {
                    info.first = read_entries(Value::Array(vec![value])).first().map(|entry| entry.id);
                }
                _ => {}
            }
        }
        info
    }
}

impl Group {
    /// Makes the group where there is none, beginning behind `begin`; false if it was there.
    pub(crate) async fn create(&self, link: &mut Link, stream: &str, begin: &str) -> Result<bool, Fault> {
        let mut create = cmd("XGROUP");
        create.arg("CREATE").arg(stream).arg(&self.name).arg(begin).arg("MKSTREAM");
        match link.call(&create).await {
            Ok(_) => Ok(true),
            Err(Fault::Refused(refusal)) if refusal.code == "BUSYGROUP" => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Lets the group go on behind `id`, whatever it took before.
    pub(crate) async fn go_on_behind(&self, link: &mut Link, stream: &str, id: EntryId) -> Result<(), Fault> {
        if self.create(link, stream, &id.to_string()).await? {
            return Ok(());
        }
        let mut set = cmd("XGROUP");
        set.arg("SETID").arg(stream).arg(&self.name).arg(id.to_string());
        link.call(&set).await.map(drop)
    }

    /// What an earlier life took behind `from` and up to `until` and had no time to acknowledge; at most so many.
    pub(crate) async fn unacknowledged(
        &self,
        link: &mut Link,
        stream: &str,
        from: EntryId,
        until: EntryId,
    ) -> Result<Vec<EntryId>, Fault> {
        let mut pending = cmd("XPENDING");
        pending.arg(stream).arg(&self.name).arg(format!("({from}")).arg(until.to_string()).arg(1000);
        let ids = list(link.call(&pending).await?).into_iter();
        Ok(ids.filter_map(|one| list(one).into_iter().next().and_then(bytes).and_then(read_id)).collect())
    }

    /// Takes these once more. Those that are gone from the stream are left out.
    pub(crate) async fn take_again(
        &self,
        link: &mut Link,
        stream: &str,
        ids: &[EntryId],
    ) -> Result<Vec<Entry>, Fault> {
        let entries = link.call(&self.claim_these(stream, ids)).await?;
        Ok(read_entries(entries).into_iter().filter(|entry| !entry.is_gone()).collect())
    }

    pub(crate) fn acknowledge(&self, stream: &str, ids: &[EntryId]) -> Cmd {
        let mut ack = cmd("XACK");
        ack.arg(stream).arg(&self.name);
        ack.arg(texts(ids));
        ack
    }

    /// Takes new entries, waiting on the server for the first one.
    pub(crate) async fn take_new(
        &self,
        link: &mut Link,
        streams: &[&str],
        count: usize,
        block: Duration,
    ) -> Result<Vec<(Vec<u8>, Vec<Entry>)>, Fault> {
        let mut take = self.take(count);
        take.arg("BLOCK").arg(block.as_millis() as u64).arg("STREAMS");
        take.arg(streams).arg(vec![">"; streams.len()]);
        Ok(read_streams(link.call(&take).await?))
    }

    /// What this consumer took behind `id` and did not acknowledge.
    pub(crate) async fn take_own(
        &self,
        link: &mut Link,
        stream: &str,
        id: EntryId,
        count: usize,
    ) -> Result<Vec<Entry>, Fault> {
        let mut take = self.take(count);
        take.arg("STREAMS").arg(stream).arg(id.to_string());
        Ok(read_streams(link.call(&take).await?).into_iter().flat_map(|(_, entries)| entries).collect())
    }

    fn take(&self, count: usize) -> Cmd {
        let mut take = cmd("XREADGROUP");
        take.arg("GROUP").arg(&self.name).arg(&self.consumer).arg("COUNT").arg(count);
        take
    }

    /// Takes over what others took and did not acknowledge for long; where to go on, and what it was.
    pub(crate) async fn claim(
        &self,
        link: &mut Link,
        stream: &str,
        from: EntryId,
        count: usize,
    ) -> Result<(EntryId, Vec<Entry>), Fault> {
        let mut claim = cmd("XAUTOCLAIM");
        claim.arg(stream).arg(&self.name).arg(&self.consumer).arg(self.claim_idle.as_millis() as u64);
        claim.arg(from.to_string()).arg("COUNT").arg(count);
        let mut parts = list(link.call(&claim).await?).into_iter();
        let next = parts.next().and_then(bytes).and_then(read_id).unwrap_or_default();
        Ok((next, parts.next().map(read_entries).unwrap_or_default()))
    }

    /// Keeps what is on its way here from being taken over.
    pub(crate) fn keep(&self, stream: &str, ids: &[EntryId]) -> Cmd {
        let mut keep = self.claim_these(stream, ids);
        keep.arg("JUSTID");
        keep
    }

    fn claim_these(&self, stream: &str, ids: &[EntryId]) -> Cmd {
        let mut claim = cmd("XCLAIM");
        claim.arg(stream).arg(&self.name).arg(&self.consumer).arg(0).arg(texts(ids));
        claim
    }

    /// What the server tells of a stream that exists.
    pub(crate) async fn info(&self, link: &mut Link, stream: &str) -> Result<StreamInfo, Fault> {
        let mut info = cmd("XINFO");
        info.arg("STREAM").arg(stream);
        Ok(StreamInfo::read(link.call(&info).await?))
    }

    /// Other consumers of the group that took something in the last minute.
    pub(crate) async fn others(&self, link: &mut Link, stream: &str) -> Result<Vec<String>, Fault> {
        let mut consumers = cmd("XINFO");
        consumers.arg("CONSUMERS").arg(stream).arg(&self.name);
        let consumers = list(link.call(&consumers).await?);
        Ok(consumers.into_iter().filter_map(live_consumer).filter(|name| *name != self.consumer).collect())
    }
}

fn live_consumer(consumer: Value) -> Option<String> {
    let (mut name, mut idle) = (None, u64::MAX);
    let mut flat = list(consumer).into_iter();
    while let (Some(field), Some(value)) = (flat.next(), flat.next()) {
        match bytes(field).as_deref() {
            Some(b"name") => name = bytes(value).and_then(|name| String::from_utf8(name).ok()),
            Some(b"idle") => idle = number(&value).unwrap_or(u64::MAX),
            _ => {}
        }
    }
    name.filter(|_| idle < 60_000)
}

/// By the name of their stream.
fn read_streams(value: Value) -> Vec<(Vec<u8>, Vec<Entry>)> {
    let stream = |one: Value| {
        let [name, entries] = <[Value; 2]>::try_from(list(one)).ok()?;
        Some((bytes(name)?, read_entries(entries)))
    };
    list(value).into_iter().filter_map(stream).collect()
}

fn texts(ids: &[EntryId]) -> Vec<String> {
    ids.iter().map(EntryId::to_string).collect()
}

/// The parts of a list; none of nothing.
pub(crate) fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list,
        _ => Vec::new(),
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn read_id(bytes: Vec<u8>) -> Option<EntryId> {
    String::from_utf8(bytes).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EntryId {
        EntryId { ms, number: 0 }
    }

    #[test]
    fn a_gap_is_where_entries_behind_the_place_are_gone() {
        let info = |n_entries, n_added, first: u64, last: u64| StreamInfo {
            n_entries,
            n_added,
            first: (n_entries > 0).then(|| id(first)),
            last: id(last),
        };
        assert!(!info(3, Some(9), 5, 9).is_gap_behind(id(5)));
        assert!(!info(3, Some(9), 5, 9).is_gap_behind(id(9)));
        assert!(info(3, Some(9), 5, 9).is_gap_behind(id(4)), "4 is gone, and what came behind it may be");
        assert!(!info(3, Some(3), 5, 9).is_gap_behind(id(0)), "nothing was ever trimmed");
        assert!(info(0, Some(4), 0, 9).is_gap_behind(id(4)));
        assert!(!info(0, Some(4), 0, 9).is_gap_behind(id(9)));
        assert!(info(2, Some(2), 1, 2).is_gap_behind(id(9)), "another stream");
        assert!(!info(0, Some(0), 0, 0).is_gap_behind(id(0)), "a new one");
        assert!(info(3, None, 5, 9).is_gap_behind(id(4)), "an old server does not tell");
    }

    #[test]
    fn what_the_server_tells_is_read() {
        let text = b"*8\r\n$6\r\nlength\r\n:2\r\n$17\r\nlast-generated-id\r\n$3\r\n7-1\r\n$13\r\nentries-added\r\n:9\r\n\
            $11\r\nfirst-entry\r\n*2\r\n$3\r\n5-0\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n";
        let info = StreamInfo::read(redis::parse_redis_value(text).expect("a reply"));
        let last = EntryId { ms: 7, number: 1 };
        assert_eq!(info, StreamInfo { n_entries: 2, n_added: Some(9), first: Some(id(5)), last });
    }
}
