//! `resolver.ot`: operational transform by itself, so that anyone can compare it with other implementations.

use super::{any, given};
use crate::{
    ot::{Malformed, Mismatch, Side, guide_operations, text::TextOp, tree::TreeOp},
    value::Value,
};
use lockstep_plugin_api::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

/// What is to be done.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The form of the operations and of the document.
    #[serde(rename = "type")]
    kind: Kind,
    cmd: Command,
    /// The document that the operations were made from.
    #[serde(default, deserialize_with = "given")]
    #[schemars(schema_with = "any")]
    doc: Option<Value>,
    /// The operation; where there are two, the left one.
    #[serde(default, alias = "op", deserialize_with = "given")]
    #[schemars(schema_with = "any")]
    op1: Option<Value>,
    /// The operation beside it, or the one after it.
    #[serde(default, deserialize_with = "given")]
    #[schemars(schema_with = "any")]
    op2: Option<Value>,
    /// The side of the operation that is transformed.
    #[serde(default)]
    side: SideName,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// `ot-text-unicode`.
    Text,
    /// `ot-json1`, without moves.
    Json1,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Command {
    /// Transform both by each other; gives both, and the document after all.
    Converge,
    /// The document after the operation.
    Apply,
    /// The first operation as it has to be after the second.
    Transform,
    /// One operation that does what the first and then the second does.
    Compose,
    /// The operation that undoes the first.
    Invert,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SideName {
    #[default]
    Left,
    Right,
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Converged { op1p: Value, op2p: Value, doc: Value, conflict: Option<u64> },
    Document { doc: Value },
    Transformed { op: Value, conflict: Option<u64> },
    Operation { op: Value },
}

/// Why nothing did.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    #[error("`{0}` is missing")]
    Missing(&'static str),
}

impl Request {
    /// Does it.
    ///
    /// # Errors
    /// [`Failure`] if an operation is none, does not fit, or is missing.
    pub fn run(&self) -> Result<Answer, Failure> {
        Ok(match self.cmd {
            Command::Converge => self.converge()?,
            Command::Apply => {
                Answer::Document { doc: self.left()?.apply(self.doc.clone())?.unwrap_or(Value::Null) }
            }
            Command::Transform => {
                let side = match self.side {
                    SideName::Left => Side::Left,
                    SideName::Right => Side::Right,
                };
                let transformed = self.left()?.transformed(&self.right()?, side)?;
                let conflict = transformed.clashes.first().map(|clash| clash.class.number());
                Answer::Transformed { op: self.write(&transformed.op), conflict }
            }
            Command::Compose => Answer::Operation { op: self.write(&self.left()?.composed(&self.right()?)?) },
            Command::Invert => {
                let inverted = self.left()?.inverted(self.doc.as_ref())?;
                Answer::Operation { op: self.write(&inverted) }
            }
        })
    }

    fn converge(&self) -> Result<Answer, Failure> {
        let (left, right) = (self.left()?, self.right()?);
        let left_after = left.transformed(&right, Side::Left)?;
        let right_after = right.transformed(&left, Side::Right)?.op;
        let doc = right_after.apply(left.apply(self.doc.clone())?)?;
        Ok(Answer::Converged {
            op1p: self.write(&left_after.op),
            op2p: self.write(&right_after),
            doc: doc.unwrap_or(Value::Null),
            conflict: left_after.clashes.first().map(|clash| clash.class.number()),
        })
    }

    fn left(&self) -> Result<TreeOp, Failure> {
        self.read(self.op1.as_ref().ok_or(Failure::Missing("op1"))?)
    }

    fn right(&self) -> Result<TreeOp, Failure> {
        self.read(self.op2.as_ref().ok_or(Failure::Missing("op2"))?)
    }

    /// The guide's operations are read whatever the type is; they are about the document.
    fn read(&self, op: &Value) -> Result<TreeOp, Failure> {
        if let Some(operations) = guide_operations::read(op)? {
            return Ok(guide_operations::to_tree(&operations, self.doc.as_ref())?);
        }
        Ok(match self.kind {
            Kind::Text => TreeOp::of_text(TextOp::parse(op)?),
            Kind::Json1 => TreeOp::parse(op)?,
        })
    }

    /// An operation on a text stays one, whatever is done with it.
    fn write(&self, op: &TreeOp) -> Value {
        match self.kind {
            Kind::Text => op.as_text().unwrap_or(&TextOp::default()).to_value(),
            Kind::Json1 => op.to_value(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{calls::sent::Sent, value::value};
    use serde_json::{Value, json};

    fn ask(request: &Value) -> Value {
        let sent: Sent<super::Request> = serde_json::from_str(&request.to_string()).expect("JSON");
        serde_json::to_value(sent.answer(|asked| asked.run())).expect("JSON")
    }

    #[test]
    fn each_command_is_answered_in_its_form() {
        for (request, reply) in [
            (
                json!({"id": 1, "type": "text", "cmd": "converge", "doc": "hello", "op1": [5, " world"], "op2": [5, "!"]}),
                json!({"id": 1, "ok": true, "op1p": [5, " world"], "op2p": [11, "!"], "doc": "hello world!", "conflict": null}),
            ),
            (
                json!({"id": "a", "type": "json1", "cmd": "converge", "doc": {}, "op1": ["k", {"i": 1}], "op2": ["k", {"i": 2}]}),
                json!({"id": "a", "ok": true, "op1p": ["k", {"r": true, "i": 1}], "op2p": null, "doc": {"k": 1}, "conflict": 2}),
            ),
            (
                json!({"type": "json1", "cmd": "apply", "doc": null, "op": [{"r": true, "i": 5}]}),
                json!({"id": null, "ok": true, "doc": 5}),
            ),
            (
                json!({"type": "text", "cmd": "transform", "op1": ["a"], "op2": ["b"], "side": "right"}),
                json!({"id": null, "ok": true, "op": [1, "a"], "conflict": null}),
            ),
            (
                json!({"type": "text", "cmd": "compose", "op1": ["ab"], "op2": [1, {"d": 1}]}),
                json!({"id": null, "ok": true, "op": ["a"]}),
            ),
            (
                json!({"type": "text", "cmd": "invert", "doc": "abc", "op": [1, {"d": 1}, "x"]}),
                json!({"id": null, "ok": true, "op": [1, "b", {"d": "x"}]}),
            ),
            (
                json!({"type": "text", "cmd": "converge", "doc": "abcdef",
                    "op1": {"op_type": "delete", "position": 0, "length": 3},
                    "op2": [{"op_type": "delete", "position": 2, "length": 3}]}),
                json!({"id": null, "ok": true, "op1p": [{"d": 2}], "op2p": [{"d": 2}], "doc": "f", "conflict": null}),
            ),
        ] {
            assert_eq!(ask(&request), reply, "{request}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_answered_with_the_reason() {
        let reply = ask(&json!({"id": 7, "type": "text", "cmd": "apply", "doc": "a", "op": [5, "x"]}));
        assert_eq!(
            reply,
            json!({"id": 7, "ok": false, "error": "the operation goes beyond the end of the text or list"})
        );
        let reply = ask(&json!({"id": 7, "type": "json1", "cmd": "compose", "op1": null}));
        assert_eq!(reply["error"], "`op2` is missing");
        assert_eq!(value(&json!(null)), crate::value::Value::Null);
        let reply = ask(
            &json!({"id": 7, "type": "json1", "cmd": "apply", "doc": {"n": 1e308}, "op": ["n", {"ena": 1e308}]}),
        );
        assert_eq!(
            reply,
            json!({"id": 7, "ok": false, "error": "the operation makes a number that is too great"})
        );
        for (request, part) in [
            (json!({"id": 7, "type": "text", "cmd": "apply", "dok": "a"}), "unknown field `dok`"),
            (json!({"id": 7, "type": "xml", "cmd": "apply"}), "`type`: unknown variant `xml`"),
            (json!({"id": 7, "cmd": "apply"}), "missing field `type`"),
        ] {
            let reply = ask(&request);
            assert_eq!((&reply["id"], &reply["ok"]), (&json!(7), &json!(false)));
            assert!(reply["error"].as_str().is_some_and(|error| error.contains(part)), "{reply}");
        }
    }
}
