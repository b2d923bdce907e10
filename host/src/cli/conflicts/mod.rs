//! `lockstep conflicts`: what waits for a person's decision, through whatever component of the running host offers the
//! `conflicts.*` operations.

mod list;
mod shown;
mod resolve;

use super::acting;
use super::ask::Group;
use super::live::{CommandError, Live};
use super::output::{print, print_json};
use crate::admin::Client;
use clap::{Args, Subcommand};
use list::List;
use resolve::Resolve;
use serde_json::value::RawValue;

/// The operations on conflicts.
const CONFLICTS: Group = Group {
    prefix: "conflicts.",
    component: "component that keeps conflicts",
    help: "put `- plugin: resolver` at the end of the `transforms` of its pipeline through the log",
};

const AFTER_HELP: &str = "\
Two changes of a key are in conflict if neither author had seen the other's. For keys whose strategy is \
`manual_resolution` a person decides. Until then the last write is shown, nothing is lost, and whoever has to decide is \
told: at once, every day, and urgently after 6 days. What is not decided is kept without end.

A conflict has the same id on every host. If another change comes before somebody has decided, there is another conflict \
with another id, and the old one says `superseded`.

  lockstep conflicts list                    what waits
  lockstep conflicts show ID                 who wants what
  lockstep conflicts preview ID              what each way to decide makes of the key
  lockstep conflicts resolve ID --use 2      decide

Each of them has its own --help.

Exit codes:
  0  done, or nothing waits
  1  refused by the host, and stderr says why: decided already, superseded, no such conflict; or no component keeps any
  2  there is no host to ask, an argument cannot be meant, or the settings are refused

Examples:
  lockstep conflicts list --all-tenants
  lockstep conflicts show 5f1c5a3e-0d4e-5a7b-9a51-1f4f0c1f2a11
  lockstep conflicts resolve 5f1c5a3e-0d4e-5a7b-9a51-1f4f0c1f2a11 --use 2
";

const SHOW_HELP: &str = "\
Each change that stands has a number, USE, by which it is decided. What is shown is what the key has while nobody has \
decided. Of a conflict that is over it says who decided it, how and why, and whether that still holds. Long values are \
cut; with --json, they are whole.

Exit codes:
  0  printed
  1  there is no such conflict, or no component of the host keeps any
  2  there is no host to ask, or the settings are refused

Examples:
  lockstep conflicts show 5f1c5a3e-0d4e-5a7b-9a51-1f4f0c1f2a11
  lockstep conflicts show 5f1c5a3e-0d4e-5a7b-9a51-1f4f0c1f2a11 --json
";

const ASSIGN_HELP: &str = "\
Whoever is named is told by a notice, as everybody is who follows the key, and finds it with `conflicts list \
--assigned-to`. Anybody may still decide.

Exit codes:
  0  done
  1  refused by the host, and stderr says why: decided already, superseded, no such conflict
  2  there is no host to ask, or the settings are refused

Examples:
  lockstep conflicts assign 5f1c5a3e-0d4e-5a7b-9a51-1f4f0c1f2a11 ann
  lockstep conflicts assign 5f1c5a3e-0d4e-5a7b-9a51-1f4f0c1f2a11 --nobody --user bob
";

const PREVIEW_HELP: &str = "\
Each line is a way to decide, as `conflicts resolve` takes it, and the value that the key would have. Where a strategy \
lets somebody not have their way, it says at which part of the value.

Exit codes:
  0  printed; nothing was changed
  1  refused by the host, and stderr says why: decided already, superseded, no such conflict
  2  there is no host to ask, or the settings are refused

Examples:
  lockstep conflicts preview 5f1c5a3e-0d4e-5a7b-9a51-1f4f0c1f2a11
  lockstep conflicts preview 5f1c5a3e-0d4e-5a7b-9a51-1f4f0c1f2a11 --json
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Conflicts {
    #[command(subcommand)]
    command: ConflictsCommand,
}

#[derive(Debug, Subcommand)]
enum ConflictsCommand {
    /// List the conflicts that wait for a decision, or those that are over.
    #[command(after_help = list::HELP)]
    List(List),
    /// Show one conflict: who wants what, since when, and what became of it.
    #[command(after_help = SHOW_HELP)]
    Show(Show),
    /// Say who is to decide a conflict.
    #[command(after_help = ASSIGN_HELP)]
    Assign(Assign),
    /// Show what each way to decide a conflict makes of the key; change nothing.
    #[command(after_help = PREVIEW_HELP)]
    Preview(Preview),
    /// Decide a conflict: by one of the changes, by a strategy, or by another value.
    #[command(after_help = resolve::HELP)]
    Resolve(Resolve),
}

/// Which host, and how to answer.
#[derive(Debug, Args)]
struct Common {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    live: Live,
}

#[derive(Debug, Args)]
struct Show {
    /// The conflict's id
    #[arg(value_name = "ID")]
    conflict: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Preview {
    /// The conflict's id
    #[arg(value_name = "ID")]
    conflict: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Assign {
    /// The conflict's id
    #[arg(value_name = "ID")]
    conflict: String,
    /// Who is to decide it
    #[arg(value_name = "WHO", required_unless_present = "nobody")]
    who: Option<String>,
    /// Nobody in particular
    #[arg(long, conflicts_with = "who")]
    nobody: bool,
    /// Who says so [default: LOCKSTEP_USER, or USER]
    #[arg(long, value_name = "USER", env = acting::VARIABLE, hide_env = true)]
    user: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Conflicts {
    pub(super) fn run(self) -> u8 {
        match self.command {
            ConflictsCommand::List(command) => command.common.live.with_host(|client| command.list(client)),
            ConflictsCommand::Show(command) => command.common.live.with_host(|client| command.show(client)),
            ConflictsCommand::Assign(command) => {
                command.common.live.with_host(|client| command.assign(client))
            }
            ConflictsCommand::Preview(command) => {
                command.common.live.with_host(|client| command.show(client))
            }
            ConflictsCommand::Resolve(command) => command.run(),
        }
    }
}

impl Show {
    fn show(&self, client: &Client) -> Result<u8, CommandError> {
        let ask = CONFLICTS.ask(client, "show")?;
        let answer: Box<RawValue> = ask.with("conflict_id", Some(&self.conflict)).call()?;
        if self.common.json {
            return Ok(print_json(&answer));
        }
        let answer = shown::fields(&answer);
        let exit = print(&shown::conflict(&answer));
        shown::next_steps(&answer);
        Ok(exit)
    }
}

impl Preview {
    fn show(&self, client: &Client) -> Result<u8, CommandError> {
        let ask = CONFLICTS.ask(client, "preview")?;
        let answer: Box<RawValue> = ask.with("conflict_id", Some(&self.conflict)).call()?;
        if self.common.json {
            return Ok(print_json(&answer));
        }
        let exit = print(&shown::outcomes(&shown::fields(&answer)));
        eprintln!("nothing was changed; decide with `lockstep conflicts resolve {}`", self.conflict);
        Ok(exit)
    }
}

impl Assign {
    fn assign(&self, client: &Client) -> Result<u8, CommandError> {
        let answer: Box<RawValue> = CONFLICTS
            .ask(client, "assign")?
            .with("conflict_id", Some(self.conflict.clone()))
            .with("assigned_to", self.who.clone())
            .with("user_id", acting::user(self.user.as_deref()))
            .call()?;
        if self.common.json {
            return Ok(print_json(&answer));
        }
        match &self.who {
            Some(who) => eprintln!("{who} is to decide it"),
            None => eprintln!("nobody in particular is to decide it"),
        }
        Ok(super::DONE)
    }
}
