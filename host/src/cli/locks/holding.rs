//! A lock that is held while a command runs: extended in time, given back at the end, and lost only with the command.
//!
//! The command runs no longer than the lease: when it cannot be extended any more, the command and everything in its process
//! group is told to end before somebody else can have the lock for long, and the exit code says so. The lock is given back
//! when nobody of the group is left.

use super::super::FAILED;
use super::super::acting;
use super::super::ask::{AGAIN, is_later};
use super::super::live::CommandError;
use super::super::output::complain;
use super::LOCKS;
use super::group::{Group, LOOK};
use super::lease::Lease;
use super::signals::{ENDS, Signals};
use super::term::{Extended, Over, Term};
use crate::admin::{Client, ClientError};
use serde::de::IgnoredAny;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long a command that is told to end may take.
const GRACE: Duration = Duration::from_secs(5);

/// How long what a command leaves behind may go on before that is said.
const UNSAID: Duration = Duration::from_secs(1);

/// As shells have it: a command that is not there, and one that is and cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUNNABLE: u8 = 126;

/// A lock and its holder.
#[derive(Clone)]
pub(super) struct Held {
    client: Client,
    tenant: Option<String>,
    session: String,
    token: u64,
    lease: Lease,
    /// When the host was asked for the time that the lease has: it lasts no shorter than from then on.
    asked: Instant,
}

/// How a command under a lock ended.
struct Done {
    exit: u8,
    /// Whether the lock may still be held, and is to be given back.
    is_held: bool,
}

impl Held {
    /// A lease that was asked for at this instant, and granted some time since then.
    ///
    /// # Errors
    /// If it has no token, by which it could be kept.
    pub fn new(
        client: &Client,
        tenant: Option<String>,
        session: String,
        lease: Lease,
        asked: Instant,
    ) -> Result<Self, CommandError> {
        let token = lease.token.ok_or_else(|| {
            CommandError::Failed("the host answered with a lease that has no token".to_owned())
        })?;
        Ok(Self { client: client.clone(), tenant, session, token, lease, asked })
    }

    /// Runs the command and gives the lock back, whatever becomes of the command.
    pub fn run(mut self, command: &[OsString]) -> Result<u8, CommandError> {
        self.make_sure()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let done = match runtime {
            Ok(runtime) => {
                let done = runtime.block_on(self.run_and_extend(command));
                runtime.shutdown_background();
                done
            }
            Err(error) => Err(CommandError::Failed(format!("signals cannot be received: {error}"))),
        };
        let released = match &done {
            Ok(Done { is_held: false, .. }) => Ok(()),
            _ => self.release(),
        };
        if let (Ok(_), Err(error)) = (&done, released) {
            // The lease ends by itself.
            eprintln!("`{}` could not be given back: {error}", self.lease.config_key);
        }
        done.map(|done| done.exit)
    }

    /// Whoever had to wait, or was stopped meanwhile, does not know since when it has the lock, nor whether it still has.
    fn make_sure(&mut self) -> Result<(), CommandError> {
        if self.asked.elapsed() < self.lease.heartbeat() {
            return Ok(());
        }
        let (key, asked) = (&self.lease.config_key, Instant::now());
        match self.extend() {
            Extended::Yes => self.asked = asked,
            Extended::Lost(why) => {
                return Err(CommandError::Failed(format!(
                    "the lock of `{key}` is lost: {why}; the command was not run"
                )));
            }
            Extended::Unanswered => {
                return Err(CommandError::Failed(format!(
                    "whether the lock of `{key}` is held is not known, for the host does not answer; the command was not run"
                )));
            }
        }
        Ok(())
    }

