//! The guide's operations: `insert`, `delete`, `retain` and `replace` at a position, one after the other.

use super::{
    Malformed, Mismatch,
    text::{Piece, TextOp},
    tree::{Key, TreeOp},
};
use crate::value::Value;

/// One of them. `timestamp` and `author` are the change's own.
#[derive(Debug, Clone, PartialEq)]
pub struct GuideOperation {
    kind: Kind,
    position: usize,
    content: Value,
    length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Insert,
    Delete,
    Retain,
    Replace,
}

/// Reads one operation or a list of them; `None` if the JSON is of another form altogether.
///
/// # Errors
/// [`Malformed::Guide`] if it has the form and a field is wrong.
pub fn read(json: &Value) -> Result<Option<Vec<GuideOperation>>, Malformed> {
    let is_one = |json: &Value| json.get("op_type").is_some();
    match json {
        Value::List(all) if all.first().is_some_and(is_one) => {
            all.iter().map(GuideOperation::read).collect::<Result<_, _>>().map(Some)
        }
        json if is_one(json) => Ok(Some(vec![GuideOperation::read(json)?])),
        _ => Ok(None),
    }
}

/// How much work is done for one change: whoever sends operations by the thousands must not hold up everybody behind it.
const MOST_WORK: usize = 64 << 20;

/// Whether so many are applied, given how many bytes they and the value have together: each goes over all of that.
pub fn are_affordable(n_operations: usize, n_bytes: usize) -> bool {
    n_operations.saturating_mul(n_bytes) <= MOST_WORK
}

/// What the operations do to a value, as one: each is about what the one before it left.
///
/// # Errors
/// [`Mismatch`] if one does not fit the value.
pub fn to_tree(operations: &[GuideOperation], value: Option<&Value>) -> Result<TreeOp, Mismatch> {
    let mut value = value.cloned();
    let mut all = TreeOp::default();
    for operation in operations {
        let op = operation.to_tree(value.as_ref())?;
        value = op.apply(value)?;
        all = all.composed(&op)?;
    }
    Ok(all)
}

impl GuideOperation {
    fn read(json: &Value) -> Result<Self, Malformed> {
        let kind = match json.get("op_type").and_then(Value::as_text) {
            Some("insert") => Kind::Insert,
            Some("delete") => Kind::Delete,
            Some("retain") => Kind::Retain,
            Some("replace") => Kind::Replace,
            _ => return Err(Malformed::Guide),
        };
        let content = json.get("content").cloned().unwrap_or(Value::Null);
        Ok(Self { kind, position: count(json, "position")?, content, length: count(json, "length")? })
    }

    fn to_tree(&self, value: Option<&Value>) -> Result<TreeOp, Mismatch> {
        match (self.kind, value) {
            (Kind::Retain, _) => Ok(TreeOp::default()),
            // Without a length it is the guide's own: the whole value.
            (Kind::Replace, value) if self.length == 0 => {
                Ok(TreeOp::replacing(value, Some(self.content.clone())))
            }
            (_, Some(Value::Text(text))) => self.on_text(text).map(TreeOp::of_text),
            (_, Some(Value::List(items))) => Ok(self.on_items(items)),
            _ => Err(Mismatch::OtherType),
        }
    }

    /// How many are before the operation and how many it takes away; the guide's slices end where the value does.
    fn range(&self, len: usize) -> (usize, usize) {
        let position = self.position.min(len);
        (position, if self.kind == Kind::Insert { 0 } else { self.length.min(len - position) })
    }

    fn on_text(&self, text: &str) -> Result<TextOp, Mismatch> {
        let (position, n_gone) = self.range(text.chars().count());
        let inserted = match (self.kind, &self.content) {
            (Kind::Delete, _) => "",
            (_, Value::Text(text)) => text,
            _ => return Err(Mismatch::OtherType),
        };
        Ok(TextOp::at(position, &[Piece::Delete(n_gone, None), Piece::Insert(inserted)]))
    }

