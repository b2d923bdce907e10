//! From an author's component to the object that crosses the boundary: typed configuration, containment of panics,
//! accounting by id.

mod source;
mod keep;
mod transform;
mod sink;

pub use sink::{async_sink, pipelined_sink, sink};
pub use source::{async_source, source};
pub use transform::transform;

use crate::error::{Error, Result};
use abi_stable::std_types::RString;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;

/// Reads a component's configuration; an error says at which field.
pub fn read_config<C: DeserializeOwned>(json: &str) -> Result<C> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner().to_string();
        // serde_json ends its messages with a place in the JSON text, which nobody has seen.
        let reason = inner.split(" at line ").next().unwrap_or(&inner).to_owned();
        Error::config(reason).at(if path == "." { String::new() } else { path })
    })
}

/// Reads a component's configuration and lets the component check it.
pub fn checked_config<C: DeserializeOwned>(json: &str, check: impl FnOnce(&C) -> Result<()>) -> Result<C> {
    let config = read_config(json)?;
    check(&config)?;
    Ok(config)
}

/// The JSON Schema of a component's configuration, as JSON text.
pub fn schema_of<C: JsonSchema>() -> Result<RString> {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<C>();
    Ok(RString::from(serde_json::to_string(&schema).map_err(Error::failed)?))
}

/// The answer to a name this library does not have.
pub fn unknown(kind: &str, name: &str) -> Error {
    Error::config(format!("this plugin has no {kind} named `{name}`"))
}
