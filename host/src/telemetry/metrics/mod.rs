//! Metrics: shared atomic cells by name and labels, written by host and plugins without a call, read by a scrape.
//!
//! The same name and labels give the same cell, so a restarted pipeline goes on counting. A metric has at most
//! [`MAX_SERIES`] label sets; what would be one more is counted nowhere and said once.

mod render;

use super::guide_metrics::GuideMetrics;
use lockstep_plugin_api::{
    abi::{
        types::RArc,
        vtable::{CounterCell, GaugeCell, HistogramCell},
    },
    metrics::HISTOGRAM_BOUNDS_US,
};
use std::{
    collections::BTreeMap,
    mem::{self, discriminant},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The most label sets of one metric.
pub const MAX_SERIES: usize = 1000;

/// Every metric of this process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    families: Families,
    guide: GuideMetrics,
}

/// Makes metrics that share some labels. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Scope {
    families: Families,
    guide: GuideMetrics,
    labels: Labels,
}

/// Some metrics as they are now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values {
    pub counters: BTreeMap<String, u64>,
    pub gauges: BTreeMap<String, i64>,
}

/// Counts up.
#[derive(Debug, Clone)]
pub struct Counter(RArc<CounterCell>);

/// Goes up and down.
#[derive(Debug, Clone)]
pub struct Gauge(RArc<GaugeCell>);

/// Counts durations by size.
#[derive(Debug, Clone)]
pub struct Histogram(RArc<HistogramCell>);

type Labels = Arc<[(String, String)]>;

/// By name as scraped, a counter's without its `_total`.
#[derive(Debug, Clone, Default)]
struct Families(Arc<Mutex<BTreeMap<String, Family>>>);

#[derive(Debug, Default)]
struct Family {
    help: String,
    /// All of one kind.
    series: BTreeMap<Labels, Cell>,
    /// Whether it was said that a series or a kind was refused.
    complained: bool,
}

#[derive(Debug, Clone)]
enum Cell {
    Counter(RArc<CounterCell>),
    Gauge(RArc<GaugeCell>),
    Histogram(RArc<HistogramCell>),
}

impl Metrics {
    /// What [`Metrics::render`] gives, as HTTP names it.
    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    pub fn new() -> Self {
        Self::default()
    }

    /// The guide's metrics document, which some of these metrics feed.
    pub fn guide(&self) -> &GuideMetrics {
        &self.guide
    }

    /// Says what a metric tells, by its name as it is scraped. Plugins' metrics go without.
    pub fn describe(&self, name: &str, help: &str) {
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        self.families.lock().entry(family_name(name)).or_default().help = help;
    }

    /// Metrics with these labels.
    pub fn scope(&self, labels: &[(&str, &str)]) -> Scope {
        Scope { families: self.families.clone(), guide: self.guide.clone(), labels: Arc::default() }
            .with(labels)
    }

    /// The counters and gauges that carry all of these labels, by their names as scraped. Where further labels make
    /// several of one name, they are added up.
    pub fn values(&self, labels: &[(&str, &str)]) -> Values {
        let carries = |found: &Labels| {
            let mut wanted = labels.iter();
            wanted.all(|(name, value)| found.iter().any(|label| label.0 == *name && label.1 == *value))
        };
        let mut values = Values::default();
        for (name, family) in self.families.lock().iter() {
            for (_, cell) in family.series.iter().filter(|(found, _)| carries(found)) {
                match cell {
                    Cell::Counter(cell) => {
                        *values.counters.entry(format!("{name}_total")).or_default() +=
                            cell.value.load(Ordering::Relaxed);
                    }
                    Cell::Gauge(cell) => {
                        *values.gauges.entry(name.clone()).or_default() += cell.value.load(Ordering::Relaxed);
                    }
                    Cell::Histogram(_) => {}
                }
            }
        }
        values
    }

    /// Everything in the OpenMetrics text format, which Prometheus reads.
    pub fn render(&self) -> String {
        render::render(&self.families)
    }
}

