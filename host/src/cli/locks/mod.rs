//! `lockstep locks`: leases on keys, through whatever component of the running host offers the `lock.*` operations.

mod lease;
mod signals;
mod terminal;
mod group;
mod term;
mod taking;
mod holding;

use super::DONE;
use super::acting;
use super::ask::Group;
use super::flags::{Tenants, tenant};
use super::live::{CommandError, Live};
use super::output::{print, print_json, without_control};
use crate::admin::Client;
use crate::config::quantity::duration;
use clap::{Args, Subcommand};
use holding::Held;
use lease::{Ended, Lease, table};
use serde_json::value::RawValue;
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

const AFTER_HELP: &str = "\
Who holds the lock of a key may change it, nobody else: a change of somebody else is refused with who holds it until when. \
A lease ends by itself after its time, so that nothing is locked for ever; its holder extends it before that.

The simplest way is `locks run`: it takes the lock, keeps it while a command runs, and gives it back, whatever becomes of \
the command and of everything it starts in its process group. `lockstep set` in that command is a change by the holder, made as the user who took the lock, whichever key it is of.

If the lock is lost, the whole group gets SIGTERM, and SIGKILL after 5 s. What makes a group of its own (setsid, jobs of an interactive shell) is not ended; nor, if `locks run` itself is killed with SIGKILL, is more than the command itself, on Linux. Their changes are refused all the same: the token has ended.

The holder is a session: whoever names it may extend and release the lease, and `set --session` changes the key. The token \
grows with every lease; a change under an older one is refused.

Exit codes:
  0  done; for `run`, the command's own code, or 127 if it is not there, 126 if it cannot be run
  1  refused by the host, and stderr says why: held by somebody else, lost, not held; or no lock component runs there
  2  there is no host to ask, or the settings are refused

Examples:
  lockstep locks run app.database.host -- ./migrate.sh
  lockstep locks list
  lockstep locks info app.database.host
  lockstep locks acquire app.database.host --user ann --ttl 60s --wait 30s
  lockstep locks extend app.database.host --session 8f1c --token 7
  lockstep locks release app.database.host --session 8f1c
  lockstep locks release app.database.host --force --reason holiday
";

/// The operations on locks.
const LOCKS: Group = Group {
    prefix: "lock.",
    component: "lock component",
    help: "put `- plugin: lock` among the `transforms` of its pipeline through the log",
};

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Locks {
    #[command(subcommand)]
    command: LocksCommand,
}

#[derive(Debug, Subcommand)]
enum LocksCommand {
    /// List the leases in force.
    #[command(after_help = AFTER_HELP)]
    List(List),
    /// Show who holds the lock of a key.
    #[command(after_help = AFTER_HELP)]
    Info(Info),
    /// Take the lock of a key; with `-- COMMAND`, as `locks run`.
    #[command(after_help = AFTER_HELP)]
    Acquire(Acquire),
    /// Let a lease last longer.
    #[command(after_help = AFTER_HELP)]
    Extend(Extend),
    /// Give a lock back, or take it from whoever holds it.
    #[command(after_help = AFTER_HELP)]
    Release(Release),
    /// Hold the lock of a key while a command runs.
    #[command(after_help = AFTER_HELP)]
    Run(Run),
}

/// Which host, whose configuration, and how to answer.
#[derive(Debug, Args)]
struct Common {
    /// Whose configuration; without it, the configuration without a tenant
    #[arg(long, value_name = "TENANT", env = "LOCKSTEP_TENANT", hide_env_values = true, value_parser = tenant)]
    tenant: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    live: Live,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    tenants: Tenants,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    live: Live,
}

#[derive(Debug, Args)]
struct Info {
    /// The locked key
    key: String,
    #[command(flatten)]
    common: Common,
}

/// How a lock is taken.
#[derive(Debug, Clone, Args)]
struct Taking {
    /// The key to lock
    key: String,
    /// Who takes it [default: LOCKSTEP_USER, or USER]
    #[arg(long, value_name = "USER", env = acting::VARIABLE, hide_env = true)]
    user: Option<String>,
    /// How long the lease lasts unless it is extended [default: what the host says]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    ttl: Option<Duration>,
    /// How long to wait while somebody else holds it
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    wait: Option<Duration>,
    /// The session that is to hold it [default: a new one]
    #[arg(long, value_name = "SESSION", env = "LOCKSTEP_LOCK_SESSION", hide_env_values = true)]
    session: Option<String>,
    /// Anything about it for whoever asks, as a JSON object
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
}

