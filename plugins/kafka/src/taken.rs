//! Messages as one poll takes them: copied out of the client into one buffer, then cut into records.

use crate::{lanes::Table, position::Place};
use lockstep_plugin_api::{awaiting_panic, prelude::*};
use rdkafka::{
    Message,
    message::{BorrowedHeaders, BorrowedMessage, Headers},
};
use std::{fmt::Write, ops::Range, sync::Arc};

/// What one answer holds at most, but for its last message.
const MAX_BYTES: usize = 4 << 20;

/// The messages of a poll.
#[derive(Default)]
pub(crate) struct Taken {
    buffer: Vec<u8>,
    messages: Vec<Parts>,
}

/// A message whose parts lie in the buffer.
struct Parts {
    lane: u32,
    topic: Arc<str>,
    partition: i32,
    offset: i64,
    timestamp_us: i64,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Vec<(String, Range<usize>)>,
    is_readable: bool,
}

/// A message as a record, with where it comes from.
pub(crate) struct Origin {
    pub(crate) lane: u32,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

impl Taken {
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() >= MAX_BYTES
    }

    /// Copies a message.
    pub(crate) fn push(&mut self, message: &BorrowedMessage<'_>, table: &mut Table) {
        let lane = table.number(message.topic(), message.partition());
        let topic = table.lane(lane).topic.clone();
        let key = message.key().map(|key| self.copy(key));
        let value = message.payload().map(|value| self.copy(value));
        let (headers, is_readable) =
            message.headers().map_or((Vec::new(), true), |headers| self.headers(headers));
        let parts = Parts {
            lane,
            topic,
            partition: message.partition(),
            offset: message.offset(),
            timestamp_us: message.timestamp().to_millis().map_or(0, |millis| millis.saturating_mul(1000)),
            key,
            value,
            headers,
            is_readable,
        };
        self.messages.push(parts);
    }

    /// The headers whose names are text, which is all that a record can have for a name; and whether these are all.
    fn headers(&mut self, headers: &BorrowedHeaders) -> (Vec<(String, Range<usize>)>, bool) {
        let mut names = Vec::with_capacity(headers.count());
        for place in 0..headers.count() {
            // The client library panics at a name that is not UTF-8, which anybody can send.
            let Some(header) = awaiting_panic(|| headers.get(place)) else { continue };
            names.push((header.key.to_owned(), self.copy(header.value.unwrap_or_default())));
        }
        let are_all = names.len() == headers.count();
        (names, are_all)
    }

    /// Adds the messages of another.
    pub(crate) fn append(&mut self, other: Self) {
        let offset = self.buffer.len();
        let moved = |range: Range<usize>| range.start + offset..range.end + offset;
        self.buffer.extend_from_slice(&other.buffer);
        self.messages.extend(other.messages.into_iter().map(|parts| Parts {
            key: parts.key.map(moved),
            value: parts.value.map(moved),
            headers: parts.headers.into_iter().map(|(name, range)| (name, moved(range))).collect(),
            ..parts
        }));
    }

    fn copy(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        start..self.buffer.len()
    }

    /// The messages as records, each with the position behind it; they share two buffers.
    pub(crate) fn into_records(self) -> impl Iterator<Item = (Origin, Record)> {
        let buffer = Bytes::from(self.buffer);
        let (mut places, mut ends) = (String::with_capacity(self.messages.len() * 32), Vec::new());
        for Parts { topic, partition, offset, .. } in &self.messages {
            let place = Place { topic, partition: *partition, offset: offset + 1 };
            write!(places, "{place}").expect("into memory");
            ends.push(places.len());
        }
        let places = Bytes::from(places);
        let mut start = 0;
        self.messages.into_iter().zip(ends).map(move |(parts, end)| {
            let place = places.slice(start..end);
            start = end;
            parts.into_record(&buffer, place)
        })
    }
}

impl Parts {
    fn into_record(self, buffer: &Bytes, place: Bytes) -> (Origin, Record) {
        let mut record = Record::new(Bytes::new()).with_position(Position::new(self.lane, place));
        record.set_value(self.value.map(|range| buffer.slice(range)));
        record.set_key(self.key.map(|range| buffer.slice(range)));
        record.set_timestamp_us(self.timestamp_us);
        for (name, range) in self.headers {
            record.push_header(&name, buffer.slice(range));
        }
        if !self.is_readable {
            record = record.with_error(Error::rejected("bad_message", "the name of a header is not UTF-8"));
        }
        let Self { lane, topic, partition, offset, .. } = self;
        (Origin { lane, topic, partition, offset }, record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn record(n_headers: usize) -> Record {
        let mut taken = Taken { buffer: b"xy".to_vec(), messages: Vec::new() };
        taken.messages.push(Parts {
            lane: 0,
            topic: "t".into(),
            partition: 0,
            offset: 0,
            timestamp_us: 0,
            key: None,
            value: None,
            headers: (0..n_headers).map(|n| (format!("h{}", n / 2), n % 2..n % 2 + 1)).collect(),
            is_readable: true,
        });
        taken.into_records().next().expect("one").1
    }

    #[test]
    fn every_header_of_a_name_is_kept_in_order() {
        let record = record(4);
        let headers: Vec<_> = record.headers().map(|(name, value)| (name, &value[..])).collect();
        assert_eq!(headers, [("h0", &b"x"[..]), ("h0", b"y"), ("h1", b"x"), ("h1", b"y")]);
    }

    #[test]
    fn a_message_of_many_headers_holds_nobody_up() {
        let began = Instant::now();
        assert_eq!(record(200_000).headers().len(), 200_000);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}
