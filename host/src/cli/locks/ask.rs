//! One call of a `lock.*` operation, made from what the host says about it.

use super::super::live::CommandError;
use super::super::operations::{Offered, call, offered};
use crate::admin::{Client, ClientError};
use serde_json::{Map, Value};
use std::time::Duration;

/// What the names of a lock component's operations start with.
const GROUP: &str = "lock.";

/// How long until a host that cannot at present is asked again.
pub(super) const AGAIN: Duration = Duration::from_millis(200);

/// Whether the same request, under the same name, may succeed later.
pub(super) fn is_later(error: &CommandError) -> bool {
    matches!(error, CommandError::Client(ClientError::Refused { status: 503, .. }))
}

/// An operation and the arguments gathered for it.
pub(super) struct Ask<'a> {
    client: &'a Client,
    operation: Offered,
    arguments: Map<String, Value>,
}

impl<'a> Ask<'a> {
    /// The operation of this name.
    ///
    /// # Errors
    /// If the host does not offer it.
    pub fn new(client: &'a Client, name: &str) -> Result<Self, CommandError> {
        let name = format!("{GROUP}{name}");
        let mut offered = offered(client)?;
        let has_locks = offered.iter().any(|operation| operation.name.starts_with(GROUP));
        match offered.iter().position(|operation| operation.name == name) {
            Some(found) => Ok(Self { client, operation: offered.swap_remove(found), arguments: Map::new() }),
            None if has_locks => {
                Err(CommandError::Failed(format!("the lock component of this host has no `{name}`")))
            }
            None => Err(CommandError::Failed(
                "no lock component runs in this host: put `- plugin: lock` among the `transforms` of its pipeline \
                 through the log"
                    .to_owned(),
            )),
        }
    }

    /// An argument, if there is something to say.
    pub fn with(mut self, name: &str, value: Option<impl Into<Value>>) -> Self {
        self.arguments.extend(value.map(|value| (name.to_owned(), value.into())));
        self
    }

    /// # Errors
    /// If the operation does not take an argument, or what the operation says.
    pub fn call(self) -> Result<Value, CommandError> {
        if let Some(unknown) = self.arguments.keys().find(|name| !self.operation.takes(name)) {
            let name = &self.operation.name;
            return Err(CommandError::BadArgument(format!("`{name}` of this host takes no `{unknown}`")));
        }
        call(self.client, &self.operation.name, &Value::Object(self.arguments).to_string())
    }
}
