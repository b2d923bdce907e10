//! `GET /v1/watch`: the log as JSON lines, in an answer that stays open.
//!
//! Each watcher reads the log at its own pace on a thread of its own, so a slow one costs a place in the log and a few
//! pages of memory. The answer ends when the server does, or when its reader is gone.

mod follow;
mod line;
#[cfg(test)]
mod tests;

use super::HostView;
use super::answer::Refusal;
use super::log_view::check_tenant;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use follow::Watcher;
use futures_util::stream;
use lockstep_plugin_api::glob::Glob;
use std::convert::Infallible;
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tracing::warn;

/// Watchers at once, on both ways in together: each has a thread.
const MAX_WATCHERS: usize = 32;

/// The most patterns of one watcher.
const MAX_PATTERNS: usize = 256;

/// Pages that are read and not yet sent.
const MAX_PAGES: usize = 2;

/// How long to wait for something new before looking whether anybody still listens.
const LOOK: Duration = Duration::from_millis(200);

/// After so long without a change, the reader is told how far it has come.
const BOOKMARK: Duration = Duration::from_secs(10);

/// What all watchers share. Cheap to clone.
#[derive(Clone)]
pub(super) struct Watchers {
    slots: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

/// What a watcher wants to see.
#[derive(Debug, Default)]
struct Asked {
    /// None is everything.
    patterns: Vec<Glob>,
    tenant: Option<String>,
    since: Option<Since>,
    snapshot: bool,
}

/// The last place that the watcher has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Since {
    /// None is the log of this host.
    epoch: Option<String>,
    revision: u64,
}

impl Watchers {
    pub fn new(stopped: watch::Receiver<bool>) -> Self {
        Self { slots: Arc::new(Semaphore::new(MAX_WATCHERS)), stopped }
    }
}

pub(super) async fn lines(
    State(host): State<Arc<HostView>>,
    Extension(watchers): Extension<Watchers>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(parts) = query.map_err(|rejection| Refusal::bad_message(rejection.body_text()))?;
    let asked = Asked::read(parts)?;
    let slot = Arc::clone(&watchers.slots).try_acquire_owned();
    let slot =
        slot.map_err(|_| Refusal::unavailable(format!("{MAX_WATCHERS} watchers are served at once")))?;
    let (pages, sent) = mpsc::channel(MAX_PAGES);
    let watcher = Watcher::new(host.log.log.clone(), asked);
    Builder::new()
        .name("admin-watch".to_owned())
        .spawn(move || serve(watcher, &pages, &watchers.stopped, slot))
        .map_err(|error| Refusal::unavailable(format!("no thread can be started: {error}")))?;
    let next = |mut sent: mpsc::Receiver<Bytes>| async move {
        sent.recv().await.map(|page| (Ok::<_, Infallible>(page), sent))
    };
    let headers = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(stream::unfold(sent, next))).into_response())
}

/// Sends pages until the server ends or nobody listens. A reader that does not read stops this thread here.
fn serve(
    mut watcher: Watcher,
    pages: &mpsc::Sender<Bytes>,
    stopped: &watch::Receiver<bool>,
    _slot: OwnedSemaphorePermit,
) {
    let mut last_sent = Instant::now();
    while !pages.is_closed() {
        let is_last = *stopped.borrow();
        let page = match watcher.next_page() {
            Ok(page) => page,
            Err(error) => return warn!(%error, "a watcher is sent away: the log cannot be read"),
        };
        let is_due = page.is_empty() && (is_last || last_sent.elapsed() >= BOOKMARK);
        let page = if is_due { watcher.bookmark() } else { page };
        if !page.is_empty() {
            last_sent = Instant::now();
            if pages.blocking_send(Bytes::from(page)).is_err() {
                return;
            }
        } else {
            watcher.wait(LOOK);
        }
        if is_last && watcher.is_at_end() {
            return;
        }
    }
}

impl Asked {
    fn read(parts: Vec<(String, String)>) -> Result<Self, Refusal> {
        let mut asked = Self::default();
        for (name, value) in parts {
            match name.as_str() {
                "pattern" => asked.patterns.push(Glob::new(&value).map_err(|error| {
                    Refusal::of_code("bad_pattern", format!("`{value}` is not a pattern: {error}"))
                })?),
                "tenant" => asked.tenant = Some(value),
                "since" => asked.since = Some(Since::read(&value)?),
                "snapshot" => asked.snapshot = is_yes(&value)?,
                _ => return Err(Refusal::bad_message(format!("`{name}` is not known here"))),
            }
        }
        check_tenant(asked.tenant.as_deref())?;
        match (asked.patterns.len(), asked.snapshot && asked.since.is_some()) {
            (_, true) => Err(Refusal::bad_message("`snapshot` begins with everything and `since` does not")),
            (n, _) if n > MAX_PATTERNS => {
                Err(Refusal::of_code("too_large", format!("there are more than {MAX_PATTERNS} patterns")))
            }
            _ => Ok(asked),
        }
    }
}

impl Since {
    fn read(text: &str) -> Result<Self, Refusal> {
        let (epoch, revision) = match text.rsplit_once(':') {
            Some((epoch, revision)) => (Some(epoch.to_owned()), revision),
            None => (None, text),
        };
        let bad = |_| Refusal::bad_message("`since` is REVISION or EPOCH:REVISION");
        Ok(Self { epoch, revision: revision.parse().map_err(bad)? })
    }
}

fn is_yes(text: &str) -> Result<bool, Refusal> {
    match text {
        "" | "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Refusal::bad_message("`snapshot` is true or false")),
    }
}
