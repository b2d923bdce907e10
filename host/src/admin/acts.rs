//! Who asked for what: every request that is to change something leaves an entry in the audit.
//!
//! Invariant: such a request is answered when its entry is on disk. The exception: if the store refuses the entry, or has
//! not taken it after three seconds, the answer goes out all the same, and the host's log has an error. No handler has to do
//! anything for that; it may say what the request is about. What became of a request is in its entry as soon as it is
//! known, whoever writes the entry and however late.

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
use std::borrow::Cow;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tracing::error;

/// How long an answer waits for the disk. A test has as long as its machine needs.
const MAX_WAIT: Duration = Duration::from_secs(if cfg!(test) { 600 } else { 3 });

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
    /// What became of it, and the code of a refusal.
    ending: (Outcome, Option<Cow<'static, str>>),
    /// The entry is in the commit of the act itself, or has been written.
    is_told: bool,
}

impl Asked {
    fn new(audit: Audit, operator: Operator, request: &Request) -> Self {
        let event_type = if *request.method() == Method::DELETE { "admin_delete" } else { "admin_request" };
        let (target, details) = (cut(request.uri().path().to_owned()), Map::new());
        let ending = (Outcome::NotKnown, None);
        let about = About { audit, operator, event_type, target, details, ending, is_told: false };
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
        let about = About { ending: (Outcome::Done, None), ..self.lock().clone() };
        let mut commit = Commit::default();
        about.audit.add_act(&mut commit, &about.act());
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

    /// What became of it is known.
    fn ends(&self, outcome: Outcome, code: Option<Cow<'static, str>>) {
        self.lock().ending = (outcome, code);
    }

    /// Writes the entry, unless there is one. If the store has no room for it, there is none yet.
    fn tell(&self, told: impl FnOnce(Result<(), StoreError>) + Send + 'static) {
        // Not held while the store is asked: it may answer on this thread, or its writer may want to say something.
        let about = {
            let mut about = self.lock();
            if mem::replace(&mut about.is_told, true) {
                drop(about);
                return told(Ok(()));
            }
            about.clone()
        };
        let asked = self.clone();
        about.audit.submit_act(&about.act(), move |result| {
            if matches!(result, Err(StoreError::Busy)) {
                asked.lock().is_told = false;
            }
            told(result);
        });
    }

    /// The same, and waits for the disk. A store that has no room for the entry is asked again.
    async fn tell_and_wait(&self) -> Result<(), StoreError> {
        loop {
            let (tell, told) = oneshot::channel();
            self.tell(|result| drop(tell.send(result)));
            match told.await.unwrap_or(Err(StoreError::Closed)) {
                Err(StoreError::Busy) => tokio::time::sleep(ASK_AGAIN).await,
                result => return result,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, About> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl About {
    fn act(&self) -> Act<'_> {
        let Self { operator: Operator { by, remote }, event_type, target, details, ending, .. } = self;
        let (outcome, code) = ending;
        Act { event_type, target, by, remote, details, outcome: *outcome, code: code.as_deref() }
    }
}

/// Leaves an entry, whatever becomes of the request: nobody may be waiting for the answer any more.
struct Pending(Asked);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.tell(complain);
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
    pending.0.ends(outcome(response.status()), code);
    match tokio::time::timeout(MAX_WAIT, pending.0.tell_and_wait()).await {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{self, AuditOptions, Filter};
    use crate::config::HostSettings;
    use crate::store::{Namespace, Store, StoreOptions};
    use axum::body::Body;
    use std::sync::mpsc;

    fn filler() -> Commit {
        Commit::default().put(Namespace::State, "filler", "")
    }

    /// Keeps the store's writer, and its queue full, until the sender is let go.
    #[expect(clippy::disallowed_methods, reason = "a test's channels hold what the test sends")]
    fn keep_busy(store: &Store) -> mpsc::Sender<()> {
        let ((entered, held), (go, hold)) = (mpsc::channel(), mpsc::channel::<()>());
        store.submit(filler(), move |_| {
            entered.send(()).expect("the test waits");
            let _ = hold.recv();
        });
        held.recv().expect("the writer is held");
        store.submit(filler(), |_| {});
        go
    }

    #[test]
    fn what_became_of_a_request_is_written_down_also_where_the_answer_did_not_wait_for_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = StoreOptions { queue_commits: 1, ..StoreOptions::default() };
        let store = Store::open(folder.path(), options).expect("a store");
        let audit =
            Audit::open(store.clone(), AuditOptions::new(&HostSettings::default())).expect("an audit");
        let operator = Operator { by: "uid 7".into(), remote: "socket, pid 8".into() };
        let request = Request::post("/v1/changes").body(Body::empty()).expect("a request");
        let pending = Pending(Asked::new(audit, operator, &request));
        let go = keep_busy(&store);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            pending.0.ends(Outcome::Refused, Some("locked".into()));
            let told = pending.0.tell_and_wait();
            assert!(tokio::time::timeout(Duration::from_millis(100), told).await.is_err(), "no room for it");
        });
        drop(go);
        store.commit(filler()).expect("there is room again");
        drop(pending);
        store.commit(filler()).expect("what was before it is written");
        let listed = audit::list(&store, &Filter::default(), 9).expect("readable").records;
        assert_eq!(listed.len(), 1);
        let entry: Value = serde_json::from_str(&listed[0].entry).expect("JSON");
        assert_eq!((&entry["outcome"], &entry["code"]), (&"refused".into(), &"locked".into()), "{entry}");
    }
}
