//! One cell of the table: a pipeline that goes wrong, and what is to become of it.

/// What happens for one fault at one entry point.
pub enum Cell {
    Runs(Scenario),
    /// The entry point cannot fail like this, and why.
    Impossible(&'static str),
}

/// A pipeline with one component that goes wrong, and what is expected.
pub struct Scenario {
    pub component: Component,
    /// `at` and `how` of the fixture's configuration.
    pub at: &'static str,
    pub how: &'static str,
    pub frequency: Frequency,
    pub state: &'static str,
    /// Part of the error that status or log show.
    pub error: &'static str,
    pub place: Place,
}

/// Which component of the pipeline goes wrong.
#[derive(Clone, Copy, PartialEq)]
pub enum Component {
    Source,
    /// An async source, in its task.
    Task,
    Transform,
    Sink,
    /// A sink that is told about its batches later than it writes them.
    PipelinedSink,
    /// A source that breaks the accounting of records.
    LyingSource,
    LyingTransform,
}

/// How often it goes wrong.
#[derive(Clone, Copy, PartialEq)]
pub enum Frequency {
    /// The first time, and never again.
    Once,
    /// Every time, until the test mends it.
    Always,
}

/// Where the records are in the end.
#[derive(Clone, Copy, PartialEq)]
pub enum Place {
    /// All of them at the sink.
    Written,
    /// One in the dead letter queue, the others at the sink.
    OneDead,
    /// Not committed: they come again once the fault is gone.
    AtTheSource,
}

impl Scenario {
    /// The pipeline's text; the fault waits for the record `at_record` where it can.
    pub fn pipeline(&self, n_records: u64, at_record: u64) -> String {
        let waits = matches!(self.at, "poll" | "apply" | "put" | "acked" | "task");
        let key = if waits { format!("key: app.probe.{at_record}, ") } else { String::new() };
        let once = self.frequency == Frequency::Once;
        let (at, how) = (self.at, self.how);
        let fault = format!("fault: {{ at: {at}, how: {how}, {key}mended: SITE/mended, once: {once} }}");
        let lie = format!("how: {how}, {key}mended: SITE/mended");
        // A component is dropped when its pipeline ends.
        let ends = self.at == "drop";
        let good_source =
            format!("{{ plugin: probe, config: {{ dir: SITE/in, count: {n_records}, ends: {ends} }} }}");
        let source = match self.component {
            Component::Source => format!("{{ plugin: faulty, config: {{ count: {n_records}, {fault} }} }}"),
            Component::Task => {
                format!("{{ plugin: faulty_task, config: {{ count: {n_records}, {fault} }} }}")
            }
            Component::LyingSource => format!("{{ plugin: liar, config: {{ count: {n_records}, {lie} }} }}"),
            _ => good_source,
        };
        let transforms = match self.component {
            Component::Transform => format!("[ {{ plugin: faulty, {ON_ERROR}, config: {{ {fault} }} }} ]"),
            Component::LyingTransform => format!("[ {{ plugin: liar, config: {{ {lie} }} }} ]"),
            _ => "[]".to_owned(),
        };
        let sink = match self.component {
            Component::Sink => sink("faulty", &fault),
            Component::PipelinedSink => sink("faulty_pipelined", &fault),
            _ => "{ plugin: probe, config: { dir: SITE/out } }".to_owned(),
        };
        format!(
            "sources: [ {source} ]\ntransforms: {transforms}\nsinks: [ {sink} ]\ndelivery: {{ batch: {{ records: 7 }} }}\n"
        )
    }
}

const ON_ERROR: &str = "on_error: { retry: { attempts: 2, backoff: 10ms, max: 20ms }, then: dead_letter }";

fn sink(plugin: &str, fault: &str) -> String {
    format!("{{ plugin: {plugin}, {ON_ERROR}, config: {{ {fault}, written: SITE/out/written }} }}")
}
