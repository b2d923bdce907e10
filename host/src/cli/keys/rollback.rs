//! `lockstep rollback`: a key gets what it had at some revision, by a change like any other.

use super::super::live::CommandError;
use super::super::output::{print, print_json};
use super::author::{Author, Authored, tell_repeat, told};
use super::differences::{ShownDifference, table};
use super::{Common, query};
use crate::admin::{Client, ClientError, Moment, escaped};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

const AFTER_HELP: &str = "\
The key gets the value it had after that revision of the log, or at that time; a key that was deleted comes back, one that \
was not there then is deleted. It is a change like any other: it passes every transform, has a revision of its own, and \
says `rollback_to` in its metadata. What it changes is printed; with --dry-run, nothing else happens.

The change is made from what is current. If somebody else changes the key at the same moment, neither overwrites the other \
silently: what became of both is told. With --retry, the key is then looked at and rolled back once more.

With --if-revision, nothing happens if the host, when it looks, finds another newest revision of the key than the one that \
you have looked at. Who changes the key between that look and the commit is met as above: both changes are told, and what \
the key shows is up to the strategy of its resolver.

Exit codes:
  0  committed, or the key has that value already; the revision is on stdout
  1  refused by the host, and stderr says why: locked, not valid, changed in between, no longer kept
  2  there is no host to ask, or the settings are refused

Examples:
  lockstep rollback app.features --to 42 --dry-run
  lockstep rollback app.features --to 42 --user ann
  lockstep rollback app.features --to 42 --if-revision 57
  lockstep rollback app.features --to 2026-01-31T12:00:00Z --retry
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct Rollback {
    /// The key, for example app.database.host
    key: String,
    /// When the key was what it is to be: a revision (42, EPOCH:42) or a time (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "REVISION|TIME")]
    to: Moment,
    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Only if this is the newest revision of the key when the host looks at it, before it makes the change
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
    /// If somebody changes the key at the same moment, go back once more
    #[arg(long, conflicts_with_all = ["if_revision", "dry_run", "idempotency_key"])]
    retry: bool,
    #[command(flatten)]
    author: Author,
    #[command(flatten)]
    common: Common,
}

/// The body of the request.
#[derive(Serialize)]
struct Request<'a> {
    to: String,
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    if_revision: Option<u64>,
    #[serde(flatten)]
    author: Authored<'a>,
}

/// What the host answers, as far as people are told.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    revision: Option<u64>,
    rollback_to: u64,
    changed: bool,
    #[serde(default)]
    changes: Vec<ShownDifference>,
    /// What it changes is more than the host tells.
    #[serde(default)]
    too_large: bool,
    /// Somebody has changed the key at the same moment.
    #[serde(default)]
    resolution: Option<Box<RawValue>>,
    /// It came before, under its idempotency key.
    #[serde(default)]
    repeated: bool,
}

impl Rollback {
    pub(in crate::cli) fn run(self) -> u8 {
        self.common.live.with_host(|client| self.go_back(client))
    }

    fn go_back(&self, client: &Client) -> Result<u8, CommandError> {
        let (text, answer) = match self.ask(client) {
            Ok((_, met)) if self.retry && met.resolution.is_some() => {
                eprintln!("{}; going back once more", told(met.revision, met.resolution.as_deref()));
                self.ask(client)?
            }
            Err(CommandError::Client(ClientError::Refused { code, message, .. }))
                if self.retry && code == "conflict" =>
            {
                eprintln!("{message}; going back once more");
                self.ask(client)?
            }
            answer => answer?,
        };
        if self.common.json {
            return Ok(print_json(&text));
        }
        match answer.repeated {
            // What is different now is not what it changed then.
            true => tell_repeat(true),
            false if answer.too_large => eprintln!("what it changes is too much to be told part by part"),
            false => eprint!("{}", table(&answer.changes)),
        }
        Ok(print(&format!("{}\n", self.what_became(&answer))))
    }

    fn ask(&self, client: &Client) -> Result<(Box<RawValue>, Answer), CommandError> {
        let request = Request {
            to: self.to.to_string(),
            dry_run: self.dry_run,
            if_revision: self.if_revision,
            author: self.author.of_change(&self.key)?,
        };
        let body = serde_json::to_string(&request).expect("every field is a scalar or JSON");
        let path = format!("/v1/keys/{}/rollback", escaped(&self.key));
        let path = query(&path, &[("tenant", self.common.tenant.clone())]);
        let text: Box<RawValue> = client.post_as(&path, &body)?;
        let strange = |error: serde_json::Error| ClientError::Strange {
            target: "the host".to_owned(),
            found: format!("another JSON: {error}"),
        };
        let answer = serde_json::from_str(text.get()).map_err(strange)?;
        Ok((text, answer))
    }

    fn what_became(&self, answer: &Answer) -> String {
        let to = answer.rollback_to;
        match (answer.changed, self.dry_run) {
            (false, _) if answer.repeated => told(answer.revision, None),
            (false, _) => format!("nothing to do: `{}` has what it had at revision {to}", self.key),
            (true, true) if answer.changes.is_empty() && !answer.too_large => {
                format!("would end the conflict of `{}` by what it shows", self.key)
            }
            (true, true) => "nothing was changed".to_owned(),
            (true, false) => told(answer.revision, answer.resolution.as_deref()),
        }
    }
}
