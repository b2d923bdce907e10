//! What an author makes of a value: the value after it, and the operations that lead there.
//!
//! Both are made once, where a change is taken in, and travel with it: hosts that each made their own would not agree.

use crate::{
    ot::{diff::diff, guide_operations, text::TextOp, tree::TreeOp},
    strategy::{Strategy, hash_of},
    value::Value,
};
use lockstep_plugin_api::{prelude::*, sealed::is_sealed};

/// What an author asks for, as it was sent; JSON text.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// `None` is a deletion.
    pub value: Option<&'a str>,
    pub ops: Option<&'a str>,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// JSON text; `None` is a deletion.
    pub value: Option<Text>,
    /// The operations as JSON text; absent where the value takes the place of the one before.
    pub ops: Option<Text>,
    /// The name of the value before, if the strategy asks for it and there was one.
    pub base_hash: Option<Text>,
}

impl<'a> Wish<'a> {
    /// What a change asks for. Next to operations `null` is no value but none.
    pub fn of(change: &'a Change) -> Self {
        let value = (!change.is_deletion()).then(|| change.new_value().as_str());
        Self { value, ops: change.ops().map(Json::as_str).filter(|_| value.is_some()) }
    }

    /// What it makes of `old`.
    ///
    /// # Errors
    /// `Rejected("bad_message")` if the operations are none, do not fit the value, or make another one than was sent.
    pub fn draft(self, old: Option<&str>, strategy: &Strategy) -> Result<Draft> {
        let value = self.value.map(Text::from);
        if self.ops.is_none() && !strategy.needs_base() {
            return Ok(Draft { value, ops: None, base_hash: None });
        }
        let has_sealed = [old, self.value, self.ops].into_iter().flatten().any(is_sealed);
        if has_sealed && self.ops.is_some() {
            return Err(bad(
                "what is sealed takes no operations, for they cannot look into it: send the whole value",
            ));
        }
        let n_bytes = old.map_or(0, str::len);
        let old = old.and_then(|old| Value::parse(old).ok());
        let base_hash = old.as_ref().filter(|_| strategy.needs_base()).map(hash_of);
        if let Some(ops) = self.ops {
            let (op, made) = self.operated(ops, old, n_bytes)?;
            return Ok(Draft { value: made, ops: written(&op), base_hash });
        }
        // What cannot be read is a value like any other; it only takes no operations.
        let new = self.value.and_then(|new| Value::parse(new).ok());
        let ops = match (strategy, old, new) {
            (Strategy::OperationalTransform, Some(old), Some(new)) if !has_sealed => {
                written(&diff(Some(&old), Some(&new)))
            }
            _ => None,
        };
        Ok(Draft { value, ops, base_hash })
    }

    /// The operations that were sent, and what they make of the value.
    fn operated(self, ops: &str, old: Option<Value>, n_bytes_old: usize) -> Result<(TreeOp, Option<Text>)> {
        let op = read(&Value::parse(ops).map_err(bad)?, old.as_ref(), n_bytes_old + ops.len())?;
        let is_there = old.is_some();
        let made = op.apply(old).map_err(bad)?;
        if !is_there && made.is_none() {
            return Err(Error::rejected("not_found", "there is no such key"));
        }
        let sent = self.value.filter(|value| *value != "null");
        let Some(sent) = sent else { return Ok((op, made.map(|made| made.to_json().into()))) };
        match Value::parse(sent).is_ok_and(|sent| made == Some(sent)) {
            true => Ok((op, Some(sent.into()))),
            false => Err(bad("`new_value` is not what `ops` make of the value they are based on")),
        }
    }
}

/// Reads operations in any of the forms: the guide's, those on text if the value is one, or those on JSON. `n_bytes` are
/// those of value and operations together.
fn read(ops: &Value, old: Option<&Value>, n_bytes: usize) -> Result<TreeOp> {
    if let Some(operations) = guide_operations::read(ops).map_err(bad)? {
        if !guide_operations::are_affordable(operations.len(), n_bytes) {
            let text =
                "so many operations on so large a value are too much for one change: send the whole value";
            return Err(Error::rejected("too_large", text));
        }
        return guide_operations::to_tree(&operations, old).map_err(bad);
    }
    let is_text = old.is_some_and(|old| old.as_text().is_some());
    match TextOp::parse(ops) {
        Ok(op) if is_text => Ok(TreeOp::of_text(op)),
        _ => TreeOp::parse(ops).map_err(bad),
    }
}

/// The operation as JSON text. One that does nothing is an empty list: `null` would be no operation at all.
pub fn written(op: &TreeOp) -> Option<Text> {
    match (op.is_whole(), op.is_noop()) {
        (true, _) => None,
        (_, true) => Some("[]".into()),
        _ => Some(op.to_value().to_json().into()),
    }
}

