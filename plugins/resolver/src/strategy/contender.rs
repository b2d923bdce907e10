//! What a strategy sees of a change that stands against others.

use crate::{ot::tree::TreeOp, value::Value};
use lockstep_plugin_api::{Text, sealed::is_sealed};
use sha2::{Digest, Sha256};
use std::{borrow::Cow, fmt::Write};

/// One of several changes, which are ordered by their stamps. Its texts are JSON.
#[derive(Debug, Clone, Copy)]
pub struct Contender<'a> {
    /// `None` is a deletion.
    pub value: Option<&'a Text>,
    /// What its author saw before, if that was anything but `null`.
    pub old_value: Option<&'a Text>,
    /// The name of what its author saw before; made from `old_value` where it is absent.
    pub base_hash: Option<&'a Text>,
    /// What its author did; absent if that is to put the value in the place of what was there.
    pub ops: Option<&'a Text>,
}

/// The name of a value, by which changes that were made from equal ones are recognised; `None` if it cannot be read.
fn base_hash(value: &str) -> Option<Text> {
    Value::parse(value).ok().map(|value| hash_of(&value))
}

/// The name of a value that has been read.
pub fn hash_of(value: &Value) -> Text {
    let mut name = String::with_capacity(64);
    for byte in Sha256::digest(value.canonical()) {
        write!(name, "{byte:02x}").expect("a String takes everything");
    }
    name.into()
}

impl<'a> Contender<'a> {
    /// Whether something of it is sealed: then nothing can be made of it and others.
    pub fn is_sealed(&self) -> bool {
        let texts = [self.value, self.old_value, self.base_hash, self.ops];
        texts.into_iter().flatten().any(|text| is_sealed(text))
    }

    fn base_name(self) -> Option<Cow<'a, str>> {
        let given = self.base_hash.map(|name| Cow::Borrowed(name.as_str()));
        given.or_else(|| base_hash(self.old_value?).map(|name| Cow::Owned(name.as_str().to_owned())))
    }

    fn base(self) -> Option<Value> {
        match self.old_value {
            Some(old) => Value::parse(old).ok(),
            // A change does not tell `null` from nothing, the name of it does.
            None => Some(Value::Null).filter(|null| Some(&hash_of(null)) == self.base_hash),
        }
    }

    /// What its author did, as an operation on `base`: whatever was sent that does not make its value of that puts the
    /// value in its place.
    pub fn operation(self, base: &Value, value: Option<&Value>) -> TreeOp {
        let sent = self.ops.and_then(|ops| TreeOp::parse(&Value::parse(ops).ok()?).ok());
        let fits = |op: &TreeOp| op.apply(Some(base.clone())).is_ok_and(|made| made.as_ref() == value);
        sent.filter(fits).unwrap_or_else(|| TreeOp::replacing(Some(base), value.cloned()))
    }
}

/// The value that all of the changes were made from; `None` if there is no such value, or it is not known.
pub fn common_base(contenders: &[Contender<'_>]) -> Option<Value> {
    let first = contenders.first()?.base_name()?;
    let is_shared = contenders.iter().skip(1).all(|other| other.base_name().as_ref() == Some(&first));
    contenders.iter().filter(|_| is_shared).find_map(|contender| contender.base())
}

/// The values; `None` if one of them cannot be read.
pub fn values(contenders: &[Contender<'_>]) -> Option<Vec<Option<Value>>> {
    let read = |text: &Text| Value::parse(text).ok();
    contenders.iter().map(|one| one.value.map_or(Some(None), |text| read(text).map(Some))).collect()
}