    fn on_items(&self, items: &[Value]) -> TreeOp {
        let (position, n_gone) = self.range(items.len());
        let mut op = TreeOp::default();
        for (at, item) in items.iter().enumerate().skip(position).take(n_gone) {
            op.join(TreeOp::replacing(Some(item), None).under(&Key::Index(at)));
        }
        if self.kind != Kind::Delete {
            op.join(TreeOp::replacing(None, Some(self.content.clone())).under(&Key::Index(position)));
        }
        op
    }
}

fn count(json: &Value, name: &str) -> Result<usize, Malformed> {
    match json.get(name) {
        None | Some(Value::Null) => Ok(0),
        Some(Value::Number(number)) => number
            .as_whole()
            .and_then(|whole| u32::try_from(whole).ok())
            .map(|n| n as usize)
            .ok_or(Malformed::Guide),
        Some(_) => Err(Malformed::Guide),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::value;
    use serde_json::json;

    fn after(old: serde_json::Value, operations: serde_json::Value) -> Result<Value, Mismatch> {
        let operations = read(&value(&operations)).expect("well formed").expect("the guide's");
        let old = value(&old);
        let op = to_tree(&operations, Some(&old))?;
        Ok(op.apply(Some(old))?.expect("a value"))
    }

    #[test]
    fn ot_03_each_kind_does_to_text_and_lists_what_the_guide_says() {
        for (old, operation, new) in [
            (json!("héllo"), json!({"op_type": "insert", "position": 2, "content": "y"}), json!("héyllo")),
            (json!("hello"), json!({"op_type": "insert", "position": 99, "content": "!"}), json!("hello!")),
            (json!("hello"), json!({"op_type": "delete", "position": 3, "length": 99}), json!("hel")),
            (
                json!("hello"),
                json!({"op_type": "replace", "position": 1, "length": 2, "content": "u"}),
                json!("hulo"),
            ),
            (json!("hello"), json!({"op_type": "retain", "position": 5}), json!("hello")),
            (json!("hello"), json!({"op_type": "replace", "position": 0, "content": [1]}), json!([1])),
            (json!([1, 2]), json!({"op_type": "insert", "position": 1, "content": 9}), json!([1, 9, 2])),
            (json!([1, 2, 3]), json!({"op_type": "delete", "position": 1, "length": 2}), json!([1])),
            (json!({"a": 1}), json!({"op_type": "replace", "position": 0, "content": 5}), json!(5)),
        ] {
            assert_eq!(after(old, operation.clone()), Ok(value(&new)), "{operation}");
        }
    }

    #[test]
    fn several_are_one_after_the_other() {
        let operations = json!([
            {"op_type": "insert", "position": 0, "content": "ab", "author": "eve", "timestamp": "2024-01-01T12:00:00"},
            {"op_type": "delete", "position": 1, "length": 2},
        ]);
        assert_eq!(after(json!("xyz"), operations), Ok(Value::from("ayz")));
    }

    #[test]
    fn d_40_an_operation_on_another_type_is_a_mismatch_and_not_ignored() {
        let insert = json!({"op_type": "insert", "position": 0, "content": "x"});
        assert_eq!(after(json!({"a": 1}), insert.clone()), Err(Mismatch::OtherType));
        assert_eq!(after(json!(5), insert), Err(Mismatch::OtherType));
        let number = json!({"op_type": "insert", "position": 0, "content": 5});
        assert_eq!(after(json!("text"), number), Err(Mismatch::OtherType));
    }

    #[test]
    fn what_has_another_form_is_not_the_guides() {
        assert_eq!(read(&value(&json!([5, "x"]))), Ok(None));
        assert_eq!(read(&value(&json!({"op_type": "move", "position": 0}))), Err(Malformed::Guide));
        assert_eq!(read(&value(&json!([{"op_type": "insert", "position": -1}]))), Err(Malformed::Guide));
    }
}
