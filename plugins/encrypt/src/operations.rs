//! `encrypt.status` and `encrypt.rotate`, about every component of this plugin in the process.
//!
//! Each of them offers both, for all of them.

use crate::{
    keeper::{Keeper, Kept},
    metrics::Metrics,
    standing::Standing,
};
use lockstep_plugin_api::{operations::Operations, prelude::*, schemars::JsonSchema, serde::Deserialize};
use serde::Serialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tracing::info;

/// One open component, as operators see it.
pub struct Member {
    pub pipeline: String,
    pub component: String,
    /// `encrypt` or `decrypt`.
    pub what: &'static str,
    pub standing: Standing,
    pub keeper: Arc<Keeper>,
    pub metrics: Metrics,
}

/// The open components of this process.
static MEMBERS: Mutex<Vec<Weak<Member>>> = Mutex::new(Vec::new());

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "lockstep_plugin_api::serde", deny_unknown_fields)]
#[schemars(crate = "lockstep_plugin_api::schemars")]
struct Nothing {}

/// What is answered about one component.
#[derive(Debug, Serialize)]
struct Status {
    pipeline: String,
    component: String,
    plugin: &'static str,
    standing: Standing,
    /// The key that new data keys are wrapped under.
    current: String,
    /// Every key that opens values.
    kids: Vec<String>,
    keys_read_at: String,
    /// Keys that were in the ring before: what is sealed under them does not open.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
    /// Why the keys could not be read again, if the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    values_sealed: u64,
    values_opened: u64,
    values_passed: u64,
    changes_refused: u64,
}

#[derive(Debug, Serialize)]
struct Answer {
    components: Vec<Status>,
}

impl Member {
    fn status(&self) -> Status {
        let Kept { current, kids, read_at, problem, gone } = self.keeper.kept();
        let metrics = &self.metrics;
        Status {
            pipeline: self.pipeline.clone(),
            component: self.component.clone(),
            plugin: self.what,
            standing: self.standing,
            current,
            kids,
            keys_read_at: read_at,
            gone,
            problem,
            values_sealed: metrics.sealed.get(),
            values_opened: metrics.opened.get(),
            values_passed: metrics.passed.get(),
            changes_refused: metrics.refused.get(),
        }
    }
}

/// Lets operators see the component, as long as it is there.
pub fn join(member: &Arc<Member>) {
    let mut members = lock();
    members.retain(|member| member.strong_count() > 0);
    members.push(Arc::downgrade(member));
}

/// The operations, whichever component is asked.
pub fn offered() -> Operations {
    Operations::new()
        .of_plugin()
        .add(
            "encrypt.status",
            "Tells which keys every `encrypt` and `decrypt` of this host has, and how many values they sealed and opened.",
            |_, _: Nothing| async { Ok(Answer { components: members().iter().map(|one| one.status()).collect() }) },
        )
        .only_reads()
        .add(
            "encrypt.rotate",
            "Reads the keys of every `encrypt` and `decrypt` of this host again and uses new data keys from now on; \
             answers the keys that are in force.",
            |_, _: Nothing| async {
                // A program that prints keys may take its time.
                let rotated = tokio::task::spawn_blocking(rotate).await;
                rotated.map_err(Error::failed)?
            },
        )
}

fn rotate() -> Result<Answer> {
    let members = members();
    let mut problems = Vec::new();
    for member in &members {
        let (pipeline, component) = (&member.pipeline, &member.component);
        match member.keeper.rotate() {
            Ok(()) => info!(pipeline, component, "new data keys from now on"),
            Err(problem) => problems.push(format!("{component}: {problem}")),
        }
    }
    if !problems.is_empty() {
        let message =
            format!("keys could not be read again, the last ones stay in force: {}", problems.join("; "));
        return Err(Error::rejected("unavailable", message));
    }
    Ok(Answer { components: members.iter().map(|member| member.status()).collect() })
}

fn members() -> Vec<Arc<Member>> {
    lock().iter().filter_map(Weak::upgrade).collect()
}

fn lock() -> MutexGuard<'static, Vec<Weak<Member>>> {
    MEMBERS.lock().unwrap_or_else(PoisonError::into_inner)
}
