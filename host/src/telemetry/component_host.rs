//! What a component of a direct pipeline may ask of its host: metrics, and a clear answer to everything else.

use super::guide_metrics::Cell;
use super::metrics::{Counter, Gauge, Scope};
use lockstep_plugin_api::{
    Bytes, Error, Record,
    abi::{
        types::{RArc, RErr, ROption, RSlice, RStr, RVec, TD_Opaque},
        vtable::{
            Answer, CompletionBox, ComponentHost, ComponentHost_TO, ComponentHostBox, CounterCell,
            EntryAtParts, GaugeCell, HistogramCell, LogParts, ReplayedParts, StateCommitParts,
            StateCommitted, StateEntry,
        },
    },
};

/// The host as one component of a direct pipeline sees it; its metrics carry the scope's labels.
pub fn component_host(scope: Scope) -> ComponentHostBox {
    ComponentHost_TO::from_ptr(RArc::new(DirectHost { scope }), TD_Opaque)
}

#[derive(Clone)]
struct DirectHost {
    scope: Scope,
}

/// A direct pipeline moves records and remembers nothing but positions.
fn needs_the_log<T>(what: &str) -> Answer<T> {
    RErr(Error::unsupported(format!(
        "{what} needs a pipeline through the log, and this one is direct: end its `transforms` with a component that \
         commits"
    )))
}

impl ComponentHost for DirectHost {
    fn counter(&self, name: RStr<'_>) -> RArc<CounterCell> {
        plugin_counter(&self.scope, &name).cell()
    }

    fn gauge(&self, name: RStr<'_>) -> RArc<GaugeCell> {
        plugin_gauge(&self.scope, &name).cell()
    }

    fn histogram(&self, name: RStr<'_>) -> RArc<HistogramCell> {
        self.scope.histogram(&format!("lockstep_plugin_{}_seconds", stem(&name, "_seconds"))).cell()
    }

    fn state_get(&self, _: RStr<'_>, _: RSlice<'_, u8>) -> Answer<ROption<Bytes>> {
        needs_the_log("state")
    }

    fn state_scan(
        &self,
        _: RStr<'_>,
        _: RSlice<'_, u8>,
        _: ROption<RSlice<'_, u8>>,
        _: u32,
    ) -> Answer<RVec<StateEntry>> {
        needs_the_log("state")
    }

    fn state_stage(&self, _: RStr<'_>, _: RSlice<'_, u8>, _: ROption<Bytes>) -> Answer<()> {
        needs_the_log("state")
    }

    fn state_commit(&self, _: RStr<'_>, _: StateCommitParts) -> Answer<StateCommitted> {
        needs_the_log("state")
    }

    fn publish(&self, _: Record) -> Answer<()> {
        needs_the_log("publishing a notice")
    }

    fn audit(&self, _: RStr<'_>) -> Answer<()> {
        needs_the_log("the audit")
    }

    fn log(&self) -> Answer<LogParts> {
        needs_the_log("revisions")
    }

    fn entry_at(&self, _: ROption<RStr<'_>>, _: RStr<'_>, _: u64) -> Answer<EntryAtParts> {
        needs_the_log("history")
    }

    fn replay(&self, _: u64, _: bool, _: u32) -> Answer<ReplayedParts> {
        needs_the_log("replay")
    }

    fn call(&self, operation: RStr<'_>, _: RStr<'_>, done: CompletionBox) {
        done.done(RErr(Error::unsupported(format!("no loaded plugin offers the operation `{operation}`"))));
    }

    fn submit(&self, _: Record, done: CompletionBox) {
        done.done(needs_the_log("making a change"));
    }

    // Nothing that a direct pipeline reads is its own: where it came from does not matter.
    fn endpoint(&self, _: RStr<'_>) {}

    fn feeds(&self, metric: RStr<'_>, cell: RStr<'_>) {
        feed(&self.scope, &metric, &cell);
    }
}

fn plugin_counter(scope: &Scope, name: &str) -> Counter {
    scope.counter(&format!("lockstep_plugin_{}_total", stem(name, "_total")))
}

fn plugin_gauge(scope: &Scope, name: &str) -> Gauge {
    scope.gauge(&format!("lockstep_plugin_{name}"))
}

/// From now on, a component's metric fills a cell of the guide's metrics document: a gauge what is, a counter the rest.
pub fn feed(scope: &Scope, metric: &str, cell: &str) {
    match Cell::named(cell) {
        Some(cell) if cell.is_gauge() => scope.guide().feed_gauge(cell, plugin_gauge(scope, metric)),
        Some(cell) => scope.guide().feed_counter(cell, plugin_counter(scope, metric)),
        None => tracing::warn!(metric, cell, "the metrics document has no such cell, nothing feeds it"),
    }
}

/// The name without an ending that is added anyway.
fn stem<'a>(name: &'a str, ending: &str) -> &'a str {
    name.strip_suffix(ending).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;
    use lockstep_plugin_api::ErrorKind;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_plugins_metrics_are_named_as_its_documentation_says() {
        let metrics = Metrics::new();
        let host = component_host(metrics.scope(&[("component", "t1")]));
        host.counter(RStr::from_str("masked_fields")).value.fetch_add(2, Ordering::Relaxed);
        host.gauge(RStr::from_str("queue")).value.store(-1, Ordering::Relaxed);
        host.histogram(RStr::from_str("write"));
        let text = metrics.render();
        assert!(text.contains("lockstep_plugin_masked_fields_total{component=\"t1\"} 2\n"), "{text}");
        assert!(text.contains("lockstep_plugin_queue{component=\"t1\"} -1\n"), "{text}");
        assert!(text.contains("lockstep_plugin_write_seconds_count{component=\"t1\"} 0\n"), "{text}");
    }

    #[test]
    fn a_plugins_metric_feeds_the_cell_it_names() {
        let metrics = Metrics::new();
        let host = component_host(metrics.scope(&[("component", "lock")]));
        for (metric, cell) in [
            ("taken", "lock_statistics.acquired"),
            ("open", "active_connections.websocket"),
            ("x", "nothing"),
        ] {
            host.feeds(RStr::from_str(metric), RStr::from_str(cell));
        }
        host.counter(RStr::from_str("taken")).value.fetch_add(2, Ordering::Relaxed);
        host.gauge(RStr::from_str("open")).value.store(7, Ordering::Relaxed);
        let document = metrics.guide().document();
        assert_eq!((document.lock_statistics.acquired, document.active_connections.websocket), (2, 7));
    }

    #[test]
    fn a_direct_pipeline_refuses_state_with_the_way_to_it() {
        let host = component_host(Metrics::new().scope(&[]));
        let refused = host.state_get(RStr::from_str("locks"), RSlice::from_slice(b"key")).into_result();
        let error = refused.expect_err("there is no state");
        assert_eq!(error.kind(), ErrorKind::UNSUPPORTED);
        assert!(error.message().contains("through the log"), "{error}");
    }
}
