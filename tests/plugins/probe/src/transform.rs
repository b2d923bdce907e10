//! A transform that takes its time, and that can be told to wait.

use crate::{
    orders::{BETWEEN_LOOKS, Orders, Recording},
    sink::key,
};
use lockstep_plugin_api::prelude::*;
use std::{path::PathBuf, time::Duration};

#[config]
pub struct ProbeTransformConfig {
    /// How long each record takes, in microseconds.
    #[serde(default)]
    delay_us: u64,
    /// The folder of orders; without it there are none.
    dir: Option<PathBuf>,
}

pub struct ProbeTransform {
    delay: Duration,
    gate: Option<Gate>,
}

/// Where records of some keys wait.
struct Gate {
    orders: Orders,
    reached: Recording,
    context: Context,
}

impl Transform for ProbeTransform {
    type Config = ProbeTransformConfig;

    fn new(config: ProbeTransformConfig, context: &Context) -> Result<Self> {
        let gate = config.dir.map(|dir| Gate::open(context.resolve(&dir), context)).transpose()?;
        Ok(Self { delay: Duration::from_micros(config.delay_us), gate })
    }

    fn apply(&mut self, record: Record, out: &mut Output) -> Result<()> {
        if let Some(gate) = &mut self.gate {
            gate.pass(&record)?;
        }
        std::thread::sleep(self.delay);
        out.push(record);
        Ok(())
    }
}

impl Gate {
    fn open(dir: PathBuf, context: &Context) -> Result<Self> {
        let orders = Orders::open(dir)?;
        let reached = orders.record("reached")?;
        Ok(Self { orders, reached, context: context.clone() })
    }

    /// Writes down that the record has come this far, and waits while its key is among those that may not pass.
    fn pass(&mut self, record: &Record) -> Result<()> {
        self.reached.append([key(record)].into_iter())?;
        let is_shut = || self.orders.keys("shut").iter().any(|shut| shut == key(record));
        while is_shut() && !self.context.stopping() {
            std::thread::sleep(BETWEEN_LOOKS);
        }
        Ok(())
    }
}
