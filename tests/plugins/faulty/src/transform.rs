//! A transform that goes wrong in `new`, `apply`, `Drop` or a task it spawned.

use crate::fault::{At, Fault};
use lockstep_plugin_api::prelude::*;

#[config]
pub struct FaultyTransformConfig {
    fault: Fault,
}

pub struct FaultyTransform {
    fault: Fault,
    context: Context,
}

impl Transform for FaultyTransform {
    type Config = FaultyTransformConfig;

    fn new(config: FaultyTransformConfig, context: &Context) -> Result<Self> {
        config.fault.happen(At::New, [])?;
        Ok(Self { fault: config.fault, context: context.clone() })
    }

    fn apply(&mut self, record: Record, out: &mut Output) -> Result<()> {
        let key = record.key_str().unwrap_or_default().to_owned();
        self.fault.happen(At::Apply, [key.as_str()])?;
        if self.fault.at == At::Task {
            let fault = self.fault.clone();
            self.context.spawn(async move {
                let _ = fault.happen(At::Task, [key.as_str()]);
            });
        }
        out.push(record);
        Ok(())
    }
}

impl Drop for FaultyTransform {
    fn drop(&mut self) {
        self.fault.happen(At::Drop, []).expect("nothing is said in `Drop`");
    }
}
