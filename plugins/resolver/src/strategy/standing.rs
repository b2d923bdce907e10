//! Whether something that an author did can be seen in what is shown.

use crate::value::Value;

/// Whether what an author made of the value before is there in one field of it at least: every value is compared with the
/// one in its place, and nothing within a list or a text.
pub fn stands(base: Option<&Value>, made: Option<&Value>, shown: Option<&Value>) -> bool {
    if made == base || made == shown {
        return made == shown && made != base;
    }
    let fields = [base, made, shown].map(|value| value.and_then(Value::as_object));
    let [Some(before), Some(own), Some(now)] = fields else { return false };
    let mut names = before.keys().chain(own.keys());
    names.any(|name| stands(before.get(name), own.get(name), now.get(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::value;
    use serde_json::json;

    #[test]
    fn one_field_is_enough() {
        let base = value(&json!({"a": 1, "b": {"c": 1}}));
        for (made, shown, expected) in [
            (json!({"a": 2, "b": {"c": 1}}), json!({"a": 2, "b": {"c": 3}}), true),
            (json!({"a": 2, "b": {"c": 2}}), json!({"a": 3, "b": {"c": 2}}), true),
            (json!({"b": {"c": 1}}), json!({"b": {"c": 3}}), true),
            (json!({"a": 2, "b": {"c": 1}}), json!({"a": 3, "b": {"c": 1}}), false),
            (json!({"a": 1, "b": {"c": 1}}), json!({"a": 1, "b": {"c": 1}}), false),
            (json!([1]), json!({"a": 1}), false),
        ] {
            let (own, now) = (value(&made), value(&shown));
            assert_eq!(stands(Some(&base), Some(&own), Some(&now)), expected, "{made} {shown}");
        }
    }
}