impl Scope {
    /// The same labels and more.
    pub fn with(&self, labels: &[(&str, &str)]) -> Self {
        let more = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let labels = self.labels.iter().cloned().chain(more).collect();
        Self { families: self.families.clone(), guide: self.guide.clone(), labels }
    }

    /// The counter of this name, which ends with `_total`.
    pub fn counter(&self, name: &str) -> Counter {
        let new = || RArc::new(CounterCell { value: 0.into() });
        let found = self.families.cell(name, &self.labels, || Cell::Counter(new()));
        Counter(if let Some(Cell::Counter(cell)) = found { cell } else { new() })
    }

    /// The guide's metrics document, which a metric of this scope may feed.
    pub fn guide(&self) -> &GuideMetrics {
        &self.guide
    }

    /// The gauge of this name.
    pub fn gauge(&self, name: &str) -> Gauge {
        let new = || RArc::new(GaugeCell { value: 0.into() });
        let found = self.families.cell(name, &self.labels, || Cell::Gauge(new()));
        Gauge(if let Some(Cell::Gauge(cell)) = found { cell } else { new() })
    }

    /// The histogram of this name, which ends with `_seconds`.
    pub fn histogram(&self, name: &str) -> Histogram {
        let new = || {
            let buckets = std::array::from_fn(|_| AtomicU64::new(0));
            RArc::new(HistogramCell { buckets, sum_us: 0.into() })
        };
        let found = self.families.cell(name, &self.labels, || Cell::Histogram(new()));
        Histogram(if let Some(Cell::Histogram(cell)) = found { cell } else { new() })
    }
}

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.value.fetch_add(n, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.value.load(Ordering::Relaxed)
    }

    /// Whether both count into one cell.
    pub fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(&*self.0, &*other.0)
    }

    /// The cell itself, for a plugin.
    pub fn cell(&self) -> RArc<CounterCell> {
        self.0.clone()
    }
}

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.value.store(value, Ordering::Relaxed);
    }

    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.value.fetch_add(n, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> i64 {
        self.0.value.load(Ordering::Relaxed)
    }

    /// Whether both show one cell.
    pub fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(&*self.0, &*other.0)
    }

    /// The cell itself, for a plugin.
    pub fn cell(&self) -> RArc<GaugeCell> {
        self.0.clone()
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = HISTOGRAM_BOUNDS_US.partition_point(|bound| *bound < us);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// The cell itself, for a plugin.
    pub fn cell(&self) -> RArc<HistogramCell> {
        self.0.clone()
    }
}

impl Families {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Family>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cell of this name and these labels; none if the metric is of another kind or has too many label sets.
    fn cell(&self, name: &str, labels: &Labels, new: impl FnOnce() -> Cell) -> Option<Cell> {
        let mut families = self.lock();
        let name = family_name(name);
        let family = families.entry(name.clone()).or_default();
        if let Some(cell) = family.series.get(labels) {
            return Some(cell.clone());
        }
        let cell = new();
        let is_other_kind = family.is_of_other_kind(&cell);
        if !is_other_kind && family.series.len() < MAX_SERIES {
            family.series.insert(Arc::clone(labels), cell.clone());
            return Some(cell);
        }
        let complain = !mem::replace(&mut family.complained, true);
        drop(families);
        if complain && is_other_kind {
            tracing::warn!(metric = name, "a metric is used as two kinds, the second is not counted");
        } else if complain {
            tracing::warn!(
                metric = name,
                max = MAX_SERIES,
                "a metric has too many label sets, further ones are not counted"
            );
        }
        None
    }
}

impl Family {
    fn is_of_other_kind(&self, cell: &Cell) -> bool {
        self.series.values().next().is_some_and(|first| discriminant(first) != discriminant(cell))
    }
}

