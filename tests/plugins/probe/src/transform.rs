//! A transform that takes its time.

use lockstep_plugin_api::prelude::*;
use std::time::Duration;

#[config]
pub struct ProbeTransformConfig {
    /// How long each record takes, in microseconds.
    delay_us: u64,
}

pub struct ProbeTransform(Duration);

impl Transform for ProbeTransform {
    type Config = ProbeTransformConfig;

    fn new(config: ProbeTransformConfig, _: &Context) -> Result<Self> {
        Ok(Self(Duration::from_micros(config.delay_us)))
    }

    fn apply(&mut self, record: Record, out: &mut Output) -> Result<()> {
        std::thread::sleep(self.0);
        out.push(record);
        Ok(())
    }
}
