//! Who asked for what: every request that is to change something leaves an entry in the audit.
//!
//! Invariant: such a request is answered when its entry is on disk. The exception: if the store refuses the entry, or has
//! not taken it after three seconds, the answer goes out all the same, and the host's log has an error. No handler has to do
//! anything for that; it may say what the request is about.

use super::HostView;
use super::access::Caller;
use super::answer::Code;
use crate::audit::{Act, Audit, Operator, Outcome};
use crate::store::{Commit, StoreError};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use lockstep_plugin_api::names::MAX_KEY_BYTES;
use serde_json::{Map, Value};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tracing::error;

/// How long an answer waits for the disk.
const MAX_WAIT: Duration = Duration::from_secs(3);

/// How soon the store is asked again that had no room for an entry.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Of a list, so many items are kept: whoever asks for something is not to fill the audit with it.
const MAX_ITEMS: usize = 64;

/// Beside a response: there is nothing that could do what was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unserved;

/// What is known of a request that is to change something. Cheap to clone.
#[derive(Clone)]
pub(super) struct Asked(Arc<Mutex<About>>);

#[derive(Clone)]
struct About {
    audit: Audit,
    operator: Operator,
    event_type: &'static str,
    target: String,
    details: Map<String, Value>,
    /// The entry is in the commit of the act itself, or has been written.
    is_told: bool,
}

impl Asked {
    fn new(audit: Audit, operator: Operator, request: &Request) -> Self {
        let event_type = if *request.method() == Method::DELETE { "admin_delete" } else { "admin_request" };
        let (target, details) = (cut(request.uri().path().to_owned()), Map::new());
        let about = About { audit, operator, event_type, target, details, is_told: false };
        Self(Arc::new(Mutex::new(about)))
    }

    /// Says what is done, `admin_...`, and to what.
    pub fn is(&self, event_type: &'static str, target: impl Into<String>) {
        let mut about = self.lock();
        (about.event_type, about.target) = (event_type, cut(target.into()));
    }

    /// Says more. No value of a key: the audit shows it.
    pub fn with(&self, name: &str, value: impl Into<Value>) {
        let value = bounded(value.into());
        if !value.is_null() {
            self.lock().details.insert(name.to_owned(), value);
        }
    }

    /// Who asks.
    pub fn operator(&self) -> Operator {
        self.lock().operator.clone()
    }

    /// Does what was asked, in a commit that holds the entry; whether it was done, and nothing more has to be written.
    pub fn within<E>(&self, act: impl FnOnce(Commit) -> Result<bool, E>) -> Result<bool, E> {
        // Not held while the disk is waited for: the request's end may want to say something, on the server's one thread.
        let about = self.lock().clone();
        let mut commit = Commit::default();
        about.audit.add_act(&mut commit, &about.act(Outcome::Done, None));
        let is_done = act(commit)?;
        self.lock().is_told |= is_done;
        Ok(is_done)
    }

    /// What was asked changes nothing after all: it leaves no entry, as every request that only reads.
    pub fn only_reads(&self) {
        self.is_told();
    }

    /// What was asked has an entry of its own kind.
    pub fn is_told(&self) {
        self.lock().is_told = true;
    }

    /// Writes the entry, unless there is one.
    fn tell(
        &self,
        outcome: Outcome,
        code: Option<&str>,
        told: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        // Not held while the store is asked: it may answer on this thread, or its writer may want to say something.
        let about = {
            let mut about = self.lock();
            if mem::replace(&mut about.is_told, true) {
                drop(about);
                return told(Ok(()));
            }
            about.clone()
        };
        about.audit.submit_act(&about.act(outcome, code), told);
    }

    /// The same, and waits for the disk. A store that has no room for the entry is asked again.
    async fn tell_and_wait(&self, outcome: Outcome, code: Option<&str>) -> Result<(), StoreError> {
        loop {
            let (tell, told) = oneshot::channel();
            self.tell(outcome, code, |result| drop(tell.send(result)));
            match told.await.unwrap_or(Err(StoreError::Closed)) {
                Err(StoreError::Busy) => self.lock().is_told = false,
                result => return result,
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, About> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl About {
    fn act<'a>(&'a self, outcome: Outcome, code: Option<&'a str>) -> Act<'a> {
        let Self { operator: Operator { by, remote }, event_type, target, details, .. } = self;
        Act { event_type, target, by, remote, details, outcome, code }
    }
}

/// Leaves an entry, whatever becomes of the request: nobody may be waiting for the answer any more.
struct Pending(Asked);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.tell(Outcome::NotKnown, None, complain);
    }
}

/// Lets a request pass, and writes down what became of it.
pub(super) async fn audited(State(host): State<Arc<HostView>>, mut request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let operator = request.extensions().get::<Caller>().map(|caller| caller.operator.clone());
    let Some(operator) = operator.filter(|_| !is_read) else {
        return next.run(request).await;
    };
    let asked = Asked::new(host.audit.clone(), operator, &request);
    request.extensions_mut().insert(asked.clone());
    let pending = Pending(asked);
    let response = next.run(request).await;
    if response.extensions().get::<Unserved>().is_some() {
        pending.0.is_told();
    }
    let code = response.extensions().get::<Code>().map(|code| code.0.clone());
    let told = pending.0.tell_and_wait(outcome(response.status()), code.as_deref());
    match tokio::time::timeout(MAX_WAIT, told).await {
        Ok(result) => complain(result),
        Err(_) => error!("an answer goes out before its entry in the audit is on disk"),
    }
    response
}

/// As much of a name as a name may have: who asks may write anything.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_KEY_BYTES));
    text
}

fn bounded(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(cut(text)),
        Value::Array(items) => items.into_iter().take(MAX_ITEMS).map(bounded).collect(),
        other => other,
    }
}

fn outcome(status: StatusCode) -> Outcome {
    match status {
        StatusCode::ACCEPTED => Outcome::Begun,
        status if status.is_success() => Outcome::Done,
        status if status.is_client_error() => Outcome::Refused,
        _ => Outcome::Failed,
    }
}

fn complain(written: Result<(), StoreError>) {
    if let Err(error) = written {
        error!(%error, "what an operator did is not in the audit");
    }
}
