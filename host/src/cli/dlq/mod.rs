//! `lockstep dlq`: records that could not be delivered, looked at, tried again and dropped.

mod queue;
mod list;
mod show;
mod retry;
mod drop;

use super::live::Live;
use super::output::refuse;
use super::{FAILED, REFUSED, problem};
use clap::{Args, Subcommand};
use queue::{Queue, QueueError};

const AFTER_HELP: &str = "\
A record that failed for good lies in the dead letter queue with where, why and after how many attempts it failed. The \
command talks to the host that runs on the data folder, over `admin.sock` in it, or to the one that --admin names. If no \
host runs on the data folder, it reads the folder itself; only `retry` needs the host.

Over --admin, the token is taken from LOCKSTEP_ADMIN_TOKEN, or, for a host on this machine, from `admin.token` in the \
data folder.

Exit codes:
  0  done; for retry: every record was delivered
  1  some of it was not done, and stderr says why
  2  there is no host and no data folder to ask, the folder does not open with the keys of the settings, or the settings or \
arguments are refused

Examples:
  lockstep dlq list --pipeline orders
  lockstep dlq show 17
  lockstep dlq retry 17 18
  lockstep dlq retry --all --pipeline orders
  lockstep dlq drop 17
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Dlq {
    #[command(subcommand)]
    command: DlqCommand,
}

#[derive(Debug, Subcommand)]
enum DlqCommand {
    /// List dead letters, the oldest first, without their data.
    #[command(after_help = AFTER_HELP)]
    List(list::List),
    /// Show one dead letter with its record.
    #[command(after_help = AFTER_HELP)]
    Show(show::Show),
    /// Let dead letters enter again where they failed, and wait for what becomes of them.
    #[command(after_help = AFTER_HELP)]
    Retry(retry::Retry),
    /// Forget dead letters.
    #[command(after_help = AFTER_HELP)]
    Drop(drop::DropLetters),
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

/// Some dead letters by number, or all of them.
#[derive(Debug, Args)]
struct Selection {
    /// The numbers that `dlq list` shows
    #[arg(value_name = "NUMBER", required_unless_present = "all", conflicts_with = "all")]
    numbers: Vec<u64>,
    /// All of them
    #[arg(long)]
    all: bool,
    /// With --all: only those of this pipeline
    #[arg(long, value_name = "PIPELINE", requires = "all", conflicts_with = "numbers")]
    pipeline: Option<String>,
}

impl Dlq {
    pub(super) fn run(self) -> u8 {
        match self.command {
            DlqCommand::List(command) => command.common.with_queue(|queue| command.list(queue)),
            DlqCommand::Show(command) => command.common.with_queue(|queue| command.show(queue)),
            DlqCommand::Retry(command) => command.common.with_queue(|queue| command.retry(queue)),
            DlqCommand::Drop(command) => command.common.with_queue(|queue| command.drop(queue)),
        }
    }
}

impl Common {
    fn with_queue(&self, work: impl FnOnce(&Queue) -> Result<u8, QueueError>) -> u8 {
        let config = match self.live.place.load() {
            Ok(config) => config,
            Err(problems) => return refuse(&problems),
        };
        let done = Queue::open(&self.live, &config.settings).and_then(|queue| work(&queue));
        done.unwrap_or_else(|error| {
            problem::tell(&error, &error.problem());
            if error.is_refusal() { REFUSED } else { FAILED }
        })
    }
}

impl Selection {
    /// The numbers, found before anything is done, so that what comes while it is done is left alone.
    fn numbers(&self, queue: &Queue) -> Result<Vec<u64>, QueueError> {
        if !self.all {
            return Ok(self.numbers.clone());
        }
        let (letters, _) = queue.list(self.pipeline.as_deref(), 0, usize::MAX)?;
        Ok(letters.iter().filter_map(|letter| letter["id"].as_u64()).collect())
    }
}