    async fn run_and_extend(&self, command: &[OsString]) -> Result<Done, CommandError> {
        let failed =
            |error: std::io::Error| CommandError::Failed(format!("signals cannot be received: {error}"));
        let mut signals = Signals::of(ENDS.into_iter().chain([libc::SIGTSTP])).map_err(failed)?;
        let mut group = match self.start(command) {
            Ok(group) => group,
            Err(exit) => return Ok(Done { exit, is_held: true }),
        };
        let held = self.clone();
        let mut term = Term::new(&self.lease, self.asked, move || held.extend());
        let mut left_alone = None;
        loop {
            let stopped_by = group.look();
            if let Some(status) = group.ended() {
                return Ok(Done { exit: exit_code(status), is_held: true });
            }
            if group.status().is_some() {
                self.tell_left(left_alone.get_or_insert_with(|| Some(Instant::now())));
            }
            let kept = match stopped_by {
                Some(signal) if is_of_terminal(signal) => sleep_along(&mut group, signal, &mut term).await,
                _ => term.keep().await,
            };
            if let Err(over) = kept {
                return Ok(self.give_up(group, over).await);
            }
            tokio::select! {
                signal = signals.next() => group.tell(signal),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Says once that the command is not all there is, if that lasts.
    fn tell_left(&self, since: &mut Option<Instant>) {
        if since.take_if(|since| since.elapsed() >= UNSAID).is_some() {
            eprintln!(
                "the command has ended, and not what it has started: the lock of `{}` is kept until that has",
                self.lease.config_key
            );
        }
    }

    /// Starts the command; gives how to exit if it cannot be run.
    fn start(&self, command: &[OsString]) -> Result<Group, u8> {
        let (program, arguments) = command.split_first().expect("the command line asks for a command");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("LOCKSTEP_LOCK_KEY", &self.lease.config_key)
            .env("LOCKSTEP_LOCK_SESSION", &self.session)
            .env("LOCKSTEP_LOCK_TOKEN", self.token.to_string())
            .env(acting::VARIABLE, &self.lease.user_id);
        if let Some(tenant) = &self.tenant {
            command.env("LOCKSTEP_TENANT", tenant);
        }
        Group::start(&mut command).map_err(|error| {
            complain(&CommandError::Failed(format!("{} cannot be run: {error}", program.display())));
            if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE }
        })
    }

    fn extend(&self) -> Extended {
        let extended = LOCKS.ask(&self.client, "extend").and_then(|ask| {
            ask.with("config_key", Some(self.lease.config_key.clone()))
                .with("tenant_id", self.tenant.clone())
                .with("session", Some(self.session.clone()))
                .with("token", Some(self.token))
                .call::<IgnoredAny>()
        });
        match extended {
            Ok(_) => Extended::Yes,
            Err(error) if is_later(&error) => Extended::Unanswered,
            Err(CommandError::Client(ClientError::Refused { message, .. })) => Extended::Lost(message),
            Err(_) => Extended::Unanswered,
        }
    }

    /// Gives the lock back; a host that cannot at present is asked again, and does it once.
    fn release(&self) -> Result<(), CommandError> {
        let (request, started) = (Uuid::new_v4().to_string(), Instant::now());
        loop {
            let ask = LOCKS.ask(&self.client, "release")?;
            let released = ask
                .with("config_key", Some(self.lease.config_key.clone()))
                .with("tenant_id", self.tenant.clone())
                .with("session", Some(self.session.clone()))
                .with("token", Some(self.token))
                .with("request_id", Some(request.clone()))
                .call::<IgnoredAny>();
            match released {
                Err(error) if is_later(&error) && started.elapsed() < GRACE => std::thread::sleep(AGAIN),
                // Nobody holds it under this token: that is what was to be.
                Err(CommandError::Client(ClientError::Refused { code, .. })) if code == "not_found" => {
                    return Ok(());
                }
                released => return released.map(drop),
            }
        }
    }

    /// Ends a command that has no lock any more.
    async fn give_up(&self, mut group: Group, over: Over) -> Done {
        let (why, is_held) = match &over {
            Over::Said(why) => (why.as_str(), false),
            Over::Late(why) => (*why, true),
        };
        eprintln!("the lock of `{}` is lost: {why}; the command is ended", self.lease.config_key);
        group.tell(libc::SIGTERM);
        // Who is stopped hears of it as well.
        group.tell(libc::SIGCONT);
        if !group.ends_within(GRACE).await {
            group.tell(libc::SIGKILL);
            if !group.ends_within(GRACE).await {
                eprintln!("somebody of process group {} is still there and cannot be ended", group.id());
            }
        }
        Done { exit: FAILED, is_held }
    }
}

/// Whether it is the terminal that stops processes so, and not somebody who has reasons of their own.
fn is_of_terminal(signal: i32) -> bool {
    matches!(signal, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU)
}

/// Goes to sleep with a command that was stopped, for nobody extends the lease then; and wakes it only if the lease lasts.
/// One that only wants to read gets the terminal.
async fn sleep_along<E>(group: &mut Group, stopped_by: i32, term: &mut Term<E>) -> Result<(), Over>
where
    E: FnOnce() -> Extended + Clone + Send + 'static,
{
    if group.has_the_terminal_after(stopped_by) {
        return Ok(());
    }
    group.sleep_along(stopped_by);
    term.renew().await?;
    group.wake();
    Ok(())
}

/// As a shell has it: a signal is 128 and its number.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_the_commands_own() {
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(libc::SIGTERM)), 143);
    }
}
