//! A JSON object as it is written: its fields in their order, each value as its own text.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// The fields of an object, in the order they are written in.
#[derive(Debug)]
pub struct Fields<'a>(Vec<(String, Cow<'a, RawValue>)>);

impl<'a> Fields<'a> {
    /// The text of a field's value; absent and `null` are different things.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.get())
    }

    /// Puts another value in the place of a field that is there.
    pub fn replace(&mut self, name: &str, value: Box<RawValue>) {
        if let Some((_, old)) = self.0.iter_mut().find(|(known, _)| known == name) {
            *old = Cow::Owned(value);
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields: Vec<(String, Cow<'de, RawValue>)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    // Of two with one name, readers do not agree which counts.
                    if fields.iter().any(|(known, _)| *known == name) {
                        return Err(de::Error::custom("a field is there twice"));
                    }
                    fields.push((name, Cow::Borrowed(value)));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(name, value)| map.serialize_entry(name, &**value))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_written_as_it_was_read_but_for_what_was_replaced() {
        let text = r#"{"b":1.0,"a":{"x" : 1e2},"c":null}"#;
        let mut fields: Fields<'_> = serde_json::from_str(text).expect("an object");
        assert_eq!(serde_json::to_string(&fields).expect("JSON"), text);
        assert_eq!(
            (fields.get("a"), fields.get("c"), fields.get("d")),
            (Some(r#"{"x" : 1e2}"#), Some("null"), None)
        );
        fields.replace("a", RawValue::from_string("2".into()).expect("JSON"));
        assert_eq!(serde_json::to_string(&fields).expect("JSON"), r#"{"b":1.0,"a":2,"c":null}"#);
        assert!(serde_json::from_str::<Fields<'_>>(r#"{"a":1,"a":2}"#).is_err());
    }
}
