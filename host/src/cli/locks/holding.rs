//! A lock that is held while a command runs: extended in time, given back at the end, and lost only with the command.
//!
//! The command runs no longer than the lease: when it cannot be extended any more, the command is told to end before
//! somebody else can have the lock for long, and the exit code says so.

use super::super::FAILED;
use super::super::ask::{AGAIN, is_later};
use super::super::live::CommandError;
use super::LOCKS;
use super::lease::Lease;
use crate::admin::{Client, ClientError};
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// How often to look whether the command has ended.
const LOOK: Duration = Duration::from_millis(20);

/// The last part of a lease's time in which no command runs under it: one in so many.
const MARGIN: u32 = 10;

/// How long a command that is told to end may take.
const GRACE: Duration = Duration::from_secs(5);

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

/// What came of asking for more time.
enum Extended {
    Yes,
    /// Somebody else may have the lock now.
    Lost(String),
    /// The host did not answer; the lease has still some time.
    Unanswered,
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
        let key = &self.lease.config_key;
        match (done, self.release()) {
            (Ok(exit), Ok(())) => Ok(exit),
            // The lease ends by itself.
            (Ok(exit), Err(error)) => {
                eprintln!("`{key}` could not be given back: {error}");
                Ok(exit)
            }
            (Err(error), _) => Err(error),
        }
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

    async fn run_and_extend(&self, command: &[OsString]) -> Result<u8, CommandError> {
        let failed =
            |error: std::io::Error| CommandError::Failed(format!("signals cannot be received: {error}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut child = self.start(command)?;
        let (mut granted, mut asked) = (self.asked, self.asked);
        let mut extending: Option<JoinHandle<Extended>> = None;
        loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                return Ok(exit_code(status));
            }
            tokio::select! {
                _ = terminate.recv() => tell(&child, libc::SIGTERM),
                _ = interrupt.recv() => tell(&child, libc::SIGINT),
                () = tokio::time::sleep(LOOK) => {}
            }
            if asked.elapsed() >= self.lease.heartbeat() && extending.is_none() {
                asked = Instant::now();
                let held = self.clone();
                extending = Some(tokio::task::spawn_blocking(move || held.extend()));
            }
            if let Some(done) = extending.take_if(|extending| extending.is_finished()) {
                match done.await.unwrap_or(Extended::Unanswered) {
                    // From before the host was asked: then it lasts no shorter than that.
                    Extended::Yes => granted = asked,
                    Extended::Lost(why) => return self.give_up(child, &why).await,
                    Extended::Unanswered => {}
                }
            }
            if granted.elapsed() >= self.lease.ttl() - self.lease.ttl() / MARGIN {
                return self.give_up(child, "the host could not be asked for more time").await;
            }
        }
    }

    fn start(&self, command: &[OsString]) -> Result<Child, CommandError> {
        let (program, arguments) = command.split_first().expect("the command line asks for a command");
        let mut command = Command::new(program);
        command.args(arguments).env("LOCKSTEP_LOCK_KEY", &self.lease.config_key);
        command
            .env("LOCKSTEP_LOCK_SESSION", &self.session)
            .env("LOCKSTEP_LOCK_TOKEN", self.token.to_string());
        if let Some(tenant) = &self.tenant {
            command.env("LOCKSTEP_TENANT", tenant);
        }
        let not_run = |error| CommandError::Failed(format!("{} cannot be run: {error}", program.display()));
        command.spawn().map_err(not_run)
    }

    fn extend(&self) -> Extended {
        let extended = LOCKS.ask(&self.client, "extend").and_then(|ask| {
            ask.with("config_key", Some(self.lease.config_key.clone()))
                .with("tenant_id", self.tenant.clone())
                .with("session", Some(self.session.clone()))
                .with("token", Some(self.token))
                .call()
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
                .call();
            match released {
                Err(error) if is_later(&error) && started.elapsed() < GRACE => std::thread::sleep(AGAIN),
                released => return released.map(drop),
            }
        }
    }

    /// Ends a command that has no lock any more.
    async fn give_up(&self, mut child: Child, why: &str) -> Result<u8, CommandError> {
        eprintln!("the lock of `{}` is lost: {why}; the command is ended", self.lease.config_key);
        tell(&child, libc::SIGTERM);
        let until = Instant::now() + GRACE;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() >= until {
                let _ = child.kill().and_then(|()| child.wait());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(FAILED)
    }
}

/// Sends a signal to a command that was not waited for yet.
fn tell(child: &Child, signal: i32) {
    if let Ok(id) = i32::try_from(child.id()) {
        // SAFETY: a plain system call; the child was not waited for, so the id is still its own.
        unsafe { libc::kill(id, signal) };
    }
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
