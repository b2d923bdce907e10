//! From an author's component to the object that crosses the boundary: typed configuration, containment of panics,
//! accounting by id.

mod source;
mod async_source;
mod replies;
mod keep;
mod operation;
mod transform;
mod sink;
mod async_sink;
#[cfg(test)]
mod tests;

pub use async_sink::async_sink;
pub use async_source::async_source;
pub use operation::completion;
pub use sink::{pipelined_sink, sink};
pub use source::source;
pub use transform::transform;

use crate::{
    abi::{guard, runtime, vtable::AdviceParts},
    advice::Advice,
    error::{Error, ErrorKind, Result},
};
use abi_stable::std_types::RString;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::{task::JoinHandle, time::timeout};

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

/// Reads and checks a component's configuration, and gives what the component says about it.
pub fn advice<C: DeserializeOwned>(
    json: &str,
    base_dir: &str,
    check: impl FnOnce(&C) -> Result<()>,
    advise: impl FnOnce(&C, &mut Advice),
) -> Result<AdviceParts> {
    let config = checked_config(json, check)?;
    let mut advice = Advice::at(base_dir);
    advise(&config, &mut advice);
    Ok(advice.into())
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

/// Ends a task of an author's, so that whatever it owned (sockets, ports) is free again when the component is gone,
/// unless the task does not come back to the runtime in time. A panic in the drop of what it owned is logged.
fn abort<T>(component: &str, task: &mut JoinHandle<T>) {
    task.abort();
    let joined = runtime::handle().block_on(async { timeout(Duration::from_secs(1), task).await });
    let Ok(joined) = joined else { return };
    if let Err(error) = guard::join("drop", joined).map(drop)
        && error.kind() == ErrorKind::PANIC
    {
        guard::log_panic_in_drop(component, &error);
    }
}
