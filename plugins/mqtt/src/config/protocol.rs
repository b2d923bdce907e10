//! `protocol: 5` or `3.1.1`: YAML reads one as a number and the other as a text.

use crate::packet::Protocol;
use lockstep_plugin_api::schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use std::{borrow::Cow, fmt};

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Protocol;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`5` or `3.1.1`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Protocol, E> {
                match text {
                    "5" | "5.0" => Ok(Protocol::V5),
                    "3.1.1" => Ok(Protocol::V4),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
            // YAML's `5` and `5.0` are numbers, `3.1.1` is none.
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Protocol, E> {
                if number == 5 {
                    Ok(Protocol::V5)
                } else {
                    Err(E::invalid_value(de::Unexpected::Unsigned(number), &self))
                }
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Protocol, E> {
                if number == 5.0 {
                    Ok(Protocol::V5)
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(number), &self))
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Protocol {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Protocol".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": ["5", "3.1.1", 5] })
    }
}
