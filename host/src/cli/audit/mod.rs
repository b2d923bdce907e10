//! `lockstep audit`: who did what, and whether it is all there.

mod entries;
mod list;
mod export;
mod verify;
#[cfg(test)]
mod tests;

use super::FAILED;
use super::live::{CommandError, Live};
use super::output::refuse;
use clap::{Args, Subcommand};
use entries::Entries;

const AFTER_HELP: &str = "\
Every change, every lock that is taken or given up, every conflict that is resolved and everything by which an operator \
changes something leaves an entry; reading leaves none. Entries are numbered without a gap, and each holds the hash of the one before it: an entry that was \
altered, taken out, put in or moved breaks the chain, and `audit verify` says at which number.

Whoever has the disk and can compute hashes can write the whole chain anew. So note its head elsewhere once in a while, as \
`audit verify` prints it, and check with --head that it is still there. Old entries are given up (`audit` in \
`lockstep.yaml`), and a head from before them says nothing any more: export in time, and verify the files together.

The command talks to the host that runs on the data folder, over `admin.sock` in it, or to the one that --admin names. If no \
host runs on the data folder, it reads the folder itself, and chains and gives up nothing.

Exit codes:
  0  done; for verify: the chain is whole, and has the head that was given
  1  for verify: the chain is broken, and stderr says where; else: the host or the store could not answer
  2  there is no host and no data folder to ask, the folder does not open with the keys of the settings (so that nothing is \
known of the chain), or the settings or arguments are refused
  3  for verify: it could not be told, for the audit could not be read to its end, the head that was given is older than \
what is kept, or entries between two files are in neither

Examples:
  lockstep audit list --key 'app.database.*' --since 1d
  lockstep audit list --type 'lock_*' --tenant acme --json
  lockstep audit verify
  lockstep audit verify --head 4711:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  lockstep audit export > audit.ndjson
  lockstep audit verify --file march.ndjson --file april.ndjson
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: Option<AuditCommand>,
    #[command(flatten)]
    list: list::List,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// List entries, the newest first. Without a command, this is done.
    #[command(after_help = AFTER_HELP)]
    List(list::List),
    /// Write the whole chain to stdout, as JSON lines that can be verified without the host.
    #[command(after_help = AFTER_HELP)]
    Export(export::Export),
    /// Check that every entry is what was written, from the oldest that is kept to the head.
    #[command(after_help = AFTER_HELP)]
    Verify(verify::Verify),
}

impl Audit {
    pub(super) fn run(self) -> u8 {
        match self.command {
            None => self.list.run(),
            Some(AuditCommand::List(command)) => command.run(),
            Some(AuditCommand::Export(command)) => command.run(),
            Some(AuditCommand::Verify(command)) => command.run(),
        }
    }
}

/// Does something with the audit of the host, or of its data folder, and says what went wrong; `failed` is how to exit if
/// something did after it was begun.
fn with_entries(live: &Live, failed: u8, work: impl FnOnce(&Entries) -> Result<u8, CommandError>) -> u8 {
    let config = match live.place.load() {
        Ok(config) => config,
        Err(problems) => return refuse(&problems),
    };
    let done = Entries::open(live, &config.settings).and_then(|entries| work(&entries));
    done.unwrap_or_else(|error| match error.tell() {
        FAILED => failed,
        exit => exit,
    })
}
