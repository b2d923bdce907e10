//! Operations on text: skip, insert, delete, in Unicode code points.
//!
//! In normal form no part is empty, neighbours are of different kinds, and nothing is skipped at the end; deletion and
//! insertion at one place keep their order. Every operation here is in normal form.

mod pieces;
mod transform;

pub use pieces::Piece;

use super::{Malformed, Mismatch};
use crate::value::{Number, Value};
use std::collections::BTreeMap;

/// An operation on a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextOp {
    parts: Vec<Part>,
}

/// One part of an operation, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Skip(usize),
    Insert(String),
    /// How many characters, and which ones if that is known.
    Delete(usize, Option<String>),
}

impl TextOp {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// [`Malformed::Text`] if it is none.
    pub fn parse(json: &Value) -> Result<Self, Malformed> {
        let mut op = Self::default();
        for part in json.as_list().ok_or(Malformed::Text)? {
            op.push(piece(part)?);
        }
        Ok(op.trimmed())
    }

    /// The JSON form.
    pub fn to_value(&self) -> Value {
        Value::List(self.parts.iter().map(Part::to_value).collect())
    }

    /// Goes over so many characters, then does what `rest` says.
    pub fn at(position: usize, rest: &[Piece<'_>]) -> Self {
        let mut op = Self::default();
        op.push(Piece::Skip(position));
        rest.iter().for_each(|piece| op.push(*piece));
        op.trimmed()
    }

    /// Whether it leaves every text as it is.
    pub fn is_noop(&self) -> bool {
        self.parts.is_empty()
    }

    /// The text after the operation.
    ///
    /// # Errors
    /// [`Mismatch::BeyondEnd`] if the text is too short.
    pub fn apply(&self, text: &str) -> Result<String, Mismatch> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        for part in &self.parts {
            match part {
                Part::Skip(n) => out.push_str(take(&mut rest, *n)?),
                Part::Insert(text) => out.push_str(text),
                Part::Delete(n, _) => drop(take(&mut rest, *n)?),
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// The operation that undoes this one; `text` is the one before it.
    ///
    /// # Errors
    /// [`Mismatch::BeyondEnd`] if the text is too short.
    pub fn inverted(&self, text: &str) -> Result<Self, Mismatch> {
        let mut op = Self::default();
        let mut rest = text;
        for part in &self.parts {
            match part {
                Part::Skip(n) => {
                    take(&mut rest, *n)?;
                    op.push(Piece::Skip(*n));
                }
                Part::Insert(text) => op.push(Piece::Delete(text.chars().count(), Some(text))),
                Part::Delete(n, _) => op.push(Piece::Insert(take(&mut rest, *n)?)),
            }
        }
        Ok(op.trimmed())
    }
}

/// Takes so many characters from the front.
fn take<'a>(rest: &mut &'a str, n: usize) -> Result<&'a str, Mismatch> {
    let end = byte_of(rest, n).ok_or(Mismatch::BeyondEnd)?;
    let (taken, left) = rest.split_at(end);
    *rest = left;
    Ok(taken)
}

/// Where the character with this number begins; the end of the text if there are exactly so many.
fn byte_of(text: &str, n: usize) -> Option<usize> {
    let is_start = |byte: &u8| byte & 0xc0 != 0x80;
    let (mut at, mut left) = (0, n);
    // Characters are counted block by block, and one by one in the last.
    for block in text.as_bytes().chunks_exact(BLOCK) {
        let n_starts = block.iter().filter(|byte| is_start(byte)).count();
        if n_starts > left {
            break;
        }
        (at, left) = (at + BLOCK, left - n_starts);
    }
    let starts = text.as_bytes()[at..].iter().enumerate().filter(|(_, byte)| is_start(byte));
    let starts = starts.map(|(behind, _)| at + behind);
    starts.chain(std::iter::once(text.len())).nth(left)
}

/// How many bytes of a text are looked at together.
const BLOCK: usize = 32;

fn piece(json: &Value) -> Result<Piece<'_>, Malformed> {
    match json {
        Value::Number(number) => Ok(Piece::Skip(count(number)?)),
        Value::Text(text) => Ok(Piece::Insert(text)),
        Value::Object(fields) if fields.len() == 1 => match fields.get("d") {
            Some(Value::Number(number)) => Ok(Piece::Delete(count(number)?, None)),
            Some(Value::Text(text)) => Ok(Piece::Delete(text.chars().count(), Some(text))),
            _ => Err(Malformed::Text),
        },
        _ => Err(Malformed::Text),
    }
}

fn count(number: &Number) -> Result<usize, Malformed> {
    // Below half of the range, so that sums of what one operation holds stay within it.
    let whole = number.as_whole().filter(|whole| (0..=i128::from(u32::MAX)).contains(whole));
    whole.and_then(|whole| usize::try_from(whole).ok()).ok_or(Malformed::Text)
}

impl Part {
    fn to_value(&self) -> Value {
        let deletion = |what| Value::Object(BTreeMap::from([("d".to_owned(), what)]));
        match self {
            Self::Skip(n) => Value::from(*n as u64),
            Self::Insert(text) => Value::Text(text.clone()),
            Self::Delete(n, None) => deletion(Value::from(*n as u64)),
            Self::Delete(_, Some(text)) => deletion(Value::Text(text.clone())),
        }
    }
}

#[cfg(test)]
mod tests;
