//! A request of which everything is answered in one form: what was made of it, or what is wrong with it, by its id.

use crate::value::Value;
use lockstep_plugin_api::schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, de, de::DeserializeOwned};
use serde_json::json;
use std::{borrow::Cow, fmt::Display};

/// A request, with the `id` that is given back with its answer.
pub struct Sent<R> {
    id: Value,
    request: Result<R, String>,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Reply<A> {
    id: Value,
    ok: bool,
    #[serde(flatten)]
    answer: Answer<A>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer<A> {
    Done(A),
    Failed { error: String },
}

impl<R> Sent<R> {
    /// Does what is asked, if that can be understood.
    pub fn answer<A, E: Display>(self, run: impl FnOnce(R) -> Result<A, E>) -> Reply<A> {
        let done = self.request.and_then(|request| run(request).map_err(|error| error.to_string()));
        let ok = done.is_ok();
        let answer = done.map_or_else(|error| Answer::Failed { error }, Answer::Done);
        Reply { id: self.id, ok, answer }
    }
}

impl<'de, R: DeserializeOwned> Deserialize<'de> for Sent<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut sent = Value::deserialize(deserializer)?;
        let id = if let Value::Object(fields) = &mut sent { fields.remove("id") } else { None };
        Ok(Self { id: id.unwrap_or_default(), request: read(&sent) })
    }
}

/// The request's schema, with the id.
impl<R: JsonSchema> JsonSchema for Sent<R> {
    fn schema_name() -> Cow<'static, str> {
        R::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = R::json_schema(generator);
        if let Some(fields) = schema.get_mut("properties").and_then(serde_json::Value::as_object_mut) {
            fields.insert("id".to_owned(), json!({ "description": "Given back with the answer." }));
        }
        schema
    }
}

/// An object within a request; a list of the values of its fields is none.
#[derive(Debug)]
pub struct Fields<T>(pub T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Fields<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(&Value::deserialize(deserializer)?).map(Self).map_err(de::Error::custom)
    }
}

/// Reads an object; the error says which field is wrong.
fn read<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    if value.as_object().is_none() {
        return Err("it must be an object".to_owned());
    }
    let text = value.to_json();
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let place = path.trim_end_matches(['?', '.']);
        let inner = error.into_inner().to_string();
        // The text that this is a place in was never sent.
        let reason = inner.split(" at line ").next().unwrap_or(&inner);
        // A field that is none is named by the reason.
        let (parent, last) = place.rsplit_once('.').unwrap_or(("", place));
        let place = if reason.starts_with(&format!("unknown field `{last}`")) { parent } else { place };
        if place.is_empty() { reason.to_owned() } else { format!("`{place}`: {reason}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        parts: Vec<Fields<Part>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Part {
        n: u64,
    }

    fn ask(text: &str) -> serde_json::Value {
        let sent: Sent<Asked> = serde_json::from_str(text).expect("JSON");
        let sum = |asked: Asked| {
            let sum: u64 = asked.parts.iter().map(|part| part.0.n).sum();
            if sum == 0 { Err("there is nothing") } else { Ok(json!({ "sum": sum })) }
        };
        serde_json::to_value(sent.answer(sum)).expect("JSON")
    }

    #[test]
    fn everything_is_answered_in_one_form_by_the_id() {
        for (asked, answer) in [
            (r#"{"id":1.50,"parts":[{"n":2},{"n":3}]}"#, json!({"id": 1.50, "ok": true, "sum": 5})),
            (r#"{"parts":[]}"#, json!({"id": null, "ok": false, "error": "there is nothing"})),
            ("[]", json!({"id": null, "ok": false, "error": "it must be an object"})),
        ] {
            assert_eq!(ask(asked), answer, "{asked}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place_and_not_by_a_type_of_this_program() {
        for (asked, error) in [
            (r#"{"id":7}"#, "missing field `parts`"),
            (r#"{"id":7,"parts":[],"merge":{}}"#, "unknown field `merge`, expected `parts`"),
            (r#"{"id":7,"parts":5}"#, "`parts`: invalid type: integer `5`, expected a sequence"),
            (r#"{"id":7,"parts":[{"n":1},[5]]}"#, "`parts[1]`: it must be an object"),
            (r#"{"id":7,"parts":[{"m":1}]}"#, "`parts[0]`: unknown field `m`, expected `n`"),
        ] {
            let answer = ask(asked);
            assert_eq!((&answer["id"], &answer["ok"]), (&json!(7), &json!(false)));
            assert_eq!(answer["error"], error, "{asked}");
        }
    }
}
