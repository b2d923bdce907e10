//! What is configured and what was: `get`, `set`, `delete`, `keys`, `history`, `diff`, `blame` and `rollback`, on the log of
//! a running host.

mod value;
mod author;
mod shown;
mod differences;
mod get;
mod set;
mod list;
mod history;
mod diff;
mod blame;
mod rollback;

pub(super) use blame::Blame;
pub(super) use diff::Diff;
pub(super) use get::Get;
pub(super) use history::History;
pub(super) use list::Keys;
pub(super) use rollback::Rollback;
pub(super) use set::{Delete, Set};
pub(super) use shown::ShownChange;
pub(super) use value::given_json;

use super::flags::tenant;
use super::live::{CommandError, Live};
use crate::admin::{Client, ClientError, escaped};
use clap::Args;
use serde::Deserialize;

/// Which host, whose configuration, and how to answer.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// Whose configuration; without it, the configuration without a tenant
    #[arg(long, value_name = "TENANT", env = "LOCKSTEP_TENANT", hide_env_values = true, value_parser = tenant)]
    pub(super) tenant: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) live: Live,
}

/// The newest changes of a key, as far as it is asked what they are called.
#[derive(Deserialize)]
struct Newest {
    changes: Vec<Revision>,
}

#[derive(Deserialize)]
struct Revision {
    revision: u64,
}

impl Common {
    /// The revision of a key's newest change, also if that deleted it; 0 if it was never there.
    fn newest_revision(&self, client: &Client, key: &str) -> Result<u64, CommandError> {
        let path = format!("/v1/keys/{}/history", escaped(key));
        let path = query(&path, &[("tenant", self.tenant.clone()), ("limit", Some("1".to_owned()))]);
        match client.get_as::<Newest>(&path) {
            Ok(newest) => Ok(newest.changes.first().map_or(0, |change| change.revision)),
            Err(ClientError::Refused { status: 404, .. }) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

/// A path with a query of what is there; values are escaped.
pub(super) fn query(path: &str, parts: &[(&str, Option<String>)]) -> String {
    let parts = parts.iter().filter_map(|(name, value)| Some(format!("{name}={}", escaped(value.as_ref()?))));
    match parts.collect::<Vec<_>>().join("&").as_str() {
        "" => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_what_was_said() {
        assert_eq!(query("/v1/keys", &[("tenant", None)]), "/v1/keys");
        let parts = [("tenant", Some("a&b".to_owned())), ("limit", None), ("after", Some("k".to_owned()))];
        assert_eq!(query("/v1/keys", &parts), "/v1/keys?tenant=a%26b&after=k");
    }
}
