//! How the resolver's state lies in the store: a version byte, then fields in order; numbers as LEB128.
//!
//! Equal states have equal bytes. Text is read without copying: it stays in the buffer that came from the store.

use crate::{
    clock::Hlc,
    siblings::{Sibling, Siblings},
    strategy::Strategy,
};
use lockstep_plugin_api::{
    Bytes, Text,
    causality::{Dot, Known},
};

/// The first byte of every value; another one was written by a version that this one does not know.
const VERSION: u8 = 1;

/// The store holds something that this version cannot read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the resolver's state was written by another version (format {0}, this one reads {VERSION})")]
    Version(u8),
    #[error("the resolver's state in the store is damaged")]
    Damaged,
}

/// Writes fields one after the other.
#[derive(Debug)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Begins a value of about this length.
    pub fn new(capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.push(VERSION);
        Self(bytes)
    }

    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn dot(&mut self, dot: &Dot) {
        self.text(&dot.node);
        self.number(dot.seq);
    }

    /// What was written.
    pub fn finish(self) -> Bytes {
        Bytes::from(self.0)
    }
}

/// Reads fields in the order they were written.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    /// Begins to read a value.
    ///
    /// # Errors
    /// If another version wrote it.
    pub fn new(bytes: &'a Bytes) -> Result<Self, Unreadable> {
        match bytes.first() {
            Some(&VERSION) => Ok(Self { bytes, at: 1 }),
            Some(&other) => Err(Unreadable::Version(other)),
            None => Err(Unreadable::Damaged),
        }
    }

    pub fn number(&mut self) -> Result<u64, Unreadable> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(Unreadable::Damaged)?;
            self.at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Unreadable::Damaged)
    }

    pub fn text(&mut self) -> Result<Text, Unreadable> {
        let len = usize::try_from(self.number()?).map_err(|_| Unreadable::Damaged)?;
        let end =
            self.at.checked_add(len).filter(|end| *end <= self.bytes.len()).ok_or(Unreadable::Damaged)?;
        let text = Text::try_from(self.bytes.slice(self.at..end)).map_err(|_| Unreadable::Damaged)?;
        self.at = end;
        Ok(text)
    }

    fn dot(&mut self) -> Result<Dot, Unreadable> {
        Ok(Dot { node: self.text()?, seq: self.number()? })
    }
}

/// Which optional fields a sibling has, one bit each, in the order in which they are written.
const VALUE: u64 = 1;
const OLD_VALUE: u64 = 1 << 1;
const USER_ID: u64 = 1 << 2;
const SOURCE_NODE: u64 = 1 << 3;
const BASE_HASH: u64 = 1 << 4;
const OPS: u64 = 1 << 5;
const TIMESTAMP: u64 = 1 << 6;

/// In the place of a strategy's number: its text follows.
const WRITTEN_OUT: u64 = 5;

/// Writes the siblings of a key.
pub fn encode(siblings: &Siblings) -> Bytes {
    let text: usize = siblings.list().iter().map(about).sum();
    let mut writer = Writer::new(text + 16);
    writer.number(siblings.list().len() as u64);
    siblings.list().iter().for_each(|sibling| write(&mut writer, sibling));
    writer.finish()
}

fn about(sibling: &Sibling) -> usize {
    let texts = [&sibling.value, &sibling.old_value, &sibling.ops];
    let values: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
    values + 256 + 48 * sibling.ctx.newest().len()
}

fn write(writer: &mut Writer, sibling: &Sibling) {
    writer.dot(&sibling.dot);
    writer.number(sibling.ctx.newest().len() as u64);
    sibling.ctx.newest().iter().for_each(|dot| writer.dot(dot));
    writer.number(sibling.hlc.bits());
    writer.text(&sibling.event_id);
    write_strategy(writer, &sibling.strategy);
    let texts = texts(sibling);
    let flags = texts.iter().filter(|(_, text)| text.is_some()).map(|(flag, _)| flag);
    let timestamp = sibling.timestamp_us.map_or(0, |_| TIMESTAMP);
    writer.number(flags.sum::<u64>() | timestamp);
    texts.iter().filter_map(|(_, text)| text.as_ref()).for_each(|text| writer.text(text));
    if let Some(timestamp_us) = sibling.timestamp_us {
        writer.number(timestamp_us.cast_unsigned());
    }
}

