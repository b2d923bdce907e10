//! A source of numbered records that goes wrong in `new`, `poll` or `Drop`.

use crate::fault::{At, Fault, How};
use lockstep_plugin_api::prelude::*;
use std::time::Duration;

#[config]
pub struct FaultySourceConfig {
    pub fault: Fault,
    /// How many records there are.
    pub count: u64,
}

pub struct FaultySource {
    config: FaultySourceConfig,
    last: u64,
}

impl Source for FaultySource {
    type Config = FaultySourceConfig;

    fn new(config: FaultySourceConfig, context: &Context) -> Result<Self> {
        config.fault.happen(At::New, [])?;
        Ok(Self { last: stored(context)?, config })
    }

    fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Record>> {
        if self.last == self.config.count {
            std::thread::sleep(wait.min(Duration::from_millis(5)));
            return Ok(Vec::new());
        }
        let fault = &self.config.fault;
        let due = fault.at == At::Poll && fault.is_due(At::Poll, [key(self.last + 1).as_str()]);
        let n_now = match fault.how {
            How::TooMany if due => max as u64 + 1,
            How::TooFew => 1,
            How::Panic if due => panic!("the fixture panics in Poll"),
            How::Hang if due => crate::fault::hang(),
            _ if due => return Err(Error::failed(std::io::Error::other("the fixture fails in Poll"))),
            // One record per poll as long as the fault waits for a certain one.
            _ => 1,
        };
        let n_now = n_now.min(self.config.count - self.last);
        Ok((0..n_now).map(|_| self.next()).collect())
    }
}

impl FaultySource {
    fn next(&mut self) -> Record {
        self.last += 1;
        record(self.last)
    }
}

impl Drop for FaultySource {
    fn drop(&mut self) {
        self.config.fault.happen(At::Drop, []).expect("nothing is said in `Drop`");
    }
}

/// The number of the last record that was written everywhere before this start.
pub fn stored(context: &Context) -> Result<u64> {
    Ok(match context.position(0) {
        Some(bytes) => u64::from_be_bytes(bytes[..].try_into()?),
        None => 0,
    })
}

/// The key of a record, as the `probe` plugin would make it.
pub fn key(number: u64) -> String {
    format!("app.probe.{number}")
}

/// A record, as the `probe` plugin would make it.
pub fn record(number: u64) -> Record {
    let key = key(number);
    let change = format!(r#"{{"event_type":"config_updated","config_key":"{key}","new_value":{number}}}"#);
    Record::new(change).with_key(key.as_str()).with_position(Position::new(0, number.to_be_bytes().to_vec()))
}