#[derive(Debug, Args)]
struct Acquire {
    #[command(flatten)]
    taking: Taking,
    #[command(flatten)]
    common: Common,
    /// What to run while the lock is held
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    taking: Taking,
    #[command(flatten)]
    common: Common,
    /// What to run while the lock is held
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
struct Extend {
    /// The locked key
    key: String,
    /// The session that holds it
    #[arg(long, value_name = "SESSION", env = "LOCKSTEP_LOCK_SESSION", hide_env_values = true)]
    session: String,
    /// The token it was granted under
    #[arg(long, value_name = "TOKEN", env = "LOCKSTEP_LOCK_TOKEN", hide_env_values = true)]
    token: u64,
    /// How long it lasts from now on [default: as long as before]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    ttl: Option<Duration>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Release {
    /// The locked key
    key: String,
    /// The session that holds it
    #[arg(long, value_name = "SESSION", env = "LOCKSTEP_LOCK_SESSION", hide_env_values = true)]
    #[arg(required_unless_present = "force")]
    session: Option<String>,
    /// Take it away, whoever holds it
    #[arg(long)]
    force: bool,
    /// With --force: why, for the audit
    #[arg(long, value_name = "TEXT", requires = "force")]
    reason: Option<String>,
    /// With --force: who does it [default: LOCKSTEP_USER, or USER]
    #[arg(long, value_name = "USER", env = acting::VARIABLE, hide_env = true)]
    user: Option<String>,
    /// Only if this is the token it is held under
    #[arg(long, value_name = "TOKEN")]
    token: Option<u64>,
    #[command(flatten)]
    common: Common,
}

impl Locks {
    pub(super) fn run(self) -> u8 {
        match self.command {
            LocksCommand::List(command) => command.live.with_host(|client| command.list(client)),
            LocksCommand::Info(command) => command.common.live.with_host(|client| command.show(client)),
            LocksCommand::Extend(command) => command.common.live.with_host(|client| command.extend(client)),
            LocksCommand::Release(command) => command.common.live.with_host(|client| command.release(client)),
            LocksCommand::Acquire(Acquire { taking, common, command }) if command.is_empty() => {
                common.live.with_host(|client| taking.acquire(client, &common))
            }
            LocksCommand::Acquire(Acquire { taking, common, command })
            | LocksCommand::Run(Run { taking, common, command }) => {
                common.live.with_host(|client| taking.hold(client, &common, &command))
            }
        }
    }
}

impl List {
    fn list(&self, client: &Client) -> Result<u8, CommandError> {
        let answer: Box<RawValue> = LOCKS
            .ask(client, "list")?
            .with("tenant_id", self.tenants.named()?)
            .with("all_tenants", self.tenants.all_tenants.then_some(true))
            .call()?;
        if self.json {
            return Ok(print_json(&answer));
        }
        let leases: Vec<Lease> = lease::read(&answer)?;
        if leases.is_empty() {
            eprintln!("nothing is locked");
            return Ok(DONE);
        }
        Ok(print(&table(&leases).to_string()))
    }
}

impl Info {
    fn show(&self, client: &Client) -> Result<u8, CommandError> {
        let answer: Box<RawValue> = LOCKS
            .ask(client, "info")?
            .with("config_key", Some(self.key.clone()))
            .with("tenant_id", self.common.tenant.clone())
            .call()?;
        if self.common.json {
            return Ok(print_json(&answer));
        }
        let Some(lease) = lease::read::<Option<Lease>>(&answer)? else {
            eprintln!("`{}` is not locked", self.key);
            return Ok(DONE);
        };
        Ok(print(&lease.told()))
    }
}

impl Extend {
    fn extend(&self, client: &Client) -> Result<u8, CommandError> {
        let answer: Box<RawValue> = LOCKS
            .ask(client, "extend")?
            .with("config_key", Some(self.key.clone()))
            .with("tenant_id", self.common.tenant.clone())
            .with("session", Some(self.session.clone()))
            .with("token", Some(self.token))
            .with("ttl_ms", self.ttl.map(millis))
            .call()?;
        shown(&answer, self.common.json)
    }
}

impl Release {
    fn release(&self, client: &Client) -> Result<u8, CommandError> {
        let ask = LOCKS
            .ask(client, if self.force { "force_release" } else { "release" })?
            .with("config_key", Some(self.key.clone()))
            .with("tenant_id", self.common.tenant.clone());
        let admin = acting::user(self.user.as_deref()).unwrap_or_else(|| "anonymous".to_owned());
        let ask = match self.force {
            true => ask
                .with("admin_user_id", Some(admin))
                .with("reason", self.reason.clone())
                .with("expected_token", self.token),
            false => ask.with("session", self.session.clone()).with("token", self.token),
        };
        let answer: Box<RawValue> = ask.call()?;
        if self.common.json {
            return Ok(print_json(&answer));
        }
        let Ended { user_id, depth } = lease::read(&answer)?;
        match (self.force, user_id, depth) {
            (true, user, _) if !user.is_empty() => {
                eprintln!("`{}` was taken from {}", self.key, without_control(&user));
            }
            (false, _, depth) if depth > 0 => {
                eprintln!("given back once; the session has taken `{}` {depth} times more", self.key);
            }
            _ => eprintln!("`{}` is free", self.key),
        }
        Ok(DONE)
    }
}

impl Taking {
    /// Takes the lock and leaves it to its time.
    fn acquire(&self, client: &Client, common: &Common) -> Result<u8, CommandError> {
        match self.take(client, common, &self.session())? {
            ControlFlow::Continue(answer) => shown(&answer, common.json),
            ControlFlow::Break(exit) => Ok(exit),
        }
    }

    /// Takes the lock, runs a command, and gives the lock back.
    fn hold(&self, client: &Client, common: &Common, command: &[OsString]) -> Result<u8, CommandError> {
        let (session, asked) = (self.session(), Instant::now());
        let lease: Lease = match self.take(client, common, &session)? {
            ControlFlow::Continue(answer) => lease::read(&answer)?,
            ControlFlow::Break(exit) => return Ok(exit),
        };
        Held::new(client, common.tenant.clone(), session, lease, asked)?.run(command)
    }
}

fn shown(answer: &RawValue, json: bool) -> Result<u8, CommandError> {
    if json {
        return Ok(print_json(&answer));
    }
    Ok(print(&lease::read::<Lease>(answer)?.told()))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
