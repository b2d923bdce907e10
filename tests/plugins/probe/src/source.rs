//! A source of numbered changes: `app.probe.1`, `app.probe.2`, …

use crate::orders::{BETWEEN_LOOKS, Orders, Recording};
use lockstep_plugin_api::{prelude::*, source::Replies};
use std::{
    path::PathBuf,
    sync::Mutex,
    time::{Duration, Instant},
};

#[config]
pub struct ProbeSourceConfig {
    /// The folder of orders.
    dir: PathBuf,
    /// How many records there are.
    count: u64,
    /// How long each record's value is, at least.
    #[serde(default)]
    bytes: usize,
    /// What the value is filled with, as it stands in a JSON string.
    #[serde(default = "x")]
    filler: String,
    /// Most records per second; 0 is no limit.
    #[serde(default)]
    rate: u64,
    /// The place it says it reads.
    #[serde(default)]
    endpoint: Option<String>,
    /// How many of the records were there before it started.
    #[serde(default)]
    was_there: u64,
    /// Whether the input ends after the last record, or just falls silent.
    #[serde(default)]
    ends: bool,
}

fn x() -> String {
    "x".to_owned()
}

pub struct ProbeSource {
    config: ProbeSourceConfig,
    orders: Orders,
    last: u64,
    filler: String,
    started: Instant,
    n_given: u64,
    context: Context,
}

impl Source for ProbeSource {
    type Config = ProbeSourceConfig;

    fn new(config: ProbeSourceConfig, context: &Context) -> Result<Self> {
        let orders = Orders::open(context.resolve(&config.dir))?;
        orders.reach_endpoint()?;
        let last = match context.position(0) {
            Some(bytes) => u64::from_be_bytes(bytes[..].try_into()?),
            None => 0,
        };
        tracing::info!(last, "the probe starts after this record");
        config.endpoint.iter().for_each(|name| context.endpoint(name));
        if config.was_there > last {
            context.catching_up();
        }
        let filler = config.filler.repeat(config.bytes / config.filler.len());
        Ok(Self {
            config,
            orders,
            last,
            filler,
            started: Instant::now(),
            n_given: 0,
            context: context.clone(),
        })
    }

    fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Record>> {
        self.orders.reach_endpoint()?;
        if self.last == self.config.count && self.config.ends {
            return Err(Error::end_of_input());
        }
        let n_now = (self.config.count - self.last).min(max as u64).min(self.n_allowed());
        if n_now == 0 {
            std::thread::sleep(wait.min(BETWEEN_LOOKS));
            return Ok(Vec::new());
        }
        self.n_given += n_now;
        let records = (0..n_now).map(|_| self.next()).collect();
        if self.last >= self.config.was_there {
            self.context.caught_up();
        }
        Ok(records)
    }

    fn replies(&mut self) -> Box<dyn Replies> {
        Box::new(Outcomes(self.orders.record("outcomes").ok().map(Mutex::new)))
    }
}

impl ProbeSource {
    /// How many more records the rate allows by now.
    fn n_allowed(&self) -> u64 {
        match self.config.rate {
            0 => u64::MAX,
            rate => (self.started.elapsed().as_secs_f64() * rate as f64) as u64 - self.n_given,
        }
    }

    fn next(&mut self) -> Record {
        self.last += 1;
        let key = format!("app.probe.{}", self.last);
        let value = format!(r#"{{"number":{},"filler":"{}"}}"#, self.last, self.filler);
        let change = format!(r#"{{"event_type":"config_updated","config_key":"{key}","new_value":{value}}}"#);
        Record::new(change)
            .with_key(key.as_str())
            .with_position(Position::new(0, self.last.to_be_bytes().to_vec()))
    }
}

/// Writes down what became of each record.
struct Outcomes(Option<Mutex<Recording>>);

impl Replies for Outcomes {
    fn outcomes(&self, outcomes: Vec<Outcome>) {
        let lines: Vec<String> =
            outcomes.iter().map(|outcome| format!("{} {}", outcome.id, name(&outcome.result))).collect();
        if let Some(recording) = &self.0 {
            // A full disk is the test's business, not the source's.
            let _ = recording.lock().expect("nobody panics here").append(lines.iter().map(String::as_str));
        }
    }
}

fn name(result: &OutcomeResult) -> &'static str {
    match result {
        OutcomeResult::Applied { .. } => "applied",
        OutcomeResult::Written => "written",
        OutcomeResult::Rejected(_) => "rejected",
        OutcomeResult::Failed(_) => "failed",
    }
}
