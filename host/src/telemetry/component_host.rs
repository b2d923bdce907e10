//! What a component of a direct pipeline may ask of its host: metrics, and a clear answer to everything else.

use super::metrics::Scope;
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
        self.scope.counter(&format!("lockstep_plugin_{}_total", stem(&name, "_total"))).cell()
    }

    fn gauge(&self, name: RStr<'_>) -> RArc<GaugeCell> {
        self.scope.gauge(&format!("lockstep_plugin_{name}")).cell()
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

    fn feeds(&self, _: RStr<'_>, _: RStr<'_>) {}
}

/// The name without an ending that is added anyway.
fn stem<'a>(name: &'a RStr<'_>, ending: &str) -> &'a str {
    name.as_str().strip_suffix(ending).unwrap_or(name.as_str())
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
    fn a_direct_pipeline_refuses_state_with_the_way_to_it() {
        let host = component_host(Metrics::new().scope(&[]));
        let refused = host.state_get(RStr::from_str("locks"), RSlice::from_slice(b"key")).into_result();
        let error = refused.expect_err("there is no state");
        assert_eq!(error.kind(), ErrorKind::UNSUPPORTED);
        assert!(error.message().contains("through the log"), "{error}");
    }
}
