//! A message of the operator's own: JSON with placeholders.
//!
//! Invariant: whatever is filled in, the result is the JSON that was written, with values in it: inside a string a
//! placeholder is escaped text, elsewhere it is one JSON value. Where values are not wanted, none is filled in.

use crate::facts::Facts;
use lockstep_plugin_api::{
    change::{Change, Field},
    time,
};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap};

/// The fields of an event that are values of the configuration, or hold some.
const VALUES: [&str; 4] = ["new_value", "old_value", "ops", "siblings"];

/// A message with places to fill in.
#[derive(Debug)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Place),
}

#[derive(Debug, PartialEq, Eq)]
struct Place {
    field: String,
    /// Names and indexes inside the field.
    path: Vec<String>,
    is_in_string: bool,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// The end of a sentence that says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mut pieces, mut rest, mut is_in_string) = (Vec::new(), text, false);
        while let Some(at) = rest.find("{{") {
            let (before, after) = rest.split_at(at);
            is_in_string = ends_in_string(before, is_in_string);
            let Some((inside, behind)) = after[2..].split_once("}}") else {
                return Err("has a `{{` without its `}}`".to_owned());
            };
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Place(Place::parse(inside.trim(), is_in_string)?));
            rest = behind;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        let template = Self(pieces);
        template.check()?;
        Ok(template)
    }

    /// Whether what is around the places is JSON.
    fn check(&self) -> Result<(), String> {
        let filled: String = self.fill(|place| if place.is_in_string { "" } else { "null" }.into());
        serde_json::from_str::<&RawValue>(&filled)
            .map(drop)
            .map_err(|error| format!("is not JSON once its placeholders are filled in: {error}"))
    }

    fn fill<'a>(&'a self, place: impl Fn(&'a Place) -> Cow<'a, str>) -> String {
        let piece = |piece: &'a Piece| match piece {
            Piece::Text(text) => Cow::Borrowed(text.as_str()),
            Piece::Place(at) => place(at),
        };
        self.0.iter().map(piece).collect()
    }

    /// The first placeholder that asks for a value of the configuration, if one does.
    pub(crate) fn value_field(&self) -> Option<&str> {
        self.0.iter().find_map(|piece| match piece {
            Piece::Place(Place { field, .. }) if VALUES.contains(&field.as_str()) => Some(field.as_str()),
            _ => None,
        })
    }

    /// The message about an event. What an event does not have is an empty text, or `null`; so is every value of the
    /// configuration unless `values` are wanted.
    pub(crate) fn render(&self, facts: &Facts<'_>, values: bool) -> Vec<u8> {
        self.fill(|place| Cow::Owned(place.filled(facts, values))).into_bytes()
    }
}

impl Place {
    fn parse(text: &str, is_in_string: bool) -> Result<Self, String> {
        let mut parts = text.split('.').map(str::to_owned);
        let field = parts.next().unwrap_or_default();
        if !Change::FIELDS.contains(&field.as_str()) {
            let known = Change::FIELDS.join("`, `");
            return Err(format!(
                "has the placeholder `{{{{{text}}}}}`, but an event has no field `{field}`; it has `{known}`"
            ));
        }
        let path: Vec<String> = parts.collect();
        if path.iter().any(String::is_empty) {
            return Err(format!("has the placeholder `{{{{{text}}}}}`, with an empty name between its dots"));
        }
        Ok(Self { field, path, is_in_string })
    }

    fn filled(&self, facts: &Facts<'_>, values: bool) -> String {
        match if values { self.json(facts) } else { self.fact(facts) } {
            Some(json) if self.is_in_string => as_text(&json),
            Some(json) => json.into_owned(),
            None if self.is_in_string => String::new(),
            None => "null".to_owned(),
        }
    }

    /// The JSON that is there, without what is a value.
    fn fact<'a>(&self, facts: &Facts<'a>) -> Option<Cow<'a, str>> {
        match self.field.as_str() {
            "metadata" => {
                let told =
                    facts.whole_metadata().and_then(|_| serde_json::to_string(facts.metadata()).ok())?;
                inside(&told, &self.path).map(|json| Cow::Owned(json.to_owned()))
            }
            field if VALUES.contains(&field) => None,
            _ => self.json(facts),
        }
    }

    /// The JSON that is there.
    fn json<'a>(&self, facts: &Facts<'a>) -> Option<Cow<'a, str>> {
        let quoted = |text: &str| serde_json::to_string(text).ok().map(Cow::Owned);
        if self.field == "event_id" && self.path.is_empty() {
            return quoted(facts.id);
        }
        match facts.change.field(&self.field)? {
            Field::Json(json) => inside(json.as_str(), &self.path).map(Cow::Borrowed),
            _ if !self.path.is_empty() => None,
            Field::Text(text) => quoted(text),
            Field::Number(number) => Some(Cow::Owned(number.to_string())),
            Field::Time(us) => quoted(&time::format_us(us)),
        }
    }
}

