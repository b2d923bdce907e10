//! The bare boundary: the chain called by one thread, batch after batch, without the runtime around it.

use crate::{
    N_TRANSFORMS, allocations,
    components::{Generator, Noop, Null},
    linked::Linked,
    measure::{Goal, best_of, own_cpu},
    table,
};
use lockstep::{
    config::{ComponentKind, PluginRef},
    registry::{CatchUpCell, ComponentParts, RArc, Registry, Sink, Source, StopCell, Transform},
    telemetry::{Metrics, component_host},
};
use lockstep_plugin_api::{
    __private as adapters, Batch,
    abi::vtable::{OpenedSource, SinkBox, TransformBox},
};
use serde_json::{Value, json};
use std::time::Duration;

const SLICE: Duration = Duration::from_millis(60);
const N_SLICES: usize = 12;

pub fn run(registry: &Registry) {
    table::title("one thread calls the chain", ["linked", "adapters", "plugin"]);
    for batch in crate::batches() {
        let mut linked = Linked::new(u64::MAX);
        let mut adapted = Adapted::new();
        let mut plugin = Plugin::open(registry);
        let mut rounds: [&mut dyn FnMut(); 3] =
            [&mut || linked.round(batch), &mut || adapted.round(batch), &mut || plugin.round(batch)];
        let cpu = best_of::<3>(N_SLICES, |i| ns_per_record(batch, &mut rounds[i]));
        let allocations = rounds.map(|round| allocations_per_record(batch, round));
        table::row(batch, cpu, allocations, |linked, plugin| match batch {
            1 => Some(Goal::at_most(plugin - linked, 50.0)),
            100 => Some(Goal::at_most(plugin / linked, 1.1)),
            _ => None,
        });
    }
}

fn ns_per_record(batch: usize, round: &mut dyn FnMut()) -> f64 {
    let (start, mut n_rounds) = (own_cpu(), 0);
    loop {
        (0..1 + 2_000 / batch).for_each(|_| round());
        n_rounds += 1 + 2_000 / batch;
        let spent = own_cpu() - start;
        if spent > SLICE {
            return spent.as_nanos() as f64 / (n_rounds * batch) as f64;
        }
    }
}

fn allocations_per_record(batch: usize, round: &mut dyn FnMut()) -> f64 {
    const N_ROUNDS: usize = 1_000;
    let n = allocations::count(|| (0..N_ROUNDS).for_each(|_| round()));
    n as f64 / (N_ROUNDS * batch) as f64
}

/// Through the host's own wrappers into the library.
struct Plugin {
    source: Source,
    transforms: Vec<Transform>,
    sink: Sink,
    next_id: u64,
    seq: u64,
}

impl Plugin {
    fn open(registry: &Registry) -> Self {
        let component = |kind, name: &str| {
            let plugin = PluginRef::Named { name: name.to_owned(), version: None };
            registry.component(kind, &plugin).expect("the benchmark's plugin was built")
        };
        let noop = component(ComponentKind::Transform, "bench_noop");
        let transform = |_| noop.open_transform(&json!({}), parts()).expect("opens");
        Self {
            source: component(ComponentKind::Source, "bench_generator")
                .open_source(&endless(), parts())
                .expect("opens"),
            transforms: (0..N_TRANSFORMS).map(transform).collect(),
            sink: component(ComponentKind::Sink, "bench_null").open_sink(&json!({}), parts()).expect("opens"),
            next_id: 1,
            seq: 0,
        }
    }

    fn round(&mut self, max: usize) {
        let mut records = self.source.poll(self.next_id, max, u64::MAX, Duration::ZERO).expect("never ends");
        self.next_id += records.len() as u64;
        for transform in &mut self.transforms {
            records = transform.apply(records).expect("nothing fails").out;
        }
        self.seq += 1;
        self.sink.put(self.seq, Batch::from(records)).expect("nothing fails");
        let acked = self.sink.acked(Duration::ZERO).expect("nothing fails");
        assert_eq!(acked.through_seq, self.seq);
    }
}

/// The same objects, made by the adapters that a plugin has, but linked here: what the library itself costs is the
/// difference to [`Plugin`], what accounting, containment and keeping failed records cost the difference to [`Linked`].
struct Adapted {
    source: OpenedSource,
    transforms: Vec<TransformBox>,
    sink: SinkBox,
    next_id: u64,
    seq: u64,
}

impl Adapted {
    fn new() -> Self {
        let transform = |_| adapters::transform::<Noop>("{}", parts()).expect("opens");
        Self {
            source: adapters::source::<Generator>(&endless().to_string(), parts()).expect("opens"),
            transforms: (0..N_TRANSFORMS).map(transform).collect(),
            sink: adapters::sink::<Null>("{}", parts()).expect("opens"),
            next_id: 1,
            seq: 0,
        }
    }

    fn round(&mut self, max: usize) {
        let polled = self.source.task.poll(self.next_id, max as u32, u64::MAX, 0);
        let mut records = polled.into_result().expect("never ends");
        self.next_id += records.len() as u64;
        for transform in &mut self.transforms {
            records = transform.apply(records).into_result().expect("nothing fails").out;
        }
        self.seq += 1;
        self.sink.put(self.seq, Batch::from(records)).into_result().expect("nothing fails");
        let acked = self.sink.acked(0).into_result().expect("nothing fails");
        assert_eq!(acked.through_seq, self.seq);
    }
}

fn endless() -> Value {
    json!({ "records": u64::MAX })
}

/// As the runtime gives them.
fn parts() -> ComponentParts {
    ComponentParts {
        pipeline: "boundary".into(),
        component: "component".into(),
        node_id: "node".into(),
        base_dir: ".".into(),
        keep_failed: true,
        answers: false,
        watchdog_ms: 30_000,
        through_log: false,
        before_log: false,
        heartbeat_interval_ms: 0,
        conflict_resolution_interval_ms: 0,
        cleanup_interval_ms: 0,
        positions: Vec::new().into(),
        stop: RArc::new(StopCell { stopping: 0.into() }),
        catch_up: RArc::new(CatchUpCell::default()),
        host: component_host(Metrics::new().scope(&[])),
    }
}
