//! `lockstep watch`: changes as they are committed, across restarts of the host.
//!
//! What was printed is never printed again and nothing after it is left out, or it is said: the command remembers the last
//! revision of the host's log and goes on after it.

mod follow;

use super::flags::tenant;
use super::live::{CommandError, Live};
use super::output::{print_some, refuse};
use crate::admin::Client;
use clap::{Args, value_parser};
use follow::{Followed, Position};
use lockstep_plugin_api::glob::{Glob, GlobError};
use std::ops::ControlFlow;
use std::time::Duration;

/// How long to wait for a host that is gone before looking again, at first and at most.
const MIN_WAIT: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_secs(2);

const AFTER_HELP: &str = "\
A pattern is a glob over keys: `*` is any run of characters, dots included, `?` one character, `[ab]` one of a set, `+` \
one segment. Without a pattern, everything is shown. Quote patterns, or the shell takes them for files.

Each line is a change: its revision, when and by whom it was made, the key and the value; it is printed as soon as the \
change is committed. When the host is gone, the command waits for it and goes on where it was; that, and whatever could \
not be shown because the host has forgotten it, is said on stderr. With --json, each line is a JSON object with a `type`: \
`watching` once it begins, `config_sync` for a change, `resync` where history has a gap and the current values follow, \
and whatever notices the host has, such as `config_locked`.

Exit codes:
  0  --count changes were shown, or nobody reads any more
  1  the host refuses to go on
  2  there is no host to ask, a pattern is not valid, or the settings are refused

Examples:
  lockstep watch
  lockstep watch 'app.database.*' 'app.features.*'
  lockstep watch 'app.*' --snapshot --count 10 --json
  lockstep watch --since 42
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Watch {
    /// Globs over keys
    #[arg(value_name = "PATTERN", value_parser = pattern)]
    patterns: Vec<String>,
    /// Begin with what was committed after this revision, REVISION or EPOCH:REVISION
    #[arg(long, value_name = "REVISION")]
    since: Option<Position>,
    /// Begin with the current values
    #[arg(long, conflicts_with = "since")]
    snapshot: bool,
    /// End after so many changes
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Whose configuration; without it, the configuration without a tenant
    #[arg(long, value_name = "TENANT", env = "LOCKSTEP_TENANT", hide_env_values = true, value_parser = tenant)]
    tenant: Option<String>,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    live: Live,
}

fn pattern(text: &str) -> Result<String, GlobError> {
    Glob::new(text).map(|_| text.to_owned())
}

impl Watch {
    pub(super) fn run(self) -> u8 {
        let config = match self.live.place.load() {
            Ok(config) => config,
            Err(problems) => return refuse(&problems),
        };
        let connect = || self.live.connect(&config.settings);
        match self.follow(connect) {
            Ok(exit) => exit,
            Err(error) => error.tell(),
        }
    }

    /// Follows the host until nobody reads any more, or the host refuses.
    fn follow(&self, connect: impl Fn() -> Result<Client, CommandError>) -> Result<u8, CommandError> {
        let mut followed = Followed::new(self);
        let mut wait = MIN_WAIT;
        loop {
            let lines = connect().and_then(|client| Ok(client.lines(&followed.path())?));
            let lines = match lines {
                Ok(lines) => lines,
                Err(error) if followed.has_begun() && may_come_back(&error) => {
                    std::thread::sleep(wait);
                    wait = (wait * 2).min(MAX_WAIT);
                    continue;
                }
                Err(error) => return Err(error),
            };
            wait = MIN_WAIT;
            // An error is the end of the connection, as is the end of the lines: the host is gone.
            for line in lines.map_while(Result::ok) {
                if let ControlFlow::Break(exit) = followed.take(&line, print_some)? {
                    return Ok(exit);
                }
            }
            followed.tell_gone();
            std::thread::sleep(wait);
        }
    }
}

/// A host that is being started again is not there, then not ready.
fn may_come_back(error: &CommandError) -> bool {
    match error {
        CommandError::NoHost(_) | CommandError::Unreachable(_) => true,
        CommandError::Client(error) => error.may_come_back(),
        CommandError::NotChained(_)
        | CommandError::BadArgument(_)
        | CommandError::Store(_)
        | CommandError::Failed(_) => false,
    }
}
