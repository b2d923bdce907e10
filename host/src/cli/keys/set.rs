//! `lockstep set` and `lockstep delete`: a change enters the pipeline through the log, through every transform, and the
//! command ends with what became of it.

use super::super::live::CommandError;
use super::super::output::{print, print_json};
use super::Common;
use super::author::{Author, Authored, tell_repeat, told};
use super::value::{Given, GivenValue};
use crate::admin::Client;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

const SET_HELP: &str = "\
VALUE is JSON. Text that is not JSON is refused rather than guessed at: `true`, `5432` and `\"5432\"` are three values. \
For text, use --string, or quote it twice: '\"db1.example\"'.

The command ends when the change is on disk, or with why it was refused. With --base-revision, the change says what it \
was made from: the revision that `lockstep get --json` showed. If somebody else has changed the key since, it does not \
overwrite silently.

With --ops, the change says what is done to the value that is there, or to the one of --base-revision: \
'[5, \" world\"]' skips 5 characters of a text and inserts; '[\"pool\", \"max\", {\"r\": true, \"i\": 9}]' replaces a part \
of JSON. What others did meanwhile stays where the key is resolved by operational_transform.

Under `lockstep locks run`, or with --token, the change is made by the holder of the lock, whichever key it is of: when the lock is lost, it is refused. Without --base-revision it is then made from the newest revision, or from 0 where there is none, and refused as a conflict if somebody changes the key at the same moment.

Exit codes:
  0  committed; the revision is on stdout
  1  refused by the host, and stderr says why: locked, not valid, in conflict
  2  there is no host to ask, VALUE is not JSON, or the settings are refused

Examples:
  lockstep set app.database.port 5432
  lockstep set app.database.host --string db1.example --user ann
  lockstep set app.features --file features.json --base-revision 42
  lockstep set app.motd --ops '[5,\"!\"]' --base-revision 42
  echo '{\"dark\": true}' | lockstep set app.features --file -
";

const DELETE_HELP: &str = "\
The key has no value afterwards; its history stays. Under a lock, it is as with `lockstep set`.

Exit codes:
  0  committed; the revision is on stdout
  1  refused by the host, and stderr says why
  2  there is no host to ask, or the settings are refused

Examples:
  lockstep delete app.database.host
  lockstep delete app.features --base-revision 42 --user ann
";

#[derive(Debug, Args)]
#[command(after_help = SET_HELP)]
pub(in crate::cli) struct Set {
    /// The key, for example app.database.host
    key: String,
    #[command(flatten)]
    value: GivenValue,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
#[command(after_help = DELETE_HELP)]
pub(in crate::cli) struct Delete {
    /// The key, for example app.database.host
    key: String,
    #[command(flatten)]
    how: How,
}

/// Who makes a change, and on what.
#[derive(Debug, Args)]
struct How {
    #[command(flatten)]
    author: Author,
    /// The revision the change was made from
    #[arg(long, value_name = "REVISION")]
    base_revision: Option<u64>,
    #[command(flatten)]
    common: Common,
}

/// The body of the request.
#[derive(Serialize)]
struct Change<'a> {
    config_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_value: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ops: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_revision: Option<u64>,
    #[serde(flatten)]
    author: Authored<'a>,
}

/// What the host answers, as far as people are told.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    revision: Option<u64>,
    #[serde(default)]
    repeated: bool,
    #[serde(default)]
    resolution: Option<Box<RawValue>>,
}

impl Set {
    pub(in crate::cli) fn run(self) -> u8 {
        let given = match self.value.read() {
            Ok(given) => given,
            Err(error) => return error.tell(),
        };
        self.how.common.live.with_host(|client| self.how.send(client, &self.key, Some(&given)))
    }
}

impl Delete {
    pub(in crate::cli) fn run(self) -> u8 {
        self.how.common.live.with_host(|client| self.how.send(client, &self.key, None))
    }
}

impl How {
    /// What the change is made from. Under a lock that is the newest revision, if the author names none: hosts compare it, so
    /// that a change whose lock was lost after this overwrites nobody's.
    fn base(&self, client: &Client, key: &str) -> Result<Option<u64>, CommandError> {
        match self.base_revision {
            None if self.author.is_under_lock() => self.common.newest_revision(client, key).map(Some),
            given => Ok(given),
        }
    }

    /// Without anything given, the key is deleted.
    fn send(&self, client: &Client, key: &str, given: Option<&Given>) -> Result<u8, CommandError> {
        let (new_value, ops, op) = match given {
            Some(Given::Value(value)) => (Some(&**value), None, None),
            Some(Given::Operations(ops)) => (None, Some(&**ops), None),
            None => (None, None, Some("delete")),
        };
        let change = Change {
            config_key: key,
            new_value,
            ops,
            op,
            tenant_id: self.common.tenant.as_deref(),
            base_revision: self.base(client, key)?,
            author: self.author.of_change(key)?,
        };
        let body = serde_json::to_string(&change).expect("every field is a scalar or JSON");
        if self.common.json {
            return Ok(print_json(&client.post_as::<Box<RawValue>>("/v1/changes", &body)?));
        }
        let answer: Answer = client.post_as("/v1/changes", &body)?;
        tell_repeat(answer.repeated);
        Ok(print(&format!("{}\n", told(answer.revision, answer.resolution.as_deref()))))
    }
}