/// Most strategies are one number; what says more is written as it is stamped on changes.
fn write_strategy(writer: &mut Writer, strategy: &Strategy) {
    if let Some(number) = strategy.number() {
        return writer.number(number);
    }
    writer.number(WRITTEN_OUT);
    writer.text(&strategy.to_string());
}

fn read_strategy(reader: &mut Reader<'_>) -> Result<Strategy, Unreadable> {
    match reader.number()? {
        WRITTEN_OUT => reader.text()?.parse().map_err(|_| Unreadable::Damaged),
        number => Strategy::from_number(number).ok_or(Unreadable::Damaged),
    }
}

fn texts(sibling: &Sibling) -> [(u64, &Option<Text>); 6] {
    [
        (VALUE, &sibling.value),
        (OLD_VALUE, &sibling.old_value),
        (USER_ID, &sibling.user_id),
        (SOURCE_NODE, &sibling.source_node),
        (BASE_HASH, &sibling.base_hash),
        (OPS, &sibling.ops),
    ]
}

/// Reads the siblings of a key.
///
/// # Errors
/// [`Unreadable`] if another version wrote them, or they are damaged.
pub fn decode(bytes: &Bytes) -> Result<Siblings, Unreadable> {
    let mut reader = Reader::new(bytes)?;
    (0..reader.number()?).map(|_| read(&mut reader)).collect()
}

fn read(reader: &mut Reader<'_>) -> Result<Sibling, Unreadable> {
    let dot = reader.dot()?;
    let ctx: Known = (0..reader.number()?).map(|_| reader.dot()).collect::<Result<_, _>>()?;
    let hlc = Hlc::from_bits(reader.number()?);
    let event_id = reader.text()?;
    let strategy = read_strategy(reader)?;
    let flags = reader.number()?;
    let mut text = |flag| if flags & flag == 0 { Ok(None) } else { reader.text().map(Some) };
    Ok(Sibling {
        dot,
        ctx,
        hlc,
        event_id,
        strategy,
        value: text(VALUE)?,
        old_value: text(OLD_VALUE)?,
        user_id: text(USER_ID)?,
        source_node: text(SOURCE_NODE)?,
        base_hash: text(BASE_HASH)?,
        ops: text(OPS)?,
        timestamp_us: if flags & TIMESTAMP == 0 { None } else { Some(reader.number()?.cast_signed()) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        merge::{Numbers, Policy},
        siblings::tests::sibling,
    };

    #[test]
    fn what_is_written_is_read_and_shares_the_buffer() {
        let full = Sibling {
            old_value: Some("[1]".into()),
            user_id: Some("eve".into()),
            source_node: Some("eu-1".into()),
            timestamp_us: Some(-5),
            base_hash: Some("ab".into()),
            ops: Some("[]".into()),
            strategy: Strategy::MergeStrategies(Policy { numbers: Some(Numbers::Min), ..Policy::DEFAULT }),
            ..sibling("a@1", 7, &[("b@2", 3), ("c@1", 300)], 90_000)
        };
        let placed = r#"merge_strategies({"paths":[{"match":"/a","x-merge":"manual"}]})"#;
        let strategy = placed.parse().expect("a strategy");
        let deleted = Sibling { value: None, strategy, ..sibling("b@2", 4, &[], 5) };
        let siblings: Siblings = [full, deleted].into_iter().collect();
        let bytes = encode(&siblings);
        let read = decode(&bytes).expect("readable");
        assert_eq!(read, siblings);
        let value = read.list()[1].value.as_ref().expect("a value");
        assert!(bytes.slice_of(value.as_bytes()).is_some(), "a value is not copied");
    }

    #[test]
    fn what_another_version_wrote_and_what_is_cut_off_are_refused() {
        let siblings: Siblings = [sibling("a@1", 7, &[("b@2", 3)], 90_000)].into_iter().collect();
        let bytes = encode(&siblings);
        for end in 0..bytes.len() {
            assert!(decode(&bytes.slice(0..end)).is_err(), "cut at {end}");
        }
        let mut newer = bytes.to_vec();
        newer[0] = 9;
        assert!(matches!(decode(&Bytes::from(newer)), Err(Unreadable::Version(9))));
    }
}
