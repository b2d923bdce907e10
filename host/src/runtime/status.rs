//! What an operator can see of a running pipeline: states, last errors, positions.
//!
//! Written by the tasks when something changes, read by the admin server; never on the way of a record.

use crate::log::Gap;
use jiff::Timestamp;
use lockstep_plugin_api::{Error, ErrorKind};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What a pipeline is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PipelineState {
    /// Opening its components.
    Starting,
    Running,
    /// Finishing what is in flight before it ends.
    Draining,
    /// It failed and waits before it is started again.
    Restarting,
    /// It failed and will not be started again.
    Failed,
    /// Every source came to its end and everything is written.
    Finished,
    /// The host was told to stop.
    Stopped,
}

impl PipelineState {
    /// Whether nothing will happen any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Failed | Self::Finished | Self::Stopped)
    }
}

/// What a component is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ComponentState {
    Starting,
    Running,
    /// Its endpoint is away: the breaker is open.
    NotConnected,
    Failed,
    /// A sink behind the log that failed and waits before it is started again.
    Restarting,
    /// A call did not come back within the watchdog's time.
    Hung,
    Finished,
}

/// An error as an operator sees it.
#[derive(Debug, Clone, Serialize)]
pub struct SeenError {
    pub kind: &'static str,
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Which call failed: `new`, `poll`, `apply`, `put`, `acked`, `flush`, `drop`.
    pub call: &'static str,
    pub at: Timestamp,
}

impl SeenError {
    /// What a panic says is shown here and not logged: it may quote a value.
    pub fn new(call: &'static str, error: &Error) -> Self {
        let (message, detail) = match error.detail().split_once('\n') {
            Some((text, backtrace)) if error.kind() == ErrorKind::PANIC => {
                (format!("{}: {text}", error.message()), backtrace.to_owned())
            }
            None if error.kind() == ErrorKind::CONFIG && !error.detail().is_empty() => {
                (format!("at `config.{}`: {}", error.detail(), error.message()), String::new())
            }
            _ => (error.message().to_owned(), error.detail().to_owned()),
        };
        Self { kind: error.kind().name(), message, detail, call, at: Timestamp::now() }
    }
}

/// One component as the admin server shows it.
#[derive(Debug, Clone, Serialize)]
pub struct ComponentStatus {
    pub name: String,
    pub kind: &'static str,
    pub plugin: String,
    pub version: String,
    pub state: ComponentState,
    /// The place it reads or writes, as it says itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// A source that still reads what was there before it started.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_catching_up: bool,
    /// Since when the endpoint has been away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_connected_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<SeenError>,
    /// How often it was started again while its pipeline ran on: of sinks behind the log.
    #[serde(skip_serializing_if = "is_zero")]
    pub restarts: u64,
    /// Committed positions by lane, as the source wrote them: text if it is text, hexadecimal if not.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub positions: BTreeMap<u32, String>,
    /// Of sinks behind the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryStatus>,
}