/// A plugin chooses its names freely; the format does not allow every character.
fn family_name(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    name.strip_suffix("_total").unwrap_or(name).chars().map(allowed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::LogFormat, telemetry::subscriber::captured::log};

    fn check(metrics: &Metrics, lines: &[&str]) {
        let text = metrics.render();
        assert!(text.ends_with("# EOF\n"), "{text}");
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "no line {line:?} in\n{text}");
        }
    }

    #[test]
    fn a_metric_is_rendered_with_its_help_and_labels() {
        let metrics = Metrics::new();
        metrics.describe("lockstep_records_read_total", "Records that sources gave");
        let scope = metrics.scope(&[("pipeline", "orders")]);
        scope.with(&[("component", "in")]).counter("lockstep_records_read_total").add(3);
        scope.gauge("lockstep_in_flight_bytes").set(-2);
        metrics.scope(&[]).gauge("lockstep_pipelines").add(1);
        check(
            &metrics,
            &[
                "# HELP lockstep_records_read Records that sources gave",
                "# TYPE lockstep_records_read counter",
                r#"lockstep_records_read_total{pipeline="orders",component="in"} 3"#,
                r#"lockstep_in_flight_bytes{pipeline="orders"} -2"#,
                "lockstep_pipelines 1",
            ],
        );
    }

    #[test]
    fn label_values_and_names_are_escaped() {
        let metrics = Metrics::new();
        metrics.describe("a total", "two\nlines");
        metrics.scope(&[("name", "a\"b\\c\nd")]).gauge("a total").set(1);
        check(&metrics, &[r"# HELP a_total two\nlines", r#"a_total{name="a\"b\\c\nd"} 1"#]);
    }

    #[test]
    fn a_histogram_counts_up_to_and_with_each_bound() {
        let metrics = Metrics::new();
        let histogram = metrics.scope(&[]).histogram("lockstep_put_seconds");
        for us in [50, 51, 20_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        check(
            &metrics,
            &[
                r#"lockstep_put_seconds_bucket{le="0.00005"} 1"#,
                r#"lockstep_put_seconds_bucket{le="0.0001"} 2"#,
                r#"lockstep_put_seconds_bucket{le="+Inf"} 3"#,
                "lockstep_put_seconds_count 3",
                "lockstep_put_seconds_sum 20.000101",
            ],
        );
    }

    #[test]
    fn the_same_name_and_labels_give_the_same_cell() {
        let metrics = Metrics::new();
        for _restart in 0..2 {
            metrics.scope(&[("pipeline", "orders")]).counter("lockstep_records_read_total").add(1);
        }
        assert_eq!(metrics.scope(&[("pipeline", "orders")]).counter("lockstep_records_read_total").get(), 2);
    }

    #[test]
    fn the_values_of_some_labels_are_those_that_carry_them_all() {
        let metrics = Metrics::new();
        let scope = metrics.scope(&[("pipeline", "orders"), ("component", "in")]);
        scope.counter("lockstep_records_read_total").add(3);
        scope.with(&[("state", "on")]).gauge("lockstep_state").set(-1);
        metrics
            .scope(&[("pipeline", "other"), ("component", "in")])
            .counter("lockstep_records_read_total")
            .add(9);
        let values = metrics.values(&[("component", "in"), ("pipeline", "orders")]);
        assert_eq!(values.counters, [("lockstep_records_read_total".to_owned(), 3)].into());
        assert_eq!(values.gauges, [("lockstep_state".to_owned(), -1)].into());
    }

    #[test]
    fn too_many_label_sets_are_left_out_and_said_once() {
        let metrics = Metrics::new();
        let written = log(LogFormat::Text, "warn", |_| {
            for n in 0..MAX_SERIES + 2 {
                metrics.scope(&[("client", &n.to_string())]).counter("lockstep_plugin_sent_total").add(1);
            }
        });
        let text = metrics.render();
        assert_eq!(text.lines().filter(|line| line.contains("sent_total{")).count(), MAX_SERIES);
        assert_eq!(written.matches("too many label sets").count(), 1, "{written}");
    }

    #[test]
    fn a_name_of_two_kinds_is_counted_as_the_first() {
        let metrics = Metrics::new();
        metrics.scope(&[("component", "a")]).counter("lockstep_plugin_x_total").add(1);
        metrics.scope(&[("component", "b")]).gauge("lockstep_plugin_x").set(1);
        check(&metrics, &["# TYPE lockstep_plugin_x counter"]);
        assert!(!metrics.render().contains(r#"component="b""#));
    }
}
