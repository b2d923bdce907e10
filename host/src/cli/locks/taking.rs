//! Taking a lock, which may mean to wait for it.
//!
//! Whoever is told to end while it waits leaves the line first: otherwise its turn would come, and the lock would belong to
//! nobody for as long as the lease lasts.

use super::super::acting;
use super::super::ask::{AGAIN, is_later};
use super::super::live::CommandError;
use super::LOCKS;
use super::signals::{ENDS, Signals};
use super::{Common, Taking, millis};
use crate::admin::Client;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::ops::ControlFlow;
use std::time::Instant;
use uuid::Uuid;

impl Taking {
    /// Takes the lock for a session; breaks with the exit code if a signal came first.
    pub(super) fn take(
        &self,
        client: &Client,
        common: &Common,
        session: &str,
    ) -> Result<ControlFlow<u8, Box<RawValue>>, CommandError> {
        let failed =
            |error: std::io::Error| CommandError::Failed(format!("signals cannot be received: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (taking, tenant, asking) = (self.clone(), common.tenant.clone(), client.clone());
        let owned = session.to_owned();
        let taken = runtime.block_on(async {
            let mut signals = Signals::of(ENDS).map_err(failed)?;
            let ask = tokio::task::spawn_blocking(move || taking.ask(&asking, tenant, &owned));
            tokio::select! {
                // Where both have come, the lock is given back and the command not begun.
                biased;
                signal = signals.next() => Ok(ControlFlow::Break(exit_of(signal))),
                answer = ask => answer.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())).map(ControlFlow::Continue),
            }
        });
        runtime.shutdown_background();
        if let Ok(ControlFlow::Break(_)) = taken {
            self.leave(client, session);
        }
        taken
    }

    fn ask(
        &self,
        client: &Client,
        tenant: Option<String>,
        session: &str,
    ) -> Result<Box<RawValue>, CommandError> {
        let metadata: Option<Box<RawValue>> = self
            .metadata
            .as_deref()
            .map(serde_json::from_str)
            .transpose()
            .map_err(|_| CommandError::BadArgument("--metadata takes a JSON object".to_owned()))?;
        // A repeat has the same name, so that the lock is taken once.
        let (request, started) = (Uuid::new_v4().to_string(), Instant::now());
        loop {
            let wait = self.wait.map(|wait| wait.saturating_sub(started.elapsed()));
            let taken = LOCKS
                .ask(client, "acquire")?
                .with("config_key", Some(self.key.clone()))
                .with("tenant_id", tenant.clone())
                .with("user_id", acting::user(self.user.as_deref()))
                .with("session", Some(session.to_owned()))
                .with("ttl_ms", self.ttl.map(millis))
                .with("wait_ms", wait.map(millis))
                .with("metadata", metadata.clone())
                .with("request_id", Some(request.clone()))
                .call();
            match taken {
                Err(error) if is_later(&error) && wait.is_some_and(|wait| !wait.is_zero()) => {
                    std::thread::sleep(AGAIN);
                }
                taken => return taken,
            }
        }
    }

    /// Ends a session that was made for this alone. One that was given may hold other locks, and is its owner's to end.
    fn leave(&self, client: &Client, session: &str) {
        if self.session.is_some() {
            return;
        }
        let left = LOCKS
            .ask(client, "session_closed")
            .and_then(|ask| ask.with("session", Some(session.to_owned())).call::<IgnoredAny>());
        if let Err(error) = left {
            eprintln!("the lock of `{}` may still be granted to session {session}: {error}", self.key);
        }
    }

    pub(super) fn session(&self) -> String {
        self.session.clone().unwrap_or_else(|| format!("cli-{}", Uuid::new_v4()))
    }
}

/// How to exit after a signal, as a shell has it.
fn exit_of(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(super::super::FAILED)
}
