//! What the host and its plugins tell: log lines to stderr, metrics to whoever scrapes them.
//!
//! Values of changes and secrets are never logged; keys may be.

mod subscriber;
mod logs;
mod metrics;
mod guide_metrics;
mod component_host;

pub use component_host::{component_host, feed};
pub use guide_metrics::{Cell, Document, Event, GuideMetrics};
pub use logs::log_host;
pub use metrics::{Counter, Gauge, Histogram, Metrics, Scope, Values};
pub use subscriber::{Telemetry, TelemetryError, start};