fn bad(why: impl std::fmt::Display) -> Error {
    Error::rejected("bad_message", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OT: Strategy = Strategy::OperationalTransform;

    fn draft(value: &str, ops: Option<&str>, old: Option<&str>, strategy: Strategy) -> Result<Draft> {
        Wish { value: Some(value), ops }.draft(old, &strategy)
    }

    #[test]
    fn operations_in_every_form_make_the_value_whatever_the_strategy() {
        for (ops, old, new, written) in [
            (r#"[1,"é"]"#, r#""abc""#, r#""aébc""#, r#"[{"es":[1,"é"]}]"#),
            (r#"[{"es":[{"d":1}]}]"#, r#""abc""#, r#""bc""#, r#"[{"es":[{"d":1}]}]"#),
            (r#"["a",{"r":true,"i":2}]"#, r#"{"a":1}"#, r#"{"a":2}"#, r#"["a",{"i":2,"r":true}]"#),
            (r#"{"op_type":"insert","position":1,"content":9}"#, "[1,2]", "[1,9,2]", r#"[1,{"i":9}]"#),
            ("[]", "5", "5", "[]"),
        ] {
            for strategy in [OT, Strategy::LastWriteWins] {
                let is_ot = strategy == OT;
                let draft = draft("null", Some(ops), Some(old), strategy).expect(ops);
                assert_eq!(
                    (draft.value.as_deref(), draft.ops.as_deref()),
                    (Some(new), Some(written)),
                    "{ops}"
                );
                assert_eq!(draft.base_hash.is_some(), is_ot);
            }
            assert!(
                draft(&format!(" {new}"), Some(ops), Some(old), OT).is_ok(),
                "the value may be sent, too"
            );
        }
    }

    #[test]
    fn operations_that_cannot_be_meant_are_refused() {
        for (value, ops, old) in [
            ("null", r#"[9,"x"]"#, Some(r#""abc""#)),
            ("null", r#"[1,"x"]"#, None),
            ("null", r#"["a",{"i":2}]"#, Some(r#"{"a":1}"#)),
            ("null", "5", Some("5")),
            (r#""abxc""#, r#"[1,"x"]"#, Some(r#""abc""#)),
            ("null", r#"{"op_type":"insert","position":0,"content":"x"}"#, Some("5")),
        ] {
            let error = draft(value, Some(ops), old, OT).expect_err(ops);
            assert_eq!(error.code(), Some("bad_message"), "{ops}");
        }
        let error = draft("null", Some("[]"), None, OT).expect_err("nothing is there");
        assert_eq!(error.code(), Some("not_found"));
    }

    #[test]
    fn nothing_is_done_within_a_sealed_value() {
        let sealed = r#"{"$enc":{"v":1,"ct":"AAAA"}}"#;
        let other = r#"{"$enc":{"v":1,"ct":"AAAB"}}"#;
        for (value, old) in [(sealed, other), (sealed, r#"{"a":1}"#), (r#"{"a":1}"#, sealed)] {
            let draft = draft(value, None, Some(old), OT).expect("a draft");
            assert_eq!(
                (draft.value.as_deref(), draft.ops),
                (Some(value), None),
                "it takes the other one's place"
            );
        }
        for (ops, old) in [(r#"["$enc","ct",{"r":true}]"#, sealed), (sealed, r#"{"a":1}"#)] {
            let error = draft("null", Some(ops), Some(old), OT).expect_err("refused");
            assert_eq!(error.code(), Some("bad_message"));
            assert!(error.message().contains("send the whole value"), "{error}");
        }
    }

    #[test]
    fn a_value_gets_its_operations_and_the_name_of_what_was_before_where_the_strategy_needs_them() {
        let (old, new) = (r#"{"a":1.0,"b":"one two"}"#, r#"{"a":1,"b":"one two three"}"#);
        let plain = draft(new, None, Some(old), Strategy::LastWriteWins).expect("a draft");
        assert_eq!((plain.ops, plain.base_hash), (None, None));
        let operated = draft(new, None, Some(old), OT).expect("a draft");
        assert_eq!(operated.ops.as_deref(), Some(r#"["b",{"es":[7," three"]}]"#));
        let same = draft(new, None, Some(r#"{"b":"one two","a":1}"#), OT).expect("a draft");
        assert_eq!(operated.base_hash, same.base_hash, "equal values have one name");
        assert_eq!(operated.base_hash.expect("a name").len(), 64);
        let merged = draft(new, None, Some(old), "merge".parse().expect("a strategy")).expect("a draft");
        assert_eq!((merged.ops, merged.base_hash), (None, same.base_hash));
        let first = draft(new, None, None, OT).expect("a draft");
        assert_eq!((first.ops, first.base_hash), (None, None), "nothing was there");
        let other = draft("[1]", None, Some(old), OT).expect("a draft");
        assert_eq!(
            (other.ops, other.value.as_deref()),
            (None, Some("[1]")),
            "it takes the other one's place"
        );
    }
}