/// What is at a path, as it was written: a number of any size stays the same.
fn inside<'a>(json: &'a str, path: &[String]) -> Option<&'a str> {
    let Some((name, rest)) = path.split_first() else { return Some(json) };
    let found = match json.trim_start().as_bytes().first()? {
        b'{' => {
            let fields: BTreeMap<String, &'a RawValue> = serde_json::from_str(json).ok()?;
            fields.get(name).copied()
        }
        b'[' => {
            let items: Vec<&'a RawValue> = serde_json::from_str(json).ok()?;
            items.get(name.parse::<usize>().ok()?).copied()
        }
        _ => None,
    };
    inside(found?.get(), rest)
}

/// As part of a JSON string: a string's text, and the JSON of anything else.
fn as_text(json: &str) -> String {
    let json = json.trim();
    let inner = |quoted: &str| quoted[1..quoted.len() - 1].to_owned();
    if json.starts_with('"') {
        inner(json)
    } else {
        serde_json::to_string(json).map_or_else(|_| String::new(), |json| inner(&json))
    }
}

/// Whether a string is open behind a piece of JSON.
fn ends_in_string(json: &str, mut is_in_string: bool) -> bool {
    let mut is_escaped = false;
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_in_string,
            b'"' => is_in_string = !is_in_string,
            _ => {}
        }
    }
    is_in_string
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_plugin_api::Bytes;

    const EVENT: &str = r#"{"config_key":"app.x","event_type":"config_updated","user_id":"say \"hi\"\n","revision":7,
        "timestamp":"2024-01-01T12:00:00Z","new_value":{"list":[1,{"big":12345678901234567890123.50}],"text":"a\"b"},
        "metadata":{"conflict_id":"c-1"}}"#;

    fn rendered(template: &str) -> String {
        let change = Change::from_json(&Bytes::from(EVENT)).expect("a change");
        let template = Template::parse(template).unwrap_or_else(|why| panic!("{template} {why}"));
        let text = String::from_utf8(template.render(&Facts::new(&change, "the-id"), true)).expect("text");
        serde_json::from_str::<&RawValue>(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        text
    }

    #[test]
    fn inside_a_string_it_is_text_and_elsewhere_json() {
        assert_eq!(
            rendered(r#"{"t":"{{config_key}}!","k":{{ config_key }}}"#),
            r#"{"t":"app.x!","k":"app.x"}"#
        );
        assert_eq!(rendered(r#"["by {{user_id}}"]"#), r#"["by say \"hi\"\n"]"#);
        assert_eq!(rendered(r#"["{{new_value.text}}",{{new_value.text}}]"#), r#"["a\"b","a\"b"]"#);
        assert_eq!(rendered(r#"{"n":{{revision}},"t":"r{{revision}}"}"#), r#"{"n":7,"t":"r7"}"#);
        assert_eq!(
            rendered(r#"["{{timestamp}}","{{event_id}}"]"#),
            r#"["2024-01-01T12:00:00.000000Z","the-id"]"#
        );
        assert_eq!(rendered(r#""{{new_value.list}}""#), r#""[1,{\"big\":12345678901234567890123.50}]""#);
    }

    #[test]
    fn paths_lead_into_json_and_keep_what_is_written_there() {
        assert_eq!(rendered("{{new_value.list.1.big}}"), "12345678901234567890123.50");
        assert_eq!(rendered(r#"["{{metadata.conflict_id}}"]"#), r#"["c-1"]"#);
    }

    #[test]
    fn what_an_event_lacks_is_empty_or_null() {
        for path in ["old_value", "tenant_id", "metadata.nothing.at.all", "new_value.list.9", "config_key.x"]
        {
            assert_eq!(rendered(&format!(r#"[{{{{{path}}}}},"<{{{{{path}}}}}>"]"#)), r#"[null,"<>"]"#);
        }
    }

    #[test]
    fn what_cannot_become_json_is_refused() {
        for (text, says) in [
            ("{{config_key", "without its `}}`"),
            ("{{colour}}", "no field `colour`"),
            ("{{metadata..x}}", "empty name"),
            ("Key {{config_key}}", "is not JSON"),
            (r#"{"a": {{config_key}}"#, "is not JSON"),
            (r#"{"a": "{{config_key}}}"#, "is not JSON"),
            ("", "is not JSON"),
        ] {
            let why = Template::parse(text).expect_err(text);
            assert!(why.contains(says), "{text}: {why}");
        }
    }

    #[test]
    fn it_knows_whether_it_shows_values() {
        let shows = |text: &str| Template::parse(text).expect(text).value_field().map(str::to_owned);
        assert_eq!(shows(r#"["{{new_value.port}}"]"#).as_deref(), Some("new_value"));
        assert_eq!(shows(r#"["{{config_key}}"]"#), None);
    }
}
