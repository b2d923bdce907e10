//! One call of an operation that belongs to a group of commands, made from what the host says about it.
//!
//! The host names no plugin: a group is found by how the names of its operations begin.

use super::live::CommandError;
use super::operations::{Offered, call, offered};
use crate::admin::{Client, ClientError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long until a host that cannot at present is asked again.
pub(super) const AGAIN: Duration = Duration::from_millis(200);

/// Whether the same request, under the same name, may succeed later.
pub(super) fn is_later(error: &CommandError) -> bool {
    matches!(error, CommandError::Client(ClientError::Refused { status: 503, .. }))
}

/// Operations whose names begin alike, whatever component offers them.
pub(super) struct Group {
    /// How they begin, with the dot.
    pub prefix: &'static str,
    /// What such a component is called.
    pub component: &'static str,
    /// What to do if there is none.
    pub help: &'static str,
}

/// An operation and the arguments gathered for it.
pub(super) struct Ask<'a> {
    client: &'a Client,
    operation: Offered,
    arguments: BTreeMap<String, Box<RawValue>>,
}

impl Group {
    /// The operation of this name.
    ///
    /// # Errors
    /// If the host does not offer it.
    pub fn ask<'a>(&self, client: &'a Client, name: &str) -> Result<Ask<'a>, CommandError> {
        let name = format!("{}{name}", self.prefix);
        let mut offered = offered(client)?;
        let is_there = offered.iter().any(|operation| operation.name.starts_with(self.prefix));
        match offered.iter().position(|operation| operation.name == name) {
            Some(found) => {
                Ok(Ask { client, operation: offered.swap_remove(found), arguments: BTreeMap::new() })
            }
            None if is_there => {
                Err(CommandError::Failed(format!("the {} of this host has no `{name}`", self.component)))
            }
            None => {
                let Self { component, help, .. } = self;
                Err(CommandError::Failed(format!("no {component} runs in this host: {help}")))
            }
        }
    }
}

impl Ask<'_> {
    /// The operation's whole name.
    pub fn name(&self) -> &str {
        &self.operation.name
    }

    /// An argument, if there is something to say.
    pub fn with(mut self, name: &str, value: Option<impl Serialize>) -> Self {
        let value = value.map(|value| to_raw_value(&value).expect("arguments are plain data or JSON"));
        self.arguments.extend(value.map(|value| (name.to_owned(), value)));
        self
    }

    /// What the operation answers; with `RawValue`s in it, values stay as the host wrote them.
    ///
    /// # Errors
    /// If the operation does not take an argument, or what the operation says.
    pub fn call<T: DeserializeOwned>(self) -> Result<T, CommandError> {
        if let Some(unknown) = self.arguments.keys().find(|name| !self.operation.takes(name)) {
            let name = &self.operation.name;
            return Err(CommandError::BadArgument(format!("`{name}` of this host takes no `{unknown}`")));
        }
        let arguments = serde_json::to_string(&self.arguments).expect("names and JSON");
        call(self.client, &self.operation.name, &arguments)
    }
}
