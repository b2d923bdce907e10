//! The command line: what each command reads, prints and exits with.
//!
//! Results go to stdout, everything that is said beside them to stderr.

mod flags;
mod output;
mod problem;
mod table;
mod live;
mod ask;
mod acting;
mod held;
mod run;
mod validate;
mod plugins;
mod schema;
mod config;
mod dlq;
mod keys;
mod watch;
mod operations;
mod locks;
mod conflicts;
mod metrics;
mod audit;
mod state;
mod completions;
#[cfg(test)]
mod tests;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::process::ExitCode;

/// Everything was done.
const DONE: u8 = 0;
/// It failed while running.
const FAILED: u8 = 1;
/// It was refused before anything was started.
const REFUSED: u8 = 2;

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  failed while running
  2  refused before anything was started; what is wrong, and where, is on stderr

JSON:
  With --json, results are JSON on stdout. A command that has none, because something was refused or failed, prints \
{\"error\": {\"code\", \"message\", \"details\"}} there, in one line, and exits as it does without; `details` is left out where there \
are none. `run` logs JSON instead.

Settings:
  Defaults, then `lockstep.yaml`, then `LOCKSTEP_...` variables, then flags; the last one wins.
  `lockstep config show` prints every setting with the place its value comes from.

Examples:
  lockstep validate pipelines/                    check every pipeline, start nothing
  lockstep run pipelines/quickstart.yaml          run one until Ctrl-C
  LOCKSTEP_LOG__FILTER=debug lockstep run pipelines/
  lockstep watch 'app.*'                          see changes as they are committed
  lockstep set app.database.port 5432             make one
  lockstep dlq list                               what could not be delivered, and why
";

/// Moves configuration changes between transports, through plugins, according to pipeline files.
#[derive(Debug, Parser)]
#[command(name = "lockstep", version, max_term_width = 100, after_help = AFTER_HELP)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run pipelines until they end or a signal comes.
    Run(run::Run),
    /// Check pipelines with the plugins they name, offline; start nothing.
    Validate(validate::Validate),
    /// List installed plugins, and files that are refused and why.
    Plugins(plugins::Plugins),
    /// Write the JSON Schema of pipeline files for editors, made from the installed plugins.
    Schema(schema::Schema),
    /// Show the host's settings.
    Config(config::Config),
    /// Look at records that could not be delivered; try them again or drop them.
    Dlq(dlq::Dlq),
    /// Print what a key has now.
    Get(keys::Get),
    /// Give a key a value.
    Set(keys::Set),
    /// Take a key's value away.
    Delete(keys::Delete),
    /// Print changes as they are committed.
    Watch(watch::Watch),
    /// Print what a key had, the newest first.
    History(keys::History),
    /// Print how a key differs between two revisions.
    Diff(keys::Diff),
    /// Print which change gave a key each part of its value.
    Blame(keys::Blame),
    /// Give a key back what it had at some revision.
    Rollback(keys::Rollback),
    /// List keys.
    Keys(keys::Keys),
    /// Take, keep, give back and look at locks of keys.
    Locks(locks::Locks),
    /// Look at conflicts that wait for a decision, and decide them.
    Conflicts(conflicts::Conflicts),
    /// List what components offer to be called by name.
    Operations(operations::Operations),
    /// Call an operation of a component.
    Call(operations::Call),
    /// Print the metrics document.
    Metrics(metrics::Metrics),
    /// Print the audit.
    Audit(audit::Audit),
    /// Show how the store lies on the disk; seal it with a new data key.
    State(state::State),
    /// Write a completion script for a shell.
    Completions(completions::Completions),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let matches = Cli::command()
        .try_get_matches()
        .unwrap_or_else(|error| problem::refuse_arguments(&error, std::env::args_os()));
    if problem::asks_for_json(&matches) {
        problem::tell_a_program();
    }
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let exit = match cli.command {
        Command::Run(command) => command.run(),
        Command::Validate(command) => command.run(),
        Command::Plugins(command) => command.run(),
        Command::Schema(command) => command.run(),
        Command::Config(command) => command.run(),
        Command::Dlq(command) => command.run(),
        Command::Get(command) => command.run(),
        Command::Set(command) => command.run(),
        Command::Delete(command) => command.run(),
        Command::Watch(command) => command.run(),
        Command::History(command) => command.run(),
        Command::Diff(command) => command.run(),
        Command::Blame(command) => command.run(),
        Command::Rollback(command) => command.run(),
        Command::Keys(command) => command.run(),
        Command::Locks(command) => command.run(),
        Command::Conflicts(command) => command.run(),
        Command::Operations(command) => command.run(),
        Command::Call(command) => command.run(),
        Command::Metrics(command) => command.run(),
        Command::Audit(command) => command.run(),
        Command::State(command) => command.run(),
        Command::Completions(command) => command.run(),
    };
    ExitCode::from(exit)
}
