//! Metrics -> text that Prometheus reads, through `prometheus-client`, which knows the format and its escapes.

use super::{Cell, Families};
use lockstep_plugin_api::{abi::vtable::HistogramCell, metrics::HISTOGRAM_BOUNDS_US};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};
use std::{fmt, sync::atomic::Ordering};

/// Everything as it is now, in the OpenMetrics text format.
pub(super) fn render(families: &Families) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(families.clone()));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, family) in self.lock().iter() {
            let Some(first) = family.series.values().next() else { continue };
            let mut metric = encoder.encode_descriptor(name, &family.help, None, first.kind())?;
            for (labels, cell) in &family.series {
                if labels.is_empty() {
                    cell.encode(&mut metric)?;
                } else {
                    cell.encode(&mut metric.encode_family(&&**labels)?)?;
                }
            }
        }
        Ok(())
    }
}

impl Cell {
    fn kind(&self) -> MetricType {
        match self {
            Self::Counter(_) => MetricType::Counter,
            Self::Gauge(_) => MetricType::Gauge,
            Self::Histogram(_) => MetricType::Histogram,
        }
    }

    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Counter(cell) => {
                let value = cell.value.load(Ordering::Relaxed);
                encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)
            }
            Self::Gauge(cell) => encoder.encode_gauge(&cell.value.load(Ordering::Relaxed)),
            Self::Histogram(cell) => encode_histogram(cell, encoder),
        }
    }
}

/// The count is that of the buckets read here, so that both agree while others go on counting.
fn encode_histogram(cell: &HistogramCell, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
    let bounds = HISTOGRAM_BOUNDS_US.iter().map(|us| seconds(*us)).chain([f64::INFINITY]);
    let counts = cell.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
    let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
    let count = buckets.iter().map(|(_, count)| count).sum();
    encoder.encode_histogram::<NoLabelSet>(
        seconds(cell.sum_us.load(Ordering::Relaxed)),
        count,
        &buckets,
        None,
    )
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 285 years")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}