impl ComponentStatus {
    pub fn new(name: &str, kind: &'static str, plugin: &str, version: &str, state: ComponentState) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            plugin: plugin.to_owned(),
            version: version.to_owned(),
            state,
            endpoint: None,
            is_catching_up: false,
            not_connected_since: None,
            last_error: None,
            restarts: 0,
            positions: BTreeMap::new(),
            delivery: None,
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How far a sink has come in the log.
#[derive(Debug, Clone, Serialize)]
pub struct DeliveryStatus {
    /// It has written everything up to this revision.
    pub revision: u64,
    /// How many revisions it is behind the log.
    pub lag: u64,
    /// Since when it has been behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind_since: Option<Timestamp>,
    /// The last time that history did not reach back to the sink's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<SeenGap>,
}

/// A part of history that a sink was given as the current state of every key.
#[derive(Debug, Clone, Serialize)]
pub struct SeenGap {
    pub after: u64,
    pub compacted: u64,
    pub at: Timestamp,
}

/// A pipeline as the admin server shows it.
#[derive(Debug, Clone, Serialize)]
pub struct PipelineStatus {
    pub name: String,
    pub file: String,
    pub state: PipelineState,
    pub since: Timestamp,
    pub restarts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<PipelineError>,
    pub in_flight_records: usize,
    pub in_flight_bytes: u64,
    /// Sources, then transforms (those of a source's or sink's own chain beside it), then sinks; of a pipeline through the
    /// log, the host's own source after all of them.
    pub components: Vec<ComponentStatus>,
}

/// Why a pipeline failed, and where.
#[derive(Debug, Clone, Serialize)]
pub struct PipelineError {
    pub component: String,
    #[serde(flatten)]
    pub error: SeenError,
}

/// The status of one pipeline, shared between its tasks and whoever looks.
#[derive(Debug, Clone)]
pub struct StatusBoard(Arc<Mutex<PipelineStatus>>);

impl StatusBoard {
    pub fn new(name: &str, file: String, components: Vec<ComponentStatus>) -> Self {
        Self(Arc::new(Mutex::new(PipelineStatus {
            name: name.to_owned(),
            file,
            state: PipelineState::Starting,
            since: Timestamp::now(),
            restarts: 0,
            last_error: None,
            in_flight_records: 0,
            in_flight_bytes: 0,
            components,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, PipelineStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn snapshot(&self) -> PipelineStatus {
        self.lock().clone()
    }

    pub fn state(&self) -> PipelineState {
        self.lock().state
    }

    pub fn set_state(&self, state: PipelineState) {
        let mut status = self.lock();
        if status.state != state {
            (status.state, status.since) = (state, Timestamp::now());
        }
    }

    /// The pipeline failed; every component starts from the beginning next time.
    pub fn set_failed(&self, component: &str, error: SeenError, state: PipelineState) {
        let mut status = self.lock();
        (status.state, status.since) = (state, Timestamp::now());
        if state == PipelineState::Restarting {
            status.restarts += 1;
        }
        status.last_error = Some(PipelineError { component: component.to_owned(), error });
    }

    pub fn set_component(&self, index: usize, state: ComponentState) {
        let mut status = self.lock();
        let component = &mut status.components[index];
        component.state = state;
        component.not_connected_since =
            component.not_connected_since.filter(|_| state == ComponentState::NotConnected);
        if state == ComponentState::NotConnected {
            component.not_connected_since.get_or_insert_with(Timestamp::now);
        }
    }

    pub fn set_component_error(&self, index: usize, state: ComponentState, error: SeenError) {
        self.set_component(index, state);
        self.lock().components[index].last_error = Some(error);
    }

    pub fn set_endpoint(&self, index: usize, name: &str) {
        self.lock().components[index].endpoint = Some(name.to_owned());
    }

    /// Whether a source still reads what was there before it started.
    pub fn set_catching_up(&self, index: usize, is_catching_up: bool) {
        self.lock().components[index].is_catching_up = is_catching_up;
    }

    /// A component failed and is started again in a moment.
    pub fn set_restarting(&self, index: usize) {
        self.set_component(index, ComponentState::Restarting);
        self.lock().components[index].restarts += 1;
    }

    /// A record failed at the component, which goes on.
    pub fn note_error(&self, index: usize, error: SeenError) {
        self.lock().components[index].last_error = Some(error);
    }

    /// How far a sink has come in the log, and how far it is behind.
    pub fn set_delivery(&self, index: usize, revision: u64, lag: u64) {
        let mut status = self.lock();
        let delivery = &mut status.components[index].delivery;
        let delivery =
            delivery.get_or_insert(DeliveryStatus { revision, lag, behind_since: None, gap: None });
        (delivery.revision, delivery.lag) = (revision, lag);
        delivery.behind_since = (lag > 0).then(|| delivery.behind_since.unwrap_or_else(Timestamp::now));
    }

    /// History did not reach back to a sink's place.
    pub fn set_gap(&self, index: usize, gap: Gap) {
        let Gap { after, compacted } = gap;
        self.set_delivery(index, after, 0);
        if let Some(delivery) = &mut self.lock().components[index].delivery {
            delivery.gap = Some(SeenGap { after, compacted, at: Timestamp::now() });
        }
    }

    pub fn set_position(&self, index: usize, lane: u32, position: &[u8]) {
        let shown = match std::str::from_utf8(position) {
            Ok(text) if text.chars().all(|c| !c.is_control()) => text.to_owned(),
            _ => position.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        self.lock().components[index].positions.insert(lane, shown);
    }
}
