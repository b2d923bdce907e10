//! A sink that writes down the keys it was given, and does what it is told about them.

use crate::orders::{BETWEEN_LOOKS, Orders, Recording};
use lockstep_plugin_api::prelude::*;
use std::path::PathBuf;

#[config]
pub struct ProbeSinkConfig {
    /// The folder of orders.
    dir: PathBuf,
    /// The place it says it writes.
    #[serde(default)]
    endpoint: Option<String>,
    /// Whether values and the sizes of batches are written down too.
    #[serde(default)]
    values: bool,
    /// Whether the places of changes in the log are written down too.
    #[serde(default)]
    revisions: bool,
}

pub struct ProbeSink {
    orders: Orders,
    offered: Recording,
    written: Recording,
    /// Values, and how many came at once.
    values: Option<(Recording, Recording)>,
    revisions: Option<Recording>,
    context: Context,
}

impl Sink for ProbeSink {
    type Config = ProbeSinkConfig;

    fn new(config: ProbeSinkConfig, context: &Context) -> Result<Self> {
        let orders = Orders::open(context.resolve(&config.dir))?;
        orders.reach_endpoint()?;
        config.endpoint.iter().for_each(|name| context.endpoint(name));
        let (offered, written) = (orders.record("offered")?, orders.record("written")?);
        let values =
            config.values.then(|| Ok::<_, Error>((orders.record("values")?, orders.record("batches")?)));
        let values = values.transpose()?;
        let revisions = config.revisions.then(|| orders.record("revisions")).transpose()?;
        Ok(Self { orders, offered, written, values, revisions, context: context.clone() })
    }

    fn write(&mut self, batch: &[Record], failures: &mut Failures) -> Result<()> {
        self.orders.reach_endpoint()?;
        self.offered.append(batch.iter().map(key))?;
        while self.orders.is_given("block") && !self.context.stopping() {
            std::thread::sleep(BETWEEN_LOOKS);
        }
        if self.orders.is_given("block") {
            return Err(Error::not_connected("the host stops while the probe is blocked"));
        }
        let (fail, reject) = (self.orders.keys("fail"), self.orders.keys("reject"));
        let is_in = |keys: &[String], record: &Record| keys.iter().any(|other| other == key(record));
        for record in batch {
            if is_in(&reject, record) {
                failures.push(record, Error::rejected("invalid_value", "the probe was told to reject it"));
            } else if is_in(&fail, record) {
                failures.push(record, Error::failed(std::io::Error::other("the probe was told to fail")));
            }
        }
        let taken = batch.iter().filter(|record| !is_in(&reject, record) && !is_in(&fail, record));
        if let Some((values, batches)) = &mut self.values {
            batches.append([batch.len().to_string().as_str()].into_iter())?;
            let texts: Vec<String> = taken.clone().map(value).collect();
            values.append(texts.iter().map(String::as_str))?;
        }
        if let Some(revisions) = &mut self.revisions {
            let texts: Vec<String> = taken.clone().map(revision).collect();
            revisions.append(texts.iter().map(String::as_str))?;
        }
        self.written.append(taken.map(key))
    }
}

/// The place in the log, if it has one.
fn revision(record: &Record) -> String {
    record.known_change().and_then(Change::revision).unwrap_or(0).to_string()
}

/// The value, if it is one line of text.
fn value(record: &Record) -> String {
    String::from_utf8_lossy(&record.value().unwrap_or_default()).into_owned()
}

pub fn key(record: &Record) -> &str {
    record.key_str().unwrap_or("(no key)")
}
